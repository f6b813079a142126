"""When instrument time may pass in a server whose clients wait far away.

The event-driven clock jumps to the next event while somebody waits. In the server nobody says
so; what can be seen is that a client which has something to do writes. So time stands still for
a grace after each write, and after each news that may cause one, and then jumps.

A client that can tell does better, and leads: it holds the time when it begins to work (the PV
`Clock:Hold`) and lets it go when it waits (`Clock:Go`), saying which news it has heard: if there
is newer, its wait may be over already, and it will say again when it has heard them. Time then
passes up to the next news. So a slow client loses no instrument time and a fast one waits for no
grace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

GRACE_S = 0.01
"""Wall time without a client's write after which nobody has anything to do. Measured: with 1 ms,
concurrent moves came one after the other in 14 of 19 trials, with 4 ms in none. A loaded computer
needs more; ophyd's `SingleTrigger` even fails if a frame is over before its `trigger` returns."""

LED_GRACE_S = 1.0
"""The same where a client leads: it says when it waits, and only if it falls silent, time passes
without it."""

LEAD_KEPT_S = 5.0
"""A client that held or let go this recently still leads."""


class ClientPacing:
    """Whether the clients of a server wait.

    Parameters
    ----------
    wake
        Called when time may pass earlier than was said before.
    grace_s
        Wall time without a client's write after which time passes, unless a client leads.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None, grace_s: float = GRACE_S) -> None:
        self.wake = wake
        self._grace_unled_s = grace_s
        self._lock = threading.Lock()
        self._earliest_s = 0.0
        self._led_until_s = 0.0
        self._through = False
        self._begun = self._ended = 0

    def delay_s(self) -> float | None:
        """Return the wall seconds until time may pass; None: not before news are out."""
        with self._lock:
            if self._begun > self._ended:
                return None
            return max(0.0, self._earliest_s - time.monotonic())

    def written(self) -> None:
        """Note that a client has written something."""
        self._not_before(self._grace_s)

    def hold(self, seconds: float) -> None:
        """Let time stand still for so many wall seconds: a client takes the lead."""
        self._lead(max(seconds, self._grace_unled_s))

    def go(self, heard: int, *, through: bool = False) -> None:
        """Let time pass: the client that leads waits, and has heard this many news.

        Parameters
        ----------
        heard
            How many.
        through
            Whether it need not be asked again after news that end nothing it may wait for.
        """
        with self._lock:
            heard_all = heard >= self._begun
            self._through = through
        self._lead(0.0 if heard_all else LED_GRACE_S)

    def begin_news(self, *, halfway: bool = False) -> int | None:
        """Let time stand still while news are on their way to the clients; return their number.

        None if time goes on: what happened is halfway through something, and the client that leads
        has said that it waits for the end.
        """
        with self._lock:
            if halfway and self._through and time.monotonic() < self._led_until_s:
                return None
            self._through = False
            self._begun += 1
            return self._begun

    def end_news(self) -> None:
        """Give the clients a moment to answer: the news are out."""
        self._not_before(self._grace_s)
        with self._lock:
            self._ended += 1
        self.wake()

    @property
    def _grace_s(self) -> float:
        return LED_GRACE_S if time.monotonic() < self._led_until_s else self._grace_unled_s

    def _lead(self, stand_still_s: float) -> None:
        now_s = time.monotonic()
        with self._lock:
            self._earliest_s = now_s + stand_still_s
            self._led_until_s = now_s + LEAD_KEPT_S
        self.wake()

    def _not_before(self, grace_s: float) -> None:
        with self._lock:
            self._earliest_s = max(self._earliest_s, time.monotonic() + grace_s)
