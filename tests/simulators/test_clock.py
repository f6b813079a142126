"""Instrument time: exact, overlapping, and never passing by itself."""

from __future__ import annotations

import threading
import time

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from ophyd.status import Status

from zoneplate.simulators import SimulatedMicroscope, VirtualClock, attach


@pytest.fixture
def clock():
    clock = VirtualClock(epoch_s=1000.0)
    yield clock
    clock.close()


def wait_for_event(clock: VirtualClock, *delays_s: float) -> list[float]:
    """Schedule events and wait for the last; return when they happened."""
    happened: list[float] = []
    status = Status()
    for delay_s in delays_s:
        clock.call_later(delay_s, lambda: happened.append(clock.now()))
    clock.call_later(max(delays_s), status.set_finished)
    with clock.waiting_for(status):
        status.wait(5)
    return happened


def test_events_happen_in_order_at_their_exact_time(clock):
    assert wait_for_event(clock, 3.0, 1.0, 2.0) == [1001.0, 1002.0, 1003.0]


def test_time_stands_still_while_nobody_waits(clock):
    clock.call_later(1.0, lambda: None)
    time.sleep(0.05)
    assert clock.now() == 1000.0


def test_waiting_is_much_faster_than_the_time_that_passes(clock):
    begin = time.monotonic()
    wait_for_event(clock, 3600.0)
    assert time.monotonic() - begin < 2.0
    assert clock.now() == 4600.0


def test_cancelled_event_does_not_happen_and_takes_no_time(clock):
    clock.call_later(1.0, lambda: pytest.fail("it was cancelled")).cancel()
    wait_for_event(clock, 2.0)
    assert clock.now() == 1002.0


def test_failing_event_does_not_stop_the_clock(clock, caplog):
    def fail() -> None:
        raise RuntimeError("broken on purpose")

    clock.call_later(0.5, fail)
    assert wait_for_event(clock, 1.0) == [1001.0]
    assert "broken on purpose" in caplog.text


def test_real_time_clock_keeps_pace_with_the_wall():
    clock = VirtualClock(epoch_s=0.0, speed=10.0)
    try:
        begin = time.monotonic()
        fired = threading.Event()
        clock.call_later(1.0, fired.set)
        assert fired.wait(5)
        assert 0.09 < time.monotonic() - begin < 1.0
        assert clock.now() >= 1.0
    finally:
        clock.close()


def test_sleep_in_a_plan_passes_instrument_time(RE: RunEngine, microscope: SimulatedMicroscope):
    before_s = microscope.clock.now()
    begin = time.monotonic()
    RE(bps.sleep(60.0))
    assert microscope.clock.now() - before_s == pytest.approx(60.0)
    assert time.monotonic() - begin < 5.0


def test_attach_keeps_a_waiting_hook_that_was_there(microscope: SimulatedMicroscope):
    engine = RunEngine({}, context_managers=[])
    seen: list[object] = []
    engine.waiting_hook = seen.append
    attach(engine, microscope.clock)
    engine(bps.mv(microscope.stage.x, 5.0))
    assert seen
    assert microscope.stage.x.position == pytest.approx(5.0, abs=0.2)
