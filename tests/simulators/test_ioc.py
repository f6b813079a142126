"""The server is what EPICS people expect of an IOC, driven by what we did not write."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import epics
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from ophyd import Component, EpicsMotor, EpicsSignal
from ophyd.areadetector.base import ADBase
from ophyd.areadetector.cam import SimDetectorCam
from ophyd.areadetector.detectors import SimDetector
from ophyd.areadetector.filestore_mixins import FileStoreHDF5IterativeWrite
from ophyd.areadetector.plugins import HDF5Plugin_V34, ImagePlugin_V34, StatsPlugin_V34
from ophyd.areadetector.trigger_mixins import SingleTrigger
from ophyd.utils import LimitError

from zoneplate.devices.epics_environment import use_simulated_servers
from zoneplate.simulators import Particle, Specimen
from zoneplate.simulators.ioc import ServerProcess
from zoneplate.simulators.ioc.ophyd_pvs import declared_pvs

PREFIX = "ZPI:"
NMC622 = "LiNi0.6Mn0.2Co0.2O2@4.77"
MOTOR = f"{PREFIX}Stage:Theta"
X = f"{PREFIX}Stage:X"
TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One particle: a server with it starts soon."""
    path = tmp_path_factory.mktemp("specimen") / "specimen.csv"
    Specimen(particles=(Particle("a", (3, 4, 5), (5, 5, 5), material=NMC622),)).save(path)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, specimen: Path) -> Iterator[ServerProcess]:
    port, beacon_port = use_simulated_servers()
    with ServerProcess(
        prefix=PREFIX,
        directory=tmp_path_factory.mktemp("frames"),
        port=port,
        beacon_port=beacon_port,
        specimen=specimen,
        epoch_s=1_800_000_000.0,
        grace_s=0.03,  # for a loaded computer
    ) as process:
        yield process


def get(name: str, **options: Any) -> Any:
    return epics.caget(name, timeout=TIMEOUT_S, use_monitor=False, **options)


def put(name: str, value: Any, *, wait: bool = True) -> None:
    assert epics.caput(name, value, wait=wait, timeout=TIMEOUT_S) == 1


def instrument_time() -> float:
    return get(f"{PREFIX}Clock:Time_RBV")


# pyepics has one channel per PV and process: whoever disconnects it takes it from everybody. So
# nothing here is disconnected or destroyed before the server goes.


@pytest.fixture(scope="module")
def motor(server: ServerProcess) -> EpicsMotor:
    motor = EpicsMotor(MOTOR, name="motor")
    motor.wait_for_connection(timeout=TIMEOUT_S)
    return motor


# The motor record


def test_limits_of_the_record_are_its_control_limits(motor):
    assert motor.limits == (-95.0, 95.0)
    assert motor.egu == "deg"


def test_put_is_complete_when_the_axis_has_arrived(server):
    put(MOTOR, 0.0)
    before_s = instrument_time()
    put(MOTOR, 20.0)
    # 20 deg at 10 deg/s, 0.2 s to accelerate, 0.2 s to settle
    assert instrument_time() - before_s == pytest.approx(2.4, abs=1e-3)
    assert get(f"{MOTOR}.DMOV") == 1
    assert get(f"{MOTOR}.RBV") == pytest.approx(20.0, abs=0.02)
    assert get(f"{MOTOR}.RVAL") == pytest.approx(20.0 / get(f"{MOTOR}.MRES"))


def test_value_that_nobody_watches_is_kept_with_its_instrument_time(server):
    steps = epics.PV(f"{X}.RVAL", form="time", auto_monitor=False)
    before = steps.get_with_metadata(timeout=TIMEOUT_S)
    put(X, get(X) + 20.0)
    after = steps.get_with_metadata(timeout=TIMEOUT_S)
    assert after["value"] > before["value"]
    assert after["timestamp"] == pytest.approx(instrument_time(), abs=0.1)
    put(X, get(X) - 20.0)


