"""Forward projection of a volume: what the microscope would see of it, at any angle.

Rays are followed plane by plane, with linear interpolation in each plane that they cross (Joseph's
method). The volume is kept as [z, x, y], as it is for back-projection: all rows of a detector
column share their weights.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from zoneplate.analysis.workers import available_threads


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"})  # pyright: ignore[reportUntypedFunctionDecorator]
def _project(
    volume: NDArray[np.float32],
    image: NDArray[np.float32],
    cosine: float,
    sine: float,
    axis_column: float,
) -> None:  # pragma: no cover - compiled
    depth, width, rows = volume.shape
    middle_z, middle_x = (depth - 1) / 2, (width - 1) / 2
    along_z = abs(cosine) >= abs(sine)  # then a ray crosses every plane of z once
    planes, across = (depth, width) if along_z else (width, depth)
    step = np.float32(1 / abs(cosine) if along_z else 1 / abs(sine))
    for column in range(image.shape[0]):
        line = image[column]
        line[:] = 0
        u = column - axis_column
        for k in range(planes):
            if along_z:
                place = (u - (k - middle_z) * sine) / cosine + middle_x
            else:
                place = (u - (k - middle_x) * cosine) / sine + middle_z
            if place < 0 or place >= across - 1:
                continue
            i = int(place)
            right = np.float32(place - i) * step
            left = step - right
            if along_z:
                one, other = volume[k, i], volume[k, i + 1]
            else:
                one, other = volume[i, k], volume[i + 1, k]
            for y in range(rows):
                line[y] += left * one[y] + right * other[y]


def reproject(
    volume: NDArray[np.float32],
    angles_rad: NDArray[np.float64],
    axis_column: float,
    columns: int,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Project a volume at some angles.

    Parameters
    ----------
    volume : ndarray of float32, shape (rows, depth, width)
        [y, z, x], attenuation per voxel, the rotation axis in its middle.
    angles_rad : ndarray of float64, shape (n,)
        Angles in radians.
    axis_column : float
        Column of the rotation axis.
    columns : int
        Columns of a projection.
    threads : int, optional
        Threads, never more than the cores this process may use (the default).

    Returns
    -------
    ndarray of float32, shape (n, rows, columns)
        Absorption.

    References
    ----------
    .. [1] P. M. Joseph, IEEE Trans. Med. Imaging 1, 192 (1982), doi:10.1109/TMI.1982.4307572.

    Examples
    --------
    >>> block = np.zeros((1, 9, 9), dtype=np.float32)
    >>> block[0, 3:6, 4] = 0.1
    >>> reproject(block, np.array([0.0]), 4.0, 9).round(2)[0, 0, 3:6]
    array([0. , 0.3, 0. ], dtype=float32)
    """
    lines = np.ascontiguousarray(volume.transpose(1, 2, 0), dtype=np.float32)
    images = np.empty((len(angles_rad), columns, volume.shape[0]), dtype=np.float32)

    def work(number: int) -> None:
        angle = float(angles_rad[number])
        _project(lines, images[number], math.cos(angle), math.sin(angle), axis_column)

    with ThreadPoolExecutor(available_threads(threads)) as pool:
        list(pool.map(work, range(len(angles_rad))))  # the list lets an error come out
    return images.transpose(0, 2, 1)
