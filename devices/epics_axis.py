"""One motion axis over an EPICS motor record, without the ways in which a move can lie.

ophyd's `EpicsMotor` loses the end of a move now and then and hangs (a race), has no timeout,
and calls a move that was stopped or fell short a success. This one does neither.
"""

# ophyd leaves its own signatures without types; what pyright infers for them is too narrow.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Any

from ophyd import Component, EpicsMotor, EpicsSignal, EpicsSignalRO
from ophyd.utils import LimitError
from ophyd.utils.epics_pvs import AlarmSeverity

from .configuration import AxisConfiguration
from .epics_status import EpicsMoveStatus, Link, clock_of
from .microscope import Microscope, Part
from .timing import move_time_s, timeout_s


@dataclass
class _Request:
    """A move that was asked for, by one or more callers."""

    target: float
    statuses: list[EpicsMoveStatus] = field(default_factory=list)
    started: bool = False
    forgiven: bool = False

    def succeed(self) -> None:
        for status in self.statuses:
            status.succeed()

    def fail(self, message: str) -> None:
        for status in self.statuses:
            status.fail(message)


class PostedSwitch(EpicsSignalRO):
    """A limit switch as it was last posted.

    ophyd asks the server for it after every move, in the thread that the end of the move has to
    pass: each move took a round trip longer.
    """

    def get(self, *, use_monitor: bool | None = None, **kwargs: Any) -> Any:
        """Return what was posted; the record posts its switches before the end of a move."""
        return super().get(use_monitor=True, **kwargs)


