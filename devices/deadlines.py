"""Deadlines of many waits, watched by one thread: a timer each would start a thread per frame."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Deadline:
    """A call that is due at some time, unless it is cancelled before.

    Parameters
    ----------
    too_late
        Called, in a thread of its own, when the time has come.
    """

    def __init__(self, too_late: Callable[[], None]) -> None:
        self._too_late: Callable[[], None] | None = too_late

    def cancel(self) -> None:
        """Make it not happen."""
        self._too_late = None

    def come(self) -> None:
        """Call, unless cancelled."""
        too_late, self._too_late = self._too_late, None
        if too_late is not None:
            # It may ask the server, and others are due meanwhile.
            threading.Thread(target=too_late, name="too-late", daemon=True).start()


class _Watch:
    """Waits for the earliest of all deadlines."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._due: list[tuple[float, int, Deadline]] = []
        self._thread: threading.Thread | None = None

    def add(self, patience_s: float, deadline: Deadline) -> None:
        due_s = time.monotonic() + patience_s
        with self._changed:
            heapq.heappush(self._due, (due_s, next(self._order), deadline))
            if self._due[0][2] is deadline:
                self._changed.notify()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        with self._changed:
            while True:
                left_s = self._due[0][0] - time.monotonic() if self._due else None
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                else:
                    heapq.heappop(self._due)[2].come()


_watch = _Watch()


def call_when_late(patience_s: float, too_late: Callable[[], None]) -> Deadline:
    """Call `too_late` after so much wall time, unless the deadline is cancelled before."""
    deadline = Deadline(too_late)
    _watch.add(patience_s, deadline)
    return deadline
