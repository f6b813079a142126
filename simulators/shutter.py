"""The beam shutter of the simulated microscope."""

from __future__ import annotations

from typing import Any

from ophyd import Component

from zoneplate.devices.errors import AcquisitionError, ConfigurationError
from zoneplate.devices.microscope import Shutter
from zoneplate.devices.states import SHUTTER_CLOSED, SHUTTER_OPEN
from zoneplate.devices.timing import timeout_s

from .clock import VirtualClock
from .shutter_model import ShutterModel
from .signals import InstrumentStatus, ModelSignal


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
