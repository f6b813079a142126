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


def remove_rings(
    projections: ArrayLike, smoothing_columns: float = DEFAULT_SMOOTHING_COLUMNS
) -> NDArray[np.float32]:
    """Subtract from every projection what is sharp across columns in the mean of all of them.

    A pixel whose response is off by a constant factor adds a constant to its absorption in every
    projection, which back-projects to a ring; the specimen moves across the pixel and averages to
    something smooth. The mean over the angles minus its Gaussian-smoothed self is therefore
    mostly detector. The correction is linear in the data, so it can also be subtracted from a
    volume as one more back-projection.

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
    mean = frames.mean(axis=0, dtype=np.float64)
    rings = mean - ndimage.gaussian_filter1d(mean, smoothing_columns, axis=-1, mode="nearest")
    return frames - rings.astype(np.float32)
