"""The back-projection of `zoneplate.analysis.backprojection` on a graphics card, by numba's CUDA.

The same sum in the same order of frames, one thread per voxel. Neighbouring threads share z and x
and so the two columns of every frame that they read, side by side in memory. The kernel's results
are tested in numba's simulator of CUDA where there is no card; its speed was not measured.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import cuda  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from zoneplate.analysis.accumulator import Selection
from zoneplate.analysis.backprojection import Circle, check_reach

_cuda: Any = cuda  # numba's CUDA has no types

_THREADS_PER_BLOCK: Final = 64

_MEMORY_SHARE: Final = 0.8
"""Of the free memory of the card that the volume may take; the rest is for batches of frames."""


def gpu_obstacle(shape: tuple[int, int, int]) -> str | None:
    """Say why a volume cannot be kept on a graphics card; None if it can.

    Parameters
    ----------
    shape
        (rows, depth, width).
    """
    if not _cuda.is_available():
        return "no CUDA graphics card, or no driver for it"
    needed = 4 * math.prod(shape)
    free = float(_cuda.current_context().get_memory_info()[0])
    if needed > _MEMORY_SHARE * free:
        return (
            f"the volume needs {needed / 1e9:.1f} GB of the card's {free / 1e9:.1f} GB that are "
            "free"
        )
    return None


def _add(  # pragma: no cover - compiled for the card
    volume: Any,
    frames: Any,
    cosines: Any,
    sines: Any,
    weights: Any,
    axis_column: float,
    middle_z: float,
    middle_x: float,
    radius_squared: float,
) -> None:
    y, k, j = _cuda.grid(3)
    if j >= volume.shape[0] or k >= volume.shape[1] or y >= volume.shape[2]:
        return
    z = j - middle_z
    x = k - middle_x
    if x * x + z * z > radius_squared:
        return
    total = volume[j, k, y]
    for i in range(frames.shape[0]):
        column = x * cosines[i] + z * sines[i] + axis_column
        left = int(column)
        fraction = column - left
        total += weights[i] * (1.0 - fraction) * frames[i, left, y]
        total += weights[i] * fraction * frames[i, left + 1, y]
    volume[j, k, y] = total


_kernel: Any = _cuda.jit(_add)


class DeviceAccumulator:
    """A volume in the memory of a graphics card.

    Parameters
    ----------
    shape
        (rows, depth, width) of the volume.
    circle
        See `backproject`.
    """

    def __init__(self, shape: tuple[int, int, int], circle: Circle) -> None:
        rows, depth, width = shape
        self._circle = circle
        self._array: Any = _cuda.device_array((depth, width, rows), dtype=np.float32)
        self._host: NDArray[np.float32] | None = None
        self._scale = 1.0
        self.clear()

    @property
    def nbytes(self) -> int:
        """Size of the volume."""
        return 4 * math.prod(self._array.shape)

    def add(
        self,
        frames: NDArray[np.float32],
        angles_rad: NDArray[np.float64],
        weights: NDArray[np.float64],
        axis_column: float,
    ) -> None:
        """Add frames, see `backproject`."""
        check_reach(frames.shape[1], axis_column, self._circle)
        self._host = None
        depth, width, rows = self._array.shape
        grid = (math.ceil(rows / _THREADS_PER_BLOCK), width, depth)
        _kernel[grid, (_THREADS_PER_BLOCK, 1, 1)](
            self._array,
            _cuda.to_device(np.ascontiguousarray(frames)),
            _cuda.to_device(np.cos(angles_rad)),
            _cuda.to_device(np.sin(angles_rad)),
            _cuda.to_device(np.asarray(weights, dtype=np.float64)),
            axis_column,
            self._circle.middle_z,
            self._circle.middle_x,
            self._circle.radius**2,
        )

    def clear(self) -> None:
        """Start again from zero."""
        self._host = None
        self._array.copy_to_device(np.zeros(self._array.shape, dtype=np.float32))

    def whole(self, scale: float) -> NDArray[np.float32]:
        """Return the volume times a factor, [y, z, x], read-only; it never changes afterwards."""
        if self._host is None or scale != self._scale:
            host = np.asarray(self._array.copy_to_host(), dtype=np.float32)
            if scale != 1.0:
                host *= np.float32(scale)
            self._host, self._scale = host, scale
        volume = self._host.transpose(2, 0, 1)
        volume.flags.writeable = False
        return volume

    def cut(self, selection: Selection, scale: float) -> NDArray[np.float32]:
        """Return a part of the volume, indexed [y, z, x], times a factor."""
        y, z, x = selection
        if isinstance(z, int):  # a slab of the card's memory: only that is read back
            slab = np.asarray(self._array[z : z + 1].copy_to_host())
            return np.multiply(slab.transpose(2, 0, 1)[y, 0, x], np.float32(scale), order="C")
        return np.multiply(self.whole(1.0)[selection], np.float32(scale), order="C")
