"""Checking a whole plan, ours or anybody's, before it runs: soft limits and collisions.

Plans of zoneplate check themselves when they begin. This is for all others, and for whole evenings
of plans: bluesky's own `check_limits` asks each axis about each target, but knows neither where the
other axes will be by then nor what must not touch.
"""

from typing import Any

from bluesky.utils import Msg, MsgGenerator

from zoneplate.devices.envelope import WATCHED, Span
from zoneplate.devices.microscope import Microscope

from .screening import CHOOSE_REGIONS
from .validation import check_axis


def check_plan(microscope: Microscope, plan: MsgGenerator[Any]) -> int:
    """Refuse a plan that would leave the limits or bring parts of the microscope too near.

    Parameters
    ----------
    microscope
        The microscope; the walk begins where its axes now are. Nothing moves.
    plan
        A plan that was not started; it is used up.

    Returns
    -------
    int
        Number of moves that were looked at.

    Raises
    ------
    ConfigurationError, LimitError
        Naming the axis, the value, what is allowed, and what to do (a `CollisionError` if parts
        would come too near).

    Examples
    --------
    ::

        check_plan(microscope, bp.grid_scan([camera], x, -1900, 1900, 5, theta, -90, 90, 5))
    """
    walk = _Walk(microscope)
    moves, answer = 0, None
    while True:
        try:
            message = plan.send(answer)
        except StopIteration:
            return moves
        answer = walk.answer(message)
        moves += walk.take(message)


class _Walk:
    """Where everything is while messages pass by."""

    def __init__(self, microscope: Microscope) -> None:
        self._microscope = microscope
        self._names = {id(axis): name for name, axis in microscope.axes.items()}
        self._targets = {
            name: float(axis.user_setpoint.get()) for name, axis in microscope.axes.items()
        }
        self._spans: dict[str, Span] = {n: (v, v) for n, v in self._targets.items()}
        self._soft: dict[int, float] = {}

    def take(self, message: Msg) -> int:
        """Check a message; return how many moves it asks for."""
        sweep = self._microscope.sweep
        if message.command == "wait":
            self._spans = {name: (value, value) for name, value in self._targets.items()}
        elif message.command == "set" and id(message.obj) in self._names:
            self._move(self._names[id(message.obj)], float(message.args[0]))
            return 1
        elif message.command == "set" and message.obj is sweep.stop_deg:
            self._soft[id(sweep.stop_deg)] = float(message.args[0])
        elif message.command == "kickoff" and message.obj is sweep:
            self._move("theta", self._soft[id(sweep.stop_deg)])
            return 1
        elif message.command == "set" and hasattr(message.obj, "check_value"):
            message.obj.check_value(message.args[0])
        return 0

    def answer(self, message: Msg) -> Any:
        """Return what a plan that asks on its way is told."""
        if message.command == CHOOSE_REGIONS:
            return [(0.0, 0.0, 0.0)] * int(message.args[1])
        if message.command not in ("read", "locate"):
            return None
        for name, axis in self._microscope.axes.items():
            if message.obj is axis or message.obj is axis.user_setpoint:
                value = self._targets[name]
                if message.command == "locate":
                    return {"setpoint": value, "readback": value}
                return {message.obj.name: {"value": value, "timestamp": 0.0}}
        return None

    def _move(self, name: str, target: float) -> None:
        microscope = self._microscope
        check_axis(name, microscope.configuration.axis(name), target)
        low, high = self._spans[name]
        start = self._targets[name]
        self._spans[name] = (min(low, target), max(high, target))
        self._targets[name] = target
        if name in WATCHED:
            microscope.envelope.check(self._spans, axis=name, target=target, start=start)
