"""What a tomogram can be told: references, exposures, angles, repeats; and that estimates hold."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.simulators import check_limits, summarize_plan
from bluesky.utils import RunEngineInterrupted

from zoneplate.acquisition.live import LiveTomogram, angle_of
from zoneplate.acquisition.runs import RunRecord
from zoneplate.acquisition.stored_analysis import analyze_file
from zoneplate.analysis.views import Views
from zoneplate.devices import ConfigurationError
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.plans import estimate, tomography
from zoneplate.simulators import attach, simulated_microscope
from zoneplate.simulators.imperfections import Imperfections

PROJECTIONS = 9
SMALL = {
    "center_um": (0.0, 0.0, 4.0),
    "projections": PROJECTIONS,
    "dark_frames": 1,
    "flat_frames": 2,
}
DARK, FLAT, PROJECTION = 2, 1, 0


def small_camera() -> InstrumentConfiguration:
    """The instrument with a quarter of its camera: frames of 64 x 64 at binning 8."""
    configuration = InstrumentConfiguration.load()
    camera = configuration.camera.model_copy(update={"rows": 512, "columns": 512})
    return configuration.model_copy(update={"camera": camera})


@pytest.fixture
def microscope(tmp_path, asymmetric_specimen):
    device = simulated_microscope(
        asymmetric_specimen,
        seed=3,
        directory=tmp_path / "frames",
        epoch_s=1.8e9,
        configuration=small_camera(),
    )
    yield device
    device.clock.close()


@pytest.fixture
def record(RE):
    record = RunRecord()
    RE.subscribe(lambda name, doc: record(name, doc) and None)
    return record


def kinds(record: RunRecord) -> str:
    """What the frames of the file are, in the order of time: d, f, p."""
    with h5py.File(record.stream("primary")[0].file, "r") as file:
        keys = file["entry/instrument/detector/image_key"][()].tolist()
    return "".join("pfdx"[key] for key in keys)


def exposures(record: RunRecord, stream: str) -> list[float]:
    return [frame.data["microscope_camera_frame_exposure_s"] for frame in record.stream(stream)]


OPTIONS = {
    "both": ({"references": "both"}, "d" + "p" + "ff" + 8 * "p" + "ff" + "d"),
    "after": ({"references": "after"}, 9 * "p" + "ff" + "d"),
    "every": ({"references_every": 4}, "d" + "p" + "ff" + 4 * "p" + "ff" + 4 * "p"),
    "age": ({"references_max_age_s": 8.0}, None),
    "own exposures": (
        {"flat_exposure_s": 0.5, "dark_exposure_s": 2.0},
        "d" + "p" + "ff" + 8 * "p",
    ),
    "list": ({"angles_deg": [30.0, -10.0, 5.5], "order": "list"}, "d" + "p" + "ff" + 2 * "p"),
    "several": ({"frames_per_angle": 2}, "d" + "pp" + "ff" + 16 * "p"),
    "edge-on": ({"exposure_rule": "edge-on", "exposure_cap": 2.0}, "dd" + "p" + "ff" + 8 * "p"),
    "exposures": ({"exposures_s": [0.5] * 4 + [2.0] * 5}, "dd" + "p" + "ff" + 8 * "p"),
    "interlaced fly": (
        {"motion": "fly", "most_blur_voxels": 2.0, "start_deg": -80.0, "stop_deg": 80.0},
        "d" + "ff" + 9 * "p",
    ),
    "fly with references": (
        {"motion": "fly", "order": "sequential", "references": "both", "references_every": 3}
        | {"start_deg": -40.0, "stop_deg": 40.0},
        "d" + 3 * ("ff" + "ppp") + "ff" + "d",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_scan_takes_the_frames_it_was_told_in_the_time_it_said(RE, microscope, record, name):
    options, expected = OPTIONS[name]
    plan = SMALL | options
    told = estimate(tomography(microscope, **plan))
    before_s = microscope.clock.now()
    RE(tomography(microscope, **plan))
    assert told.time_s == pytest.approx(microscope.clock.now() - before_s, rel=0.02)
    assert record.stop["exit_status"] == "success"
    assert told.frames == sum(len(frames) for frames in record.frames.values())
    if expected is not None:
        assert kinds(record) == expected
    frames, tomogram = record.stream("primary"), record.start["tomography"]
    together = tomogram["frames_per_angle"]
    assert [angle_of(frame) for frame in frames] == pytest.approx(
        np.repeat(tomogram["angles_deg"], together), abs=0.02
    )
    planned_s = tomogram.get("exposures_s", [1.0] * len(tomogram["angles_deg"]))
    assert exposures(record, "primary") == pytest.approx(np.repeat(planned_s, together))
    assert record.start["num_points"] == len(frames)
    assert microscope.shutter.state.get() == "closed"


def test_flats_are_never_older_than_they_may_be(RE, microscope, record):
    RE(tomography(microscope, **SMALL | {"references_max_age_s": 12.0}))
    flats = np.array([frame.time_s for frame in record.stream("flat")])
    assert len(flats) >= 4
    for frame in record.stream("primary")[1:]:
        latest_s = flats[flats < frame.time_s].max()
        # An event is made when its frame is read out; the readout is not the frame's age.
        assert frame.time_s - latest_s < 12.0 + 0.5


def test_references_have_their_own_exposures(RE, microscope, record):
    RE(tomography(microscope, **SMALL | {"flat_exposure_s": 0.5, "projections": 3}))
    assert exposures(record, "flat") == [0.5, 0.5]
    assert exposures(record, "dark") == [0.5, 1.0]  # of the shortest and the longest frame


def test_axis_without_out_position_does_not_move_and_zero_is_a_position(RE, microscope, record):
    RE(bps.mv(microscope.stage.y, 50.0))
    plan = SMALL | {"center_um": (20.0, 50.0, 4.0), "projections": 3, "out_um": (0.0, None, None)}
    RE(tomography(microscope, **plan))
    (x_um, y_um) = (
        [frame.data[f"microscope_stage_{axis}"] for frame in record.stream("flat")] for axis in "xy"
    )
    assert x_um == pytest.approx([0.0, 0.0], abs=0.3)
    assert y_um == pytest.approx([50.0, 50.0], abs=0.3)


def test_time_series_is_a_run_for_each_tomogram_in_its_rhythm(RE, microscope):
    starts, frames = [], []

    def follow(name, doc):
        if name == "start":
            starts.append(doc)
        if name == "event" and "microscope_camera_exposure_start_s" in doc["data"]:
            frames.append((len(starts), doc["data"]["microscope_camera_exposure_start_s"]))

    RE.subscribe(follow)
    plan = SMALL | {"projections": 3, "repeats": 3, "repeat_every_s": 60.0}
    told = estimate(tomography(microscope, **plan))
    before_s = microscope.clock.now()
    RE(tomography(microscope, **plan))
    assert told.time_s == pytest.approx(microscope.clock.now() - before_s, rel=0.02)
    assert [doc["time_series"]["index"] for doc in starts] == [0, 1, 2]
    begun = [min(time_s for run, time_s in frames if run == number) for number in (1, 2, 3)]
    assert np.diff(begun) == pytest.approx([60.0, 60.0], abs=0.5)


def test_series_that_cannot_keep_its_rhythm_says_so(RE, microscope, caplog):
    with caplog.at_level(logging.WARNING):
        estimate(tomography(microscope, **SMALL | {"repeats": 2, "repeat_every_s": 5.0}))
    assert "late" in caplog.text


def test_pause_between_references_repeats_nothing(RE, microscope, record):
    wanted = iter([2, 5, 6])
    pause_at = next(wanted)

    def pause_sometimes(name, doc):
        nonlocal pause_at
        if name == "event" and len(record.stream("primary")) == pause_at:
            pause_at = next(wanted, -1)
            threading.Thread(target=RE.request_pause).start()

    RE.subscribe(pause_sometimes)
    go_on, interruptions = lambda: RE(tomography(microscope, **plan)), 0
    plan = SMALL | {"references_every": 3, "exposure_rule": "edge-on", "references": "both"}
    while True:
        try:
            go_on()
            break
        except RunEngineInterrupted:
            interruptions += 1
            go_on = RE.resume
    assert interruptions >= 2
    good = kinds(record).replace("x", "")
    assert good == "dd" + "p" + "ff" + "ppp" + "ff" + "ppp" + "ff" + "pp" + "ff" + "dd"
    assert exposures(record, "primary") == pytest.approx(record.start["tomography"]["exposures_s"])


def test_every_way_can_be_summarised_and_checked_without_running(microscope, capsys):
    for options, _ in OPTIONS.values():
        check_limits(tomography(microscope, **SMALL | options))
        summarize_plan(tomography(microscope, **SMALL | options))
        assert "Open Run" in capsys.readouterr().out
    assert microscope.camera.frame_number.get() == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"projections": 2.5}, "2.5"),
        ({"references": "sometimes"}, "before, after, both"),
        ({"references_every": 0}, "references_every 0"),
        ({"references_max_age_s": 1.0}, "choose 2.15 s or more"),
        ({"flat_exposure_s": 0.0}, "flat_exposure_s 0"),
        ({"dark_exposure_s": -1.0}, "dark_exposure_s -1"),
        ({"flat_frames": 0}, "flat_frames 0"),
        ({"angles_deg": [0.0, 1.0]}, "belong together"),
        ({"order": "list"}, "belong together"),
        ({"angles_deg": [], "order": "list"}, "number of angles_deg 0"),
        ({"angles_deg": [0.0, 120.0], "order": "list"}, "limits -95 to 95"),
        ({"angles_deg": [float("nan")], "order": "list"}, "limits -95 to 95"),
        ({"frames_per_angle": 0}, "frames_per_angle 0"),
        ({"exposure_rule": "longer"}, "constant, edge-on"),
        ({"exposure_rule": "edge-on", "exposure_cap": 0.5}, "exposure_cap 0.5"),
        ({"exposures_s": [1.0, 2.0]}, "2 values for 9 angles"),
        ({"exposures_s": [1.0] * 8 + [-1.0]}, "exposure_s -1"),
        ({"exposures_s": [1.0] * 9, "exposure_rule": "edge-on"}, "contradict"),
        ({"motion": "fly"}, "needs most_blur_voxels"),
        ({"motion": "fly", "order": "golden"}, "'sequential' or 'interlaced'"),
        ({"motion": "fly", "order": "sequential", "frames_per_angle": 2}, "use 1"),
        (
            {"motion": "fly", "order": "sequential", "exposures_s": [1.0] * 8 + [2.0]},
            "exposures that vary",
        ),
        ({"motion": "fly", "most_blur_voxels": 0.0}, "most_blur_voxels 0"),
        ({"most_blur_voxels": 1.0}, "smears no frame"),
        ({"repeats": 0}, "repeats 0"),
        ({"repeat_every_s": -1.0}, "repeat_every_s -1"),
        ({"adaptive": True, "references": "after"}, "'before' or 'both'"),
        ({"adaptive": True, "angles_deg": [1.0, 2.0], "order": "list"}, "interlaced"),
    ],
)
def test_impossible_way_is_refused_before_anything_moves(RE, microscope, options, told):
    documents: list[str] = []
    RE.subscribe(lambda name, doc: documents.append(name))
    before_s = microscope.clock.now()
    with pytest.raises(ConfigurationError, match=told):
        RE(tomography(microscope, **SMALL | options))
    assert documents == []
    assert microscope.clock.now() == before_s


def test_lost_range_is_said_with_its_consequence(microscope, caplog):
    with caplog.at_level(logging.WARNING):
        estimate(tomography(microscope, **SMALL | {"start_deg": -60.0, "stop_deg": 60.0}))
    assert "45 of 180 degrees" in caplog.text
    assert "1.4 times too long" in caplog.text


QUIET = Imperfections(
    photon_noise=False,
    read_noise=False,
    stage_repeatability=False,
    drift_um_per_hour=0.0,
    flat_drift_fraction=0.3,
    flat_drift_s=60.0,
)
"""Nothing is random, and the illumination drifts by tens of percent during a scan."""

STILL = replace(QUIET, flat_drift=False)


def follow(specimen, tmp_path, configuration=None, imperfections=QUIET, **options):
    """Take a tomogram on an instrument of its own; return its record, frames and analysis."""
    device = simulated_microscope(
        specimen,
        seed=3,
        directory=tmp_path,
        epoch_s=1.8e9,
        imperfections=imperfections,
        configuration=configuration or small_camera(),
    )
    engine = RunEngine({}, context_managers=[])
    attach(engine, device.clock)
    live = LiveTomogram(previews=False)
    engine.subscribe(live)
    engine(tomography(device, **SMALL | options))
    device.clock.close()
    return live


def absorption_at(live: LiveTomogram) -> tuple[np.ndarray, np.ndarray]:
    """Absorption of all views in the order of their angles."""
    views: Views = live.analysis.views
    order = sorted(views.members, key=views.angle_deg)
    return np.array([views.angle_deg(view) for view in order]), views.absorption(order)


@pytest.fixture(scope="module")
def still(module_specimen, tmp_path_factory):
    """What the views show without drift, at one exposure."""
    return absorption_at(
        follow(
            module_specimen,
            tmp_path_factory.mktemp("still"),
            imperfections=STILL,
        )
    )


@pytest.fixture(scope="module")
def module_specimen():
    from zoneplate.simulators import Particle, Specimen

    material = "LiNi0.6Mn0.2Co0.2O2@4.77"
    return Specimen(
        particles=(
            Particle("a", (14.0, 9.0, 5.0), (5.0, 5.0, 5.0), material=material),
            Particle("b", (-11.0, -4.0, 6.0), (6.0, 5.0, 5.5), material=material),
        ),
        name="two",
    )


def test_flats_are_followed_in_time(module_specimen, tmp_path, still):
    live = follow(module_specimen, tmp_path, references="both", references_every=2)
    seen = absorption_at(live)[1]
    drift = live.analysis.views.flat_drift
    assert drift is not None
    assert len(drift.times_s) == 5
    assert drift.largest > 0.02
    assert drift.pattern_rms > 0.02
    once = absorption_at(follow(module_specimen, tmp_path / "once"))[1]
    error, without = (np.abs(one - still[1]).mean() for one in (seen, once))
    assert error < without / 5
    assert error < 0.003


@pytest.mark.parametrize(
    "options",
    [
        {"exposure_rule": "edge-on", "flat_exposure_s": 0.7},
        {"frames_per_angle": 3, "dark_exposure_s": 2.0},
        {"exposures_s": [0.5, 1.0, 2.0, 2.4, 2.0, 1.0, 0.5, 0.25, 2.0]},
    ],
)
def test_exposures_do_not_change_what_is_seen(module_specimen, tmp_path, still, options):
    live = follow(
        module_specimen,
        tmp_path,
        imperfections=STILL,
        **options,
    )
    angles, seen = absorption_at(live)
    assert angles == pytest.approx(still[0], abs=1e-6)
    assert np.abs(seen - still[1]).mean() < 2e-3


def test_stored_file_gives_what_was_seen_live(module_specimen, tmp_path):
    options = {"frames_per_angle": 2, "exposure_rule": "edge-on", "references": "both"}
    options |= {"exposure_cap": 1.5}
    live = follow(module_specimen, tmp_path, projections=60, **options)
    stored, _ = analyze_file(live.record.stream("primary")[0].file)
    seen = live.finish()
    assert (seen.projections, seen.frames) == (60, 120)
    assert (stored.facts["projections"], stored.facts["frames"]) == (60, 120)
    assert stored.facts["flat_drift"]["blocks"] == len(seen.flat_drift.times_s) == 2
    assert stored.facts["flat_drift"]["largest"] == pytest.approx(seen.flat_drift.largest, abs=1e-4)
    assert np.abs(stored.volume - seen.volume).max() < 1e-2 * np.abs(seen.volume).max()
    assert len(stored.particles) == len(seen.particles) > 0


def test_sample_comes_back_from_below_where_an_axis_loses_motion(module_specimen, tmp_path, still):
    configuration = small_camera()
    stage = configuration.stage
    loose = stage.model_copy(update={"y": stage.y.model_copy(update={"backlash": 4.0})})
    live = follow(
        module_specimen,
        tmp_path,
        configuration=configuration.model_copy(update={"stage": loose}),
        imperfections=STILL,
        references_every=3,
    )
    assert np.abs(absorption_at(live)[1] - still[1]).max() < 2e-2
