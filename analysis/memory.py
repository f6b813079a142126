"""How much memory a reconstruction takes, said before any of it is allocated."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from zoneplate.analysis.filters import padded_length
from zoneplate.analysis.projections import ReconstructionError

BATCH_BYTES: Final = 64 << 20
BATCH_FRAMES: Final = 16
"""Frames that share one pass over the volume; beyond 16 nothing more is gained (measured)."""

DEFAULT_KEEP_LIMIT_BYTES: Final = 1 << 28
"""Projections are kept up to this much: binning 4 (393 frames of 256 x 256, 0.1 GB) still fits.
With those of binning 2 (0.8 GB) a reconstruction would take three times its volume."""

_FLOAT_BYTES: Final = 4
_FREE_SHARE: Final = 0.9
"""Of what the computer has free: the rest is for everybody else."""


class MemoryLimitError(ReconstructionError):
    """A reconstruction that would not fit into the memory it may use."""


def batch_frames(frame_bytes: int) -> int:
    """Return how many frames share one pass over the volume."""
    return max(1, min(BATCH_FRAMES, BATCH_BYTES // frame_bytes))


def keeps_frames(frame_bytes: int, projections: int, keep_limit_bytes: int) -> bool:
    """Whether all projections of a scan are kept."""
    return projections * frame_bytes <= keep_limit_bytes


def reconstruction_bytes(
    shape: tuple[int, int],
    projections: int,
    *,
    volume_shape: tuple[int, int, int] | None = None,
    keep_limit_bytes: int = DEFAULT_KEEP_LIMIT_BYTES,
) -> int:
    """Return an upper bound of what `StreamingReconstruction` allocates.

    The volume, the projections that it keeps, and one batch of frames on its way into the volume.
    Looking at the whole `volume` before the scan is complete, or going on after having looked,
    takes one more volume; `slices` does not.

    Parameters
    ----------
    shape
        (rows, columns) of a projection.
    projections
        How many there will be.
    volume_shape
        (rows, depth, width) of the volume; by default (rows, columns, columns).
    keep_limit_bytes
        As given to `StreamingReconstruction`.

    Returns
    -------
    int

    Examples
    --------
    >>> round(reconstruction_bytes((1024, 1024), 1571) / (4 * 1024**3), 2)  # times the volume
    1.07
    >>> round(reconstruction_bytes((128, 128), 141) / 1e6)
    22
    """
    rows, columns = shape
    volume_rows, depth, width = volume_shape or (rows, columns, columns)
    frame_bytes = rows * columns * _FLOAT_BYTES
    batch = min(batch_frames(frame_bytes), projections)
    kept = projections if keeps_frames(frame_bytes, projections, keep_limit_bytes) else batch
    # Any axis on the detector needs at most half a width more on either side.
    filtered = batch * (2 * columns + 2) * volume_rows * _FLOAT_BYTES
    stacked = batch * volume_rows * columns * _FLOAT_BYTES
    # The padded line, its spectrum and the line that comes back.
    transform = 3 * (padded_length(columns, columns // 2 + 1) + 2) * volume_rows * _FLOAT_BYTES
    slices = (depth * width + volume_rows * (depth + width)) * _FLOAT_BYTES
    volume = volume_rows * depth * width * _FLOAT_BYTES
    return volume + kept * frame_bytes + filtered + stacked + transform + slices


def available_bytes() -> int:
    """Return the memory that a new reconstruction may use on this computer now."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return math.floor(_FREE_SHARE * int(line.split()[1]) * 1024)
    except OSError:
        pass  # not Linux
    return math.floor(_FREE_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def check_memory(needed: int, limit: int | None) -> None:
    """Refuse what does not fit.

    Parameters
    ----------
    needed
        Bytes, see `reconstruction_bytes`.
    limit
        Bytes that may be used; what the computer has free if None.

    Raises
    ------
    MemoryLimitError
        If it does not fit; the message says what to do.
    """
    allowed = available_bytes() if limit is None else limit
    if needed > allowed:
        raise MemoryLimitError(
            f"this reconstruction needs {needed / 1e9:.2f} GB of memory and may use "
            f"{allowed / 1e9:.2f} GB: bin the projections (`bin_frames`), reconstruct a region "
            "(`region`), or raise memory_limit_bytes on a computer that has more"
        )