def test_target_outside_the_limits_reverts_and_moves_nothing(server):
    put(MOTOR, 5.0)
    put(MOTOR, 500.0)
    assert get(MOTOR) == 5.0
    assert get(f"{MOTOR}.LVIO") == 1
    assert get(f"{MOTOR}.DMOV") == 1
    assert get(f"{MOTOR}.RBV") == pytest.approx(5.0, abs=0.02)
    put(MOTOR, 6.0)
    assert get(f"{MOTOR}.LVIO") == 0


def test_new_limits_are_enforced_and_told(motor):
    # ophyd's motor takes note of a change only if it has heard of what was before.
    deadline = time.monotonic() + 5
    while motor.high_limit_travel._readback != 95.0 and time.monotonic() < deadline:
        time.sleep(0.01)
    put(f"{MOTOR}.HLM", 30.0)
    try:
        assert get(f"{MOTOR}.DHLM") == 30.0
        deadline = time.monotonic() + 5
        while motor.limits != (-95.0, 30.0) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert motor.limits == (-95.0, 30.0)
        with pytest.raises(LimitError):
            motor.move(31.0, timeout=TIMEOUT_S)
    finally:
        put(f"{MOTOR}.HLM", 95.0)


def test_zero_length_move_pulses_dmov(motor):
    put(MOTOR, 7.0)
    time.sleep(0.1)
    seen: list[int] = []
    token = motor.motor_done_move.subscribe(lambda value, **_: seen.append(value), run=False)
    before_s = instrument_time()
    put(MOTOR, 7.0)
    deadline = time.monotonic() + TIMEOUT_S
    while len(seen) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    motor.motor_done_move.unsubscribe(token)
    assert seen == [0, 1]
    assert instrument_time() == before_s


def test_stop_ends_the_move_where_the_axis_is(server):
    put(X, 0.0)
    put(f"{PREFIX}Clock:Hold", 5.0)
    put(X, 500.0, wait=False)
    put(f"{PREFIX}Clock:Sleep", 0.3, wait=False)
    put(f"{PREFIX}Clock:Go", get(f"{PREFIX}Clock:News_RBV"))
    time.sleep(0.2)  # up to the end of the sleep, and then time stands still
    assert get(f"{X}.DMOV") == 0
    assert get(f"{X}.MOVN") == 1
    put(f"{X}.STOP", 1)
    time.sleep(0.1)
    stopped = get(f"{X}.RBV")
    assert 50 < stopped < 300
    assert get(X) == pytest.approx(stopped)
    assert get(f"{X}.DMOV") == 1
    assert get(f"{X}.STOP") == 0


def test_new_target_in_flight_goes_there(server):
    put(X, 0.0)
    put(f"{PREFIX}Clock:Hold", 1.0)
    put(X, 500.0, wait=False)
    put(X, -20.0)
    assert get(f"{X}.RBV") == pytest.approx(-20.0, abs=0.2)


def test_stopped_record_does_not_move_and_paused_goes_on(server):
    put(X, 0.0)
    put(f"{X}.SPMG", "Pause")
    put(X, 30.0)
    assert get(f"{X}.RBV") == pytest.approx(0.0, abs=0.2)
    put(f"{X}.SPMG", "Go")
    assert get(f"{X}.RBV") == pytest.approx(30.0, abs=0.2)


def test_relative_moves_and_tweaks(server):
    put(X, 10.0)
    put(f"{X}.RLV", 5.0)
    assert get(X) == 15.0
    put(f"{X}.TWV", 2.0)
    put(f"{X}.TWF", 1)
    assert get(X) == 17.0
    put(f"{X}.TWR", 1)
    assert get(f"{X}.RBV") == pytest.approx(15.0, abs=0.2)
    assert get(f"{X}.TWR") == 0


