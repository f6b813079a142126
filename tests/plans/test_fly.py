"""Fly scans: the angles that were planned, less time, and a pause that spoils nothing."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.simulators import check_limits, summarize_plan
from bluesky.utils import RunEngineInterrupted

from zoneplate.acquisition.live import angle_of
from zoneplate.acquisition.runs import RunRecord
from zoneplate.devices import ConfigurationError
from zoneplate.plans import estimate, tomography

PROJECTIONS = 20


@pytest.fixture
def record(RE):
    record = RunRecord()
    RE.subscribe(lambda name, doc: record(name, doc) and None)
    return record


def fly(microscope, **options):
    settings = {"projections": PROJECTIONS, "dark_frames": 2, "flat_frames": 3}
    settings |= {"start_deg": -80.0, "stop_deg": 80.0} | options
    return tomography(
        microscope, center_um=(0, 0, 4), order="sequential", motion="fly", binning=8, **settings
    )


def planned(record):
    return record.start["tomography"]["angles_deg"]


def test_frames_are_taken_at_the_planned_mean_angles(RE, microscope, record):
    RE(fly(microscope))
    taken = [angle_of(frame) for frame in record.stream("primary")]
    assert taken == pytest.approx(planned(record), abs=0.02)
    assert microscope.stage.theta.velocity.get() == 10.0
    assert microscope.shutter.state.get() == "closed"


def test_fly_scan_uses_more_of_its_time_than_a_step_scan(RE, microscope):
    shares = {}
    for motion in ("step", "fly"):
        RE(bps.mv(microscope.stage.theta, 0, microscope.stage.y, 0, microscope.stage.z, 0))
        plan = {"center_um": (0, 0, 4), "projections": 30, "order": "sequential"}
        expected = estimate(tomography(microscope, motion=motion, **plan))
        before_s = microscope.clock.now()
        RE(tomography(microscope, motion=motion, **plan))
        took_s = microscope.clock.now() - before_s
        assert expected.time_s == pytest.approx(took_s, rel=0.02)
        shares[motion] = expected.beam_s / took_s
    assert shares["fly"] > shares["step"] * 1.2


def test_exposure_in_motion_is_smeared(microscope):
    instrument = microscope.instrument
    at_rest = instrument.frame(1.0, 8, 1).astype(float)
    axis = instrument.axes["theta"]
    axis.velocity = 8.0
    axis.move_to(24.0, lambda arrived: None)
    axis._start_s -= 0.1  # in the middle of the exposure the stage is at the angle of before
    moving = instrument.frame(1.0, 8, 1).astype(float)
    assert np.abs(np.diff(moving, axis=1)).max() <= np.abs(np.diff(at_rest, axis=1)).max()


def test_much_blur_and_a_missing_wedge_are_said(microscope, caplog):
    with caplog.at_level(logging.WARNING):
        estimate(fly(microscope, start_deg=-50, stop_deg=50, projections=11))
    assert "missing wedge" in caplog.text
    assert "smeared" in caplog.text


def test_paused_fly_scan_has_every_frame_at_its_angle(RE, microscope, record):
    pauses = iter([3, 4, 11])
    wanted = next(pauses)

    def pause_sometimes(name, doc):
        nonlocal wanted
        if name == "event" and len(record.stream("primary")) == wanted:
            wanted = next(pauses, -1)
            threading.Thread(target=RE.request_pause).start()

    RE.subscribe(pause_sometimes)
    interruptions, go_on = 0, lambda: RE(fly(microscope))
    while True:
        try:
            go_on()
            break
        except RunEngineInterrupted:
            interruptions += 1
            go_on = RE.resume
    assert interruptions >= 2
    frames = record.stream("primary")
    assert [frame.seq_num for frame in frames] == list(range(1, PROJECTIONS + 1))
    step_deg = 160 / (PROJECTIONS - 1)
    assert [angle_of(frame) for frame in frames] == pytest.approx(planned(record), abs=step_deg / 4)
    assert microscope.stage.theta.velocity.get() == 10.0


def test_spoiled_frame_of_a_fly_scan_is_taken_again(RE, microscope, record):
    microscope.instrument.faults.arm("frame_dropped", at_frame=12)
    RE(fly(microscope))
    assert [angle_of(f) for f in record.stream("primary")] == pytest.approx(
        planned(record), abs=0.02
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"projections": 3, "exposure_s": 0.1}, "at most 10"),
        ({"projections": 1}, "at least 2 projections"),
        ({"start_deg": -95.0, "stop_deg": 95.0}, "limits -95 to 95"),
    ],
)
def test_impossible_turn_is_refused(microscope, options, told):
    with pytest.raises(ConfigurationError, match=told):
        estimate(fly(microscope, **options))


def test_stock_fly_plan_turns_the_stage(RE, microscope):
    rows = []
    RE(bp.fly([microscope.sweep]), lambda name, doc: rows.append((name, doc)))
    pages = [doc for name, doc in rows if name == "event_page"]
    assert pages[0]["data"]["microscope_sweep_stop_deg"] == [90.0]
    assert microscope.stage.theta.position == pytest.approx(90.0, abs=0.02)


def test_fly_plan_can_be_summarised_and_checked(microscope, capsys):
    check_limits(fly(microscope))
    summarize_plan(fly(microscope))
    assert "Open Run" in capsys.readouterr().out
