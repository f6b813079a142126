"""Compiled loops over pixels: shadows of ellipses, and means of blocks."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")
def add_ellipses(
    image: Image,
    first_u: float,
    first_v: float,
    step: float,
    center_u: Floats,
    center_v: Floats,
    uu: Floats,
    uv: Floats,
    vv: Floats,
    chord: Floats,
) -> None:  # pragma: no cover - compiled
    """Add the shadows of ellipsoids to an image, given by their ellipses (see `projection`)."""
    rows, columns = image.shape
    for n in range(len(center_u)):
        half_v = math.sqrt(vv[n])
        top = max(0, math.ceil((first_v - center_v[n] - half_v) / step))
        bottom = min(rows - 1, math.floor((first_v - center_v[n] + half_v) / step))
        # In a row the ellipse is a segment around a centre that the tilt uv moves along.
        width2 = uu[n] - uv[n] * uv[n] / vv[n]
        scale = chord[n] / math.sqrt(width2)
        for row in range(top, bottom + 1):
            dv = first_v - row * step - center_v[n]
            half2 = width2 * (1.0 - dv * dv / vv[n])
            if half2 <= 0.0:
                continue
            half = math.sqrt(half2)
            middle = center_u[n] + uv[n] / vv[n] * dv - first_u
            left = max(0, math.ceil((middle - half) / step))
            right = min(columns - 1, math.floor((middle + half) / step))
            line = image[row]
            for column in range(left, right + 1):
                du = column * step - middle
                line[column] += np.float32(scale * math.sqrt(max(half2 - du * du, 0.0)))


@njit(cache=True, nogil=True)
def _box_average(fine: Image, factor: int, coarse: Image) -> None:  # pragma: no cover - compiled
    weight = np.float32(1.0 / (factor * factor))
    for row in range(coarse.shape[0]):
        for i in range(row * factor, (row + 1) * factor):
            for column in range(coarse.shape[1]):
                total = np.float32(0.0)
                for j in range(column * factor, (column + 1) * factor):
                    total += fine[i, j]
                coarse[row, column] += weight * total


def box_average(fine: Image, factor: int) -> Image:
    """Return the means of blocks of factor x factor pixels.

    Parameters
    ----------
    fine
        Shape (rows * factor, columns * factor), float32.
    factor
        Side of a block; 1 returns the array itself.

    Examples
    --------
    >>> box_average(np.arange(16, dtype=np.float32).reshape(4, 4), 2)
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    if factor == 1:
        return fine
    coarse = np.zeros((fine.shape[0] // factor, fine.shape[1] // factor), dtype=np.float32)
    _box_average(fine, factor, coarse)
    return coarse
