"""The main job over Channel Access: the same table as in process."""

from __future__ import annotations

import subprocess

import pytest

from zoneplate.acquisition import open_session, screen_sample


@pytest.mark.long
def test_screening_over_channel_access_gives_the_same_particles(tmp_path):
    documents = {}
    for instrument in ("simulated", "epics-simulated"):
        folder = tmp_path / instrument
        with open_session(instrument, seed=1, data_dir=folder / "data", live=False) as session:
            results = screen_sample(
                session, folder / "out", regions=1, shape=(1, 2), projections=71
            )
            documents[instrument] = results.document
    for table in ("particles.csv", "voids.csv", "mosaic.csv"):
        first, second = (
            (tmp_path / instrument / "out" / table).read_bytes() for instrument in documents
        )
        assert first == second, table
    in_process, over_ca = documents.values()
    assert in_process["particles"]["count"] > 10
    assert over_ca["timing"] == in_process["timing"]
    left = subprocess.run(
        ["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False
    ).stdout
    assert left == ""
