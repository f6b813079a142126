"""Small binary morphology: what scipy does, ten times faster for cubes and small balls."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def dilate(mask: NDArray[np.bool_], steps: int = 1) -> NDArray[np.bool_]:
    """Dilate a mask by a 3 x 3 x 3 cube (26 neighbours), `steps` times.

    Examples
    --------
    >>> point = np.zeros((3, 5, 5), dtype=bool)
    >>> point[1, 2, 2] = True
    >>> int(dilate(point).sum()), int(dilate(point, 2).sum())
    (27, 75)
    """
    grown = mask
    for _ in range(steps):
        for axis in range(grown.ndim):  # a cube is three line segments, one after the other
            source = np.moveaxis(grown, axis, 0)
            grown = grown.copy()
            target = np.moveaxis(grown, axis, 0)
            target[1:] |= source[:-1]
            target[:-1] |= source[1:]
    return grown


def erode(mask: NDArray[np.bool_], steps: int = 1) -> NDArray[np.bool_]:
    """Erode a mask by a 3 x 3 x 3 cube, `steps` times; beyond the array everything is solid."""
    return ~dilate(~mask, steps)


def dilate_by_ball(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Dilate a mask of three axes by a ball: everything whose centre is at most `radius` away.

    Of small boxes ten times as fast as a threshold on a distance map, which has to be made first.

    Examples
    --------
    >>> point = np.zeros((7, 7, 7), dtype=bool)
    >>> point[3, 3, 3] = True
    >>> int(dilate_by_ball(point, 1).sum()), int(dilate_by_ball(point, 2).sum())
    (7, 33)
    """
    return _near(np.ascontiguousarray(mask), math.floor(radius), radius * radius)


@njit(cache=True, nogil=True)
def _near(
    mask: NDArray[np.bool_], reach: int, limit: float
) -> NDArray[np.bool_]:  # pragma: no cover - compiled
    """Squared distances along one axis after the other, as far as they matter."""
    rows, depth, columns = mask.shape
    far = 3 * (reach + 1) ** 2
    along_x = np.full(mask.shape, far, dtype=np.int32)
    for i in range(rows):
        for j in range(depth):
            for k in range(columns):
                if mask[i, j, k]:
                    for n in range(max(k - reach, 0), min(k + reach + 1, columns)):
                        along_x[i, j, n] = min(along_x[i, j, n], (n - k) ** 2)
    along_z = np.full(mask.shape, far, dtype=np.int32)
    for i in range(rows):
        for j in range(depth):
            for n in range(max(j - reach, 0), min(j + reach + 1, depth)):
                step = (n - j) ** 2
                for k in range(columns):
                    along_z[i, n, k] = min(along_z[i, n, k], along_x[i, j, k] + step)
    near = np.zeros(mask.shape, dtype=np.bool_)
    for i in range(rows):
        for n in range(max(i - reach, 0), min(i + reach + 1, rows)):
            step = (n - i) ** 2
            for j in range(depth):
                for k in range(columns):
                    if along_z[i, j, k] + step <= limit:
                        near[n, j, k] = True
    return near


def grown(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """Widen a bounding box by a margin on every side, within the array."""
    first, second, third = (
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip(box, shape, strict=True)
    )
    return first, second, third
