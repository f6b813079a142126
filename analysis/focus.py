"""Which position of the zone plate is in focus, from views of the same place at several of them.

An image is sharpest in focus, and blurs alike to both sides: the focus is where sharpness has its
maximum. Noise is as sharp as structure, so sharpness is taken from what two frames of the same
position have in common, in which independent noise cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.optimize import least_squares

SMOOTHING_PIXELS: Final = 2.0
"""Gaussian sigma of the gradient: edges of this width weigh most."""

MINIMUM_POSITIONS: Final = 5

PEAK_SHARE: Final = 0.7
"""Positions whose sharpness is in this upper part of the series belong to the peak."""

SIGNIFICANT_SIGMAS: Final = 6.0
"""A peak must rise above the scatter of the series by this much."""

_REWINDOWINGS: Final = 3
_OUTLIER_SIGMAS: Final = 1.5
"""Residuals beyond this weigh less (Huber)."""

_NORMAL_MAD: Final = 0.6745


class FocusError(ValueError):
    """The series does not say where the focus is; the message says what to do."""


@dataclass(frozen=True)
class Focus:
    """Where the focus is.

    Attributes
    ----------
    position_um, standard_error_um
        Of the zone plate.
    sharpness
        Of each position, as given, relative to the largest.
    """

    position_um: float
    standard_error_um: float
    sharpness: NDArray[np.float64]


def sharpness(frames: ArrayLike) -> float:
    """Return how sharp the structure is that frames of one view have in common.

    Parameters
    ----------
    frames : array_like, shape (n, rows, columns)
        Transmission or absorption at one position. From two on, what counts is the mean product of
        the gradients of different frames; a single one counts with its noise.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> edge = np.repeat(np.r_[np.zeros(32), np.ones(32)][None, :], 64, axis=0)
    >>> noise = rng.normal(0, 0.1, (2, 64, 64))
    >>> blurred = ndimage.gaussian_filter(edge, 3)
    >>> round(sharpness(edge + noise) / sharpness([edge, edge]), 1)
    1.0
    >>> round(sharpness([blurred, blurred]) / sharpness([edge, edge]), 1)
    0.6
    """
    stack = np.asarray(frames, dtype=np.float64)
    if stack.ndim != 3:
        raise ValueError(f"frames have shape {stack.shape}: give (frames, rows, columns)")
    gradients = np.stack(
        [
            ndimage.gaussian_filter(
                stack, (0, *(SMOOTHING_PIXELS,) * 2), order=cast("Any", (0, *order))
            )
            for order in ((0, 1), (1, 0))
        ]
    )
    # (sum of all)^2 - sum of squares = the products of different frames, each pair twice.
    count = stack.shape[0]
    squares = float((gradients**2).sum(axis=1).mean() * 2)
    if count == 1:
        return squares
    of_sums = float((gradients.sum(axis=1) ** 2).mean() * 2)
    return (of_sums - squares) / (count * (count - 1))


def find_focus(positions_um: ArrayLike, sharpnesses: ArrayLike) -> Focus:
    """Return the position of the largest sharpness, to a fraction of a step.

    A parabola is fitted to the upper part of the peak, with little weight on outliers.

    Parameters
    ----------
    positions_um, sharpnesses : array_like, shape (n,)
        The series, in any order; at least five positions.

    Returns
    -------
    Focus

    Raises
    ------
    FocusError
        If there is no peak, or it is not inside the series: never a guess beyond the ends.

    Examples
    --------
    >>> z = np.arange(-600.0, 601, 100)
    >>> round(find_focus(z, np.exp(-(((z - 130) / 400) ** 2))).position_um, -1)
    130.0
    """
    z = np.asarray(positions_um, dtype=np.float64)
    value = np.asarray(sharpnesses, dtype=np.float64)
    if z.shape != value.shape or z.ndim != 1 or len(np.unique(z)) < MINIMUM_POSITIONS:
        raise FocusError(
            f"{z.size} positions of the zone plate do not show a peak: take "
            f"{MINIMUM_POSITIONS} or more"
        )
    if not (np.isfinite(value).all() and np.isfinite(z).all()):
        raise FocusError("the sharpness of some positions is not a number; check their frames")
    order = np.argsort(z)
    z, value = z[order], value[order]
    calm = np.asarray(ndimage.median_filter(value, 3, mode="nearest"))
    height = float(calm.max() - calm.min())
    scatter = _scatter(value)
    if not height > SIGNIFICANT_SIGMAS * scatter:
        raise FocusError(
            "the sharpness does not depend on the position of the zone plate: bring particles into "
            "the field, expose longer, or widen the range"
        )
    _check_inside(z, float(z[int(np.argmax(calm))]))
    peak, error = _parabola(z, value, calm, height, scatter)
    _check_inside(z, peak)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return Focus(peak, error, (value / value.max())[back])


def _scatter(value: NDArray[np.float64]) -> float:
    """Return the noise of a smooth series from its third differences, small for a peak."""
    differences = np.diff(value, 3)
    return float(np.median(np.abs(differences))) / _NORMAL_MAD / np.sqrt(20.0)


def _check_inside(z: NDArray[np.float64], peak: float) -> None:
    """Refuse a peak within a step of the ends, where one of its sides was not seen."""
    if z[1] <= peak <= z[-2]:
        return
    side = "smaller" if peak < z[1] else "larger"
    raise FocusError(
        f"the image is sharpest at the end of the series ({z[0]:g} to {z[-1]:g} um): the focus is "
        f"not inside it; take the series again around {side} positions"
    )


def _parabola(
    z: NDArray[np.float64],
    value: NDArray[np.float64],
    calm: NDArray[np.float64],
    height: float,
    scatter: float,
) -> tuple[float, float]:
    """Return the vertex and its standard error."""
    high = np.flatnonzero(calm >= calm.max() - PEAK_SHARE * height)
    half_width = max((z[high[-1]] - z[high[0]]) / 2, 2.01 * float(np.median(np.diff(z))))
    vertex = float(z[int(np.argmax(calm))])
    error = 0.0
    for _ in range(_REWINDOWINGS):
        # A window that lies even about the vertex leaves no bias when the peak is no parabola.
        near = np.abs(z - vertex) <= half_width
        if near.sum() < MINIMUM_POSITIONS:
            near = np.isin(np.arange(len(z)), np.argsort(np.abs(z - vertex))[:MINIMUM_POSITIONS])
        x = (z[near] - vertex) / half_width
        y = value[near] / height
        design = np.stack([np.ones_like(x), x, x**2], axis=1)
        start = np.linalg.lstsq(design, y, rcond=None)[0]
        spread = max(float(np.median(np.abs(y - design @ start))) / _NORMAL_MAD, 1e-9)
        fit: Any = least_squares(
            lambda p, a=design, b=y: a @ p - b,
            start,
            loss="huber",
            f_scale=_OUTLIER_SIGMAS * spread,
        )
        a, b, c = cast("tuple[float, float, float]", tuple(fit.x))
        del a
        if not c < 0:
            raise FocusError(
                "the sharpness has no maximum in the series: widen the range, or bring particles "
                "into the field"
            )
        shift = -b / (2 * c)
        residual = y - design @ fit.x
        # Few positions can lie on a parabola by chance: the scatter of the series counts too.
        variance = max(float(residual @ residual) / max(len(y) - 3, 1), (scatter / height) ** 2)
        covariance = np.linalg.inv(design.T @ design) * variance
        slope = np.array([0.0, -1 / (2 * c), b / (2 * c * c)])
        error = float(np.sqrt(slope @ covariance @ slope)) * half_width
        # A step further than the window is no refinement: keep what the series shows.
        vertex = float(np.clip(vertex + shift * half_width, z[0], z[-1]))
    return vertex, float(error)
