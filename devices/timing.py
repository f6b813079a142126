"""How long things take: the one timing model that simulator, estimates and timeouts share."""

from __future__ import annotations

import logging
import math

logger = logging.getLogger(__name__)

LATE_S = 1.0
"""A frame that comes so much later than expected is worth a warning."""

TIMEOUT_FACTOR = 2.0
"""A wait is given up after this many times the expected duration..."""

TIMEOUT_MARGIN_S = 5.0
"""...plus this margin."""


def move_time_s(distance: float, velocity: float, acceleration_s: float) -> float:
    """Return the duration of a trapezoidal move from rest to rest, without settling.

    Parameters
    ----------
    distance
        Length of the move, in the unit of the axis; its sign does not matter.
    velocity
        Cruise velocity in units per second.
    acceleration_s
        Time from rest to cruise velocity, as in the EPICS motor record (`ACCL`).

    Examples
    --------
    >>> move_time_s(20.0, 10.0, 0.2)
    2.2
    >>> round(move_time_s(1.2857, 10.0, 0.2), 3)  # never reaches cruise velocity
    0.321
    """
    length = abs(distance)
    if acceleration_s <= 0:
        return length / velocity
    if length >= velocity * acceleration_s:
        return length / velocity + acceleration_s
    return 2 * math.sqrt(length * acceleration_s / velocity)


def move_fraction(
    elapsed_s: float, distance: float, velocity: float, acceleration_s: float
) -> float:
    """Return the fraction of a trapezoidal move covered after `elapsed_s`."""
    total = move_time_s(distance, velocity, acceleration_s)
    if total <= 0 or elapsed_s >= total:
        return 1.0
    if elapsed_s <= 0:
        return 0.0
    length = abs(distance)
    if acceleration_s <= 0:
        return elapsed_s / total
    ramp = min(acceleration_s, total / 2)
    acceleration = velocity / acceleration_s
    if elapsed_s < ramp:
        covered = 0.5 * acceleration * elapsed_s**2
    elif elapsed_s <= total - ramp:
        covered = 0.5 * acceleration * ramp**2 + acceleration * ramp * (elapsed_s - ramp)
    else:
        covered = length - 0.5 * acceleration * (total - elapsed_s) ** 2
    return covered / length


def warn_if_late(name: str, took_s: float, expected_s: float) -> None:
    """Say it when a frame took longer than it should: something is about to fail."""
    if took_s > expected_s + LATE_S:
        logger.warning(
            "a frame of %s came %.1f s later than expected: check the disk of its files and the "
            "link to the camera",
            name,
            took_s - expected_s,
        )


def timeout_s(expected_s: float) -> float:
    """Return after how long a wait for something that takes `expected_s` has failed."""
    return TIMEOUT_FACTOR * expected_s + TIMEOUT_MARGIN_S
