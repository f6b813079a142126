"""The in-process motor: the components and the contract of ophyd's `EpicsMotor`."""

# ophyd leaves its own signatures without types; what pyright infers for them is too narrow.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

from typing import Any

from ophyd import Component
from ophyd.positioner import PositionerBase
from ophyd.utils import LimitError

from zoneplate.devices.errors import AcquisitionError
from zoneplate.devices.microscope import Microscope, Part
from zoneplate.devices.timing import timeout_s

from .axis import SimulatedAxis
from .clock import VirtualClock
from .signals import InstrumentMoveStatus, ModelSignal


class SimulatedMotor(Part, PositionerBase):
    """A motor over a `SimulatedAxis`.

    Unlike ophyd's own, it never calls a move that stopped short a success: the readback must
    be within the deadband of the setpoint, and no move takes longer than its timeout.
    """

    user_readback = Component(ModelSignal, kind="hinted")
    user_setpoint = Component(ModelSignal, kind="normal")
    velocity = Component(ModelSignal, kind="config")
    acceleration = Component(ModelSignal, kind="config")
    motor_egu = Component(ModelSignal, kind="config")
    motor_is_moving = Component(ModelSignal, kind="omitted")
    motor_done_move = Component(ModelSignal, kind="omitted")
    high_limit_travel = Component(ModelSignal, kind="omitted")
    low_limit_travel = Component(ModelSignal, kind="omitted")

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.user_readback.name = self.name

    def bind(self, clock: VirtualClock, axis: SimulatedAxis) -> None:
        """Connect the motor to its axis."""
        self._clock, self._axis = clock, axis
        unit = axis.configuration.unit
        self.user_readback.bind(clock, axis.readback, units=unit)
        self.user_setpoint.bind(clock, lambda: axis.setpoint, self._put_setpoint, units=unit)
        self.velocity.bind(clock, lambda: axis.velocity, self._put_velocity, units=f"{unit}/s")
        self.acceleration.bind(clock, lambda: axis.acceleration_s, units="s")
        self.motor_egu.bind(clock, lambda: unit)
        self.motor_is_moving.bind(clock, lambda: int(axis.moving))
        self.motor_done_move.bind(clock, lambda: int(not axis.moving))
        self.high_limit_travel.bind(clock, lambda: axis.high, units=unit)
        self.low_limit_travel.bind(clock, lambda: axis.low, units=unit)

    @property
    def position(self) -> float:
        """Where the encoder says the axis is."""
        return self.user_readback.get()

    @property
    def moving(self) -> bool:
        """Whether the axis is moving or settling."""
        return self._axis.moving

    @property
    def egu(self) -> str:
        """The unit of positions."""
        return self._axis.configuration.unit

    @property
    def limits(self) -> tuple[float, float]:
        """The soft limits (low, high)."""
        return self._axis.low, self._axis.high

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
        if not low <= value <= high:
            raise LimitError(
                f"{self.name} cannot go to {value:g} {self.egu}: its limits are {low:g} to "
                f"{high:g} {self.egu}; choose a target inside, or change the instrument file"
            )
        if isinstance(self.root, Microscope):
            self.root.check_clearance(self, value)

    def move(self, position: float, wait: bool = False, **kwargs: Any) -> InstrumentMoveStatus:
        """Start a move.

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
        """
        self.check_value(position)
        status = InstrumentMoveStatus(self, position, self._clock)
        axis = self._axis
        with self._clock.lock:
            patience_s = timeout_s(axis.expected_s(position))

            def give_up() -> None:
                fail(f"did not arrive within {patience_s:.1f} s")

            def fail(what: str) -> None:
                if not status.done:
                    status.set_exception(
                        AcquisitionError(
                            f"{self.name} {what}: it is at {axis.readback():g} {self.egu} instead "
                            f"of {position:g}; check the stage for an obstacle and move it again"
                        )
                    )

            def ended(arrived: bool) -> None:
                deadline.cancel()
                if not arrived and not self._stopped_on_request:
                    fail("was stopped before it arrived")
                elif arrived and abs(axis.readback() - position) > axis.configuration.deadband:
                    fail("stopped short of its target")
                elif not status.done:
                    status.set_finished()
                    self._run_subs(sub_type=self.SUB_DONE, timestamp=self._clock.now())

            deadline = self._clock.call_later(patience_s, give_up)
            axis.move_to(position, ended)
        self._run_subs(sub_type=self.SUB_START, timestamp=self._clock.now())
        if wait:
            status.wait()
        return status

    def set(self, new_position: float, **kwargs: Any) -> InstrumentMoveStatus:
        """Start a move (Bluesky's `Movable`)."""
        return self.move(new_position)

    _stopped_on_request = False

    def stop(self, *, success: bool = False) -> None:
        """Stop the axis where it is.

        Parameters
        ----------
        success
            Whether moves in progress end well, as Bluesky asks for when it pauses and will
            send them again.
        """
        with self._clock.lock:
            self._stopped_on_request = success
            self._axis.stop()
            self._stopped_on_request = False

    def _put_setpoint(self, value: float) -> None:
        self.move(value)

    def _put_velocity(self, value: float) -> None:
        self._axis.velocity = float(value)
