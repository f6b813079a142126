"""Grey levels around objects, and how sums of neighbouring voxels scatter.

Powders lie on tape, which absorbs 7 % of what they do: half of the surroundings of a particle is
brighter than the other half. A background read as one number per particle is then wrong on both
sides, by several per cent of the volume of small particles. So it is read layer by layer along
the depth (the tape is a plane of constant z) and, on top of that, from the neighbourhood of each
voxel.

Noise of a reconstruction is not white. Interpolation and streaks make neighbouring voxels err
together: the mean of 64 voxels scatters 1.7 times as much as independent ones would. How much is
measured on blocks of empty voxels of the same volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from .workers import in_parts

BLOCK_VOXELS = 2
"""Edge of the blocks in which the background is averaged before it is smoothed."""
SMOOTHING_BLOCKS = 1.5
TRUNCATION = 4.0
LAYER_PRIOR_VOXELS = 100
"""Empty voxels of a layer below which it is drawn towards the level of the whole volume."""
PRIOR_VOXELS = 0.05
"""The same for a neighbourhood, as weight after the smoothing."""
FULL_BLOCK = 0.9
"""Share of a block that must be empty to tell how blocks scatter."""
FEWEST_BLOCKS = 20
LEAST_ROWS = 16
"""Fewer are not worth a thread."""
DOUBLINGS = 3
"""Blocks of 2, 4 and 8 voxels edge: up to the size of small particles."""

Floats = NDArray[np.float64]
Grey = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LocalBackground:
    """Background of every voxel, and the noise of sums.

    Attributes
    ----------
    layers : (depth,) array
        Level of each layer along the second axis.
    level : (rows / 2, depth / 2, columns / 2) array
        What blocks of voxels differ from their layers, smoothed.
    noise : float
        Standard deviation of single empty voxels about their layer.
    block_voxels, block_factor : arrays
        Numbers of neighbouring voxels, and how many times the mean of so many scatters as much
        as that of independent ones.
    """

    layers: Floats
    level: NDArray[np.float32]
    noise: float
    block_voxels: Floats
    block_factor: Floats

    def factor(self, voxels: Floats) -> Floats:
        """How much more a mean of so many neighbours scatters than one of independent voxels."""
        return np.interp(
            np.log(np.maximum(voxels, 1.0)), np.log(self.block_voxels), self.block_factor
        )


def local_background(share: Grey, empty: NDArray[np.bool_]) -> LocalBackground:
    """Read the background around objects.

    Parameters
    ----------
    share : (rows, depth, columns) array
        Grey values on any scale; 0 is what the background is drawn to where little is empty.
    empty : (rows, depth, columns) array of bool
        Voxels that belong to the background.

    Returns
    -------
    LocalBackground

    Examples
    --------
    >>> share = np.zeros((8, 40, 40), dtype=np.float32)
    >>> share[:, 20:] = 0.07
    >>> everywhere = np.ones(share.shape, dtype=bool)
    >>> found = local_background(share, everywhere)
    >>> np.round(found.layers[[5, 35]], 3).tolist()
    [0.0, 0.07]
    """
    rows = len(share)
    sums = in_parts(lambda a, b: _layer_sums(share[a:b], empty[a:b]), rows, LEAST_ROWS)
    counts, total = (np.sum(part, axis=0) for part in zip(*sums, strict=True))
    layers = total / np.maximum(counts, LAYER_PRIOR_VOXELS)
    shape = tuple(-(-size // BLOCK_VOXELS) for size in share.shape)
    weight, value = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)

    def blocks(first: int, stop: int) -> float:
        own = slice(first * BLOCK_VOXELS, min(stop * BLOCK_VOXELS, rows))
        around = slice(first, stop)
        return _add_blocks(share[own], empty[own], layers, weight[around], value[around])

    squares = sum(in_parts(blocks, len(weight), LEAST_ROWS // BLOCK_VOXELS))
    noise = float(np.sqrt(squares / max(int(counts.sum()), 1)))
    voxels, factors = _block_factors(weight, value, noise)
    smooth_weight, smooth_value = (
        ndimage.gaussian_filter(part, SMOOTHING_BLOCKS, truncate=TRUNCATION, mode="constant")
        for part in (weight, value)
    )
    level = (smooth_value / (smooth_weight + PRIOR_VOXELS)).astype(np.float32)
    return LocalBackground(layers, level, noise, voxels, factors)


@njit(cache=True, nogil=True)
def _layer_sums(
    share: Grey, empty: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Floats]:  # pragma: no cover - compiled
    """Count and add up what is empty in each layer."""
    rows, depth, columns = share.shape
    counts, sums = np.zeros(depth, dtype=np.int64), np.zeros(depth)
    for i in range(rows):
        for j in range(depth):
            for k in range(columns):
                if empty[i, j, k]:
                    counts[j] += 1
                    sums[j] += share[i, j, k]
    return counts, sums


@njit(cache=True, nogil=True)
def _add_blocks(
    share: Grey, empty: NDArray[np.bool_], layers: Floats, weight: Grey, value: Grey
) -> float:  # pragma: no cover - compiled
    """Add up what is empty, and its differences from the layers, in blocks; return the squares."""
    rows, depth, columns = share.shape
    squares = 0.0
    for i in range(rows):
        for j in range(depth):
            for k in range(columns):
                if empty[i, j, k]:
                    rest = share[i, j, k] - np.float32(layers[j])
                    squares += np.float64(rest) ** 2
                    block = (i // BLOCK_VOXELS, j // BLOCK_VOXELS, k // BLOCK_VOXELS)
                    weight[block] += np.float32(1)
                    value[block] += rest
    return squares


def _halved(values: Grey) -> Grey:
    """Sum over blocks of two voxels edge."""
    for axis in range(3):
        if values.shape[axis] % BLOCK_VOXELS:
            room = [(0, int(number == axis)) for number in range(3)]
            values = np.pad(values, room)
        first, second = (
            values[(slice(None),) * axis + (slice(start, None, BLOCK_VOXELS),)]
            for start in range(BLOCK_VOXELS)
        )
        values = first + second
    return values


def _block_factors(weight: Grey, value: Grey, noise: float) -> tuple[Floats, Floats]:
    voxels, factors = [1.0], [1.0]
    for doubling in range(1, DOUBLINGS + 1):
        size = float(BLOCK_VOXELS ** (3 * doubling))
        full = weight >= FULL_BLOCK * size
        if np.count_nonzero(full) < FEWEST_BLOCKS or noise == 0:
            break
        scatter = float(np.std(value[full] / weight[full]))
        voxels.append(size)
        factors.append(max(scatter * np.sqrt(size) / noise, 1.0))
        weight, value = _halved(weight), _halved(value)
    return np.array(voxels), np.array(factors)
