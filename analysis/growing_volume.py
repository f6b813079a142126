"""The volume of a scan while it grows, and a coarser one to look at when it is large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .memory import BATCH_FRAMES
from .reconstruction import FramesNotKeptError, StreamingReconstruction
from .region import bin_frames, preview_factor

PREVIEW_COLUMNS: Final = 256
"""Wider scans are looked at in a coarser volume while they are taken: segmenting one of 1024^3
takes longer than the scan has time for."""

SAME_CENTER_COLUMNS: Final = 0.02
"""A rotation axis this near to the one in use is not worth making a large volume again."""


class GrowingVolume:
    """A reconstruction that may have to be made again.

    Projections of a scan at binning 1 are too large to keep filtered and ready. What cannot be
    corrected in its volume is noted in `outdated`, and `rebuild` makes it again.

    Parameters
    ----------
    new
        Makes an empty reconstruction: called with a factor by which pixels are larger and with
        the column of the rotation axis, or None for the middle.
    shape
        (rows, columns) of a projection.

    Attributes
    ----------
    fine
        The volume.
    coarse
        The same with voxels `factor` times larger; None for scans that are small enough.
    outdated
        Whether the volume holds something that is known better now.
    """

    def __init__(
        self,
        new: Callable[[int, float | None], StreamingReconstruction],
        shape: tuple[int, int],
    ) -> None:
        self._new = new
        self.factor = preview_factor(shape, PREVIEW_COLUMNS)
        self.outdated = False
        self.fine = new(1, None)
        self.coarse = new(self.factor, None) if self.factor > 1 else None

    @property
    def shown(self) -> StreamingReconstruction:
        """What previews look at."""
        return self.coarse or self.fine

    def add(
        self,
        frames_of: Callable[[Sequence[int]], NDArray[np.float32]],
        numbers: Sequence[int],
        angles_rad: NDArray[np.float64],
    ) -> None:
        """Add projections, some at a time."""
        for start in range(0, len(numbers), BATCH_FRAMES):
            some = list(numbers[start : start + BATCH_FRAMES])
            angles = angles_rad[start : start + BATCH_FRAMES]
            frames = frames_of(some)
            for volume, factor in self._volumes():
                try:
                    volume.add(bin_frames(frames, factor), angles, index=some)
                except FramesNotKeptError:  # one that comes again
                    self.outdated = True

    def recenter(self, column: float) -> None:
        """Move the rotation axis, at once or with the next `rebuild`."""
        for volume, factor in self._volumes():
            try:
                volume.recenter((column + 0.5) / factor - 0.5)
            except FramesNotKeptError:
                moved = abs(volume.center - ((column + 0.5) / factor - 0.5))
                self.outdated = self.outdated or moved > SAME_CENTER_COLUMNS

    def rebuild(self, column: float | None) -> None:
        """Begin again with an empty volume and this rotation axis."""
        self.outdated = False
        del self.fine  # the old one goes before the new one comes: both might not fit
        self.fine = self._new(1, column)

    def _volumes(self) -> Iterable[tuple[StreamingReconstruction, int]]:
        yield self.fine, 1
        if self.coarse is not None:
            yield self.coarse, self.factor
