"""How the blade of the simulated shutter behaves."""

from __future__ import annotations

from collections.abc import Callable

from zoneplate.devices.configuration import ShutterConfiguration
from zoneplate.devices.states import SHUTTER_CLOSED, SHUTTER_OPEN

from .clock import Event, VirtualClock
from .faults import FaultBus


class ShutterModel:
    """A blade that takes its time; light passes only while it is fully open."""

    def __init__(
        self, configuration: ShutterConfiguration, clock: VirtualClock, faults: FaultBus
    ) -> None:
        self.configuration = configuration
        self._faults = faults
        self.state = SHUTTER_CLOSED
        self._clock = clock
        self._event: Event | None = None
        self._going = SHUTTER_CLOSED
        self._waiting: list[Callable[[], None]] = []
        faults.watch(self._obey_interlock)

    def _obey_interlock(self) -> None:
        """Close at once where the interlock says so."""
        if self._faults.lasts("shutter_closes"):
            if self._event is not None:
                self._event.cancel()
            self._event, self.state = None, SHUTTER_CLOSED

    @property
    def is_open(self) -> bool:
        """Whether light reaches the sample."""
        return self.state == SHUTTER_OPEN

    def go(self, state: str, done: Callable[[], None]) -> None:
        """Move the blade; a stuck one never arrives."""
        if self._event is not None:
            if state == self._going:
                self._waiting.append(done)  # told again, as after a pause: one move, one arrival
                return
            self._event.cancel()
        self._going, self._waiting = state, [done]
        if state == self.state:
            done()
            return
        if self._faults.fires("shutter_stuck") or self._faults.lasts("shutter_closes"):
            return

        def arrive() -> None:
            self.state = state
            self._event = None
            for arrived in self._waiting:
                arrived()

        self._event = self._clock.call_later(self.configuration.travel_s, arrive)
