"""However a scan ends, by whomever: the microscope is safe, the run closed, the file valid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.utils import FailedStatus, RunEngineInterrupted
from rig import assert_kept, assert_safe

from zoneplate.acquisition import Session, open_session
from zoneplate.acquisition.journal import is_finished, journals, read_journal
from zoneplate.acquisition.runs import RunRecord
from zoneplate.plans import mosaic, tomography
from zoneplate.simulators import Particle, Specimen

VELOCITIES = [500.0, 500.0, 200.0, 10.0]
PAUSES = 50


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    particle = Particle("a", (3, 4, 5), (5, 5, 5), material="LiNi0.6Mn0.2Co0.2O2@4.77")
    with open_session(
        specimen=Specimen((particle,)), data_dir=tmp_path_factory.mktemp("data"), live=False
    ) as one:
        yield one


@pytest.fixture
def record(session: Session) -> Iterator[RunRecord]:
    record = RunRecord()
    token = session.RE.subscribe(lambda name, doc: record(name, doc) and None)
    yield record
    session.RE.unsubscribe(token)
    session.microscope.instrument.faults.clear()


def scan(session: Session, projections: int = 40) -> Any:
    return tomography(
        session.microscope,
        center_um=(0, 0, 4),
        projections=projections,
        dark_frames=1,
        flat_frames=2,
    )


def at_event(session: Session, number: int, act: Any) -> int:
    seen = [0]

    def follow(name: str, doc: dict[str, Any]) -> None:
        seen[0] += name == "event"
        if name == "event" and seen[0] == number:
            act()

    return session.RE.subscribe(follow)


def test_halt_is_followed_by_the_guard_of_the_session(session, record):
    """Bluesky's halt runs no clean-up: the shutter would stay open."""
    RE = session.RE
    token = at_event(session, 9, lambda: threading.Thread(target=RE.request_pause).start())
    with pytest.raises(RunEngineInterrupted):
        RE(scan(session))
    RE.unsubscribe(token)
    assert session.microscope.shutter.state.get() == "open"
    RE.halt()
    assert_safe(session, VELOCITIES)
    assert "halted" in record.stop["reason"]


@pytest.mark.parametrize("how", ["abort", "stop", "halt"])
def test_scan_that_is_ended_while_it_runs_is_left_safe(session, record, how):
    RE = session.RE
    token = at_event(session, 12, lambda: threading.Thread(target=getattr(RE, how)).start())
    with pytest.raises(RunEngineInterrupted):
        RE(scan(session))
    RE.unsubscribe(token)
    time.sleep(0.05)
    assert_safe(session, VELOCITIES)
    assert record.stop["reason"]
    assert_kept(session, record)


def test_ctrl_c_many_times_leaves_the_microscope_safe(session, record):
    def press() -> None:
        for _ in range(4):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.12)  # Bluesky ignores repeats within 0.1 s

    token = at_event(session, 15, press)
    with pytest.raises(RunEngineInterrupted):
        session.RE(scan(session))
    session.RE.unsubscribe(token)
    session.RE.abort("Ctrl-C")
    assert_safe(session, VELOCITIES)
    assert record.stop["reason"] == "Ctrl-C"
    assert_kept(session, record)


def test_velocity_of_a_broken_off_plan_is_restored(session, record):
    theta = session.microscope.stage.theta

    def plan():
        yield from bps.mv(theta.velocity, 3.0)
        raise RuntimeError("somebody's plan has a bug")

    with pytest.raises(RuntimeError, match="bug"):
        session.RE(plan())
    assert theta.velocity.get() == VELOCITIES[3]
    session.RE(bps.mv(theta.velocity, 3.0))  # a plan that ends well has meant it
    assert theta.velocity.get() == 3.0
    session.RE(bps.mv(theta.velocity, VELOCITIES[3]))


def test_run_says_what_failed_and_what_to_do(session, record):
    session.microscope.instrument.faults.arm("limit_hit", axis="theta", after_s=20.0)
    with pytest.raises(FailedStatus) as failure:
        session.RE(scan(session))
    assert "microscope_stage_theta" in record.stop["reason"]
    assert "check the stage" in record.stop["reason"]
    assert str(failure.value) == record.stop["reason"]


def test_shutter_that_does_not_close_does_not_hide_why_the_scan_ended(session, record):
    faults = session.microscope.instrument.faults
    faults.arm("disk_full")
    faults.arm("shutter_stuck", after_s=2.0, times=5)
    with pytest.raises(FailedStatus, match="check the disk"):
        session.RE(scan(session))
    faults.clear()
    session.make_safe()
    assert_safe(session, VELOCITIES)


def test_beam_that_was_away_for_a_part_of_an_exposure_is_noticed(session, record, caplog):
    """It is back when the exposure ends: only a watch over the whole exposure sees it."""
    faults = session.microscope.instrument.faults
    token = at_event(
        session, 4, lambda: faults.arm("beam_trip", after_s=0.4, duration_s=0.3, times=1e9)
    )
    session.RE(scan(session, 3))
    session.RE.unsubscribe(token)
    assert "no beam" in " ".join(caplog.messages)
    counts = [f.data["microscope_camera_mean_counts"] for f in record.stream("flat")]
    assert len(counts) == 2
    assert min(counts) > 1000
    assert_kept(session, record)


@pytest.mark.parametrize("away_s", [100.0, 600.0])
def test_flats_are_taken_again_after_a_long_absence(session, record, away_s):
    faults = session.microscope.instrument.faults
    token = at_event(session, 10, lambda: faults.arm("beam_trip", duration_s=away_s, times=1e9))
    session.RE(scan(session, 12))
    session.RE.unsubscribe(token)
    assert len(record.stream("flat")) == (4 if away_s > 300 else 2)
    primary = record.stream("primary")
    angles = [frame.data["microscope_stage_theta"] for frame in primary]
    assert angles == pytest.approx(record.start["tomography"]["angles_deg"], abs=0.02)
    assert {frame.data["microscope_stage_y"] < 1 for frame in primary} == {True}
    assert_kept(session, record)


