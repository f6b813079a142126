"""Projection stacks, validated at the door of everything that reconstructs from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


class ReconstructionError(ValueError):
    """Input that cannot be reconstructed; the message says what is allowed."""


def as_frames(projections: ArrayLike, shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """Validate absorption projections and return them as a float32 stack.

    Parameters
    ----------
    projections : array_like, shape (n, rows, columns) or (rows, columns)
        Absorption, -ln of the transmission.
    shape : tuple of int, optional
        (rows, columns) that they must have.

    Returns
    -------
    ndarray of float32, shape (n, rows, columns)

    Raises
    ------
    ReconstructionError
        For another shape, or values that are not finite.
    """
    frames = np.asarray(projections, dtype=np.float32)
    if frames.ndim == 2:
        frames = frames[np.newaxis]
    if frames.ndim != 3 or (shape is not None and frames.shape[1:] != shape):
        wanted = "(rows, columns)" if shape is None else str(shape)
        raise ReconstructionError(
            f"projections of shape {np.shape(projections)}: expected {wanted} or (n, ...) of it"
        )
    if not np.isfinite(frames).all():
        raise ReconstructionError(
            f"{np.count_nonzero(~np.isfinite(frames))} absorption values are NaN or infinite; "
            "normalize() clips starved pixels"
        )
    return frames


def check_center(center: float | None, columns: int) -> float:
    """Column of the rotation axis, by default the middle of the detector.

    Raises
    ------
    ReconstructionError
        If the axis is off the detector.
    """
    if center is None:
        return (columns - 1) / 2
    if not 0 <= center <= columns - 1:
        raise ReconstructionError(
            f"rotation centre {center} is off the detector: allowed 0 to {columns - 1}"
        )
    return float(center)
