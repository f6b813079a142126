"""The instrument clock of the simulator: events in time order, as fast as they can be computed.

Scaling wall time distorts a scan (software overhead is scaled too: a trial read +94 % at
x50). This clock is event-driven: it stands still while somebody computes, and jumps to the
next due event while somebody waits. Moves, exposures and readouts therefore take exactly
their instrument time, concurrent ones overlap, and the same scan gives the same times.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

logger = logging.getLogger(__name__)


class Awaitable(Protocol):
    """What can be waited for: anything with a `done` flag, such as an ophyd status."""

    @property
    def done(self) -> bool:
        """Whether the wait is over."""
        ...


class Idleness(Protocol):
    """Knows whether somebody far away waits, so that time may pass: the face of a server."""

    def delay_s(self) -> float | None:
        """Return the wall seconds until time may pass; None: not before `VirtualClock.wake`."""
        ...


class InstrumentClock(Protocol):
    """What a RunEngine needs of the instrument's clock, wherever the clock is."""

    def now(self) -> float:
        """Return the instrument time in seconds since 1970."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Cancellable:
        """Schedule `callback` in `delay_s` of instrument time."""
        ...

    def waiting_hook(self, statuses: Iterable[Awaitable] | None) -> None:
        """Let time pass until these are done."""
        ...

    def waiting_for(self, awaited: Awaitable) -> AbstractContextManager[None]:
        """Let time pass, inside the block, until `awaited` is done."""
        ...


class Cancellable(Protocol):
    """Something that can be called off."""

    def cancel(self) -> None:
        """Make it not happen."""
        ...


@dataclass(order=True)
class Event:
    """Something that will happen at `due_s`, unless cancelled before."""

    due_s: float
    number: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Make the event not happen."""
        self.cancelled = True


class VirtualClock:
    """Instrument time.

    Parameters
    ----------
    epoch_s
        Instrument time at the start, seconds since 1970; now if None.
    speed
        None: time passes only while somebody waits, and then as fast as events can be
        computed. A number: that many instrument seconds per wall second (1 is real time),
        whether somebody waits or not.
    idleness
        Says whether somebody waits where nobody can tell us in this process: with it, events
        that are due run at once, and time passes when it says so.

    Notes
    -----
    One daemon thread runs the events, one at a time, in order of (due time, order of
    scheduling). `wait_for` declares what is being waited for: a RunEngine calls it through its
    `waiting_hook`, statuses call it in their `wait`.
    """

    def __init__(
        self,
        epoch_s: float | None = None,
        speed: float | None = None,
        idleness: Idleness | None = None,
    ) -> None:
        self._now_s = time.time() if epoch_s is None else epoch_s
        self._speed = speed
        self._idleness = idleness
        self._wall_s = time.monotonic()
        self._heap: list[Event] = []
        self._numbers = itertools.count()
        self._condition = threading.Condition()
        self.lock = threading.RLock()
        """Held while an event runs: whoever touches the instrument from another thread holds
        it too."""
        self._hooked: tuple[Awaitable, ...] = ()
        self._waiting: list[Awaitable] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="instrument-clock", daemon=True)
        self._thread.start()

    @property
    def speed(self) -> float | None:
        """Instrument seconds per wall second; None if as fast as possible."""
        return self._speed

    def now(self) -> float:
        """Return the instrument time in seconds since 1970."""
        with self._condition:
            if self._speed is not None:
                self._follow_wall()
            return self._now_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Event:
        """Schedule `callback` to run on the clock's thread in `delay_s` of instrument time."""
        now_s = self.now()
        with self._condition:
            event = Event(now_s + max(delay_s, 0.0), next(self._numbers), callback)
            heapq.heappush(self._heap, event)
            self._condition.notify_all()
        return event

    def waiting_hook(self, statuses: Iterable[Awaitable] | None) -> None:
        """Let time pass until these are done: the signature of `RunEngine.waiting_hook`."""
        with self._condition:
            self._hooked = tuple(statuses) if statuses is not None else ()
            self._condition.notify_all()

    @contextmanager
    def waiting_for(self, awaited: Awaitable) -> Generator[None]:
        """Let time pass, inside the block, until `awaited` is done."""
        with self._condition:
            self._waiting.append(awaited)
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._waiting.remove(awaited)

    def wake(self) -> None:
        """Look again whether time may pass: the idleness has changed."""
        with self._condition:
            self._condition.notify_all()

    def close(self) -> None:
        """Stop the clock; what is still scheduled never happens."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)

    def _follow_wall(self) -> None:
        """Advance `_now_s` with the wall clock, but never past an event not yet run."""
        assert self._speed is not None
        wall_s = time.monotonic()
        target_s = self._now_s + (wall_s - self._wall_s) * self._speed
        if self._heap:
            target_s = min(target_s, max(self._heap[0].due_s, self._now_s))
        self._wall_s = wall_s
        self._now_s = target_s

    def _delay_s(self) -> float | None:
        """Return the wall seconds until the next event may run; None: nothing to run."""
        while self._heap and self._heap[0].cancelled:
            heapq.heappop(self._heap)
        if not self._heap:
            return None
        if self._speed is not None:
            self._follow_wall()
            return max(0.0, (self._heap[0].due_s - self._now_s) / self._speed)
        if self._idleness is not None:
            return 0.0 if self._heap[0].due_s <= self._now_s else self._idleness.delay_s()
        awaited = any(not status.done for status in (*self._hooked, *self._waiting))
        return 0.0 if awaited else None

    def _run(self) -> None:
        while True:
            with self._condition:
                delay_s = self._delay_s()
                while not self._closed and (delay_s is None or delay_s > 0):
                    self._condition.wait(delay_s)
                    delay_s = self._delay_s()
                if self._closed:
                    return
                event = heapq.heappop(self._heap)
                self._now_s = max(self._now_s, event.due_s)
                self._wall_s = time.monotonic()
            try:
                with self.lock:
                    event.callback()
            except Exception:
                # One bad event must not stop the time of all others; what waits has a deadline.
                logger.exception("An event of the simulated instrument failed")


def attach(run_engine: Any, clock: InstrumentClock) -> None:
    """Let a RunEngine's waits and sleeps pass instrument time.

    Sets its `waiting_hook` (in front of one that is there, such as a progress bar) and
    replaces its `sleep` command.
    """
    import asyncio

    previous = run_engine.waiting_hook

    def waiting_hook(statuses: Iterable[Awaitable] | None) -> None:
        clock.waiting_hook(statuses)
        if previous is not None:
            previous(statuses)

    async def sleep(message: Any) -> None:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        class _Sleep:
            done = False

        def wake() -> None:
            _sleep.done = True
            loop.call_soon_threadsafe(over.set)

        _sleep = _Sleep()
        event = clock.call_later(float(message.args[0]), wake)
        try:
            with clock.waiting_for(_sleep):
                await over.wait()
        finally:
            event.cancel()

    run_engine.waiting_hook = waiting_hook
    run_engine.register_command("sleep", sleep)
