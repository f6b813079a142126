"""Angular weights of projections: how much of the half circle each view stands for.

A parallel-beam projection at theta and one at theta + pi are the same view seen from both
sides, so angles live on a circle of period pi. Filtered back-projection is a sum over views in
which each one is weighted by the arc that it covers there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAXIMUM_SPAN_RAD: Final = 3.0 * math.pi
"""One and a half turns: a longer span (or a larger angle) is taken for degrees."""

DEFAULT_CLIP: Final = 2.0
"""Largest weight, in nominal steps. Measured on partial scans: the two views at the edge of a
missing wedge otherwise dominate the volume (solid Dice 0.78 instead of 0.91)."""

SAME_VIEW_FRACTION: Final = 0.01
"""Views closer than this fraction of the mean step are one view, whose weight they share."""

_HALF_TURN: Final = math.pi


class AngleError(ValueError):
    """Angles that cannot be used: not finite, wrong shape, in degrees, or not in the plan."""


def check_angles(angles_rad: ArrayLike) -> NDArray[np.float64]:
    """Validate projection angles and return them as a one-dimensional float64 array.

    Parameters
    ----------
    angles_rad : array_like, shape (n,) or ()
        Angles in radians.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    AngleError
        If the angles are not finite, have more than one dimension, or span more than one and a
        half turns, as angles in degrees do.
    """
    angles = np.atleast_1d(np.asarray(angles_rad, dtype=np.float64))
    if angles.ndim != 1:
        raise AngleError(f"angles must be a scalar or one-dimensional, got shape {angles.shape}")
    if angles.size == 0:
        return angles
    if not np.isfinite(angles).all():
        raise AngleError(f"{np.count_nonzero(~np.isfinite(angles))} angles are NaN or infinite")
    if np.ptp(angles) > MAXIMUM_SPAN_RAD or np.abs(angles).max() > MAXIMUM_SPAN_RAD:
        raise AngleError(
            f"angles from {angles.min():g} to {angles.max():g} rad are more than one and a half "
            "turns: they look like degrees. Convert them with numpy.deg2rad; for scans of many "
            "turns take them modulo 2 pi"
        )
    return angles


def group_views(
    angles_rad: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Collect angles that are the same view on the circle of period pi.

    Parameters
    ----------
    angles_rad : ndarray, shape (n,)
        Angles in radians, n >= 1.

    Returns
    -------
    views : ndarray of float64, shape (v,)
        Distinct views in [0, pi), ascending.
    member : ndarray of int, shape (n,)
        Index into `views` for each angle.
    count : ndarray of int, shape (v,)
        Angles in each view.
    """
    folded = np.mod(angles_rad, _HALF_TURN)
    order = np.argsort(folded, kind="stable")
    ascending = folded[order]
    tolerance = SAME_VIEW_FRACTION * _HALF_TURN / angles_rad.size
    starts = np.concatenate(([True], np.diff(ascending) > tolerance))
    label = np.cumsum(starts) - 1
    views = ascending[starts]
    # The circle closes: a view just below pi may be the one just above 0.
    if views.size > 1 and views[0] + _HALF_TURN - ascending[-1] <= tolerance:
        label[label == label[-1]] = 0
        views = views[:-1]
    member = np.empty(angles_rad.size, dtype=np.intp)
    member[order] = label
    return views, member, np.bincount(member, minlength=views.size)


def angular_weights(
    angles_rad: ArrayLike, nominal_step: float | None = None, clip: float = DEFAULT_CLIP
) -> NDArray[np.float64]:
    """Weight of each projection in filtered back-projection, in radians.

    A view gets half of the arc to each of its two neighbours on the circle of period pi, so a
    complete set sums to pi whatever the order and spacing. Angles that are the same view (-90
    and +90 degrees, or a repeated frame) share its weight. A gap that nobody measured (a missing
    wedge) must not be given to the views at its edges: weights are clipped.

    Parameters
    ----------
    angles_rad : array_like, shape (n,)
        Angles in radians, any order.
    nominal_step : float, optional
        Angular step of the scan in radians that `clip` refers to; the median gap by default.
    clip : float
        Largest weight of a view in nominal steps.

    Returns
    -------
    ndarray of float64, shape (n,)
        Weights; their sum is pi for a complete set and less where something was clipped.

    Raises
    ------
    AngleError
        See `check_angles`; also for a non-positive `nominal_step` or `clip`.

    Examples
    --------
    >>> import numpy as np
    >>> angular_weights(np.deg2rad([-90, -45, 0, 45, 90])).round(4)
    array([0.3927, 0.7854, 0.7854, 0.7854, 0.3927])
    """
    angles = check_angles(angles_rad)
    if angles.size == 0:
        return angles
    if clip <= 0 or (nominal_step is not None and nominal_step <= 0):
        raise AngleError(f"clip ({clip}) and nominal_step ({nominal_step}) must be positive")
    views, member, count = group_views(angles)
    gaps = np.diff(views, append=views[0] + _HALF_TURN)
    weights = (gaps + np.roll(gaps, 1)) / 2
    step = float(np.median(gaps)) if nominal_step is None else nominal_step
    weights = np.minimum(weights, clip * step)
    return (weights / count)[member]


class PlannedViews:
    """The final weights of a known set of angles, for frames that come in any order.

    Parameters
    ----------
    angles_rad : array_like, shape (n,)
        Every planned angle in radians.

    Attributes
    ----------
    weights : ndarray, shape (v,)
        Weight of each distinct view, scaled to a sum of pi.
    planned : ndarray of int, shape (v,)
        How many of the planned angles fall on each view.
    """

    def __init__(self, angles_rad: ArrayLike) -> None:
        angles = check_angles(angles_rad)
        if angles.size == 0:
            raise AngleError("the plan holds no angles")
        self._views, member, self.planned = group_views(angles)
        weights = np.bincount(member, weights=angular_weights(angles))
        self.weights: NDArray[np.float64] = weights * (_HALF_TURN / weights.sum())
        self.tolerance_rad = _HALF_TURN / self._views.size / 2

    def share(self, views: Sequence[int]) -> NDArray[np.intp]:
        """Frames among which the weight of each view is shared: as planned, or more if seen.

        Parameters
        ----------
        views : sequence of int
            The view of every frame, see `match`.

        Returns
        -------
        ndarray of int, shape (v,)
        """
        return np.maximum(self.planned, np.bincount(views, minlength=self.planned.size))

    def match(self, angles_rad: NDArray[np.float64]) -> Sequence[int]:
        """Index of the planned view of each angle.

        Parameters
        ----------
        angles_rad : ndarray, shape (n,)
            Measured angles in radians (readbacks; they need not equal the plan exactly).

        Returns
        -------
        sequence of int, length n

        Raises
        ------
        AngleError
            If an angle is further than half a mean step from every planned one.
        """
        folded = np.mod(angles_rad, _HALF_TURN)
        above = np.searchsorted(self._views, folded) % self._views.size
        candidates = np.stack([above, above - 1])
        distance = np.abs(self._views[candidates] - folded)
        distance = np.minimum(distance, _HALF_TURN - distance)
        best = distance.argmin(axis=0)
        columns = np.arange(folded.size)
        far = distance[best, columns] > self.tolerance_rad
        if far.any():
            raise AngleError(
                f"angle {np.rad2deg(angles_rad[far][0]):.3f} deg is more than "
                f"{np.rad2deg(self.tolerance_rad):.3f} deg from every planned angle; leave "
                "angles_hint out for scans that do not follow a plan"
            )
        return (candidates[best, columns] % self._views.size).tolist()
