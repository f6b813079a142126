"""Every fault that can be injected is noticed: mended, or ended safely with cause and cure."""

from __future__ import annotations

import math

import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus

from zoneplate.acquisition.runs import RunRecord
from zoneplate.devices import AcquisitionError, ConfigurationError
from zoneplate.plans import mosaic, tomography
from zoneplate.simulators.faults import FAULTS

PROJECTIONS = 24

MENDED = ("frame_dropped", "frame_duplicated", "frame_saturated", "dead_row")
ENDED = {
    "motor_stall": "check the stage",
    "following_error": "check the stage",
    "limit_hit": "check the stage",
    "disk_full": "check the disk",
    "shutter_stuck": "check the shutter",
}


@pytest.fixture
def record(RE):
    record = RunRecord()
    RE.subscribe(lambda name, doc: record(name, doc) and None)
    return record


def frames_in_file(record: RunRecord) -> tuple[np.ndarray, np.ndarray]:
    file = next(iter(record.frames.values()))[1].file
    with h5py.File(file, "r") as opened:
        detector = opened["entry/instrument/detector"]
        return detector["data"][()], detector["image_key"][()]


def assert_safe(microscope, record) -> None:
    assert microscope.shutter.state.get() == "closed"
    assert not microscope.camera.file_path.get()
    assert not microscope.instrument.camera.busy
    assert record.stop is not None
    frames, keys = frames_in_file(record)
    assert len(frames) == len(keys)


def scan(microscope):
    return tomography(
        microscope,
        center_um=(0, 0, 4),
        projections=PROJECTIONS,
        dark_frames=2,
        flat_frames=3,
    )


def test_every_fault_is_covered_here():
    """The rest is covered on a session, by the campaign (`tests/campaign`)."""
    campaign = {"shutter_closes", "temperature", "readback_disagrees", "slow_disk"}
    here = {*MENDED, *ENDED, "frame_late", "beam_trip", "drift_jump"}
    assert set(FAULTS) == here | campaign


@pytest.mark.parametrize("fault", MENDED)
@pytest.mark.parametrize("at_frame", [1, 4, 12, 2 + 3 + PROJECTIONS])
def test_spoiled_frame_is_taken_again(RE, microscope, record, fault, at_frame):
    microscope.instrument.faults.arm(fault, at_frame=at_frame)
    RE(scan(microscope))
    assert len(microscope.instrument.faults.log) == 1
    assert record.stop["exit_status"] == "success"
    assert_safe(microscope, record)
    primary = record.stream("primary")
    angles = [frame.data["microscope_stage_theta"] for frame in primary]
    assert angles == pytest.approx(record.start["tomography"]["angles_deg"], abs=0.02)
    frames, keys = frames_in_file(record)
    announced = {f.number for name in ("dark", "flat", "primary") for f in record.stream(name)}
    assert len(announced) == 2 + 3 + PROJECTIONS
    assert set(np.flatnonzero(keys != 3)) == announced
    assert (frames[keys == 0].min(axis=(1, 2)) > 0).all()
    assert (frames[keys == 0].mean(axis=(1, 2)) < 60_000).all()


@pytest.mark.parametrize("fault", ENDED)
@pytest.mark.parametrize("after_s", [0.0, 12.0])
def test_lasting_fault_ends_the_scan_safely_and_says_what_to_do(
    RE, microscope, record, fault, after_s
):
    if fault == "shutter_stuck":
        after_s = 0.0  # it moves only once, before the first frame in the beam
    microscope.instrument.faults.arm(fault, after_s=after_s, magnitude=5.0)
    with pytest.raises((FailedStatus, AcquisitionError)) as failure:
        RE(scan(microscope))
    told = str(failure.value.__cause__ or failure.value)
    assert ENDED[fault] in told
    assert len(microscope.instrument.faults.log) >= 1
    if record.frames:
        assert_safe(microscope, record)
    assert record.stop["exit_status"] == "fail"


def test_shutter_that_sticks_once_is_closed_at_the_second_attempt(RE, microscope, record):
    microscope.instrument.faults.arm("shutter_stuck", after_s=20.0)
    RE(scan(microscope))
    assert len(microscope.instrument.faults.log) == 1
    assert_safe(microscope, record)


@pytest.mark.parametrize("fault", ["frame_dropped", "frame_saturated", "dead_row"])
def test_fault_that_stays_ends_the_scan(RE, microscope, record, fault):
    microscope.instrument.faults.arm(fault, after_s=50.0, times=math.inf)
    with pytest.raises(FailedStatus) as failure:
        RE(scan(microscope))
    assert "frame" in str(failure.value.__cause__)
    assert_safe(microscope, record)


def test_late_frame_is_waited_for_and_a_missing_one_given_up(RE, microscope, record):
    microscope.instrument.faults.arm("frame_late", at_frame=8, magnitude=3.0)
    RE(scan(microscope))
    assert len(record.stream("primary")) == PROJECTIONS
    microscope.instrument.faults.arm("frame_late", magnitude=1000.0)
    with pytest.raises(FailedStatus) as failure:
        RE(scan(microscope))
    assert "did not finish within" in str(failure.value.__cause__)


@pytest.mark.parametrize("after_s", [12.0, 45.0])
def test_lost_beam_is_waited_for_and_its_frames_are_taken_again(RE, microscope, record, after_s):
    before_s = microscope.clock.now()
    microscope.instrument.faults.arm("beam_trip", after_s=after_s, duration_s=100.0, times=math.inf)
    RE(scan(microscope))
    assert microscope.clock.now() - before_s > 100 + PROJECTIONS
    assert len(record.stream("primary")) == PROJECTIONS
    counts = [frame.data["microscope_camera_mean_counts"] for frame in record.stream("primary")]
    assert min(counts) > 1000
    _, keys = frames_in_file(record)
    assert (keys == 3).sum() == 1  # the frame that was spoiled


def test_beam_that_stays_away_ends_the_scan(RE, microscope, record):
    microscope.instrument.faults.arm("beam_trip", after_s=45.0, times=math.inf)
    with pytest.raises(AcquisitionError, match="start the source"):
        RE(scan(microscope))
    assert_safe(microscope, record)


def test_drifting_sample_is_injected_where_it_is_said(RE, microscope, record):
    microscope.instrument.faults.arm("drift_jump", after_s=0.0, magnitude=10.0, times=math.inf)
    RE(mosaic(microscope, shape=(1, 1)))
    assert [entry.name for entry in microscope.instrument.faults.log] == ["drift_jump"]


def test_unknown_fault_is_refused(microscope):
    with pytest.raises(ConfigurationError, match="frame_dropped"):
        microscope.instrument.faults.arm("gremlin")


def test_chance_is_seeded(microscope):
    def fired(seed: int) -> list[bool]:
        bus = microscope.instrument.faults
        bus.clear()
        bus.arm("dead_row", probability=0.5, times=math.inf, seed=seed)
        return [bus.fires("dead_row", frame=number) is not None for number in range(40)]

    assert fired(1) == fired(1)
    assert fired(1) != fired(2)
    assert 8 < sum(fired(1)) < 32
