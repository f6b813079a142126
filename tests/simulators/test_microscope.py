"""The simulated devices behave as Bluesky people expect, and never lie."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.protocols import Movable, Readable, Stageable, Triggerable
from bluesky.utils import FailedStatus
from ophyd import Kind
from ophyd.utils import LimitError
from stock_plans import run_stock_plans

from zoneplate.devices import AcquisitionError, ConfigurationError
from zoneplate.simulators import simulated_microscope


def test_devices_satisfy_the_bluesky_protocols(microscope):
    assert isinstance(microscope, Stageable)
    assert isinstance(microscope.camera, Triggerable)
    assert isinstance(microscope.camera, Readable)
    assert isinstance(microscope.stage.theta, Movable)
    assert isinstance(microscope.shutter, Movable)


def test_stage_is_both_a_device_and_the_staging_method(microscope):
    staged = microscope.stage()
    assert microscope in staged
    microscope.unstage()
    assert microscope.stage.x.name == "microscope_stage_x"


def test_names_kinds_and_units_of_the_tree(microscope):
    described = microscope.stage.describe()
    assert described["microscope_stage_x"]["units"] == "um"
    assert described["microscope_stage_theta"]["units"] == "deg"
    assert microscope.stage.x.user_readback.kind == Kind.hinted
    configuration = microscope.read_configuration()
    for name in ("pixel_um", "depth_of_focus_um", "energy_kev", "resolution_um"):
        assert f"microscope_optics_{name}" in configuration
    assert "microscope_camera_exposure_s" in configuration


def test_pixel_size_follows_the_binning(microscope):
    microscope.camera.binning.set(4).wait(1)
    assert microscope.optics.pixel_um.get() == pytest.approx(0.256)


@pytest.mark.parametrize("binning", [0, 3, 16])
def test_impossible_binning_is_refused_with_what_is_possible(microscope, binning):
    with pytest.raises(ConfigurationError, match="1, 2, 4, 8"):
        microscope.camera.binning.set(binning).wait(1)


def test_move_takes_the_time_of_its_profile(RE, microscope):
    before_s = microscope.clock.now()
    RE(bps.mv(microscope.stage.theta, 20.0))
    # 20 deg at 10 deg/s, 0.2 s to accelerate, 0.2 s to settle
    assert microscope.clock.now() - before_s == pytest.approx(2.4)


def test_moves_of_two_axes_overlap(RE, microscope):
    before_s = microscope.clock.now()
    RE(bps.mv(microscope.stage.theta, 20.0, microscope.stage.x, 100.0))
    assert microscope.clock.now() - before_s == pytest.approx(2.4)


def test_move_outside_a_plan_passes_time_too(microscope):
    before_s = microscope.clock.now()
    microscope.stage.theta.move(20.0, wait=True)
    assert microscope.clock.now() - before_s == pytest.approx(2.4)


def test_move_outside_the_limits_is_refused_and_nothing_moves(microscope):
    with pytest.raises(LimitError, match=r"limits are -95 to 95 deg"):
        microscope.stage.theta.move(120.0)
    assert microscope.stage.theta.position == 0.0
    with pytest.raises(LimitError):
        microscope.stage.x.check_value(float("nan"))


def test_motor_that_is_stopped_on_its_way_fails_its_move(microscope):
    status = microscope.stage.x.set(500.0)
    microscope.clock.call_later(0.3, microscope.stage.x.stop)
    with pytest.raises(AcquisitionError, match="before it arrived"):
        status.wait(5)
    assert 0 < microscope.stage.x.position < 400


def test_new_target_in_flight_goes_to_the_new_target(RE, microscope):
    first = microscope.stage.x.set(500.0)
    microscope.stage.x.move(-50.0, wait=True)
    assert microscope.stage.x.position == pytest.approx(-50.0, abs=0.2)
    assert first.done
    assert not first.success


def test_stuck_shutter_is_noticed_and_named(RE, microscope):
    microscope.instrument.faults.arm("shutter_stuck")
    with pytest.raises(FailedStatus) as failure:
        RE(bps.mv(microscope.shutter, "open"))
    assert "check the shutter" in str(failure.value.__cause__ or failure.value)


def test_shutter_knows_two_positions(microscope):
    with pytest.raises(ConfigurationError, match="'open' or 'closed'"):
        microscope.shutter.set("ajar")


def test_stock_plans_work_on_our_devices(RE, microscope):
    run_stock_plans(RE, microscope)


def test_frames_are_in_one_file_per_staging_and_documents_say_where(RE, microscope):
    documents: list[tuple[str, dict]] = []
    RE.subscribe(lambda name, doc: documents.append((name, doc)))
    RE(bps.mv(microscope.shutter, "open"))
    RE(bp.count([microscope.camera], num=4))
    (resource,) = [doc for name, doc in documents if name == "stream_resource"]
    datum = [doc for name, doc in documents if name == "stream_datum"]
    assert [doc["indices"]["start"] for doc in datum] == [0, 1, 2, 3]
    path = resource["uri"].removeprefix("file://localhost")
    with h5py.File(path, "r") as file:
        frames = file[resource["parameters"]["dataset"]][()]
    assert frames.shape == (4, 128, 128)
    means = [doc["data"]["microscope_camera_mean_counts"] for n, doc in documents if n == "event"]
    assert means == pytest.approx(frames.mean(axis=(1, 2)))


def test_frame_that_no_event_speaks_of_is_marked_invalid(RE, microscope):
    def careless():
        yield from bps.stage(microscope.camera)
        yield from bps.open_run()
        yield from bps.trigger(microscope.camera, wait=True)  # and nobody reads it
        yield from bps.trigger_and_read([microscope.camera])
        yield from bps.close_run()
        path = microscope.camera.file_path.get()
        yield from bps.unstage(microscope.camera)
        return path

    paths: list[str] = []
    original = microscope.camera.unstage
    microscope.camera.unstage = lambda: (
        paths.append(microscope.camera.file_path.get()),
        original(),
    )[1]
    RE(careless())
    with h5py.File(paths[0], "r") as file:
        assert file["entry/instrument/detector/image_key"][()].tolist() == [3, 0]


def test_second_trigger_during_an_exposure_is_refused(microscope):
    microscope.camera.trigger()
    with pytest.raises(AcquisitionError, match="in progress"):
        microscope.camera.trigger()


def test_binning_cannot_change_in_the_middle_of_a_file(RE, microscope):
    def plan():
        yield from bps.stage(microscope.camera)
        yield from bps.open_run()
        yield from bps.trigger_and_read([microscope.camera])
        yield from bps.mv(microscope.camera.binning, 4)

    with pytest.raises(FailedStatus) as failure:
        RE(plan())
    assert "before the camera is staged" in str(failure.value.__cause__ or failure.value)


def test_unwritable_folder_is_refused_when_staging(asymmetric_specimen, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    device = simulated_microscope(asymmetric_specimen, directory=blocker)
    try:
        with pytest.raises(ConfigurationError, match="choose another folder"):
            device.camera.stage()
    finally:
        device.clock.close()


def test_same_seed_and_scan_give_the_same_frames(asymmetric_specimen, tmp_path):
    def frames(seed: int, folder: str) -> np.ndarray:
        device = simulated_microscope(
            asymmetric_specimen, seed=seed, directory=tmp_path / folder, epoch_s=0.0
        )
        try:
            device.shutter.set("open").wait(5)
            device.camera.stage()
            for angle in (0.0, 30.0):
                device.stage.theta.move(angle, wait=True)
                device.camera.trigger().wait(5)
                list(device.camera.collect_asset_docs())
            path = device.camera.file_path.get()
            device.camera.unstage()
            with h5py.File(path, "r") as file:
                return file["entry/instrument/detector/data"][()]
        finally:
            device.clock.close()

    first, again, other = frames(1, "a"), frames(1, "b"), frames(2, "c")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
