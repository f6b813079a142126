"""Adaptive tomograms: where they ask, what they make of the answer, what is documented."""

from __future__ import annotations

import pytest

from zoneplate.acquisition.runs import RunRecord
from zoneplate.acquisition.workflow import early_stop_of
from zoneplate.devices import ConfigurationError
from zoneplate.plans import estimate, tomography
from zoneplate.plans.stopping import ENOUGH, pass_ends


@pytest.fixture
def record(RE):
    record = RunRecord()
    RE.subscribe(lambda name, doc: record(name, doc) and None)
    return record


def answering(RE, answers: dict[int, str]) -> list[tuple[int, int]]:
    asked: list[tuple[int, int]] = []

    async def answer(message):
        asked.append(message.args)
        return answers.get(message.args[0], "")

    RE.register_command(ENOUGH, answer)
    return asked


def test_passes_end_where_every_fourth_angle_is_taken():
    assert pass_ends(141) == [36, 71, 106]
    assert pass_ends(2) == []
    for count in (5, 9, 40, 200):
        ends = pass_ends(count)
        assert ends == sorted(set(ends))
        assert all(2 <= end < count for end in ends)


def test_scan_asks_at_each_pass_and_is_whole_if_it_is_never_enough(RE, microscope, record):
    asked = answering(RE, {})
    RE(tomography(microscope, projections=24, adaptive=True))
    assert asked == [(end, 24) for end in pass_ends(24)]
    assert len(record.stream("primary")) == 24
    assert early_stop_of(record) is None


def test_enough_ends_the_scan_safely_and_is_documented(RE, microscope, record):
    answering(RE, {pass_ends(24)[1]: "decided"})
    RE(tomography(microscope, projections=24, adaptive=True))
    assert len(record.stream("primary")) == pass_ends(24)[1]
    assert record.stop["exit_status"] == "success"
    assert microscope.shutter.state.get() == "closed"
    rows = record.readings("adaptive_stop")
    assert [row["adaptive_stop_reason"] for row in rows] == ["", "decided"]
    stop = early_stop_of(record)
    assert (stop["projections"], stop["planned"], stop["reason"]) == (13, 24, "decided")


def test_dry_run_takes_the_whole_scan(microscope):
    adaptive, whole = (
        estimate(tomography(microscope, projections=40, adaptive=flag)) for flag in (True, False)
    )
    assert adaptive.frames == whole.frames
    assert adaptive.time_s == pytest.approx(whole.time_s, rel=0.005)


def test_sequential_order_cannot_be_adaptive(RE, microscope):
    with pytest.raises(ConfigurationError, match="interlaced"):
        RE(tomography(microscope, order="sequential", adaptive=True))
