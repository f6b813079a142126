"""Ring removal: the error that a detector column repeats in every projection."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from zoneplate.analysis.projections import ReconstructionError, as_frames

DEFAULT_SMOOTHING_COLUMNS: Final = 3.0
"""Standard deviation of the smoothing, in columns: rings are one or two columns wide."""

MINIMUM_PROJECTIONS: Final = 20
"""With fewer projections the specimen itself does not average out."""

SAME_PATTERN: Final = 1e-6
"""Absorption by which a pattern may change without anything being corrected for it."""


def remove_rings(
    projections: ArrayLike, smoothing_columns: float = DEFAULT_SMOOTHING_COLUMNS
) -> NDArray[np.float32]:
    """Subtract from every projection what is sharp across columns in the mean of all of them.

    A pixel whose response is off by a constant factor adds a constant to its absorption in every
    projection, which back-projects to a ring; the specimen moves across the pixel and averages to
    something smooth. The mean over the angles minus its Gaussian-smoothed self is therefore
    mostly detector. The correction is linear in the data: `StreamingReconstruction` does the same
    while projections arrive, with its option `remove_rings`.

    Structure that really is sharp in the mean, on or close to the rotation axis, is reduced too:
    compare with and without when something sits there.

    Parameters
    ----------
    projections : array_like, shape (n, rows, columns)
        Absorption over at least half a turn, n >= 20.
    smoothing_columns : float
        Standard deviation of the smoothing along a detector line, in columns.

    Returns
    -------
    ndarray of float32, the shape of `projections`

    Raises
    ------
    ReconstructionError
        For too few projections, wrong shapes, or a smoothing that is not positive.

    References
    ----------
    .. [1] C. Raven, Rev. Sci. Instrum. 69, 2978 (1998), doi:10.1063/1.1149043, for stripes as
       what is constant over the angles of a sinogram.
    """
    frames = as_frames(projections)
    if len(frames) < MINIMUM_PROJECTIONS:
        raise ReconstructionError(
            f"ring removal needs at least {MINIMUM_PROJECTIONS} projections, got {len(frames)}"
        )
    if not smoothing_columns > 0:
        raise ReconstructionError(f"smoothing_columns must be positive, got {smoothing_columns}")
    return frames - ring_pattern(frames.mean(axis=0, dtype=np.float64), smoothing_columns)


def ring_pattern(
    mean: NDArray[np.float64], smoothing_columns: float = DEFAULT_SMOOTHING_COLUMNS
) -> NDArray[np.float32]:
    """Return what is sharp across columns in the mean of all projections.

    Parameters
    ----------
    mean : ndarray of float64, shape (rows, columns)
        Mean absorption.
    smoothing_columns : float
        Standard deviation of the smoothing along a detector line, in columns.
    """
    smooth = ndimage.gaussian_filter1d(mean, smoothing_columns, axis=-1, mode="nearest")
    return (mean - smooth).astype(np.float32)


class GrowingPattern:
    """The pattern of the rings while projections arrive.

    Parameters
    ----------
    shape : tuple of int
        (rows, columns) of a projection.

    Attributes
    ----------
    pattern : ndarray of float32, shape (rows, columns)
        What is subtracted from every projection now.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.pattern = np.zeros(shape, dtype=np.float32)
        self._sum = np.zeros(shape)
        self._count = 0

    def count(self, frame: NDArray[np.float32], instead_of: NDArray[np.float32] | None) -> None:
        """Let a projection count, which may replace another."""
        self._sum += frame
        if instead_of is None:
            self._count += 1
        else:
            self._sum -= instead_of

    def renew(self) -> NDArray[np.float32] | None:
        """Bring the pattern up to date; return by how much it changed, None if not at all."""
        if self._count < MINIMUM_PROJECTIONS:
            return None
        fresh = ring_pattern(self._sum / self._count)
        change = fresh - self.pattern
        if float(np.abs(change).max()) <= SAME_PATTERN:
            return None
        self.pattern = fresh
        return change
