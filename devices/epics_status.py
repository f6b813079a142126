"""Statuses that cannot hang: each has a deadline, and ends when the server behind it goes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

from epics.ca import ChannelAccessException, ChannelAccessGetFailure
from ophyd.status import DeviceStatus, MoveStatus, Status, StatusBase

from .deadlines import call_when_late
from .errors import AcquisitionError

SERVER_IS_GONE = (
    TimeoutError,
    ConnectionError,
    ChannelAccessException,
    ChannelAccessGetFailure,
)
"""What ophyd and pyepics raise when a server goes while they speak with it."""


BUSY_S = 10.0
"""Wall time by which a wait on a clock that jumps may be longer than in instrument time: such a
clock stands still while a busy computer computes. What took too long is judged by the clock."""


class WaitableClock(Protocol):
    """An instrument clock that wants to know when somebody waits."""

    @property
    def speed(self) -> float | None:
        """Instrument seconds per wall second; None for a clock that jumps."""
        ...

    def now(self) -> float:
        """Return the instrument time."""
        ...

    def waiting_for(self, awaited: Any) -> Any:
        """Return a context in which time passes until `awaited` is done."""
        ...

    def working(self) -> None:
        """Take note that something is about to be set in motion."""
        ...


def clock_of(device: Any) -> WaitableClock | None:
    """Return the instrument clock of the device tree that `device` is in, if it has one."""
    return getattr(device.root, "clock", None)


class Guarded(StatusBase):
    """What our statuses have in common; goes in front of one of ophyd's.

    `succeed` and `fail` may be called any number of times from any thread: the first counts.
    """

    takes_time = True
    """Whether what it waits for needs instrument time; a setting is only on its way."""

    halfway = False
    """Whether it ends while what it belongs to goes on, as an exposure before its readout."""

    concluded = False
    """Whether it is known how it ended; it is `done` a moment later."""

    def guard(
        self,
        link: Link,
        patience_s: float,
        too_late: Callable[[], None],
        clock: WaitableClock | None,
        what: str,
    ) -> None:
        """Watch the deadline and the connection.

        Parameters
        ----------
        link
            Connection that the status depends on.
        patience_s
            Wall time after which `too_late` is called, to say what is wrong with `fail`.
        too_late
            See above.
        clock
            Told when somebody waits. Where its time jumps, success after the deadline in
            instrument time is a failure too.
        what
            What has not happened then, such as "the motor did not arrive".
        """
        self._once = threading.Lock()
        self._link, self._clock, self._too_late = link, clock, too_late
        if clock is not None and self.takes_time:
            clock.working()
        jumps = clock is not None and clock.speed is None
        self._late = call_when_late(patience_s + (BUSY_S if jumps else 0.0), too_late)
        self._what, self._patience_s = what, patience_s
        self._deadline_s = clock.now() + patience_s if clock is not None else math.inf
        link.add(self)

    def hurry(self, patience_s: float) -> None:
        """Replace the deadline by one so long from now."""
        with self._once:
            if not self.concluded:
                self._late.cancel()
                self._late = call_when_late(patience_s, self._too_late)

    def succeed(self) -> None:
        """End well, unless it has ended or comes too late."""
        if self._clock is not None and self._clock.now() > self._deadline_s:
            self.fail(
                f"{self._what} within {self._patience_s:.1f} s; see what holds it up, then repeat "
                "the scan"
            )
        elif self._conclude():
            self.set_finished()

    def fail(self, message: str, error: type[Exception] = AcquisitionError) -> None:
        """End with an error, unless it has ended."""
        if self._conclude():
            self.set_exception(error(message))

    def wait(self, timeout: float | None = None) -> None:
        """Block until done; lets instrument time pass where it does not pass by itself."""
        with self._clock.waiting_for(self) if self._clock is not None else nullcontext():
            super().wait(timeout)

    def _conclude(self) -> bool:
        with self._once:
            if self.concluded:
                return False
            self.concluded = True
        self._late.cancel()
        self._link.discard(self)
        return True


class SettingStatus(Guarded, Status):
    """The status of a value that was put."""


class EpicsStatus(Guarded, DeviceStatus):
    """The status of something a device does."""


class EpicsMoveStatus(Guarded, MoveStatus):
    """The status of a move."""


class Link:
    """The connection of a device to its server: ends what waits for it when it is lost.

    Parameters
    ----------
    name
        Name of the device, for messages.
    signals
        Signals without which it cannot work.

    Attributes
    ----------
    losses
        How often the connection was lost.
    """

    def __init__(self, name: str, signals: Iterable[Any]) -> None:
        self._name = name
        self._signals = tuple(signals)
        self._waiting: set[Guarded] = set()
        self._lock = threading.Lock()
        self.losses = 0
        for signal in self._signals:
            signal.subscribe(self._changed, event_type=signal.SUB_META, run=False)

    @property
    def up(self) -> bool:
        """Whether all signals are connected."""
        return all(signal.connected for signal in self._signals)

    @property
    def complaint(self) -> str:
        """What to tell when the connection is lost."""
        return (
            f"{self._name}: the EPICS server behind {self._signals[0].pvname} does not answer any "
            "more (it was stopped, it died, or the network did): start it again, see `zoneplate "
            "doctor`, then repeat the scan"
        )

    def check(self) -> None:
        """Refuse to go on without a connection.

        Raises
        ------
        AcquisitionError
            If it is lost.
        """
        if not self.up:
            raise AcquisitionError(self.complaint)

    @contextmanager
    def required(self) -> Generator[None]:
        """Raise what goes wrong inside, because the server is gone, as our error."""
        try:
            yield
        except SERVER_IS_GONE as error:
            raise AcquisitionError(f"{self.complaint} ({error})") from error

    def add(self, status: Guarded) -> None:
        """End this status if the connection is lost."""
        with self._lock:
            self._waiting.add(status)
        if not self.up:
            status.fail(self.complaint)

    def discard(self, status: Guarded) -> None:
        """Forget a status that has ended."""
        with self._lock:
            self._waiting.discard(status)

    def _changed(self, connected: bool | None = None, **_: Any) -> None:
        if connected is not False:
            return
        with self._lock:
            self.losses += 1
            waiting = tuple(self._waiting)
        for status in waiting:
            status.fail(self.complaint)
