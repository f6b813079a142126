"""EPICS signals with units, and with settings that are checked instead of believed."""

# ophyd leaves its own signatures without types; what pyright infers for them is too narrow.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ophyd.signal import EpicsSignal, EpicsSignalRO
from ophyd.utils.epics_pvs import data_type

from .epics_status import Link, SettingStatus, clock_of
from .errors import ZoneplateError

SETTING_PATIENCE_S = 10.0
"""A setting that takes effect at once has failed after so long."""

REFUSED_AFTER_S = 1.0
"""A put that is complete and does not read back after so long was refused."""

MATCHING = 1e-6
"""Largest relative difference between a number that was put and what reads back."""


class Quantity(EpicsSignalRO):
    """A monitored PV in known units.

    Parameters
    ----------
    units
        Unit of the value; what the server says if None.
    convert
        Makes the value that we want of the value of the PV.
    """

    def __init__(
        self,
        read_pv: str,
        *,
        units: str | None = None,
        convert: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._units, self._convert = units, convert
        super().__init__(read_pv, auto_monitor=True, **kwargs)

    def get(self, **kwargs: Any) -> Any:
        """Return the value."""
        value = super().get(**kwargs)
        return value if self._convert is None else self._convert(value)

    def describe(self) -> dict[str, Any]:
        """Return the data key, with our unit and the type of our value."""
        return _described(self, super().describe(), self._units)


class Setting(EpicsSignal):
    """A PV that is set, with the readback that says whether it took effect.

    Parameters
    ----------
    read_pv, write_pv
        The readback and what to put to.
    units
        Unit of the value; what the server says if None.
    convert, invert
        Make our value of that of the PV, and the other way round.
    advice
        What to do if it does not take effect.
    takes_time
        Whether something has to move before it takes effect.
    """

    def __init__(
        self,
        read_pv: str,
        write_pv: str | None = None,
        *,
        units: str | None = None,
        convert: Callable[[Any], Any] | None = None,
        invert: Callable[[Any], Any] | None = None,
        advice: str = "check that the server allows it",
        takes_time: bool = False,
        **kwargs: Any,
    ) -> None:
        self._units, self._convert, self._invert = units, convert, invert
        self._advice, self._takes_time = advice, takes_time
        self.allow: Callable[[Any], object] | None = None
        """Called with a value before it is set; raises to refuse it."""
        super().__init__(read_pv, write_pv, auto_monitor=True, **kwargs)
        self._link = Link(self.name, [self])

    def translate(self, convert: Callable[[Any], Any], invert: Callable[[Any], Any]) -> None:
        """Make our value of that of the PV, and the other way round, by these from now on."""
        self._convert, self._invert = convert, invert

    def get(self, **kwargs: Any) -> Any:
        """Return the readback."""
        value = super().get(**kwargs)
        return value if self._convert is None else self._convert(value)

    def set(
        self, value: Any, *, patience_s: float = SETTING_PATIENCE_S, **kwargs: Any
    ) -> SettingStatus:
        """Set; done when it reads back, failed when it is refused or takes too long.

        What has to move for it has arrived when the readback is posted; what takes effect at once
        reads back when the put is complete.

        Parameters
        ----------
        value
            What to set.
        patience_s
            Wall time after which it has failed.
        """
        status = SettingStatus(self)
        status.takes_time = self._takes_time
        wanted = value if self._invert is None else self._invert(value)
        seen: list[Any] = []
        asked: list[bool] = []
        complete: list[bool] = []

        def too_late() -> None:
            status.fail(
                f"{self.name} was set to {value!r} but reads {self._seen(seen)!r} after "
                f"{patience_s:g} s: {self._advice}"
            )

        def conclude() -> None:
            if complete and seen and _same(seen[-1], wanted):
                status.succeed()

        def changed(value: Any = None, **_: Any) -> None:
            seen.append(value)
            if asked and self._takes_time:
                # The answer to the put may come after the clock has been told that we still wait.
                complete.append(True)
            conclude()

        def completed(**_: Any) -> None:
            if self.setpoint_pvname == self.pvname:
                # ophyd has taken our word for it; a server that refuses has put it back.
                seen.append(EpicsSignal.get(self, use_monitor=False))
                self.unsubscribe(token)
            complete.append(True)
            conclude()
            status.hurry(min(patience_s, REFUSED_AFTER_S))

        what = f"{self.name} did not become {value!r}"
        status.guard(self._link, patience_s, too_late, clock_of(self), what)
        if status.done:
            return status
        try:
            if self.allow is not None:
                self.allow(value)
        except ZoneplateError as error:
            status.fail(str(error), type(error))
            return status
        token = self.subscribe(changed, run=True)
        status.add_callback(lambda _: self.unsubscribe(token))
        asked.append(True)
        with self._link.required():
            self._put_everything(wanted, completed)
        return status

    def _put_everything(self, wanted: Any, completed: Callable[..., None]) -> None:
        self.put(wanted, use_complete=True, callback=completed, force=True)

    def _seen(self, seen: list[Any]) -> Any:
        if not seen:
            return None
        return seen[-1] if self._convert is None else self._convert(seen[-1])

    def describe(self) -> dict[str, Any]:
        """Return the data key, with our unit and the type of our value."""
        return _described(self, super().describe(), self._units)


class PairedSetting(Setting):
    """A setting that goes to a second PV too, first, such as the binning of the other axis."""

    def __init__(self, read_pv: str, write_pv: str, *, also_pv: str, **kwargs: Any) -> None:
        super().__init__(read_pv, write_pv, **kwargs)
        self._also = EpicsSignal(also_pv, name=f"{self.name}_also")

    @property
    def connected(self) -> bool:
        """Whether all PVs are connected: a device waits for what its signals say here."""
        also = getattr(self, "_also", None)
        return bool(super().connected and also is not None and also.connected)

    def wait_for_connection(self, *args: Any, **kwargs: Any) -> None:
        """Wait for all PVs."""
        self._also.wait_for_connection(*args, **kwargs)
        super().wait_for_connection(*args, **kwargs)

    def destroy(self) -> None:
        """Close all PVs: a channel that is left behind keeps its name from being found soon."""
        self._also.destroy()
        super().destroy()

    def _put_everything(self, wanted: Any, completed: Callable[..., None]) -> None:
        self._also.put(wanted)
        super()._put_everything(wanted, completed)


def _same(reading: Any, wanted: Any) -> bool:
    if isinstance(reading, str) or isinstance(wanted, str):
        return reading == wanted
    return abs(reading - wanted) <= MATCHING * max(abs(wanted), abs(reading))


def _described(signal: Any, description: dict[str, Any], units: str | None) -> dict[str, Any]:
    key = description[signal.name]
    key["dtype"] = data_type(signal.get())
    if units is not None:
        key["units"] = units
    return description
