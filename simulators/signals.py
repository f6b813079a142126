"""Signals and statuses of the in-process devices: instrument values at instrument time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ophyd import Signal
from ophyd.status import DeviceStatus, MoveStatus, Status
from ophyd.utils import ReadOnlyError
from ophyd.utils.epics_pvs import data_type

from .clock import VirtualClock


class ModelSignal(Signal):
    """A signal whose value lives in the instrument model.

    It is declared as a component and connected by its device with `bind`; reading asks the
    model, so it never goes stale, and its timestamp is instrument time. Setting is immediate
    (the slow things have statuses of their own).

    Parameters
    ----------
    units
        Unit of the value, for the descriptor.
    """

    def __init__(self, *, units: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._units = units
        self._getter: Callable[[], Any] | None = None
        self._setter: Callable[[Any], None] | None = None
        self._clock: VirtualClock | None = None

    def bind(
        self,
        clock: VirtualClock,
        getter: Callable[[], Any],
        setter: Callable[[Any], None] | None = None,
        units: str | None = None,
    ) -> None:
        """Connect the signal; without a setter it is read-only."""
        self._clock, self._getter, self._setter = clock, getter, setter
        if units is not None:
            self._units = units

    @property
    def timestamp(self) -> float:
        """Instrument time of the reading."""
        assert self._clock is not None
        return self._clock.now()

    def get(self, **kwargs: Any) -> Any:
        """Ask the model."""
        assert self._clock is not None
        assert self._getter is not None
        with self._clock.lock:
            return self._getter()

    def put(self, value: Any, **kwargs: Any) -> None:
        """Tell the model.

        Raises
        ------
        ReadOnlyError
            If the value cannot be set.
        ConfigurationError
            If the model refuses the value.
        """
        assert self._clock is not None
        if self._setter is None:
            raise ReadOnlyError(f"{self.name} can only be read")
        with self._clock.lock:
            self._setter(value)
        self._readback = value
        self._run_subs(sub_type=self.SUB_VALUE, value=value, timestamp=self.timestamp)

    def changed(self) -> None:
        """Tell subscribers that the model has changed by itself."""
        self._run_subs(sub_type=self.SUB_VALUE, value=self.get(), timestamp=self.timestamp)

    def set(self, value: Any, **kwargs: Any) -> Status:
        """Tell the model; the status is done on return, or failed with the refusal."""
        status = Status(self)
        try:
            self.put(value)
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiter must hear of it
            status.set_exception(error)
        else:
            status.set_finished()
        return status

    def describe(self) -> dict[str, Any]:
        """Return the data key, with the unit and the type of the value."""
        description = super().describe()
        # ophyd infers the type from its cached value, and ours is in the model.
        description[self.name]["dtype"] = data_type(self.get())
        if self._units:
            description[self.name]["units"] = self._units
        return description


class InstrumentStatus(DeviceStatus):
    """A status whose `wait` lets instrument time pass."""

    def __init__(self, device: Any, clock: VirtualClock, **kwargs: Any) -> None:
        self.clock = clock
        super().__init__(device, **kwargs)

    def wait(self, timeout: float | None = None) -> None:
        """Block until done, passing instrument time."""
        with self.clock.waiting_for(self):
            super().wait(timeout)


class InstrumentMoveStatus(MoveStatus):
    """A move status whose `wait` lets instrument time pass."""

    def __init__(self, positioner: Any, target: float, clock: VirtualClock, **kwargs: Any) -> None:
        self.clock = clock
        super().__init__(positioner, target, **kwargs)

    def wait(self, timeout: float | None = None) -> None:
        """Block until done, passing instrument time."""
        with self.clock.waiting_for(self):
            super().wait(timeout)
