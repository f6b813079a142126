"""Code shown on the pages of the documentation, and a way to run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in FENCE.findall(page.read_text()) if found == language]


def run_blocks(page: Path, folder: Path) -> str:
    """Run the Python of a page as one script in a folder and return what it prints."""
    script = folder / f"{page.stem}.py"
    script.write_text("\n".join(blocks(page, "python")))
    result = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        env={**os.environ, "ZONEPLATE_DATA": str(folder / "must-not-appear")},
    )
    assert result.returncode == 0, result.stderr
    assert not (folder / "must-not-appear").exists()
    return result.stdout
