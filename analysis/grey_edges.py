"""Compiled passes over the voxels near surfaces, each in place of many passes of numpy."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .local_levels import BLOCK_VOXELS

Floats = NDArray[np.float64]
Grey = NDArray[np.float32]
Labels = NDArray[np.int32]
Flags = NDArray[np.bool_]


@njit(cache=True, nogil=True)
def sorted_voxels(
    labels: Labels,
    owner: Labels,
    outer: NDArray[np.uint8],
    inner: NDArray[np.uint8],
    allowed: Flags,
    gradient: Grey,
    steps: int,
) -> tuple[Flags, Flags, Flags, float]:  # pragma: no cover - compiled
    """Tell edges, cores and empty voxels apart; keep owners only of objects and their edges.

    Parameters
    ----------
    labels, owner, outer, inner : (rows, depth, columns) arrays
        Objects, the same grown outwards (changed in place), in which step each voxel was reached
        then, and from outside inwards.
    allowed : (rows, depth, columns) array of bool, or without voxels
        Where edges may be looked for; everywhere when it is empty.
    gradient : (rows, depth, columns) array of float32
        Of the smoothed share.
    steps : int
        How far outside objects edges reach.

    Returns
    -------
    edge, core, empty : (rows, depth, columns) arrays of bool
        Voxels near a surface, deep inside an object, and away from all of them.
    quiet : float
        Mean square of the gradient beyond all objects; 0 where there is no such voxel.
    """
    shape = labels.shape
    edge, core = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    empty = np.zeros(shape, dtype=np.bool_)
    squares, number = 0.0, 0
    everywhere = allowed.size == 0
    for y in range(shape[0]):
        for z in range(shape[1]):
            for x in range(shape[2]):
                own, near = labels[y, z, x] > 0, outer[y, z, x] <= steps
                here = everywhere or allowed[y, z, x]
                deep = own and inner[y, z, x] == 0
                core[y, z, x] = deep
                if owner[y, z, x] == 0:
                    if here:
                        empty[y, z, x] = True
                        squares += np.float64(gradient[y, z, x]) ** 2
                        number += 1
                    continue
                if here and not near:
                    empty[y, z, x] = True
                edge[y, z, x] = here and near and not deep
                if not (edge[y, z, x] or own):
                    owner[y, z, x] = 0
    return edge, core, empty, squares / max(number, 1)


@njit(cache=True, nogil=True)
def gathered(
    edge: Flags,
    owner: Labels,
    share: Grey,
    smooth: Grey,
    gradient: Grey,
    level: Grey,
    layers: Floats,
) -> tuple[Labels, Floats, Floats, Floats, Floats]:  # pragma: no cover - compiled
    """Return owner, share, smoothed share, gradient and background of the chosen voxels, flat.

    `level` and `layers` are those of `zoneplate.analysis.local_levels.LocalBackground`.
    """
    count = np.count_nonzero(edge)
    whose = np.empty(count, dtype=np.int32)
    values = np.empty((4, count))
    n = 0
    for y in range(edge.shape[0]):
        for z in range(edge.shape[1]):
            for x in range(edge.shape[2]):
                if not edge[y, z, x]:
                    continue
                whose[n] = owner[y, z, x]
                values[0, n] = share[y, z, x]
                values[1, n] = smooth[y, z, x]
                values[2, n] = gradient[y, z, x]
                block = level[y // BLOCK_VOXELS, z // BLOCK_VOXELS, x // BLOCK_VOXELS]
                values[3, n] = block + layers[z]
                n += 1
    return whose, values[0], values[1], values[2], values[3]


@njit(cache=True, nogil=True)
def put_back(edge: Flags, values: Floats, field: Grey) -> None:  # pragma: no cover - compiled
    """Write the values of the chosen voxels to their places in a volume."""
    n = 0
    for y in range(edge.shape[0]):
        for z in range(edge.shape[1]):
            for x in range(edge.shape[2]):
                if edge[y, z, x]:
                    field[y, z, x] = values[n]
                    n += 1


@njit(cache=True, nogil=True)
def core_sums(
    labels: Labels, core: Flags, share: Grey, count: int
) -> tuple[Floats, Floats]:  # pragma: no cover - compiled
    """Return how many core voxels each object has, and the sum of their shares."""
    size, total = np.zeros(count + 1), np.zeros(count + 1)
    for y in range(core.shape[0]):
        for z in range(core.shape[1]):
            for x in range(core.shape[2]):
                if core[y, z, x]:
                    n = labels[y, z, x]
                    size[n] += 1
                    total[n] += share[y, z, x]
    return size, total


@njit(cache=True, nogil=True)
def enclosing_levels(
    owner: Labels,
    smooth: Floats,
    gradient: Floats,
    core: Floats,
    volume: Floats,
    levels: tuple[float, float],
    bisections: int,
) -> Floats:  # pragma: no cover - compiled
    """Find by bisection the level at which the smoothed surface encloses each object's volume."""
    count = len(volume)
    low, high = np.full(count, levels[0]), np.full(count, levels[1])
    level, filled = np.empty(count), np.empty(count)
    for _ in range(bisections):
        level[:] = (low + high) / 2
        filled[:] = 0.0
        for n in range(len(owner)):
            share = 0.5 + (smooth[n] - level[owner[n]]) / gradient[n]
            filled[owner[n]] += min(max(share, 0.0), 1.0)
        for k in range(count):
            if core[k] + filled[k] > volume[k]:
                low[k] = level[k]
            else:
                high[k] = level[k]
    return (low + high) / 2