def test_set_mode_renames_the_position(server):
    put(X, 10.0)
    put(f"{X}.SET", "Set")
    put(X, 110.0)
    put(f"{X}.SET", "Use")
    try:
        assert get(f"{X}.OFF") == pytest.approx(100.0)
        assert get(f"{X}.DVAL") == pytest.approx(10.0)
        assert get(f"{X}.RBV") == pytest.approx(110.0, abs=0.2)
        assert get(f"{X}.HLM") == pytest.approx(2100.0)
        put(X, 120.0)
        assert get(f"{X}.DRBV") == pytest.approx(20.0, abs=0.2)
    finally:
        put(f"{X}.OFF", 0.0)
    assert get(f"{X}.HLM") == pytest.approx(2000.0)


def test_limit_switch_stops_an_axis_whose_soft_limits_are_off(server):
    put(f"{PREFIX}Stage:Z.LLM", 0.0)
    put(f"{PREFIX}Stage:Z.HLM", 0.0)  # both 0: no limits
    put(f"{PREFIX}Stage:Z", 5000.0)
    assert get(f"{PREFIX}Stage:Z.HLS") == 1
    assert get(f"{PREFIX}Stage:Z.RBV") == pytest.approx(1040.0, abs=0.2)
    assert get(f"{PREFIX}Stage:Z.MSTA") & (1 << 2)
    put(f"{PREFIX}Stage:Z", 0.0)
    assert get(f"{PREFIX}Stage:Z.HLS") == 0
    put(f"{PREFIX}Stage:Z.HLM", 1000.0)
    put(f"{PREFIX}Stage:Z.LLM", -1000.0)


def test_impossible_velocity_is_refused(server):
    velocity = get(f"{X}.VELO")
    epics.caput(f"{X}.VELO", -1.0, wait=True, timeout=TIMEOUT_S)
    assert get(f"{X}.VELO") == velocity


# The area detector


class _HDF5(HDF5Plugin_V34, FileStoreHDF5IterativeWrite):
    """ophyd's plugin with ophyd's file store."""


class _Detector(SingleTrigger, SimDetector):
    """ophyd's simulated detector, put together as its documentation says."""

    hdf1 = Component(_HDF5, "HDF1:", write_path_template="/", kind="normal")
    stats1 = Component(StatsPlugin_V34, "Stats1:", kind="normal")
    image1 = Component(ImagePlugin_V34, "image1:")


def test_stock_classes_and_plans_scan_and_their_files_hold_the_frames(server, motor):
    detector = _Detector(PREFIX, name="detector")
    detector.hdf1.write_path_template = f"{server.directory}/%Y/%m/%d/"
    detector.hdf1.kind = "normal"
    detector.stats1.kind = "normal"
    detector.stats1.mean_value.kind = "hinted"
    shutter = EpicsSignal(f"{PREFIX}Shutter:Command", name="shutter", put_complete=True)
    shutter.set(1).wait(TIMEOUT_S)
    documents: list[tuple[str, dict]] = []
    RE = RunEngine({}, context_managers=[])
    RE.subscribe(lambda name, doc: documents.append((name, doc)))
    RE(bp.scan([detector], motor, -10, 10, 5))
    RE(bp.count([detector], num=2))
    stops = [doc for name, doc in documents if name == "stop"]
    assert [doc["exit_status"] for doc in stops] == ["success"] * 2
    events = [doc["data"] for name, doc in documents if name == "event"]
    assert [event["motor"] for event in events[:5]] == pytest.approx([-10, -5, 0, 5, 10], abs=0.02)
    resource = next(doc for name, doc in documents if name == "resource")
    with h5py.File(Path(resource["root"]) / resource["resource_path"], "r") as file:
        frames = file["entry/data/data"][()]
    assert frames.shape == (5, 128, 128)
    means = [event["detector_stats1_mean_value"] for event in events[:5]]
    assert means == pytest.approx(frames.mean(axis=(1, 2)))
    shutter.set(0).wait(TIMEOUT_S)


