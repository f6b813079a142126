"""Second moments of labelled objects: the ellipsoid that is as long, as wide and as thick."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VOXEL_VARIANCE = 1 / 12
"""Each voxel is a cube, not a point: what that adds to a second moment."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]


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
    """

    voxels: NDArray[np.int64]
    center: Floats
    semi_axes: Floats
    directions: Floats


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
    where = np.nonzero(labels)
    owner = labels[where]
    voxels = np.bincount(owner, minlength=count + 1)
    size = np.maximum(voxels, 1).astype(np.float64)
    center = np.stack(
        [np.bincount(owner, weights=axis, minlength=count + 1) / size for axis in where], axis=1
    )
    offsets = [axis - center[owner, number] for number, axis in enumerate(where)]
    covariance = np.zeros((count + 1, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            products = np.bincount(owner, weights=offsets[a] * offsets[b], minlength=count + 1)
            covariance[:, a, b] = covariance[:, b, a] = products / size
    covariance += VOXEL_VARIANCE * np.eye(3)
    variances, vectors = np.linalg.eigh(covariance)  # ascending
    semi_axes = np.sqrt(5 * np.maximum(variances[:, ::-1], 0))  # a solid ellipsoid's is axis**2 / 5
    directions = np.swapaxes(vectors, 1, 2)[:, ::-1]
    semi_axes[voxels == 0] = 0
    return Moments(voxels.astype(np.int64), center, semi_axes, directions)
