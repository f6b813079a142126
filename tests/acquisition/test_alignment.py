"""Alignment against the truth of the simulated microscope, with its imperfections on."""

from __future__ import annotations

import dataclasses

import pytest
from ophyd import SoftPositioner

from zoneplate.acquisition import open_session
from zoneplate.acquisition.journal import journals, read_journal
from zoneplate.devices import AcquisitionError, ConfigurationError
from zoneplate.plans import estimate, find_axis
from zoneplate.simulators.imperfections import Imperfections

OFFSET_UM = 2.6


class Carriage(SoftPositioner):
    """Moves the simulated rotation axis across the beam; `sense` -1 is mounted the wrong way."""

    def __init__(self, imaging, sense: float = 1.0) -> None:
        self._imaging, self._sense = imaging, sense
        self._origin_um = imaging._imperfections.axis_offset_um
        super().__init__(name="carriage", init_pos=0.0)

    def _setup_move(self, position, status) -> None:
        offset_um = self._origin_um + self._sense * position
        self._imaging._imperfections = dataclasses.replace(
            self._imaging._imperfections, axis_offset_um=offset_um
        )
        super()._setup_move(position, status)


@pytest.fixture
def session(tmp_path):
    imperfections = Imperfections(axis_offset_um=OFFSET_UM)
    with open_session(
        seed=2, data_dir=tmp_path, live=False, imperfections=imperfections
    ) as session:
        yield session


def test_axis_is_found_within_a_fifth_of_a_pixel_and_documented(session):
    session.RE(find_axis(session.microscope))
    (documents,) = (
        list(read_journal(path))
        for path in journals(session.data.journal)
        if "analysis_of" in next(read_journal(path))[1]
    )
    (row,) = (doc["data"] for name, doc in documents if name == "event")
    assert row["axis_offset_um"] == pytest.approx(OFFSET_UM, abs=0.1)
    assert 0 < row["axis_offset_um_se"] < 0.1


def test_carriage_brings_the_axis_to_the_middle(session):
    imaging = session.microscope.instrument._imaging
    session.RE(find_axis(session.microscope, Carriage(imaging), tolerance_um=0.1))
    assert imaging._imperfections.axis_offset_um == pytest.approx(0.0, abs=0.15)


def test_carriage_that_moves_the_wrong_way_is_noticed(session):
    wrong = Carriage(session.microscope.instrument._imaging, sense=-1.0)
    with pytest.raises(AcquisitionError, match="towards larger columns"):
        session.RE(find_axis(session.microscope, wrong, attempts=2))
    assert session.microscope.shutter.state.get() == "closed"


def test_alignment_is_estimated_within_two_percent(session):
    expected = estimate(find_axis(session.microscope))
    before_s = session.microscope.clock.now()
    session.RE(find_axis(session.microscope))
    assert expected.time_s == pytest.approx(session.microscope.clock.now() - before_s, rel=0.02)


def test_impossible_alignment_is_refused(session):
    with pytest.raises(ConfigurationError, match="attempts 0"):
        session.RE(find_axis(session.microscope, attempts=0))
