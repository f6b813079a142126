"""What goes wrong behind Channel Access is noticed and mended or named, and all is left safe."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.utils import FailedStatus, RunEngineInterrupted
from epics import ca
from epics.ca import ChannelAccessGetFailure
from ophyd import EpicsSignal
from ophyd._pyepics_shim import PyepicsShimPV as PyepicsPV
from ophyd.utils import DestroyedError
from rig_over_epics import engine, scan, start

from zoneplate.devices import (
    AcquisitionError,
    ConfigurationError,
    epics_axis,
    epics_camera,
    epics_status,
)
from zoneplate.devices import epics as epics_module
from zoneplate.devices.epics import epics_microscope
from zoneplate.devices.epics_environment import use_simulated_servers
from zoneplate.devices.epics_signals import PairedSetting
from zoneplate.plans import tomography

PREFIX = "ZPW:"


def arm(fault: str, **arguments: Any) -> None:
    import epics as pyepics

    told = json.dumps({"name": fault, **arguments})
    assert pyepics.caput(f"{PREFIX}Fault:Arm", told, wait=True) == 1


def fired() -> int:
    import epics as pyepics

    return pyepics.caget(f"{PREFIX}Fault:Fired_RBV", use_monitor=False)


def test_frame_that_is_not_in_the_file_fails_the_scan(epics, RE):
    """The stack alone calls this a success: five events, no frame."""

    def plan():
        yield from bps.stage(epics.camera)
        yield from bps.open_run()
        yield from bps.trigger_and_read([epics.camera])
        epics.camera.hdf1.capture.put(0, wait=True)
        yield from bps.trigger_and_read([epics.camera])

    with pytest.raises(FailedStatus) as failure:
        RE(plan())
    assert "is not in" in str(failure.value.__cause__ or failure.value)
    epics.camera.unstage()


def test_file_that_cannot_be_written_fails_the_scan(epics, RE):
    def plan():
        yield from bps.stage(epics.camera)
        yield from bps.open_run()
        # Somebody else has taken the name meanwhile.
        path = Path(epics.camera.file_path.get())
        path.write_bytes(b"")
        yield from bps.trigger_and_read([epics.camera])

    with pytest.raises(FailedStatus) as failure:
        RE(plan())
    assert "could not be written" in str(failure.value.__cause__ or failure.value)
    epics.camera.unstage()


@pytest.mark.parametrize(
    "fault", ["frame_dropped", "frame_duplicated", "frame_saturated", "dead_row"]
)
def test_spoiled_frame_is_taken_again(epics, RE, record, fault):
    before, frame = fired(), unique_id() + 5
    arm(fault, at_frame=frame)
    RE(scan(epics))
    assert fired() == before + 1
    assert record.stop["exit_status"] == "success"
    primary = record.stream("primary")
    angles = [frame.data["microscope_stage_theta"] for frame in primary]
    assert angles == pytest.approx(record.start["tomography"]["angles_deg"], abs=0.02)
    file = next(iter(record.frames.values()))[1].file
    with h5py.File(file, "r") as opened:
        keys = opened["entry/instrument/detector/image_key"][()]
        frames = opened["entry/instrument/detector/data"][()]
    assert set(np.flatnonzero(keys == 0)) == {frame.number for frame in primary}
    assert frames[keys == 0].min() > 0
    assert frames[keys == 0].mean(axis=(1, 2)).max() < 60_000


def unique_id() -> int:
    import epics as pyepics

    return pyepics.caget(f"{PREFIX}image1:UniqueId_RBV", use_monitor=False)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("motor_stall", "check the stage"),
        ("following_error", "check the stage"),
        ("limit_hit", "check the stage"),
        ("disk_full", "check the disk"),
        ("shutter_stuck", "check the shutter"),
        ("frame_late", "did not finish within"),
    ],
)
def test_lasting_fault_ends_the_scan_safely_and_says_what_to_do(
    epics, RE, record, monkeypatch, fault, told
):
    for module in (epics_axis, epics_camera, epics_module):
        monkeypatch.setattr(module, "timeout_s", lambda expected_s: 2 * expected_s + 1.0)
    monkeypatch.setattr(epics_status, "BUSY_S", 0.5)
    RE(bps.mv(epics.shutter, "closed", epics.stage.y, 0.0))
    before = fired()
    axis = {"axis": "y"} if told == "check the stage" else {}
    arm(fault, magnitude=5.0 if fault != "frame_late" else 1000.0, **axis)
    with pytest.raises((FailedStatus, AcquisitionError)) as failure:
        RE(scan(epics))
    assert told in str(failure.value.__cause__ or failure.value)
    assert fired() > before
    assert record.stop["exit_status"] == "fail"
    assert epics.shutter.state.get() == "closed"
    assert not epics.camera.file_path.get()
    epics.stage.y.move(1.0, wait=True)


def test_lost_beam_is_waited_for(epics, RE, record):
    before_s = epics.clock.now()
    arm("beam_trip", after_s=12.0, duration_s=100.0, times=1e6)
    RE(scan(epics))
    assert epics.clock.now() - before_s > 100
    counts = [frame.data["microscope_camera_mean_counts"] for frame in record.stream("primary")]
    assert len(counts) == 6
    assert min(counts) > 1000


def test_unknown_fault_is_refused(epics):
    import epics as pyepics

    arm("drift_jump", times=0)
    pyepics.caput(f"{PREFIX}Fault:Arm", '{"name": "gremlin"}', wait=True)
    assert "drift" in pyepics.caget(f"{PREFIX}Fault:Arm", as_string=True, use_monitor=False)


def test_folder_outside_the_servers_is_refused_when_staging(epics, tmp_path, monkeypatch):
    monkeypatch.setattr(epics.camera, "_directory", tmp_path)
    with pytest.raises(ConfigurationError, match="another folder"):
        epics.camera.stage()
    epics.camera.unstage()


def test_pause_and_resume_repeat_nothing(epics, RE, record):
    pauses = iter([3, 8])
    wanted = next(pauses)

    def pause_sometimes(name, doc):
        nonlocal wanted
        if name == "event" and len(record.stream("primary")) == wanted:
            wanted = next(pauses, -1)
            threading.Thread(target=RE.request_pause).start()

    RE.subscribe(pause_sometimes)
    interruptions = 0
    try:
        RE(tomography(epics, center_um=(0, 0, 4), projections=12))
    except RunEngineInterrupted:
        interruptions += 1
        while True:
            try:
                RE.resume()
                break
            except RunEngineInterrupted:
                interruptions += 1
    assert interruptions == 2
    frames = record.stream("primary")
    assert [frame.seq_num for frame in frames] == list(range(1, 13))
    file = next(iter(record.frames.values()))[1].file
    with h5py.File(file, "r") as opened:
        keys = opened["entry/instrument/detector/image_key"][()].tolist()
    assert [keys[frame.number] for frame in frames] == [0] * 12
    assert keys.count(0) == 12


@pytest.mark.long
def test_dead_server_ends_the_scan_and_a_new_one_is_found_again(tmp_path, specimen):
    process = start(tmp_path, specimen, "ZPK:")
    device = epics_microscope("ZPK:", directory=process.directory, simulated=True)
    RE = engine(device)
    killed: list[float] = []

    def kill(name, doc):
        if name == "event" and doc["seq_num"] == 4 and not killed:
            threading.Timer(0.05, lambda: (killed.append(time.monotonic()), process.kill())).start()

    RE.subscribe(kill)
    with pytest.raises((FailedStatus, AcquisitionError)) as failure:
        RE(bp.scan([device.camera], device.stage.theta, -90, 90, 1000))
    assert time.monotonic() - killed[0] < 5
    told = str(failure.value.__cause__ or failure.value)
    assert "does not answer any more" in told
    assert "start it again" in told
    device.camera.unstage()

    with start(tmp_path, specimen, "ZPK:"):
        begin = time.monotonic()
        device.wait_for_connection(timeout=10)
        while not device.clock.connected:
            time.sleep(0.05)
        assert time.monotonic() - begin < 10
        RE(bp.count([device.camera], num=2))
        device.destroy()


@pytest.mark.long
def test_server_that_was_restarted_behind_our_back_is_noticed(tmp_path, specimen):
    process = start(tmp_path, specimen, "ZPR:")
    device = epics_microscope("ZPR:", directory=process.directory, simulated=True)
    device.camera.stage()
    process.kill()
    with start(tmp_path, specimen, "ZPR:"):
        device.wait_for_connection(timeout=20)
        with pytest.raises(AcquisitionError, match="restarted during the scan"):
            device.camera.trigger()
        device.camera.unstage()
        device.destroy()


def test_missing_server_is_named():
    use_simulated_servers()
    with pytest.raises(AcquisitionError, match="'NONE:' does not answer: start it"):
        epics_microscope("NONE:", directory=".", timeout_s=0.5)


def test_server_that_was_missing_is_found_as_soon_as_it_is_there(tmp_path, specimen):
    """Channels left behind by the first attempt would keep the names from being found soon."""
    use_simulated_servers()
    with pytest.raises(AcquisitionError, match="does not answer"):
        epics_microscope("ZPL:", directory=tmp_path, simulated=True, timeout_s=6)
    with start(tmp_path, specimen, "ZPL:") as process:
        begin = time.monotonic()
        device = epics_microscope("ZPL:", directory=process.directory, simulated=True)
        assert time.monotonic() - begin < 5
        device.destroy()
    assert [name for names in ca._cache.values() for name in names if name.startswith("ZPL:")] == []


def test_answer_that_was_lost_among_a_thousand_is_asked_for_again(server, monkeypatch):
    ask = PyepicsPV.get_all_metadata_callback

    def lossy(pv: Any, callback: Any, *, timeout: float) -> None:
        if not pv.pvname.endswith("Stage:Y.RBV"):
            ask(pv, callback, timeout=timeout)

    monkeypatch.setattr(PyepicsPV, "get_all_metadata_callback", lossy)
    device = epics_microscope(
        PREFIX, directory=server.directory, simulated=True, name="second", timeout_s=3
    )
    assert device.stage.y.connected
    device.destroy()


def test_name_of_the_file_that_comes_cut_short_is_asked_for_again(epics, monkeypatch):
    signal = epics.camera.hdf1.full_file_name
    whole, asked = signal.get, []

    def cut(**options: Any) -> str:
        asked.append(whole(**options))
        return asked[-1][: 1 if len(asked) == 1 else None]

    monkeypatch.setattr(signal, "get", cut)
    epics.camera.stage()
    assert len(asked) == 2
    epics.camera.unstage()


def test_setting_of_two_pvs_is_connected_when_both_are(epics):
    names = [f"{PREFIX}cam1:BinX_RBV", f"{PREFIX}cam1:BinX"]
    whole = PairedSetting(*names, also_pv=f"{PREFIX}cam1:BinY", name="whole")
    half = PairedSetting(*names, also_pv=f"{PREFIX}cam1:BinNowhere", name="half")
    whole.wait_for_connection(timeout=10)
    assert whole.connected
    EpicsSignal.wait_for_connection(half, timeout=10)
    assert not half.connected
    for signal in (whole, half):
        signal.destroy()
        with pytest.raises(DestroyedError):
            signal._also.wait_for_connection(timeout=1)


def test_server_that_dies_during_a_read_is_named(epics):
    with (
        pytest.raises(AcquisitionError, match="does not answer any more"),
        epics.camera._link.required(),
    ):
        # What pyepics raises then is in no family of errors.
        raise ChannelAccessGetFailure("Get failed", 0, 192)
