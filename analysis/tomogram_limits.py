"""What the number and the range of the projections of a tomogram can and cannot give."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .angles import group_views

MEASURABLE_SHARE = 0.1
"""Below this share of the projections that the Crowther criterion asks for, shapes in the volume
are those of the artefacts: nothing is measured."""

COMFORTABLE_SHARE = 0.35
"""Below this share the tables come with a warning (36 of 201 views: void Dice 0.74 against 0.88
of 141)."""

LIMITED_RANGE_DEG = 170.0


def needed_projections(columns: int) -> int:
    """Return how many projections resolve every pixel (Crowther criterion).

    Examples
    --------
    >>> needed_projections(128)
    201
    """
    return round(math.pi / 2 * columns)


def distinct_views(angles_deg: NDArray[np.float64]) -> int:
    """Return how many different views there are: one taken twice, or from behind, is one.

    Examples
    --------
    >>> distinct_views(np.array([-90.0, 0.0, 0.0, 45.0, 90.0]))
    3
    """
    return len(group_views(np.deg2rad(angles_deg))[0])


def measurable(angles_deg: NDArray[np.float64], columns: int) -> bool:
    """Whether shapes in the volume are those of the specimen."""
    return distinct_views(angles_deg) >= MEASURABLE_SHARE * needed_projections(columns)


def limits(angles_deg: NDArray[np.float64], columns: int) -> list[str]:
    """Say in words what projections at these angles cannot give; nothing if they suffice."""
    notes: list[str] = []
    count, needed = distinct_views(angles_deg), needed_projections(columns)
    span_deg = float(np.ptp(angles_deg))
    if not measurable(angles_deg, columns):
        notes.append(
            f"{count} projections can show the radiographs and roughly where dense parts are; "
            f"they cannot give shapes, volumes or voids: a field {columns} pixels wide "
            f"needs about {needed} projections, so nothing was measured"
        )
    elif count < COMFORTABLE_SHARE * needed:
        notes.append(
            f"{count} projections are few for a field {columns} pixels wide (about "
            f"{needed} resolve every pixel): streaks blur small voids"
        )
    if span_deg < LIMITED_RANGE_DEG:
        notes.append(
            f"the angles span {span_deg:.0f} degrees of 180: what points along the missing "
            "directions is drawn out and too faint"
        )
    return notes


def spread_over(angles_deg: NDArray[np.float64], count: int = 7) -> NDArray[np.intp]:
    """Return indices of about `count` projections evenly spread over the range of angles."""
    wanted = np.linspace(angles_deg.min(), angles_deg.max(), min(count, len(angles_deg)))
    nearest = np.abs(angles_deg[None, :] - wanted[:, None]).argmin(axis=1)
    _, first = np.unique(nearest, return_index=True)
    return nearest[np.sort(first)]
