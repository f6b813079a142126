"""One motion axis of the simulated stage: trapezoidal profile, settling, limits, repeatability."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from zoneplate.devices.configuration import AxisConfiguration
from zoneplate.devices.timing import move_fraction, move_time_s

from .clock import Event, VirtualClock
from .faults import FaultBus

STALLED_AT = 0.3
"""Share of its way that an axis covers before it stalls."""


class Rest(NamedTuple):
    """Where an axis stands, from when on: by its encoder (`place`) and the sample (`load`)."""

    when_s: float
    place: float
    load: float


class SimulatedAxis:
    """An axis that needs the time it needs.

    Parameters
    ----------
    name
        What the axis is called, for messages and for its random stream.
    configuration
        Limits, velocity and settling.
    clock
        The instrument clock.
    rng
        Source of the repeatability error; None for an axis that arrives exactly.
    faults
        What may go wrong.
    started
        Called when a move has started.
    """

    def __init__(
        self,
        name: str,
        configuration: AxisConfiguration,
        clock: VirtualClock,
        rng: np.random.Generator | None,
        faults: FaultBus,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self._faults = faults
        self._started = started
        self._reach = 1.0
        self.name = name
        self.configuration = configuration
        self.velocity = configuration.velocity
        self.acceleration_s = configuration.acceleration_s
        self.low, self.high = configuration.low, configuration.high
        self._clock = clock
        self._rng = rng
        self._start = self._target = self._arrived = 0.0
        self._lost = 0.0
        self._next_error = self._draw_error()
        self._start_s = clock.now()
        self._arrival: Event | None = None
        self._arrives = False
        self._done: list[Callable[[bool], None]] = []

    @property
    def moving(self) -> bool:
        """Whether the axis is moving or settling."""
        return self._arrival is not None

    @property
    def setpoint(self) -> float:
        """Where the axis was last told to go."""
        return self._target

    def readback(self, ahead_s: float = 0.0) -> float:
        """Return what the encoder reads now, or so much later in the move that is going on."""
        lie = self._faults.lasts("readback_disagrees", axis=self.name)
        return self.place(ahead_s) + (lie.magnitude if lie is not None else 0.0)

    def place(self, ahead_s: float = 0.0) -> float:
        """Return where the axis is, or will be so much later if its move goes on (or was)."""
        if self._arrival is None:
            return self._arrived
        fraction = move_fraction(
            self._clock.now() + ahead_s - self._start_s,
            self._target - self._start,
            self.velocity,
            self.acceleration_s,
        )
        return self._start + min(fraction, self._reach) * (self._target - self._start)

    def load(self, ahead_s: float = 0.0) -> float:
        """Return where the sample is: the encoder is on the motor, before the lost motion."""
        return self.place(ahead_s) - self._lost

    def rest(self) -> Rest | None:
        """Return where the axis will stand if nothing goes wrong; None if something has.

        Only the model knows this beforehand.
        """
        if self._arrival is None:
            return Rest(self._start_s, self._arrived, self._arrived - self._lost)
        if not self._arrives:
            return None
        place = self._place_of_arrival()
        return Rest(self._arrival.due_s, place, place - self._lost)

    def expected_s(self, target: float) -> float:
        """Return how long a move from here to `target` takes, with settling.

        An axis at rest counts from its setpoint: what it missed it by is within the deadband,
        and a move to where it already is takes no time. One that stands elsewhere moves again.
        """
        missed = abs(self._arrived - self._target) > self.configuration.deadband
        distance = target - (self.place() if self.moving or missed else self._target)
        if distance == 0:
            return 0.0
        return (
            move_time_s(distance, self.velocity, self.acceleration_s) + self.configuration.settle_s
        )

    def move_to(self, target: float, done: Callable[[bool], None]) -> None:
        """Start a move; `done(arrived)` is called when it ended.

        A new target while moving ends the old move (its `done` gets False) and starts from
        where the axis is; the same target again just waits for the arrival.
        """
        if self._arrival is not None and target == self._target:
            self._done.append(done)
            return
        expected_s = self.expected_s(target)
        self._end(arrived=False)
        self._start, self._target = self._arrived, target
        if target != self._start:
            self._lost = self.configuration.backlash if target < self._start else 0.0
        self._start_s = self._clock.now()
        self._done = [done]
        self._reach = 1.0
        self._arrives = False
        if not expected_s:
            self._arrival = self._clock.call_later(0.0, self._stay)
        elif self._faults.fires("motor_stall", axis=self.name):
            self._reach = STALLED_AT
            self._arrival = Event(math.inf, -1, self._stay)  # never comes
        elif self._faults.fires("limit_hit", axis=self.name):
            self._arrival = self._clock.call_later(expected_s / 2, self.stop)
        else:
            self._arrives = True
            self._arrival = self._clock.call_later(expected_s, self._arrive)
        self._started()

    def stop(self) -> None:
        """Stop where the axis is; one that stands keeps its setpoint."""
        if self._arrival is not None:
            self._end(arrived=False)
            self._target = self._arrived

    def _arrive(self) -> None:
        self._arrived = self._place_of_arrival()
        self._next_error = self._draw_error()
        fault = self._faults.fires("following_error", axis=self.name)
        if fault is not None:
            self._arrived += fault.magnitude
        self._end(arrived=True)

    def _place_of_arrival(self) -> float:
        return self._target + self._next_error

    def _draw_error(self) -> float:
        if self._rng is None:
            return 0.0
        return float(self._rng.normal(0.0, self.configuration.repeatability))

    def _stay(self) -> None:
        self._end(arrived=True)

    def _end(self, *, arrived: bool) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            if not arrived:
                self._arrived = self.place()
        self._arrival = None
        waiting, self._done = self._done, []
        for done in waiting:
            done(arrived)
