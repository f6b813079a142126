"""The beam shutter of the simulated microscope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ophyd import Component

from zoneplate.devices.configuration import ShutterConfiguration
from zoneplate.devices.errors import AcquisitionError, ConfigurationError
from zoneplate.devices.microscope import SHUTTER_CLOSED, SHUTTER_OPEN, Shutter
from zoneplate.devices.timing import timeout_s

from .clock import Event, VirtualClock
from .faults import FaultBus
from .signals import InstrumentStatus, ModelSignal


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


class SimulatedShutter(Shutter):
    """The shutter as a device."""

    state = Component(ModelSignal, kind="normal")

    def bind(self, clock: VirtualClock, model: ShutterModel) -> None:
        """Connect the device to its model."""
        self._clock, self._model = clock, model
        self.state.bind(clock, lambda: model.state)
        self.told = model.state

    # ophyd leaves the value without a type; pyright infers None.
    def check_value(self, value: str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse anything but the two positions a shutter has.

        Raises
        ------
        ConfigurationError
            If `value` is neither.
        """
        if value not in (SHUTTER_OPEN, SHUTTER_CLOSED):
            raise ConfigurationError(
                f"{self.name} cannot be set to {value!r}: use {SHUTTER_OPEN!r} or "
                f"{SHUTTER_CLOSED!r}"
            )

    def set(self, value: str, **kwargs: Any) -> InstrumentStatus:
        """Open or close; the status is done when the blade has arrived."""
        self.check_value(value)
        self.told = value
        status = InstrumentStatus(self, self._clock)
        with self._clock.lock:
            patience_s = timeout_s(self._model.configuration.travel_s)

            def give_up() -> None:
                if not status.done:
                    status.set_exception(
                        AcquisitionError(
                            f"{self.name} is still {self._model.state} {patience_s:.1f} s after it "
                            f"was told to be {value}; check the shutter and its supply"
                        )
                    )

            def arrived() -> None:
                deadline.cancel()
                if not status.done:
                    status.set_finished()

            deadline = self._clock.call_later(patience_s, give_up)
            self._model.go(value, arrived)
        return status
