"""The main job over Channel Access: the same table as in process."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from zoneplate.acquisition import open_session, screen_sample
from zoneplate.plans import center_region, find_axis, focus
from zoneplate.simulators import Imperfections, Specimen, nmc622


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


@pytest.mark.long
def test_alignment_over_channel_access_ends_where_that_in_process_does(tmp_path):
    whole = nmc622(1)
    near = tuple(p for p in whole.particles if np.hypot(*p.center_um[:2]) < 50)
    specimen = Specimen(near, whole.support, name="near")
    places = {}
    for instrument in ("simulated", "epics-simulated"):
        with open_session(
            instrument,
            specimen=specimen,
            data_dir=tmp_path / instrument,
            live=False,
            imperfections=Imperfections(focus_um=210.0),
        ) as session:
            microscope = session.microscope
            session.RE(focus(microscope, steps=7, binning=4))
            session.RE(center_region(microscope, center_um=(6.0, -4.0, -9.0)))
            session.RE(find_axis(microscope))
            places[instrument] = {
                name: axis.user_setpoint.get() for name, axis in microscope.axes.items()
            }
    assert places["epics-simulated"] == pytest.approx(places["simulated"], abs=1e-6)
    assert places["simulated"]["zone_plate_z"] == pytest.approx(210.0, abs=70.0)
