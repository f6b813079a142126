"""A report says what it was made from: changed input, changed hash."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from zoneplate.acquisition.results import Results, hashes


def results(folder, frames=b"frames", volume=113.0, minimum_void_um=1.8):
    folder.mkdir(exist_ok=True)
    (folder / "scan.nxs").write_bytes(frames)
    pd.DataFrame({"volume_um3": [volume]}).to_csv(folder / "particles.csv")
    pd.DataFrame().to_csv(folder / "voids.csv")
    document = {
        "parameters": {"minimum_void_um": minimum_void_um},
        "software": {"zoneplate": "1"},
        "created": "now",
    }
    return Results(document, [], inputs=[folder / "scan.nxs"])


@pytest.mark.parametrize(
    "changed", [{"frames": b"other"}, {"volume": 114.0}, {"minimum_void_um": 2.0}]
)
def test_changed_input_changes_the_hash(tmp_path, changed):
    first = hashes(tmp_path / "a", results(tmp_path / "a"))
    again = hashes(tmp_path / "b", results(tmp_path / "b"))
    other = hashes(tmp_path / "c", results(tmp_path / "c", **changed))
    assert first == again  # the place does not matter
    assert other["all"] != first["all"]
    assert json.dumps(first)
