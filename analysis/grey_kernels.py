"""Compiled parts of the measurement from grey values: smoothing with gradient, growing labels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .morphology import Box
from .workers import in_parts

SMOOTHING_VOXELS = 1.0
TRUNCATION_VOXELS = 4
ROWS_AT_ONCE = 64
"""Rows that are smoothed together: bounds the memory for the derivatives."""

Grey = NDArray[np.float32]
Labels = NDArray[np.int32]


def smoothed_with_gradient(share: Grey) -> tuple[Grey, Grey]:
    """Smooth, and take the length of the gradient of the smoothed volume, slab by slab."""
    smooth, gradient = np.empty_like(share), np.empty_like(share)
    rows = len(share)

    def smooth_rows(start: int, stop: int) -> None:
        for first in range(start, stop, ROWS_AT_ONCE):
            last = min(first + ROWS_AT_ONCE, stop)
            above, below = max(first - TRUNCATION_VOXELS, 0), min(last + TRUNCATION_VOXELS, rows)
            own: Box = (slice(first - above, last - above), slice(None), slice(None))
            _smooth_slab(share[above:below], own, smooth[first:last], gradient[first:last])

    in_parts(smooth_rows, rows, ROWS_AT_ONCE // 2)
    return smooth, gradient


def _smooth_slab(slab: Grey, own: Box, smooth: Grey, gradient: Grey) -> None:
    even, odd = _gaussian(slab, 0, 0)[own], _gaussian(slab, 0, 1)[own]
    even_even, even_odd = _gaussian(even, 1, 0), _gaussian(even, 1, 1)
    odd_even = _gaussian(odd, 1, 0)
    smooth[:] = _gaussian(even_even, 2, 0)
    squares = np.square(_gaussian(even_even, 2, 1))
    squares += np.square(_gaussian(even_odd, 2, 0))
    squares += np.square(_gaussian(odd_even, 2, 0))
    np.sqrt(squares, out=gradient)


def _gaussian(values: Grey, axis: int, order: int) -> Grey:
    """Convolve along an axis with a Gaussian (order 0) or with its derivative (order 1)."""
    taps = np.arange(-TRUNCATION_VOXELS, TRUNCATION_VOXELS + 1)
    kernel = np.exp(-0.5 * (taps / SMOOTHING_VOXELS) ** 2)
    kernel /= kernel.sum()
    if order:
        kernel *= taps / SMOOTHING_VOXELS**2
    values = np.ascontiguousarray(values)
    result = np.zeros_like(values)
    first, size, last = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    shape = (int(np.prod(first)), size, int(np.prod(last)))
    _convolve(values.reshape(shape), kernel.astype(np.float32), result.reshape(shape))
    return result


@njit(cache=True, nogil=True)
def fill_voids(
    share: Grey, particles: Labels, voids: Labels, reach: int
) -> None:  # pragma: no cover - compiled
    """Make solid what is at most `reach` rows, layers and columns from a void, in place.

    Only inside: not the outermost voxels of a particle. Beyond the array everything is inside.
    """
    rows, depth, columns = voids.shape
    for i in range(rows):
        for j in range(depth):
            for k in range(columns):
                if voids[i, j, k] == 0:
                    continue
                for p in range(max(i - reach, 0), min(i + reach + 1, rows)):
                    for q in range(max(j - reach, 0), min(j + reach + 1, depth)):
                        for r in range(max(k - reach, 0), min(k + reach + 1, columns)):
                            if share[p, q, r] != 1 and _is_inside(particles, p, q, r):
                                share[p, q, r] = 1


@njit(cache=True, nogil=True)
def _is_inside(particles: Labels, i: int, j: int, k: int) -> bool:  # pragma: no cover - compiled
    rows, depth, columns = particles.shape
    for p in range(max(i - 1, 0), min(i + 2, rows)):
        for q in range(max(j - 1, 0), min(j + 2, depth)):
            for r in range(max(k - 1, 0), min(k + 2, columns)):
                if particles[p, q, r] == 0:
                    return False
    return True


@njit(cache=True, nogil=True, fastmath=True)
def _convolve(values: Grey, kernel: Grey, result: Grey) -> None:  # pragma: no cover - compiled
    """Correlate along the middle axis; beyond the ends the last value goes on."""
    reach = len(kernel) // 2
    outer, size, inner = values.shape
    line = np.empty(size + 2 * reach, dtype=np.float32)
    for i in range(outer):
        if inner == 1:  # the taps outside, so that the inner loop runs along memory
            for j in range(len(line)):  # slices would do, and take five seconds to compile
                line[j] = values[i, min(max(j - reach, 0), size - 1), 0]
            for t in range(len(kernel)):
                for j in range(size):
                    result[i, j, 0] += kernel[t] * line[j + t]
        else:
            for j in range(size):
                for t in range(len(kernel)):
                    source = min(max(j + t - reach, 0), size - 1)
                    for k in range(inner):
                        result[i, j, k] += kernel[t] * values[i, source, k]


def grown_labels(labels: Labels, steps: int) -> tuple[Labels, NDArray[np.uint8]]:
    """Grow labels into the background, and say in which step each voxel was reached.

    Steps go through faces and through corners by turns, which keeps balls nearly round.
    """
    owner, step = labels.copy(), np.zeros(labels.shape, dtype=np.uint8)
    _grow(owner, step, steps)
    return owner, step


@njit(cache=True, nogil=True)
def _grow(
    owner: Labels, step: NDArray[np.uint8], steps: int
) -> None:  # pragma: no cover - compiled
    rows, depth, columns = owner.shape
    frontier = [(0, 0, 0)]
    frontier.clear()
    for y in range(rows):
        for z in range(depth):
            for x in range(columns):
                if owner[y, z, x] == 0:
                    continue
                if (
                    (y > 0 and owner[y - 1, z, x] == 0)
                    or (y < rows - 1 and owner[y + 1, z, x] == 0)
                    or (z > 0 and owner[y, z - 1, x] == 0)
                    or (z < depth - 1 and owner[y, z + 1, x] == 0)
                    or (x > 0 and owner[y, z, x - 1] == 0)
                    or (x < columns - 1 and owner[y, z, x + 1] == 0)
                ):
                    frontier.append((y, z, x))
    for number in range(1, steps + 1):
        reached = [(0, 0, 0)]
        reached.clear()
        corners = number % 2 == 0
        for y, z, x in frontier:
            for dy in range(-1, 2):
                for dz in range(-1, 2):
                    for dx in range(-1, 2):
                        if not corners and abs(dy) + abs(dz) + abs(dx) > 1:
                            continue
                        p, q, r = y + dy, z + dz, x + dx
                        if (
                            0 <= p < rows
                            and 0 <= q < depth
                            and 0 <= r < columns
                            and owner[p, q, r] == 0
                        ):
                            owner[p, q, r] = owner[y, z, x]
                            step[p, q, r] = number
                            reached.append((p, q, r))
        frontier = reached