@pytest.mark.long
def test_condition_that_stays_bad_ends_the_scan_and_says_what_to_do(session, record):
    faults = session.microscope.instrument.faults
    token = at_event(session, 10, lambda: faults.arm("temperature", magnitude=4.0, times=1e9))
    with pytest.raises(Exception, match="air conditioning"):
        session.RE(scan(session, 12))
    session.RE.unsubscribe(token)
    assert_safe(session, VELOCITIES)


def test_stock_plan_waits_for_the_beam_too(session, record):
    faults, camera = session.microscope.instrument.faults, session.microscope.camera
    session.RE(bps.mv(session.microscope.shutter, "open"))  # nobody closes it in a stock plan

    def plan():
        yield from bps.mv(session.microscope.shutter, "open")
        return (yield from bp.scan([camera], session.microscope.stage.theta, -5, 5, 5))

    token = at_event(session, 4, lambda: faults.arm("beam_trip", duration_s=50.0, times=1e9))
    session.RE(plan())
    session.RE.unsubscribe(token)
    counts = [f.data["microscope_camera_mean_counts"] for f in record.stream("primary")]
    assert len(counts) == 5
    assert min(counts) > 1000
    assert_safe(session, VELOCITIES)
    assert_kept(session, record)


@pytest.mark.parametrize("plan", ["tomography", "mosaic"])
def test_pauses_at_random_moments_change_nothing(session, record, plan):
    """Frames and documents of a scan that was paused equal those of one that was not."""
    rng = np.random.default_rng(7)
    RE, microscope = session.RE, session.microscope

    def make() -> Any:
        if plan == "tomography":
            return scan(session, 31)
        return mosaic(microscope, shape=(5, 5), dark_frames=1, flat_frames=2)

    # The stage may travel during darks, and turn during flats: nobody sees it there.
    matter = {"dark": (), "flat": ("y",), "primary": ("x", "y", "z", "theta")}

    def told(record: RunRecord) -> list[Any]:
        return [
            (name, f.seq_num, *(round(f.data[f"microscope_stage_{axis}"]) for axis in axes))
            for name, axes in matter.items()
            for f in record.stream(name)
        ]

    def home() -> Any:
        for axis in ("x", "y", "z", "theta"):
            yield from bps.mv(getattr(microscope.stage, axis), 0)

    RE(home())
    RE(make())
    undisturbed = told(record)
    record.frames.clear()
    RE(home())
    at = sorted(rng.choice(np.arange(20, 560), PAUSES, replace=False).tolist())
    messages, pauses = [0], [0]

    def count(message: Any) -> None:
        messages[0] += 1
        if at and messages[0] >= at[0]:
            at.pop(0)
            pauses[0] += 1
            threading.Timer(rng.uniform(0, 0.004), pause).start()

    def pause() -> None:
        try:
            RE.request_pause()
        except Exception:  # noqa: BLE001 - it has ended, or is paused already
            pauses[0] -= 1

    RE.msg_hook = count
    try:
        run = lambda: RE(make())  # noqa: E731
        while True:
            try:
                run()
                break
            except RunEngineInterrupted:
                run = RE.resume
    finally:
        RE.msg_hook = None
    assert pauses[0] >= PAUSES // 2
    assert told(record) == undisturbed
    assert record.stop["exit_status"] == "success"
    assert_kept(session, record)


def test_session_that_is_closed_while_paused_aborts(tmp_path):
    particle = Particle("a", (3, 4, 5), (5, 5, 5), material="LiNi0.6Mn0.2Co0.2O2@4.77")
    with open_session(
        specimen=Specimen((particle,)), data_dir=tmp_path / "data", live=False
    ) as one:
        at_event(one, 6, lambda: threading.Thread(target=one.RE.request_pause).start())
        with pytest.raises(RunEngineInterrupted):
            one.RE(scan(one))
        assert one.microscope.shutter.state.get() == "open"
    assert one.microscope.shutter.state.get() == "closed"
    (journal,) = journals(one.data.journal)
    stop = list(read_journal(journal))[-1][1]
    assert stop["exit_status"] == "abort"
    assert "closed while the scan was paused" in stop["reason"]


SCRIPT = """
    import sys
    from zoneplate.acquisition import open_session
    from zoneplate.plans import tomography
    from zoneplate.simulators import Particle, Specimen

    one = Specimen((Particle("a", (3, 4, 5), (5, 5, 5), material="LiNi0.6Mn0.2Co0.2O2@4.77"),))
    with open_session(specimen=one, data_dir=sys.argv[1], live=False, speed=20.0) as session:
        session.RE.subscribe(lambda name, doc: print(name, flush=True))
        try:
            session.RE(tomography(session.microscope, center_um=(0, 0, 4)))
        finally:
            print("shutter", session.microscope.shutter.state.get(), flush=True)
"""


@pytest.mark.long
def test_sigterm_ends_the_scan_like_an_abort_and_then_the_process(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        events = 0
        while events < 15:
            events += process.stdout.readline().startswith("event")
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert "shutter closed" in rest
    (journal,) = journals(tmp_path / "journal")
    assert is_finished(journal)
    stop = list(read_journal(journal))[-1][1]
    assert stop["exit_status"] == "abort"
    assert "SIGTERM" in stop["reason"]
    (file,) = Path(tmp_path / "frames").rglob("*.nxs")
    with h5py.File(file, "r") as opened:
        assert len(opened["entry/instrument/detector/data"]) >= 13
