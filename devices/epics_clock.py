"""The clock of a simulated instrument behind EPICS, with the face of the one in process.

While the RunEngine works, time stands still; while it waits, time passes: this client leads the
clock of the server, which is told when a wait begins and which of its news were heard by then,
and passes time up to the next news. A real instrument has no such clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from ophyd import Component, Device, EpicsSignal, EpicsSignalRO

HOLD_S = 1.0
"""Time stands still for so long after a sign of work; a client that is gone holds nothing up."""

ROUNDING_S = 1e-6
"""Times since 1970 are good to a quarter of this."""

LEAD_KEPT_S = 2.0
"""The server still takes us for the leader so long after we said anything, and longer."""


class _Sleep:
    """One call to `call_later`."""

    def __init__(self, due_s: float, callback: Callable[[], None]) -> None:
        self.due_s = due_s
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make it not happen."""
        self._callback = None

    def over(self) -> None:
        """Call back, unless cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


def _over(status: Any) -> bool:
    """Whether it has ended: ours know it before another thread has made them `done`."""
    return bool(status.done or getattr(status, "concluded", False))


class EpicsClock(Device):
    """Instrument time of a simulated microscope behind EPICS."""

    time = Component(EpicsSignalRO, "Time_RBV", auto_monitor=True)
    running_speed = Component(EpicsSignalRO, "Speed_RBV", auto_monitor=True)
    news = Component(EpicsSignalRO, "News_RBV", auto_monitor=True)
    hold = Component(EpicsSignal, "Hold")
    go = Component(EpicsSignal, "Go")
    go_through = Component(EpicsSignal, "GoThrough")
    sleep = Component(EpicsSignal, "Sleep")

    def __init__(self, prefix: str = "", *, name: str = "clock", **kwargs: Any) -> None:
        self._posted_s, self._speed, self._wall_s = 0.0, 0.0, time.monotonic()
        self._heard = 0
        self._lock = threading.Lock()
        self._sleeps: list[_Sleep] = []
        self._led_s = -LEAD_KEPT_S
        self._hooked: tuple[Any, ...] = ()
        self._awaited: list[Any] = []
        super().__init__(prefix, name=name, **kwargs)
        self.time.subscribe(self._time_posted, run=False)
        # By callback, not by `get`: what the news brought has then been dealt with.
        self.news.subscribe(self._news_posted, run=False)

    def wait_for_connection(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the PVs, and for what they say."""
        super().wait_for_connection(*args, **kwargs)
        self._speed = float(self.running_speed.get())
        self._time_posted(self.time.get())

    def _time_posted(self, value: Any, **_: Any) -> None:
        self._posted_s, self._wall_s = float(value), time.monotonic()
        with self._lock:
            over = [sleep for sleep in self._sleeps if sleep.due_s <= self._posted_s + ROUNDING_S]
            self._sleeps = [sleep for sleep in self._sleeps if sleep not in over]
        for sleep in over:
            sleep.over()

    def _news_posted(self, value: int, **_: Any) -> None:
        self._heard = value
        self._pass_if_waiting()

    @property
    def speed(self) -> float | None:
        """Instrument seconds per wall second; None if as fast as possible."""
        return self._speed or None

    def now(self) -> float:
        """Return the instrument time in seconds since 1970; the last known without a server."""
        return self._posted_s + (time.monotonic() - self._wall_s) * self._speed

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Sleep:
        """Schedule `callback` in `delay_s` of instrument time."""
        sleep = _Sleep(self.now() + delay_s, callback)
        with self._lock:
            self._sleeps.append(sleep)
        # The server stops its time then, with news. Its answer to the put is no use: it may come
        # before or after them.
        self.sleep.put(delay_s)
        return sleep

    def waiting_hook(self, statuses: Iterable[Any] | None) -> None:
        """Let time pass until these are done: the signature of `RunEngine.waiting_hook`."""
        self._hooked = tuple(statuses) if statuses is not None else ()
        self._pass_if_waiting()

    @contextmanager
    def waiting_for(self, awaited: Any) -> Generator[None]:
        """Let time pass inside the block."""
        self._awaited.append(awaited)
        self._pass_if_waiting()
        try:
            yield
        finally:
            self._awaited.remove(awaited)

    def working(self) -> None:
        """Take the lead before something is set in motion, unless we have it."""
        if time.monotonic() - self._led_s > LEAD_KEPT_S and self.hold.connected:
            self._led_s = time.monotonic()
            self.hold.put(HOLD_S)

    def close(self) -> None:
        """Let go of the server."""
        self.destroy()

    # Without a server there is no time to lead; whoever waits for it is told elsewhere.

    def _pass_if_waiting(self) -> None:
        statuses = (*self._hooked, *self._awaited)
        awaited = [s for s in statuses if not _over(s) and getattr(s, "takes_time", True)]
        if awaited and self.go.connected:
            self._led_s = time.monotonic()
            # What is not one of ours may end anywhere.
            halfway = any(getattr(status, "halfway", True) for status in awaited)
            (self.go if halfway else self.go_through).put(self._heard)
