"""The rotation stage turning at constant velocity: what a fly scan is taken during."""

# ophyd leaves its own signatures without types; what pyright infers for them is too narrow.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from ophyd import Component, Device, Signal
from ophyd.status import DeviceStatus, Status, StatusBase

from .errors import AcquisitionError, ConfigurationError

SETTING_PATIENCE_S = 10.0
"""Wall time after which a velocity that was set must read back."""


class Note(Signal):
    """A value that is only remembered: setting it takes no time at all.

    ophyd sets its own in a thread, and while that is waited for the instrument's time passes.
    """

    def set(self, value: Any, **_: Any) -> Status:
        """Remember the value; the status is done on return."""
        self.put(value)
        status = Status(self)
        status.set_finished()
        return status


class Sweep(Device):
    """A turn of the sample from one angle to another at constant velocity: a Bluesky flyer.

    `kickoff` brings the stage to the start if it is elsewhere and sets it turning, `complete` is
    done when it has arrived or was stopped, and has its usual velocity back; `collect` tells what
    was done. It speaks only to the rotation axis, so it is the same on both faces.
    """

    start_deg = Component(Note, value=-90.0, kind="omitted")
    stop_deg = Component(Note, value=90.0, kind="omitted")
    velocity_deg_s = Component(Note, value=1.0, kind="omitted")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._lock = threading.Lock()
        self._turning = False
        self._failure: Exception | None = None
        self._waiting: list[DeviceStatus] = []
        self._done: list[dict[str, float]] = []

    @property
    def _axis(self) -> Any:
        owner: Any = self.parent
        return owner.sample_stage.theta

    def kickoff(self) -> DeviceStatus:
        """Start turning; done when the stage has left the start.

        Raises
        ------
        ConfigurationError
            If the velocity is not possible.
        AcquisitionError
            If a sweep is going on.
        """
        start: Any = self.start_deg.get()
        stop: Any = self.stop_deg.get()
        velocity: Any = self.velocity_deg_s.get()
        owner: Any = self.parent
        limits = owner.configuration.stage.theta
        if not 0 < velocity <= limits.velocity:
            raise ConfigurationError(
                f"{self.name} cannot turn at {velocity:g} {limits.unit}/s: the stage turns at up "
                f"to {limits.velocity:g}"
            )
        axis = self._axis
        axis.check_value(start)
        axis.check_value(stop)
        with self._lock:
            if self._turning:
                raise AcquisitionError(f"{self.name} is turning already: wait for it first")
            self._turning, self._failure = True, None
        status = DeviceStatus(self)

        def begin(arrival: StatusBase | None = None) -> None:
            try:
                failure: Any = arrival.exception() if arrival is not None else None
                if failure is not None:
                    raise failure
                usual = float(axis.velocity.get())
                axis.velocity.set(velocity).wait(SETTING_PATIENCE_S)
                turn = axis.move(stop)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
                self._end(error)
                status.set_exception(error)
                return
            row = {"start_deg": start, "stop_deg": stop, "velocity_deg_s": velocity}
            turn.add_callback(lambda ended: self._ended(ended, usual, row))
            status.set_finished()

        if axis.user_setpoint.get() == start and not axis.moving:
            begin()
        else:
            axis.move(start).add_callback(begin)
        return status

    def _ended(self, turn: StatusBase, usual: float, row: dict[str, float]) -> None:
        """Give the axis its usual velocity back, then tell that the turn is over."""
        failure: Any = turn.exception()
        try:
            self._axis.velocity.set(usual).wait(SETTING_PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            failure = failure or error
        self._done.append({**row, "stop_deg": float(self._axis.user_setpoint.get())})
        self._end(failure)

    def _end(self, failure: Exception | None) -> None:
        with self._lock:
            self._turning, self._failure = False, failure
            waiting, self._waiting = self._waiting, []
        for status in waiting:
            _conclude(status, failure)

    def complete(self) -> DeviceStatus:
        """Return the status of the turn: done when the stage has arrived, or was stopped."""
        status = DeviceStatus(self)
        with self._lock:
            if self._turning:
                self._waiting.append(status)
                return status
            failure, self._failure = self._failure, None
        _conclude(status, failure)
        return status

    def stop(self, *, success: bool = False) -> None:
        """Stop turning where the stage is; that is no failure of the sweep."""
        self._axis.stop(success=True)

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        """Describe the stream `sweep`: a row per turn."""
        unit = {"start_deg": "deg", "stop_deg": "deg", "velocity_deg_s": "deg/s"}
        keys = {
            f"{self.name}_{key}": {
                "source": f"SOFT:{self.name}",
                "dtype": "number",
                "shape": list[int](),
                "units": units,
            }
            for key, units in unit.items()
        }
        return {"sweep": keys}

    def collect(self) -> Iterator[dict[str, Any]]:
        """Yield a row per turn since the last call."""
        done, self._done = self._done, []
        stamp_s = float(self._axis.user_setpoint.timestamp)
        for row in done:
            data = {f"{self.name}_{key}": value for key, value in row.items()}
            yield {"time": stamp_s, "data": data, "timestamps": dict.fromkeys(data, stamp_s)}


def _conclude(status: DeviceStatus, failure: Exception | None) -> None:
    if failure is None:
        status.set_finished()
    else:
        status.set_exception(failure)
