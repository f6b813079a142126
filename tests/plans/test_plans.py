"""The plans: what they take, in which order, how long it takes, and how they end."""

from __future__ import annotations

import threading

import h5py
import numpy as np
import pytest
from bluesky import plan_stubs as bps
from bluesky.simulators import check_limits, summarize_plan
from bluesky.utils import FailedStatus, RunEngineInterrupted

from zoneplate.acquisition.runs import RunRecord
from zoneplate.devices import ConfigurationError
from zoneplate.plans import TileGrid, darks, estimate, flats, mosaic, screen, tomography


@pytest.fixture
def record(RE):
    record = RunRecord()
    RE.subscribe(lambda name, doc: record(name, doc) and None)
    return record


def image_keys(record: RunRecord) -> list[int]:
    file = next(iter(record.frames.values()))[1].file
    with h5py.File(file, "r") as opened:
        return opened["entry/instrument/detector/image_key"][()].tolist()


def test_tomogram_of_the_study_takes_less_than_five_minutes(RE, microscope, record):
    before_s = microscope.clock.now()
    RE(tomography(microscope, center_um=(0, 0, 4)))
    took_s = microscope.clock.now() - before_s
    assert len(record.stream("primary")) == 141
    assert len(record.stream("flat")) == 10
    assert len(record.stream("dark")) == 5
    assert took_s < 300
    assert estimate(tomography(microscope, center_um=(0, 0, 4))).time_s == pytest.approx(
        took_s, rel=0.05
    )


def test_mosaic_of_the_study_takes_less_than_a_minute(RE, microscope, record):
    RE(mosaic(microscope))
    tiles = record.stream("primary")
    assert len(tiles) == 40
    first = tiles[0].data["microscope_camera_exposure_start_s"]
    assert tiles[-1].time_s - first < 60
    assert record.start["mosaic"]["area_um2"] == 163_840


def test_estimate_is_within_two_percent_of_the_run(RE, microscope):
    for plan in (mosaic, tomography, lambda m: tomography(m, order="sequential"), darks, flats):
        expected = estimate(plan(microscope))
        RE(bps.mv(microscope.stage.theta, 0, microscope.stage.x, 0, microscope.stage.y, 0))
        RE(bps.mv(microscope.stage.z, 0))
        before_s = microscope.clock.now()
        RE(plan(microscope))
        assert expected.time_s == pytest.approx(microscope.clock.now() - before_s, rel=0.02)


def test_estimate_counts_frames_disk_and_dose(microscope):
    cost = estimate(tomography(microscope))
    assert cost.frames == 141 + 10 + 5
    assert cost.disk_bytes == cost.frames * 32_768
    assert cost.dose_photons_per_um2 == pytest.approx(141 * 6348, rel=1e-3)
    assert cost.memory_bytes > 128**3 * 4


def test_events_read_the_stage_where_the_frame_was_taken(RE, microscope, record):
    RE(tomography(microscope, center_um=(1, 2, 3), projections=7, order="sequential"))
    read = [frame.data["microscope_stage_theta"] for frame in record.stream("primary")]
    assert read == pytest.approx(np.linspace(-90, 90, 7), abs=0.02)
    flats_y = [frame.data["microscope_stage_y"] for frame in record.stream("flat")]
    assert flats_y == pytest.approx([400.0] * 10, abs=0.2)
    assert {frame.data["microscope_shutter_state"] for frame in record.stream("dark")} == {"closed"}


def test_file_holds_all_frames_in_time_order_with_their_kind(RE, microscope, record):
    RE(tomography(microscope, center_um=(0, 0, 4), projections=5, dark_frames=2, flat_frames=3))
    assert image_keys(record) == [2, 2, 0, 1, 1, 1, 0, 0, 0, 0]
    numbers = [frame.number for frame in record.stream("primary")]
    assert numbers == [2, 6, 7, 8, 9]


def test_tomogram_stays_where_the_stage_is_if_nobody_says_where(RE, microscope, record):
    RE(bps.mv(microscope.stage.x, 20.0, microscope.stage.z, 6.0))
    RE(tomography(microscope, projections=3))
    assert record.start["tomography"]["center_um"] == [20.0, 0.0, 6.0]
    assert microscope.stage.y.position == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize("plan", [mosaic, tomography, screen, darks, flats])
def test_plans_can_be_summarised_and_checked_without_running(microscope, plan, capsys):
    check_limits(plan(microscope))
    summarize_plan(plan(microscope))
    assert "Open Run" in capsys.readouterr().out
    assert microscope.camera.frame_number.get() == 0


