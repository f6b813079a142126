"""Code shown on the pages of the documentation, and a way to run it."""

from __future__ import annotations

import io
import re
import runpy
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in FENCE.findall(page.read_text()) if found == language]


def run_blocks(page: Path, folder: Path) -> str:
    """Run the Python of a page as one script in a folder and return what it prints.

    In this process: another interpreter would spend most of its time on imports.
    """
    script = folder / f"{page.stem}.py"
    script.write_text("\n".join(blocks(page, "python")))
    elsewhere = folder / "must-not-appear"
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setenv("ZONEPLATE_DATA", str(elsewhere))
        patch.chdir(folder)
        runpy.run_path(str(script), run_name="__main__")
    assert not elsewhere.exists()
    return printed.getvalue()
