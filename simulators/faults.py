"""Faults on demand: by name, by time or by frame, seeded and logged.

A control system that was never shown a fault passes it in silence. The models of the simulated
instrument ask the bus at the moments when something can go wrong; every firing is logged with its
instrument time, so a test can assert that what was injected was noticed.

Examples
--------
>>> from zoneplate.simulators import VirtualClock
>>> clock = VirtualClock(epoch_s=0.0)
>>> bus = FaultBus(clock)
>>> bus.arm("frame_dropped", at_frame=3)
>>> [bus.fires("frame_dropped", frame=number) is not None for number in (2, 3, 4)]
[False, True, False]
>>> bus.log[0].name
'frame_dropped'
>>> clock.close()
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from zoneplate.devices.errors import ConfigurationError

from .clock import VirtualClock

logger = logging.getLogger(__name__)

FAULTS: dict[str, str] = {
    "motor_stall": "an axis starts and never arrives",
    "following_error": "an axis reports arrival `magnitude` away from its target",
    "limit_hit": "an axis stops half way at a limit switch",
    "frame_dropped": "the camera says done, the file has no frame",
    "frame_duplicated": "the file gets a frame twice",
    "frame_late": "the readout takes `magnitude` seconds longer",
    "frame_saturated": "every pixel is at full well",
    "dead_row": "one row of the frame reads nothing",
    "disk_full": "the file cannot be extended",
    "beam_trip": "there is no beam for `duration_s`",
    "shutter_stuck": "the shutter does not move",
    "shutter_closes": "an interlock closes the shutter and keeps it closed for `duration_s`",
    "temperature": "the air is `magnitude` degrees too warm for `duration_s`",
    "readback_disagrees": "an encoder reads `magnitude` more than where its axis is",
    "slow_disk": "a frame takes `magnitude` seconds longer to be written",
    "drift_jump": "the sample jumps by `magnitude` um",
}
"""Every fault that can be armed, with what it does."""


LASTING = frozenset({"beam_trip", "shutter_closes", "temperature"})
"""Faults that begin and end by themselves, whether anybody asks or not."""


@dataclass
class ArmedFault:
    """A fault that waits for its moment.

    Attributes
    ----------
    name
        One of `FAULTS`.
    from_s, until_s
        Instrument time between which it may fire.
    at_frame
        Number of the camera frame at which it fires; None for any.
    axis
        Name of the axis it concerns; None for any.
    magnitude
        How bad it is, in the unit that its description names.
    probability
        Chance to fire at each opportunity.
    times
        How often it may still fire.
    logged
        Whether its beginning is in the log, for one that lasts.
    """

    name: str
    from_s: float
    until_s: float
    at_frame: int | None
    axis: str | None
    magnitude: float
    probability: float
    times: float
    rng: np.random.Generator = field(repr=False)
    logged: bool = False


@dataclass(frozen=True)
class Firing:
    """A fault that happened, when, and what it hit."""

    name: str
    time_s: float
    what: str


class FaultBus:
    """Holds armed faults and says when they fire.

    Parameters
    ----------
    clock
        The instrument clock.

    Attributes
    ----------
    log
        Every firing, in order.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._armed: list[ArmedFault] = []
        self._watchers: list[Callable[[], None]] = []
        self.log: list[Firing] = []

    def arm(
        self,
        name: str,
        *,
        after_s: float = 0.0,
        duration_s: float = math.inf,
        at_frame: int | None = None,
        axis: str | None = None,
        magnitude: float = 1.0,
        probability: float = 1.0,
        times: float = 1,
        seed: int = 0,
    ) -> None:
        """Arm a fault.

        Parameters
        ----------
        name
            One of `FAULTS`.
        after_s, duration_s
            It may fire from `after_s` on, counted from now, for `duration_s`.
        at_frame
            Number of the camera frame at which it fires.
        axis
            Name of the axis it concerns.
        magnitude
            How bad it is.
        probability
            Chance to fire at each opportunity.
        times
            How often it may fire; `math.inf` for ever.
        seed
            Of the chances.

        Raises
        ------
        ConfigurationError
            If there is no such fault, or the probability is none.
        """
        if name not in FAULTS:
            raise ConfigurationError(f"fault {name!r} is unknown: choose {', '.join(FAULTS)}")
        if not 0 <= probability <= 1:
            raise ConfigurationError(f"probability {probability} must be between 0 and 1")
        from_s = self._clock.now() + after_s
        self._armed.append(
            ArmedFault(
                name,
                from_s,
                from_s + duration_s,
                at_frame,
                axis,
                magnitude,
                probability,
                times,
                np.random.default_rng(seed),
            )
        )
        if name in LASTING:
            for change_s in (after_s, after_s + duration_s):
                if math.isfinite(change_s):
                    self._clock.call_later(change_s, self._tell)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` on the instrument's thread when a lasting fault begins or ends."""
        self._watchers.append(changed)

    def _tell(self) -> None:
        for changed in self._watchers:
            changed()

    def fires(
        self, name: str, *, frame: int | None = None, axis: str | None = None
    ) -> ArmedFault | None:
        """Return the fault if it happens now; it is logged and used up."""
        fault = self._due(name, frame, axis)
        if fault is None or fault.rng.random() >= fault.probability:
            return None
        fault.times -= 1
        what = " ".join(
            f"{key} {value}" for key, value in (("frame", frame), ("axis", axis)) if value
        )
        self.log.append(Firing(name, self._clock.now(), what))
        logger.info("fault %s fires (%s)", name, what)
        return fault

    def lasts(self, name: str, *, axis: str | None = None) -> ArmedFault | None:
        """Return a fault that goes on for a while, such as a beam trip, if it is going on.

        Its beginning is logged once.
        """
        fault = self._due(name, None, axis)
        if fault is not None and not fault.logged:
            fault.logged = True
            what = f"axis {axis}" if axis is not None else ""
            self.log.append(Firing(name, self._clock.now(), what))
        return fault

    def clear(self) -> None:
        """Disarm everything; the log stays."""
        self._armed.clear()

    def _due(self, name: str, frame: int | None, axis: str | None) -> ArmedFault | None:
        now_s = self._clock.now()
        for fault in self._armed:
            if (
                fault.name == name
                and fault.times > 0
                and fault.from_s <= now_s < fault.until_s
                and fault.at_frame in (None, frame)
                and fault.axis in (None, axis)
            ):
                return fault
        return None
