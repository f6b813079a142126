"""Projection angles and the order to take them in.

With sequential angles half a scan reconstructs poorly (solid Dice 0.76 in a trial); with
four interlaced passes a quarter is enough to see every particle (0.96).
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np

from zoneplate.devices import ConfigurationError

Order = Literal["interlaced", "sequential", "golden", "list"]

ORDERS = ("interlaced", "sequential", "golden", "list")

T = TypeVar("T")

PASSES = 4
"""Interlaced passes: each covers the whole range with a quarter of the angles."""


def projection_angles(projections: int, start_deg: float, stop_deg: float) -> list[float]:
    """Return equally spaced angles from `start_deg` to `stop_deg`, both included.

    Examples
    --------
    >>> projection_angles(3, -90, 90)
    [-90.0, 0.0, 90.0]
    """
    return [float(angle) for angle in np.linspace(start_deg, stop_deg, projections)]


def ordered(angles_deg: Sequence[T], order: Order, *, pair_first: bool = True) -> list[T]:
    """Return the angles in the order to take them.

    Parameters
    ----------
    angles_deg
        Angles, or what there is one of for each, in ascending or descending order.
    order
        `"sequential"` and `"list"` as given; `"interlaced"` in four passes over the whole range,
        each turning back where the last ended; `"golden"` by steps of the golden ratio.
    pair_first
        Take the first and the last angle, the 0/180 pair that shows the rotation axis, before
        all others (not with the orders as given).

    Raises
    ------
    ConfigurationError
        If the order is unknown.

    Examples
    --------
    >>> ordered([0, 1, 2, 3, 4, 5, 6, 7, 8], "interlaced")
    [0, 8, 4, 2, 6, 5, 1, 3, 7]
    """
    count = len(angles_deg)
    if order in ("sequential", "list"):
        return list(angles_deg)
    if order == "interlaced":
        indices = _interlaced(count)
    elif order == "golden":
        indices = _golden(count)
    else:
        raise ConfigurationError(f"order {order!r} is unknown: use one of {', '.join(ORDERS)}")
    if pair_first and count > 2:
        indices = [0, count - 1, *(index for index in indices if index not in (0, count - 1))]
    return [angles_deg[index] for index in indices]


def passes_of(angles_deg: Sequence[T], passes: int = PASSES) -> list[list[T]]:
    """Return the passes of interlaced angles, alternating in direction, the first as given.

    Examples
    --------
    >>> passes_of([0, 1, 2, 3, 4, 5, 6, 7, 8])
    [[0, 4, 8], [6, 2], [1, 5], [7, 3]]
    """
    found: list[list[T]] = []
    for offset in _offsets(min(passes, len(angles_deg))):
        one = list(angles_deg[offset::passes])
        found.append(one if len(found) % 2 == 0 else one[::-1])
    return found


def _offsets(passes: int) -> list[int]:
    """Return where each pass begins: bit-reversed, so that the gaps stay even after each."""
    bits = max(1, math.ceil(math.log2(passes)))
    offsets = [int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits)]
    return [offset for offset in offsets if offset < passes]


def _interlaced(count: int) -> list[int]:
    """Return indices in passes.

    The first pass runs downwards, because the 0/180 pair taken before it ends at the top.
    """
    passes = min(PASSES, count)
    indices: list[int] = []
    downwards = True
    for offset in _offsets(passes):
        one = list(range(offset, count, passes))
        indices.extend(reversed(one) if downwards else one)
        downwards = not downwards
    return indices


def _golden(count: int) -> list[int]:
    """Return indices by golden-ratio steps, each once (doi:10.1109/TMI.2006.885337)."""
    ratio = (math.sqrt(5) - 1) / 2
    rank = np.argsort((np.arange(count) * ratio) % 1.0, kind="stable")
    order = np.empty(count, dtype=int)
    order[rank] = np.arange(count)
    return [int(index) for index in order]
