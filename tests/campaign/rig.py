"""What the fault campaign runs on: a session, either face, and what must hold after each case."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from bluesky import plan_stubs as bps
from bluesky.utils import FailedStatus, RunEngineInterrupted
from cases import ENDED, PLANS, WAYS_OF_ENDING, Case
from ophyd import EpicsSignal, EpicsSignalRO

from zoneplate.acquisition import Session
from zoneplate.acquisition.journal import is_finished
from zoneplate.acquisition.runs import RunRecord, find_journal
from zoneplate.devices import AcquisitionError

AXES = ("x", "y", "z", "theta")


class InProcess:
    """Arms faults of the instrument in this process."""

    def __init__(self, session: Session) -> None:
        self._bus: Any = session.microscope.instrument.faults  # type: ignore[attr-defined]

    def arm(self, name: str, **options: Any) -> None:
        self._bus.arm(name, **options)

    def clear(self) -> None:
        self._bus.clear()

    def fired(self) -> int:
        return len(self._bus.log)


class OverChannelAccess:
    """Arms faults of the server."""

    def __init__(self, prefix: str) -> None:
        self._arm = EpicsSignal(f"{prefix}Fault:Arm", name="arm", string=True)
        self._clear = EpicsSignal(f"{prefix}Fault:Clear", name="clear")
        self._fired = EpicsSignalRO(f"{prefix}Fault:Fired_RBV", name="fired")
        for signal in (self._arm, self._clear, self._fired):
            signal.wait_for_connection(timeout=10)

    def arm(self, name: str, **options: Any) -> None:
        told = json.dumps({"name": name, **options})
        self._arm.put(told, use_complete=True, wait=True, timeout=5)

    def clear(self) -> None:
        self._clear.put(1, use_complete=True, wait=True, timeout=5)

    def fired(self) -> int:
        return int(self._fired.get(use_monitor=False))


def run_case(session: Session, faults: Any, case: Case, warnings: Any) -> None:
    """Run one combination and assert all that must hold after it."""
    microscope, RE = session.microscope, session.RE
    record = RunRecord()
    frames: list[str] = []
    streams: dict[str, str] = {}
    before = faults.fired()
    armed = threading.Event()

    def act() -> None:
        if armed.is_set():
            return
        armed.set()
        if case.fault in WAYS_OF_ENDING:
            threading.Thread(target=RE.request_pause).start()
        else:
            faults.arm(case.fault, **dict(case.options))

    def follow(name: str, doc: dict[str, Any]) -> None:
        record(name, doc)
        if name == "descriptor":
            streams[doc["uid"]] = doc["name"]
            if case.after_event == 0 and doc["name"] == "baseline":
                act()
        elif name == "event" and streams[doc["descriptor"]] != "baseline":
            frames.append(doc["uid"])
            if len(frames) == case.after_event:
                act()

    def home() -> Any:
        for axis in AXES:
            yield from bps.mv(getattr(microscope.stage, axis), 0)

    RE(home())
    token = RE.subscribe(follow)
    velocities = [getattr(microscope.stage, axis).velocity.get() for axis in AXES]
    failure: BaseException | None = None
    warnings.clear()
    try:
        with warnings.at_level(logging.WARNING):
            RE(PLANS[case.plan](microscope))
    except RunEngineInterrupted:
        getattr(RE, case.fault)()
    except (FailedStatus, AcquisitionError) as error:
        failure = error
    finally:
        RE.unsubscribe(token)
        fired = faults.fired() - before
        faults.clear()
    if case.fault not in WAYS_OF_ENDING:
        assert fired >= 1, "the fault did not happen"
    assert_noticed(case, failure, record, " | ".join(warnings.messages))
    assert_safe(session, velocities)
    assert_kept(session, record)


def assert_noticed(
    case: Case, failure: BaseException | None, record: RunRecord, warned: str
) -> None:
    """The fault was named, and either mended or the end of the scan."""
    stop = record.stop
    assert stop is not None
    if case.fault in WAYS_OF_ENDING:
        assert stop["exit_status"] == ("success" if case.fault == "stop" else "abort")
        assert case.told in stop["reason"]
    elif case.outcome == ENDED:
        assert failure is not None, "the scan went on as if nothing had happened"
        told = str(failure.__cause__ or failure)
        assert case.told in told
        assert stop["exit_status"] == "fail"
        assert case.told in stop["reason"]
    else:
        assert failure is None, str(failure)
        assert case.told in warned
        assert stop["exit_status"] == "success"
        planned = record.start.get("frames")
        if planned is not None:
            streams = {"darks": "dark", "flats": "flat", "projections": "primary"}
            taken = {kind: len(record.stream(streams[kind])) for kind in planned}
            assert taken == planned


def assert_safe(session: Session, velocities: list[float]) -> None:
    """Shutter closed, stage standing at its old velocities, camera idle and let go of."""
    microscope = session.microscope
    assert session.RE.state == "idle"
    assert microscope.shutter.state.get() == "closed"
    for axis, velocity in zip(AXES, velocities, strict=True):
        assert not getattr(microscope.stage, axis).moving, axis
        assert getattr(microscope.stage, axis).velocity.get() == velocity
    assert not microscope.camera.file_path.get()
    assert microscope.camera._staged.value == "no"


def assert_kept(session: Session, record: RunRecord) -> None:
    """The journal is whole; the file opens, and holds as valid what the documents speak of."""
    assert is_finished(find_journal(session.data.journal, record.uid))
    files: dict[Path, set[int]] = {}
    for stream in record.frames:
        for frame in record.stream(stream):
            files.setdefault(frame.file, set()).add(frame.number)
    for file, announced in files.items():
        with h5py.File(file, "r") as opened:
            detector = opened["entry/instrument/detector"]
            keys = detector["image_key"][()]
            assert detector["data"].shape[0] == len(keys)
        assert set(np.flatnonzero(keys != 3).tolist()) == announced
