"""Second moments of labelled objects: the ellipsoid that is as long, as wide and as thick."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

VOXEL_VARIANCE = 1 / 12
"""Each voxel is a cube, not a point: what that adds to a second moment."""

PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
LARGEST_SHIFT = 0.15
"""Share of an axis that the blur may have moved its end; beyond, it hides it."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Volumes, centres and equivalent ellipsoids of the objects 1..N; entry 0 is empty.

    Attributes
    ----------
    voxels : (N + 1,) array of int
        Number of voxels.
    center : (N + 1, 3) array
        Centre of mass (row, depth, column).
    semi_axes : (N + 1, 3) array
        Semi-axes, longest first, of the solid ellipsoid with the same second moments.
    directions : (N + 1, 3, 3) array
        Unit vectors of those axes, ``directions[n, k]`` for axis k, as (row, depth, column).
    first, stop : (N + 1, 3) arrays of int
        Bounding boxes: first indices, and those after the last.
    """

    voxels: Counts
    center: Floats
    semi_axes: Floats
    directions: Floats
    first: Counts
    stop: Counts

    @property
    def radius(self) -> Floats:
        """Radius of the ball of as many voxels."""
        return np.cbrt(3 * self.voxels / (4 * np.pi))


def measure_moments(labels: Labels, count: int | None = None) -> Moments:
    """Measure the second moments of every label.

    Parameters
    ----------
    labels : (rows, depth, columns) array of int32
        Objects 1..N; 0 is the background.
    count : int, optional
        N, when it is known.

    Returns
    -------
    Moments
        In voxels.

    Examples
    --------
    >>> i, j, k = np.mgrid[:30, :30, :30] - 15
    >>> found = measure_moments(((i / 10) ** 2 + (j / 6) ** 2 + (k / 5) ** 2 <= 1).astype(np.int32))
    >>> np.round(found.semi_axes[1]).tolist()
    [10.0, 6.0, 5.0]
    """
    count = int(labels.max(initial=0)) if count is None else count
    voxels, sums, products, low, high = _sums(labels, count)
    size = np.maximum(voxels, 1).astype(np.float64)
    center = sums / size[:, None]
    covariance = np.empty((count + 1, 3, 3))
    for number, (a, b) in enumerate(PAIRS):
        product = products[:, number] / size - center[:, a] * center[:, b]
        covariance[:, a, b] = covariance[:, b, a] = product
    covariance += VOXEL_VARIANCE * np.eye(3)
    variances, vectors = np.linalg.eigh(covariance)  # ascending
    semi_axes = np.sqrt(5 * np.maximum(variances[:, ::-1], 0))  # a solid ellipsoid's is axis**2 / 5
    directions = np.swapaxes(vectors, 1, 2)[:, ::-1]
    semi_axes[voxels == 0] = 0
    return Moments(voxels, center, semi_axes, directions, low, high)


@njit(cache=True, nogil=True)
def _sums(
    labels: Labels, count: int
) -> tuple[Counts, Floats, Floats, Counts, Counts]:  # pragma: no cover - compiled
    """Numbers, sums of indices, sums of their products, and bounding boxes, in one pass."""
    voxels = np.zeros(count + 1, dtype=np.int64)
    sums, products = np.zeros((count + 1, 3)), np.zeros((count + 1, 6))
    low, high = np.zeros((count + 1, 3), np.int64), np.zeros((count + 1, 3), np.int64)
    for y in range(labels.shape[0]):
        for z in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                n = labels[y, z, x]
                if n == 0:
                    continue
                if voxels[n] == 0:
                    low[n] = (y, z, x)
                    high[n] = (y, z, x)
                voxels[n] += 1
                sums[n, 0] += y
                sums[n, 1] += z
                sums[n, 2] += x
                products[n, 0] += y * y
                products[n, 1] += y * z
                products[n, 2] += y * x
                products[n, 3] += z * z
                products[n, 4] += z * x
                products[n, 5] += x * x
                high[n, 0] = y
                low[n, 1], high[n, 1] = min(low[n, 1], z), max(high[n, 1], z)
                low[n, 2], high[n, 2] = min(low[n, 2], x), max(high[n, 2], x)
    return voxels, sums, products, low, high + 1


def sharpened_axes(moments: Moments, volume: Floats, blur: float) -> Floats:
    """Semi-axes without what blurring did to them, for the volumes given.

    At half contrast blurring by a standard deviation s moves a surface by ``s**2 / 2`` times the
    sum of its principal curvatures, ``a / b**2 + a / c**2`` at the end of the axis a. That is put
    back, and all three axes are scaled so that voxels times scale**3 is the volume.

    Parameters
    ----------
    moments : Moments
        Of labels cut at half contrast.
    volume : (N + 1,) array
        True volumes, in voxels.
    blur : float
        Standard deviation in voxels.

    Returns
    -------
    (N + 1, 3) array
        In voxels, longest first.

    Examples
    --------
    >>> i, j, k = np.mgrid[:30, :30, :30] - 15
    >>> found = measure_moments(((i / 10) ** 2 + (j / 6) ** 2 + (k / 5) ** 2 <= 1).astype(np.int32))
    >>> axes = sharpened_axes(found, found.voxels * 1.1, 0.0)[1] / found.semi_axes[1]
    >>> np.round(axes**3, 2).tolist()
    [1.1, 1.1, 1.1]
    """
    axes = np.maximum(moments.semi_axes, 1.0)
    squares = 1 / np.square(axes)
    curvature = axes * (squares.sum(axis=1, keepdims=True) - squares)
    longer = axes + np.minimum(blur**2 / 2 * curvature, LARGEST_SHIFT * axes)
    grown = longer.prod(axis=1) / axes.prod(axis=1)
    share = volume / np.maximum(moments.voxels, 1)
    return moments.semi_axes * (longer / axes) * np.cbrt(share / grown)[:, None]