def test_put_to_acquire_is_complete_when_all_frames_are_read_out(server):
    cam = f"{PREFIX}cam1:"
    put(f"{cam}ImageMode", "Multiple")
    put(f"{cam}NumImages", 3)
    put(f"{cam}AcquireTime", 0.5)
    before, before_s = get(f"{cam}ArrayCounter_RBV"), instrument_time()
    put(f"{cam}Acquire", 1)
    assert get(f"{cam}ArrayCounter_RBV") == before + 3
    assert get(f"{cam}NumImagesCounter_RBV") == 3
    assert instrument_time() - before_s == pytest.approx(3 * 0.65, abs=1e-3)
    assert get(f"{cam}DetectorState_RBV", as_string=True) == "Idle"
    put(f"{cam}AcquirePeriod", 2.0)
    before_s = instrument_time()
    put(f"{cam}Acquire", 1)
    assert instrument_time() - before_s == pytest.approx(2 * 2.0 + 0.65, abs=1e-3)
    for name, value in (("ImageMode", 0), ("NumImages", 1), ("AcquirePeriod", 0)):
        put(cam + name, value)
    put(f"{cam}AcquireTime", 1.0)


def test_continuous_acquisition_runs_until_it_is_stopped(server):
    cam = f"{PREFIX}cam1:"
    put(f"{cam}ImageMode", "Continuous")
    before = get(f"{cam}ArrayCounter_RBV")
    put(f"{cam}Acquire", 1, wait=False)
    time.sleep(0.3)
    put(f"{cam}Acquire", 0)
    assert get(f"{cam}Acquire_RBV") == 0
    taken = get(f"{cam}ArrayCounter_RBV")
    assert taken > before + 1
    time.sleep(0.1)
    assert get(f"{cam}ArrayCounter_RBV") == taken
    put(f"{cam}ImageMode", "Single")


def test_image_array_is_the_frame(server):
    put(f"{PREFIX}cam1:Acquire", 1)
    pixels = get(f"{PREFIX}image1:ArrayData")
    shape = get(f"{PREFIX}image1:ArraySize1_RBV"), get(f"{PREFIX}image1:ArraySize0_RBV")
    assert pixels.size == np.prod(shape) == 128 * 128
    assert pixels.mean() == pytest.approx(get(f"{PREFIX}Stats1:MeanValue_RBV"))
    assert pixels.max() == get(f"{PREFIX}Stats1:MaxValue_RBV")


def test_binning_changes_the_format_and_an_impossible_one_is_refused(server):
    cam = f"{PREFIX}cam1:"
    put(f"{cam}BinX", 4)
    assert get(f"{cam}BinY_RBV") == 4
    assert get(f"{cam}ArraySizeX_RBV") == 256
    epics.caput(f"{cam}BinX", 3, wait=True, timeout=TIMEOUT_S)
    assert get(f"{cam}BinX_RBV") == get(f"{cam}BinX") == 4
    put(f"{cam}BinX", 8)


def test_files_are_written_below_the_folder_of_the_server_only(server, tmp_path):
    hdf = f"{PREFIX}HDF1:"
    put(f"{hdf}FilePath", f"{tmp_path}/")
    assert get(f"{hdf}FilePathExists_RBV") == 0
    put(f"{hdf}Capture", 1)
    assert get(f"{hdf}Capture_RBV") == 0
    assert get(f"{hdf}WriteStatus") == 1
    assert "only" in get(f"{hdf}WriteMessage", as_string=True)
    assert list(tmp_path.iterdir()) == []
    put(f"{hdf}FilePath", f"{server.directory}/")
    assert get(f"{hdf}FilePathExists_RBV") == 1


def test_a_file_that_is_full_is_closed(server):
    hdf = f"{PREFIX}HDF1:"
    for name, value in (
        ("FilePath", f"{server.directory}/"),
        ("FileName", "two"),
        ("FileTemplate", "%s%s_%3.3d.nxs"),
        ("FileNumber", 7),
        ("NumCapture", 2),
    ):
        put(hdf + name, value)
    put(f"{hdf}Capture", 1)
    assert get(f"{hdf}FileNumber_RBV") == 8
    for _ in range(3):
        put(f"{PREFIX}cam1:Acquire", 1)
    assert get(f"{hdf}Capture_RBV") == 0
    with h5py.File(server.directory / "two_007.nxs", "r") as file:
        assert file["entry/data/data"].shape[0] == 2
    put(f"{hdf}NumCapture", 0)


