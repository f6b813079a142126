"""How far the rotation axis is turned against the columns of the detector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .projections import ReconstructionError, as_frames
from .rotation_axis import RotationCenterError

Floats = NDArray[np.float64]

_SMOOTHING_PIXELS: Final = 1.0
"""Gaussian before the comparison, see `rotation_axis`."""

_TILE_PIXELS: Final = 8
"""Side of the tiles over which residuals are summed for the standard error."""

_ITERATIONS: Final = 30
_CONVERGED_RAD: Final = 1e-6
_LARGEST_RAD: Final = math.radians(5.0)


@dataclass(frozen=True)
class AxisTilt:
    """Angle of the rotation axis against the columns of the detector.

    Attributes
    ----------
    tilt_deg, standard_error_deg
        Upper end towards larger columns, with its standard error.
    column
        Column of the axis in the middle row.
    """

    tilt_deg: float
    standard_error_deg: float
    column: float


def find_axis_tilt(projection_0: ArrayLike, projection_180: ArrayLike, column: float) -> AxisTilt:
    """Tilt of the rotation axis in the image, from two views half a turn apart.

    Mirrored about an upright axis the two are the same; about a tilted one they are turned against
    each other by twice the tilt. Gauss-Newton on the smoothed images for tilt, shift along and
    across the axis, and a constant offset.

    Parameters
    ----------
    projection_0, projection_180 : array_like, shape (rows, columns)
        Absorption at theta and theta + 180 degrees.
    column : float
        Column of the rotation axis as `find_rotation_center` finds it.

    Returns
    -------
    AxisTilt
        Its standard error comes from how the residuals scatter over tiles of the image.

    Raises
    ------
    RotationCenterError
        If the two cannot be laid over each other.
    ReconstructionError
        For shapes that differ or values that are not finite.

    Examples
    --------
    >>> rows, columns = np.mgrid[:64, :64] - 31.5
    >>> def view(side):  # of two balls on an axis whose columns grow by 0.02 with each row upwards
    ...     return sum(
    ...         np.exp(-((columns - side * u - 0.02 * v) ** 2 + (rows + v) ** 2) / 18)
    ...         for u, v in ((8, 15), (3, -15))
    ...     )
    >>> pair = view(1), view(-1)
    >>> round(find_axis_tilt(*pair, 31.5).tilt_deg, 1)
    1.1
    """
    first = as_frames(projection_0)
    second = as_frames(projection_180, first.shape[1:])
    if len(first) != 1 or len(second) != 1:
        raise ReconstructionError("a pair is two single projections of shape (rows, columns)")
    one, other = _smooth(first[0]), _smooth(second[0][:, ::-1])
    columns = one.shape[1]
    # one(c) = other(c + shift): half of it on each image, and half of everything else.
    shift, across, tilt = columns - 1 - 2 * column, 0.0, 0.0
    for _ in range(_ITERATIONS):
        matrix, scores = _normal_equations(one, other, shift, across, tilt)
        if not np.linalg.cond(matrix) < 1e12:
            break
        inverse = np.linalg.inv(matrix)
        step = inverse @ scores.sum(axis=1)
        shift, across, tilt = shift + step[0], across + step[1], tilt + step[2]
        if abs(tilt) > _LARGEST_RAD or abs(shift) > columns / 2:
            break
        if abs(step[2]) < _CONVERGED_RAD:
            covariance = inverse @ (scores @ scores.T) @ inverse
            return AxisTilt(
                math.degrees(tilt),
                math.degrees(math.sqrt(float(covariance[2, 2]))),
                float(columns - 1 - shift) / 2,
            )
    raise RotationCenterError(
        "the two views cannot be laid over each other to find the tilt of the axis: are they half "
        "a turn apart?"
    )


def turned(
    image: NDArray[np.floating], tilt_rad: float, shift: tuple[float, float]
) -> NDArray[np.floating]:
    """Turn an image back by a tilt about its middle, after moving it back by a shift.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        The image.
    tilt_rad
        Upper end towards larger columns.
    shift
        Along (u, v): to larger columns and upwards, in pixels.

    Returns
    -------
    ndarray, shape (rows, columns)
        Interpolated by cubic splines; what comes in at the edges are the edge values.
    """
    cosine, sine = math.cos(tilt_rad), math.sin(tilt_rad)
    # Rows grow downwards: a point (down, along) of the upright image is seen at matrix @ it.
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    middle = (np.array(image.shape) - 1) / 2
    moved = np.array([-shift[1], shift[0]])
    start: Any = middle - matrix @ middle + moved  # the type stubs know only a single number
    return ndimage.affine_transform(image, matrix, offset=start, order=3, mode="nearest")


def _smooth(image: NDArray[np.float32]) -> Floats:
    return ndimage.gaussian_filter(image.astype(np.float64), _SMOOTHING_PIXELS, mode="nearest")


def _normal_equations(
    one: Floats, other: Floats, shift: float, across: float, tilt: float
) -> tuple[Floats, Floats]:
    """Gauss-Newton matrix for (shift, across, tilt, offset), and scores of every tile."""
    left = turned(one, tilt, (-shift / 2, across / 2))
    right = turned(other, -tilt, (shift / 2, -across / 2))
    margin = math.ceil(abs(shift) / 2) + 2
    inside = np.s_[2:-2, margin:-margin]
    rows, columns = one.shape
    down = (np.arange(rows) - (rows - 1) / 2)[:, None]
    along = (np.arange(columns) - (columns - 1) / 2)[None, :]
    designs: list[Floats] = []
    for image in (left, right):
        by_row, by_column = np.gradient(image)
        turn = 2 * (down * by_column - along * by_row)
        designs.append(
            np.stack([by_column, by_row, turn, np.ones_like(image)], dtype=np.float64)[
                (slice(None), *inside)
            ]
        )
    difference = (left - right)[inside]
    scores = (designs[0] + designs[1]) / 2 * difference
    for axis in (1, 2):
        scores = np.add.reduceat(scores, np.arange(0, scores.shape[axis], _TILE_PIXELS), axis=axis)
    a, b = (design.reshape(4, -1) for design in designs)
    return (a @ b.T + b @ a.T) / 2, scores.reshape(4, -1)
