"""The example scripts run as they stand, on a fresh data directory."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

EXPECTED = {
    "first_scan.py": ["the tomogram will take", "particles on 4 tiles", "success"],
    "screen_powder.py": ["whole particles", "hold a void larger than 1.8 um", "report.html"],
    "replay_stored_scan.py": ["projection", "final:"],
}


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.long
def test_example_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path / "data")])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    for told in EXPECTED[name]:
        assert told in printed
    assert list((tmp_path / "data" / "frames").glob("*/*.nxs"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]  # nothing left elsewhere
