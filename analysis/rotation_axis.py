"""Where the rotation axis falls on the detector, to a fraction of a column.

Two views half a turn apart are mirror images of each other about the axis, whatever the specimen
and however far it reaches beyond the field: registering one with the mirrored other is the method
of choice. Where there is no such pair, the centre is the one whose slices are least negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from zoneplate.analysis.angles import angular_weights, check_angles
from zoneplate.analysis.backprojection import backproject
from zoneplate.analysis.filters import filter_frames
from zoneplate.analysis.projections import ReconstructionError, as_frames, check_center
from zoneplate.analysis.workers import available_threads

_SMOOTHING_COLUMNS: Final = 1.0
"""Gaussian before any comparison, so that interpolating by half a pixel smooths noise no further
(which would pull the result to where the interpolation smooths most)."""

_COARSE_COLUMNS: Final = 256
"""Wider frames are binned to about this for the first search."""

_MINIMUM_OVERLAP: Final = 0.5
"""Fraction of the columns that both views of a pair must share: the axis is then in the middle
half of the detector."""

_TILE_PIXELS: Final = 8
"""Side of the tiles over which residuals are summed for the standard error: wider than the
smoothing, so that tiles are independent."""

_ITERATIONS: Final = 30
_CONVERGED_COLUMNS: Final = 1e-4

_SIGNIFICANT_SIGMAS: Final = 5.0
"""The correlation of two views must exceed that of pure noise by this much, ..."""

_NOISE_CELL_PIXELS: Final = 4 * math.pi * _SMOOTHING_COLUMNS**2
"""... which has one independent value in this many pixels after the smoothing."""

_REGION_FRACTION: Final = 0.75
_REGION_COLUMNS: Final = 256
"""The slices are judged inside this part of the field (at most so many columns): outside, views
that do not reach are continued by guesses. Measured on simulated layers wider than the field."""

_CANDIDATE_STEP: Final = 0.5
_FIT_CANDIDATES: Final = 5
_COARSE_REFINEMENT_COLUMNS: Final = 64
_COARSE_REFINEMENT_ROWS: Final = 8
_MAXIMUM_MOVES: Final = 4

REFINEMENT_BIAS_COLUMNS: Final = 0.25
"""Systematic error of the refinement, measured on simulated specimens that reach far beyond the
field (0.05 for a thin layer or a specimen inside the field, up to 0.5 where half of the rays
cross large bodies outside it); included in its standard error."""


class RotationCenterError(ValueError):
    """The rotation centre cannot be found in this data."""


@dataclass(frozen=True)
class RotationCenter:
    """Column of the rotation axis with its standard error, both in columns."""

    column: float
    standard_error: float


def find_rotation_center(projection_0: ArrayLike, projection_180: ArrayLike) -> RotationCenter:
    """Rotation centre from two views half a turn apart.

    The second view is mirrored and registered with the first: integer shift by normalised
    cross-correlation of the gradients along the lines, then Gauss-Newton on the smoothed images
    for shift along and across the axis and a constant offset, symmetric in the two. Pixels count
    by their gradient, so empty parts of the field do not matter.

    Parameters
    ----------
    projection_0, projection_180 : array_like, shape (rows, columns)
        Absorption at theta and theta + 180 degrees.

    Returns
    -------
    RotationCenter
        Its standard error comes from how the residuals scatter over tiles of the image.

    Raises
    ------
    RotationCenterError
        If the two have no common structure.
    ReconstructionError
        For shapes that differ or values that are not finite.

    References
    ----------
    .. [1] B. D. Lucas and T. Kanade, Proc. IJCAI 1981, 674-679, for the Gauss-Newton step.

    Examples
    --------
    >>> import numpy as np
    >>> rows, columns = np.mgrid[:24, :40]
    >>> def blob(column):
    ...     return np.exp(-((columns - column) ** 2 + (rows - 10) ** 2) / 18)
    >>> round(find_rotation_center(blob(20.7 + 5), blob(20.7 - 5)).column, 2)  # axis at 20.7
    20.7
    """
    first = as_frames(projection_0)
    second = as_frames(projection_180, first.shape[1:])
    if len(first) != 1 or len(second) != 1:
        raise ReconstructionError("a pair is two single projections of shape (rows, columns)")
    one = _smooth(first[0])
    other = _smooth(second[0][:, ::-1])
    columns = one.shape[1]
    shift, error = _register(one, other, _integer_shift(one, other))
    return RotationCenter((columns - 1 - shift) / 2, error / 2)


def refine_rotation_center(
    projections: ArrayLike,
    angles_rad: ArrayLike,
    initial: float,
    *,
    search_columns: float = 4.0,
    rows: int = 16,
    threads: int | None = None,
) -> RotationCenter:
    """Rotation centre from all projections: the one that makes slices least negative.

    Attenuation is never negative, and the crescents that a wrong centre draws beside every
    particle are. A few rows with much structure are reconstructed for a series of centres, the
    sum of their negative values is fitted by a parabola at its minimum.

    Parameters
    ----------
    projections : array_like, shape (n, rows, columns)
        Absorption.
    angles_rad : array_like, shape (n,)
        Angles in radians, covering half a turn.
    initial : float
        Column to start from.
    search_columns : float
        Half width of the search; it moves along if the minimum is at its end.
    rows : int
        Rows to use.
    threads : int, optional
        Threads, never more than the cores this process may use (the default).

    Returns
    -------
    RotationCenter
        The standard error joins a jackknife over the rows with the measured bias of the method,
        `REFINEMENT_BIAS_COLUMNS`.

    Raises
    ------
    RotationCenterError
        If there is no minimum on the detector.
    ReconstructionError, AngleError
        For unusable input.

    References
    ----------
    .. [1] T. Donath, F. Beckmann and A. Schreyer, J. Opt. Soc. Am. A 23, 1048 (2006),
       doi:10.1364/JOSAA.23.001048 (metric Q_IN).
    """
    frames, angles = _checked_scan(projections, angles_rad)
    columns = frames.shape[2]
    start = check_center(initial, columns)
    chosen = _smooth_lines(frames[:, _telling_rows(frames, rows)])
    half = _FIT_CANDIDATES // 2
    reach = max(math.ceil(search_columns / _CANDIDATE_STEP), half)
    offsets = np.arange(-reach, reach + 1, dtype=np.float64) * _CANDIDATE_STEP
    workers = available_threads(threads)
    for _ in range(_MAXIMUM_MOVES):
        candidates = start + offsets
        candidates = candidates[(candidates >= 0) & (candidates <= columns - 1)]
        negativity = _negativity(chosen, angles, candidates, workers)
        lowest = int(negativity.sum(axis=1).argmin())
        if half <= lowest < len(candidates) - half:
            near = slice(lowest - half, lowest + half + 1)
            return _vertex(candidates[near], negativity[near])
        start = float(candidates[lowest])
    raise RotationCenterError(
        f"no rotation centre near column {initial:g}: slices still become less negative at "
        f"column {start:g}"
    )


def find_center(projections: ArrayLike, angles_rad: ArrayLike) -> RotationCenter:
    """Rotation centre of a scan: from its pair half a turn apart, else from all projections.

    Parameters
    ----------
    projections : array_like, shape (n, rows, columns)
        Absorption.
    angles_rad : array_like, shape (n,)
        Angles in radians.

    Returns
    -------
    RotationCenter

    Raises
    ------
    RotationCenterError
        If neither method finds one.
    ReconstructionError, AngleError
        For unusable input.
    """
    frames, angles = _checked_scan(projections, angles_rad)
    pair = nearest_pair(angles)
    if pair is not None:
        return find_rotation_center(frames[pair[0]], frames[pair[1]])
    return refine_rotation_center(frames, angles, _coarse_center(frames, angles))


def nearest_pair(angles_rad: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return the two projections that are nearest to half a turn apart; None if none are near.

    Parameters
    ----------
    angles_rad : ndarray of float64, shape (n,)
        Angles in radians; near is within half a mean step.
    """
    separation = np.abs(angles_rad[:, np.newaxis] - angles_rad)
    mismatch = np.abs(np.mod(separation, 2 * math.pi) - math.pi)
    i, j = np.unravel_index(int(mismatch.argmin()), mismatch.shape)
    if mismatch[i, j] > math.pi / len(angles_rad) / 2:
        return None
    return int(i), int(j)


