"""The clock of a simulated instrument behind EPICS, with the face of the one in process.

While the RunEngine works, time stands still; while it waits, time passes: this client leads the
clock of the server, which is told when a wait begins and which of its news were heard by then. A
real instrument has no such clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ophyd import Component, Device, EpicsSignal, EpicsSignalRO

HOLD_S = 1.0
"""Time stands still for so long after a sign of work; a client that is gone holds nothing up."""


class _Sleep:
    """One call to `call_later`."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make it not happen."""
        self._callback = None

    def over(self, **_: Any) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class EpicsClock(Device):
    """Instrument time of a simulated microscope behind EPICS."""

    time = Component(EpicsSignalRO, "Time_RBV", auto_monitor=True)
    running_speed = Component(EpicsSignalRO, "Speed_RBV", auto_monitor=True)
    news = Component(EpicsSignalRO, "News_RBV", auto_monitor=True)
    hold = Component(EpicsSignal, "Hold")
    go = Component(EpicsSignal, "Go")
    sleep = Component(EpicsSignal, "Sleep")

    def __init__(self, prefix: str = "", *, name: str = "clock", **kwargs: Any) -> None:
        self._time_s = time.monotonic()
        self._heard = 0
        super().__init__(prefix, name=name, **kwargs)
        self.time.subscribe(self._time_posted, run=False)
        # By callback, not by `get`: what the news brought has then been dealt with.
        self.news.subscribe(self._news_posted, run=False)

    def _time_posted(self, **_: Any) -> None:
        self._time_s = time.monotonic()

    def _news_posted(self, value: int, **_: Any) -> None:
        self._heard = value

    @property
    def speed(self) -> float | None:
        """Instrument seconds per wall second; None if as fast as possible."""
        return self.running_speed.get() or None

    def now(self) -> float:
        """Return the instrument time in seconds since 1970."""
        elapsed_s = (time.monotonic() - self._time_s) * self.running_speed.get()
        return self.time.get() + elapsed_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Sleep:
        """Schedule `callback` in `delay_s` of instrument time."""
        sleep = _Sleep(callback)
        self.sleep.put(delay_s, use_complete=True, callback=sleep.over)
        return sleep

    def waiting_hook(self, statuses: Iterable[Any] | None) -> None:
        """Let time pass until these are done: the signature of `RunEngine.waiting_hook`."""
        if statuses is None:
            self._stand_still()
        else:
            self._pass(statuses)

    @contextmanager
    def waiting_for(self, awaited: Any) -> Iterator[None]:
        """Let time pass inside the block."""
        self._pass([awaited])
        try:
            yield
        finally:
            self._stand_still()

    def close(self) -> None:
        """Let go of the server."""
        self.destroy()

    # Without a server there is no time to lead; whoever waits for it is told elsewhere.

    def _stand_still(self) -> None:
        if self.hold.connected:
            self.hold.put(HOLD_S)

    def _pass(self, statuses: Iterable[Any]) -> None:
        if self.go.connected and any(not status.done for status in statuses):
            self.go.put(self._heard)