@pytest.mark.parametrize(
    ("plan", "arguments", "told"),
    [
        (tomography, {"binning": 3}, "1, 2, 4, 8"),
        (tomography, {"projections": 0}, "projections 0"),
        (tomography, {"exposure_s": -1.0}, "exposure_s -1"),
        (tomography, {"center_um": (0, 5000, 0)}, "limits -2000 to 2000"),
        (tomography, {"stop_deg": 200.0}, "limits -95 to 95"),
        (tomography, {"order": "random"}, "interlaced"),
        (tomography, {"motion": "fly"}, "step"),
        (tomography, {"motion": "jump"}, "step, fly"),
        (mosaic, {"shape": (0, 8)}, "at least 1 x 1"),
        (mosaic, {"center_um": (1990.0, 0.0)}, "limits -2000 to 2000"),
        (mosaic, {"step_um": float("nan")}, "positive"),
        (mosaic, {"out_um": (None, 9000.0, None)}, "limits -2000 to 2000"),
        (screen, {"projections": 0}, "projections 0"),
        (screen, {"regions": 0}, "regions 0"),
        (screen, {"at_um": [(0, 0, 4000.0)]}, "limits -1000 to 1000"),
        (flats, {"frames": 0}, "frames 0"),
    ],
)
def test_impossible_request_is_refused_before_anything_moves(RE, microscope, plan, arguments, told):
    documents: list[str] = []
    RE.subscribe(lambda name, doc: documents.append(name))
    before_s = microscope.clock.now()
    with pytest.raises(ConfigurationError, match=told):
        RE(plan(microscope, **arguments))
    assert documents == []
    assert microscope.clock.now() == before_s


def test_failure_in_the_middle_closes_shutter_run_and_file(RE, microscope, record):
    microscope.instrument.faults.arm("limit_hit", axis="theta", after_s=60)
    with pytest.raises(FailedStatus):
        RE(tomography(microscope, projections=60))
    assert record.stop is not None
    assert record.stop["exit_status"] == "fail"
    assert microscope.shutter.state.get() == "closed"
    assert not microscope.camera.file_path.get()
    taken = sum(len(record.stream(name)) for name in ("dark", "flat", "primary"))
    assert 0 < taken < 75
    keys = image_keys(record)
    assert len([key for key in keys if key != 3]) == taken


def test_pause_and_resume_repeat_nothing(RE, microscope, record):
    pauses = iter([25, 40, 41, 60])
    wanted = next(pauses)

    def pause_sometimes(name, doc):
        nonlocal wanted
        if name == "event" and len(record.stream("primary")) == wanted:
            wanted = next(pauses, -1)
            threading.Thread(target=RE.request_pause).start()

    RE.subscribe(pause_sometimes)
    interruptions = 0
    try:
        RE(tomography(microscope, center_um=(0, 0, 4), projections=70))
    except RunEngineInterrupted:
        interruptions += 1
        while True:
            try:
                RE.resume()
                break
            except RunEngineInterrupted:
                interruptions += 1
    assert interruptions >= 3
    frames = record.stream("primary")
    assert [frame.seq_num for frame in frames] == list(range(1, 71))
    read = [frame.data["microscope_stage_theta"] for frame in frames]
    assert read == pytest.approx(record.start["tomography"]["angles_deg"], abs=0.02)
    assert len({frame.number for frame in frames}) == 70
    keys = image_keys(record)
    assert [keys[frame.number] for frame in frames] == [0] * 70
    assert keys.count(0) == 70


def test_screen_takes_the_regions_it_is_given(RE, microscope):
    starts: list[dict] = []
    RE.subscribe(lambda name, doc: starts.append(doc), "start")
    at_um = [(0.0, 0.0, 4.0), (10.0, 5.0, 4.0)]
    RE(screen(microscope, regions=2, shape=(1, 2), projections=3, at_um=at_um))
    assert [doc["plan_name"] for doc in starts] == ["mosaic", "tomography", "tomography"]
    assert [doc["tomography"]["center_um"] for doc in starts[1:]] == [list(p) for p in at_um]
    assert starts[1]["screening"] == {"mosaic": starts[0]["uid"], "region": 0, "of": 2}


def test_serpentine_grid_moves_one_step_at_a_time():
    positions = np.array(TileGrid((5, 8), 64.0, (10.0, -20.0)).positions_um())
    assert np.allclose(np.hypot(*np.diff(positions, axis=0).T), 64.0)
    assert np.allclose(positions.mean(axis=0), (10.0, -20.0))
    assert positions[0, 1] == positions[:, 1].max()  # row 0 is the top
    assert len({tuple(p) for p in positions.tolist()}) == 40