class EpicsAxis(Part, EpicsMotor):
    """A motor record as an axis of the stage.

    Deadband and settling come from the instrument file (`configure_axis`), velocity and
    acceleration from the record; of the limits of both, the narrower hold.
    """

    # Not in the documents: the simulated axis, whose data keys these are, has no offset.
    user_offset = Component(EpicsSignal, ".OFF", kind="omitted", auto_monitor=True)
    user_offset_dir = Component(EpicsSignal, ".DIR", kind="omitted", auto_monitor=True)

    # Nothing waits for it: DMOV is zero a little longer, and says whether the axis has settled.
    motor_is_moving = Component(EpicsSignalRO, ".MOVN", kind="omitted", auto_monitor=False)

    high_limit_switch = Component(PostedSwitch, ".HLS", kind="omitted", auto_monitor=True)
    low_limit_switch = Component(PostedSwitch, ".LLS", kind="omitted", auto_monitor=True)

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        self._allowed = (-math.inf, math.inf)
        self._request: _Request | None = None
        self._request_lock = threading.RLock()
        super().__init__(prefix, name=name, **kwargs)
        signals = (self.motor_done_move, self.user_readback, self.user_setpoint)
        self._link = Link(self.name, signals)
        self.motor_done_move.subscribe(self._done_changed, run=False)

    def configure_axis(self, configuration: AxisConfiguration) -> None:
        """Take deadband, settling and limits of an instrument file."""
        self._configuration = configuration
        self._allowed = (configuration.low, configuration.high)

    @property
    def limits(self) -> tuple[float, float]:
        """The soft limits: what both the record and the instrument file allow."""
        low, high = super().limits
        if low >= high:  # the record has none
            return self._allowed
        return max(low, self._allowed[0]), min(high, self._allowed[1])

    @property
    def position(self) -> float:
        """Where the encoder says the axis is; the last that was heard, without a server."""
        where: Any = self._position
        return where if where is not None else math.nan

    @property
    def moving(self) -> bool:
        """Whether the axis is moving or settling."""
        return not self.motor_done_move.get()

    def check_value(self, value: float) -> None:
        """Refuse a target outside the soft limits, or where parts would come too near.

        Raises
        ------
        LimitError
            If it is outside (or not a number).
        CollisionError
            If sample holder, zone plate and condenser would come too near.
        """
        low, high = self.limits
        if low < high and not low <= value <= high:
            raise LimitError(
                f"{self.name} cannot go to {value:g} {self.egu}: its limits are {low:g} to "
                f"{high:g} {self.egu}; choose a target inside, or change the limits of "
                "the record and the instrument file"
            )
        if isinstance(self.root, Microscope):
            self.root.check_clearance(self, value)

    def expected_s(self, target: float) -> float:
        """Return how long a move from here to `target` takes, with settling."""
        velocity, acceleration_s = float(self.velocity.get()), float(self.acceleration.get())
        return (
            move_time_s(target - self._position_now(), velocity, acceleration_s)
            + self._configuration.settle_s
        )

    def _position_now(self, *, ask: bool = False) -> float:
        """Return the readback as last posted, or as the server says now."""
        return float(self.user_readback.get(use_monitor=False) if ask else self.position)

    def read(self) -> dict[str, Any]:
        """Return readback and setpoint.

        Raises
        ------
        AcquisitionError
            If the server is gone.
        """
        with self._link.required():
            reading: Any = super().read()
            return reading

    def move(self, position: float, wait: bool = False, **kwargs: Any) -> EpicsMoveStatus:
        """Start a move.

        A new target while moving ends the old move and starts from where the axis is; the same
        target again waits for the same arrival.

        Parameters
        ----------
        position
            Target in the unit of the axis.
        wait
            Return only when the axis has arrived.

        Raises
        ------
        LimitError
            If the target is outside the soft limits.
        AcquisitionError
            If the server is gone.
        """
        self._link.check()
        self.check_value(position)
        status = EpicsMoveStatus(self, position, call_stop_on_failure=False)
        patience_s = timeout_s(self.expected_s(position))
        with self._request_lock:
            request = self._request
            if request is None or request.target != position:
                if request is not None:
                    request.fail(f"{self.name} was sent to {position:g} before it arrived")
                request = _Request(position)
            request.statuses.append(status)
            status.guard(
                self._link,
                patience_s,
                lambda: self._give_up(request, patience_s),
                clock_of(self),
                f"{self.name} did not arrive",
            )
            if request is not self._request:
                self._request = request
                self.user_setpoint.put(position, wait=False, force=True)
        if wait:
            status.wait()
        return status

    def set(self, new_position: float, **kwargs: Any) -> EpicsMoveStatus:
        """Start a move (Bluesky's `Movable`)."""
        return self.move(new_position)

    def stop(self, *, success: bool = False) -> None:
        """Stop the axis where it is.

        Parameters
        ----------
        success
            Whether moves in progress end well, as Bluesky asks for when it pauses and will
            send them again.

        Raises
        ------
        AcquisitionError
            If the server is gone.
        """
        self._link.check()
        with self._request_lock:
            if self._request is not None:
                self._request.forgiven = success
        self.motor_stop.put(1, wait=False)

    def _done_changed(self, value: int, **_: Any) -> None:
        """Follow DMOV; readback and setpoint were posted before it."""
        with self._request_lock:
            request = self._request
            if request is None:
                return
            if not value:
                request.started = True
                return
            if not request.started:
                return
            readback = self._position_now()
            if not self._near(readback, request):
                # This may be the end of an earlier move: ask where things are now.
                if not self.motor_done_move.get(use_monitor=False):
                    return
                readback = self._position_now(ask=True)
            self._request = None
        self._judge(request, readback)

    def _near(self, readback: float, request: _Request) -> bool:
        return abs(readback - request.target) <= self._configuration.deadband

    def _judge(self, request: _Request, readback: float) -> None:
        """Say whether a move that has ended was a success."""
        where = f"it is at {readback:g} {self.egu} instead of {request.target:g}"
        if request.forgiven:
            request.succeed()
        elif self.high_limit_switch.get() or self.low_limit_switch.get():
            request.fail(
                f"{self.name} ran onto a limit switch: {where}; check the soft limits against "
                "the switches and drive it back by hand"
            )
        elif self.user_readback.alarm_severity > self.tolerated_alarm:
            severity = AlarmSeverity(self.user_readback.alarm_severity).name
            request.fail(
                f"{self.name} arrived with an alarm ({severity}): {where}; check its controller"
            )
        elif not self._near(readback, request):
            setpoint = float(self.user_setpoint.get(use_monitor=False))
            if abs(setpoint - request.target) > self._configuration.deadband:
                what = "was stopped before it arrived"
            else:
                what = "stopped short of its target"
            request.fail(
                f"{self.name} {what}: {where}; check the stage for an obstacle and move it again"
            )
        else:
            request.succeed()

    def _give_up(self, request: _Request, patience_s: float) -> None:
        """End a move whose time is over; it may have arrived and the news been lost."""
        with self._request_lock:
            if self._request is request:
                self._request = None
        readback = self._position_now()
        if self._link.up:
            readback = self._position_now(ask=True)
            if self.motor_done_move.get(use_monitor=False) and self._near(readback, request):
                request.succeed()
                return
            self.motor_stop.put(1, wait=False)
        request.fail(
            f"{self.name} did not arrive within {patience_s:.1f} s: it is at {readback:g} "
            f"{self.egu} instead of {request.target:g}; check the stage for an obstacle and move "
            "it again"
        )

    def _done_moving(
        self, success: bool = True, timestamp: Any = None, value: Any = None, **_: Any
    ) -> None:
        """Tell ophyd's own waiters (homing), forgetting them before they are told.

        ophyd tells first and forgets then, and loses whoever asked for the next move between.
        """
        if success:
            self._run_subs(sub_type=self.SUB_DONE, timestamp=timestamp, value=value)
        waiting = dict(self._callbacks[self._SUB_REQ_DONE])
        self._reset_sub(self._SUB_REQ_DONE)
        for callback in waiting.values():
            callback(success=success, timestamp=timestamp, obj=self)