@pytest.mark.parametrize(
    ("device_class", "prefix"),
    [
        (EpicsMotor, "Stage:X"),
        (EpicsMotor, "Stage:Theta"),
        (SimDetectorCam, "cam1:"),
        (ImagePlugin_V34, "image1:"),
        (HDF5Plugin_V34, "HDF1:"),
        (StatsPlugin_V34, "Stats1:"),
    ],
)
def test_no_pv_that_ophyd_touches_is_missing(server, device_class, prefix):
    declared = [pv.suffix for pv in declared_pvs(device_class)]
    assert len(declared) > (15 if device_class is EpicsMotor else 100)
    assert issubclass(device_class, ADBase | EpicsMotor)
    pvs = [epics.PV(PREFIX + prefix + suffix) for suffix in declared]
    assert all(pv.wait_for_connection(timeout=TIMEOUT_S) for pv in pvs)


# Tools that are not ours


def tool(name: str, *arguments: str, port: int) -> str:
    environment = os.environ | {
        "EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
    }
    command = [str(Path(sys.executable).parent / name), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    ).stdout


def test_command_line_tools_read_and_write(server):
    told = tool("caproto-put", "--no-repeater", X, "25", port=server.port)
    assert "25" in told
    deadline = time.monotonic() + TIMEOUT_S
    while abs(get(f"{X}.RBV") - 25) > 0.2 and time.monotonic() < deadline:
        time.sleep(0.01)
    told = tool("caproto-get", "--no-repeater", f"{X}.RBV", f"{X}.EGU", port=server.port)
    assert float(told.split()[1].strip("[]")) == pytest.approx(25, abs=0.2)
    assert "um" in told


def test_two_servers_side_by_side_do_not_see_each_other(server, specimen):
    with ServerProcess(prefix=PREFIX, specimen=specimen) as other:
        name = f"{PREFIX}Instance_RBV"
        assert server.instance in tool("caproto-get", "--no-repeater", name, port=server.port)
        assert other.instance in tool("caproto-get", "--no-repeater", name, port=other.port)
        put(X, 33.0)
        theirs = tool("caproto-get", "--no-repeater", X, port=other.port)
        assert float(theirs.split()[1].strip("[]")) == 0.0
    assert get(f"{PREFIX}Instance_RBV") == server.instance


OPHYD_ASYNC = """
import asyncio, sys
from ophyd_async.epics.motor import Motor, MotorLimitsError

async def main():
    motor = Motor(sys.argv[1], name="motor")
    await motor.connect(timeout=10)
    await motor.set(20.0)
    print(await motor.user_readback.get_value())
    try:
        await motor.set(500.0)
    except MotorLimitsError:
        print("refused")

asyncio.run(main())
"""


def test_motor_of_ophyd_async_moves_and_refuses(server):
    """In a process of its own: it brings another Channel Access library."""
    folder = os.environ.get("ZONEPLATE_OPHYD_ASYNC", "")
    environment = os.environ | {
        "EPICS_CA_ADDR_LIST": f"127.0.0.1:{server.port}",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "PYTHONPATH": folder,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    if run("import ophyd_async.epics.motor, aioca").returncode:
        pytest.skip("ophyd-async[ca] is neither installed nor in $ZONEPLATE_OPHYD_ASYNC")
    told = run(OPHYD_ASYNC, MOTOR)
    assert told.returncode == 0, told.stderr
    readback, refused = told.stdout.split()
    assert float(readback) == pytest.approx(20.0, abs=0.02)
    assert refused == "refused"
    assert get(f"{MOTOR}.RBV") == pytest.approx(20.0, abs=0.02)
