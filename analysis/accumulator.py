"""Where a volume grows: in the memory of the computer, or in that of a graphics card.

Both keep [z, x, y] (see `zoneplate.analysis.backprojection`), take the same filtered frames, and
hand out [y, z, x]. `new_accumulator` chooses the card when there is one.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zoneplate.analysis.backprojection import Circle, backproject, warm_up

DeviceName: TypeAlias = Literal["auto", "cpu", "gpu"]

Selection: TypeAlias = tuple[int | slice, int | slice, int | slice]

GPU_WORTH_VOXELS: Final = 1 << 24
"""Voxels (256^3) from which a card is chosen by itself: smaller volumes are added to in a few
milliseconds, and reading them back after every frame costs more than it saves (assumed)."""


class NoGpuError(RuntimeError):
    """A graphics card was asked for and there is none that can be used."""


class Accumulator(Protocol):
    """A volume that weighted, filtered frames are added to."""

    @property
    def nbytes(self) -> int:
        """Size of the volume."""
        ...

    def add(
        self,
        frames: NDArray[np.float32],
        angles_rad: NDArray[np.float64],
        weights: NDArray[np.float64],
        axis_column: float,
    ) -> None:
        """Add frames, see `backproject`."""
        ...

    def clear(self) -> None:
        """Start again from zero."""
        ...

    def whole(self, scale: float) -> NDArray[np.float32]:
        """Return the volume times a factor, [y, z, x], read-only; it never changes afterwards."""
        ...

    def cut(self, selection: Selection, scale: float) -> NDArray[np.float32]:
        """Return a part of the volume, indexed [y, z, x], times a factor."""
        ...


class HostAccumulator:
    """A volume in the memory of the computer.

    Parameters
    ----------
    shape
        (rows, depth, width) of the volume.
    circle
        See `backproject`.
    threads
        Threads to use at most.
    """

    def __init__(self, shape: tuple[int, int, int], circle: Circle, threads: int) -> None:
        self._shape, self._circle, self._threads = shape, circle, threads
        self._array = self._zeros()
        self._handed_out = False
        self._scaled: NDArray[np.float32] | None = None
        warm_up()

    @property
    def nbytes(self) -> int:
        """Size of the volume."""
        return self._array.nbytes

    def add(
        self,
        frames: NDArray[np.float32],
        angles_rad: NDArray[np.float64],
        weights: NDArray[np.float64],
        axis_column: float,
    ) -> None:
        """Add frames, see `backproject`."""
        if self._handed_out:  # somebody reads this memory: leave it to them
            self._array = self._array.copy()
            self._handed_out = False
        self._scaled = None
        backproject(
            self._array, frames, angles_rad, weights, axis_column, self._threads, self._circle
        )

    def clear(self) -> None:
        """Start again from zero."""
        if self._handed_out:
            self._array = self._zeros()
            self._handed_out = False
        else:
            self._array.fill(0)
        self._scaled = None

    def whole(self, scale: float) -> NDArray[np.float32]:
        """Return the volume times a factor, [y, z, x], read-only; it never changes afterwards."""
        if scale == 1.0:
            self._handed_out = True
            volume = self._array.transpose(2, 0, 1)
        else:
            if self._scaled is None:
                self._scaled = self._array * np.float32(scale)
            volume = self._scaled.transpose(2, 0, 1)
        volume.flags.writeable = False
        return volume

    def cut(self, selection: Selection, scale: float) -> NDArray[np.float32]:
        """Return a part of the volume, indexed [y, z, x], times a factor."""
        part = self._array.transpose(2, 0, 1)[selection]
        return np.multiply(part, np.float32(scale), order="C")

    def _zeros(self) -> NDArray[np.float32]:
        rows, depth, width = self._shape
        # Filled, not np.zeros: the pages are then there before the first frame has to wait for
        # them (10 s for a volume of 1024^3).
        return np.full((depth, width, rows), 0, dtype=np.float32)


def new_accumulator(
    shape: tuple[int, int, int], circle: Circle, threads: int, device: DeviceName
) -> Accumulator:
    """Return an empty volume on the device that is asked for, or that suits.

    Parameters
    ----------
    shape
        (rows, depth, width).
    circle, threads
        See `HostAccumulator`.
    device
        `"auto"` takes a graphics card when there is one, the volume fits into its memory and is
        large enough to be worth it.

    Raises
    ------
    NoGpuError
        If a card is asked for and there is none, or its memory is too small.
    """
    if device == "cpu" or (device == "auto" and np.prod(shape) < GPU_WORTH_VOXELS):
        return HostAccumulator(shape, circle, threads)
    # Imported here: looking for a driver takes its time, and most computers have none.
    from zoneplate.analysis.backprojection_gpu import DeviceAccumulator, gpu_obstacle

    obstacle = gpu_obstacle(shape)
    if obstacle is None:
        return DeviceAccumulator(shape, circle)
    if device == "gpu":
        raise NoGpuError(f"device 'gpu': {obstacle}; 'cpu' is always there")
    return HostAccumulator(shape, circle, threads)