def _checked_scan(
    projections: ArrayLike, angles_rad: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    frames, angles = as_frames(projections), check_angles(angles_rad)
    if len(frames) != len(angles) or len(frames) < 2:
        raise ReconstructionError(
            f"{len(frames)} projections and {len(angles)} angles: give two or more, one angle each"
        )
    return frames, angles


def _smooth(image: NDArray[np.float32]) -> NDArray[np.float64]:
    return ndimage.gaussian_filter(image.astype(np.float64), _SMOOTHING_COLUMNS, mode="nearest")


def _smooth_lines(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    smooth = ndimage.gaussian_filter1d(frames, _SMOOTHING_COLUMNS, axis=-1, mode="nearest")
    return np.ascontiguousarray(smooth, dtype=np.float32)


def _integer_shift(one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """Shift s with one(c) = other(c + s), first on binned lines and then on all columns."""
    columns = one.shape[1]
    factor = math.ceil(columns / _COARSE_COLUMNS)
    gradients = [np.gradient(image, axis=1) for image in (one, other)]
    kept = columns // factor * factor
    binned = [g[:, :kept].reshape(len(g), -1, factor).mean(axis=2) for g in gradients]
    reach = int((1 - _MINIMUM_OVERLAP) * (kept // factor))
    coarse = _best_shift(binned[0], binned[1], range(-reach, reach + 1)) * factor
    if factor == 1:
        return coarse
    return _best_shift(gradients[0], gradients[1], range(coarse - factor, coarse + factor + 1))


def _best_shift(one: NDArray[np.float64], other: NDArray[np.float64], shifts: range) -> int:
    columns = one.shape[1]

    def correlation(shift: int) -> float:
        left = one[:, max(0, -shift) : columns - max(0, shift)]
        right = other[:, max(0, shift) : columns - max(0, -shift)]
        norm = math.sqrt(float(np.vdot(left, left)) * float(np.vdot(right, right)))
        return float(np.vdot(left, right)) / norm if norm > 0 else 0.0

    return max(shifts, key=correlation)


def _register(
    one: NDArray[np.float64], other: NDArray[np.float64], shift: float
) -> tuple[float, float]:
    """Sub-pixel shift along the lines with one(c) = other(c + shift), and its standard error."""
    across = 0.0
    for _ in range(_ITERATIONS):
        matrix, scores = _normal_equations(one, other, shift, across)
        try:
            np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            break
        inverse = np.linalg.inv(matrix)
        step = inverse @ scores.sum(axis=1)
        shift += float(step[0])
        across += float(step[1])
        if abs(shift) > (1 - _MINIMUM_OVERLAP) * one.shape[1] or abs(across) > one.shape[0] / 2:
            break
        if np.abs(step[:2]).max() < _CONVERGED_COLUMNS:
            if not _correlated(one, other, shift):
                break
            # Sandwich estimate: noise and real differences enter as they scatter over tiles.
            covariance = inverse @ (scores @ scores.T) @ inverse
            return shift, math.sqrt(float(covariance[0, 0]))
    raise RotationCenterError(
        "the two views cannot be registered: they show no common structure. Are they half a turn "
        "apart, and is something in the field?"
    )


def _correlated(one: NDArray[np.float64], other: NDArray[np.float64], shift: float) -> bool:
    """Whether the registered gradients agree better than noise would by chance."""
    nearest = round(shift)
    left = np.gradient(one, axis=1)[:, max(0, -nearest) : one.shape[1] - max(0, nearest)]
    right = np.gradient(other, axis=1)[:, max(0, nearest) : one.shape[1] - max(0, -nearest)]
    correlation = float(np.corrcoef(left.ravel(), right.ravel())[0, 1])
    return correlation * math.sqrt(left.size / _NOISE_CELL_PIXELS) > _SIGNIFICANT_SIGMAS


def _normal_equations(
    one: NDArray[np.float64], other: NDArray[np.float64], shift: float, across: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Newton matrix for (shift, across, offset), and the score of every tile: (3, tiles)."""
    # Half the shift on each image: both are then interpolated, and blurred, alike.
    left = ndimage.shift(one, (across / 2, shift / 2), order=3, mode="nearest")
    right = ndimage.shift(other, (-across / 2, -shift / 2), order=3, mode="nearest")
    margin = math.ceil(abs(shift) / 2) + 1
    inside = slice(margin, one.shape[1] - margin)
    designs: list[NDArray[np.float64]] = []
    for image in (left, right):
        along_rows, along_columns = np.gradient(image)
        designs.append(np.stack([along_columns, along_rows, np.ones_like(image)])[:, :, inside])
    scores = (designs[0] + designs[1]) / 2 * (left - right)[:, inside]
    for axis in (1, 2):
        starts = np.arange(0, scores.shape[axis], _TILE_PIXELS)
        scores = np.add.reduceat(scores, starts, axis=axis)
    # Products of one image with the other: their noise is independent and does not add up, as it
    # would in the squares.
    a, b = (design.reshape(3, -1) for design in designs)
    return (a @ b.T + b @ a.T) / 2, scores.reshape(3, -1)


def _telling_rows(frames: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Rows spread evenly over those that show more structure than the median row."""
    structure = np.diff(ndimage.uniform_filter1d(frames, 3, axis=-1), axis=-1).std(axis=(0, 2))
    telling = np.nonzero(structure >= np.median(structure))[0]
    picks = np.linspace(0, len(telling) - 1, min(count, len(telling))).round().astype(int)
    return telling[picks]


def _negativity(
    frames: NDArray[np.float32],
    angles: NDArray[np.float64],
    candidates: NDArray[np.float64],
    threads: int,
) -> NDArray[np.float64]:
    """Sum the negative attenuation of the slices for each candidate: (candidates, rows)."""
    _, rows, columns = frames.shape
    width = max(2, min(int(_REGION_FRACTION * columns), _REGION_COLUMNS))
    margin = columns // 2 + 1  # any axis on the detector fits
    filtered = filter_frames(frames, "hann", margin, threads)
    weights = angular_weights(angles)
    result = np.empty((len(candidates), rows))
    for n, candidate in enumerate(candidates):
        slices = np.zeros((width, width, rows), dtype=np.float32)
        backproject(slices, filtered, angles, weights, candidate + margin, threads)
        result[n] = -np.minimum(slices, 0).sum(axis=(0, 1), dtype=np.float64)
    return result


def _vertex(candidates: NDArray[np.float64], negativity: NDArray[np.float64]) -> RotationCenter:
    middle = candidates.mean()

    def fit(curve: NDArray[np.float64]) -> float:
        curvature, slope, _ = np.polyfit(candidates - middle, curve, 2)
        if curvature <= 0:
            raise RotationCenterError("slices do not become least negative at any one centre")
        return float(middle - slope / (2 * curvature))

    total = negativity.sum(axis=1)
    rows = negativity.shape[1]
    if rows == 1:
        return RotationCenter(fit(total), math.inf)  # one row says nothing about the scatter
    left_out = [fit(total - negativity[:, row]) for row in range(rows)]
    spread = math.sqrt((rows - 1) * float(np.var(left_out)))  # jackknife
    return RotationCenter(fit(total), math.hypot(spread, REFINEMENT_BIAS_COLUMNS))


def _coarse_center(frames: NDArray[np.float32], angles: NDArray[np.float64]) -> float:
    """Least negative centre in the middle half of the detector, to about two columns."""
    columns = frames.shape[2]
    factor = math.ceil(columns / _COARSE_REFINEMENT_COLUMNS)
    rows = _telling_rows(frames, _COARSE_REFINEMENT_ROWS)
    kept = columns // factor * factor
    binned = frames[:, rows, :kept].reshape(len(frames), len(rows), -1, factor).mean(axis=-1)
    binned = _smooth_lines(binned)
    width = binned.shape[2]
    candidates = np.arange(width // 4, width - width // 4, dtype=np.float64)
    negativity = _negativity(binned, angles, candidates, available_threads()).sum(axis=1)
    return float((candidates[negativity.argmin()] + 0.5) * factor - 0.5)
