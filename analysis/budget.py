"""What a tomogram costs and what it shows, for each binning, before anything moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

VOXEL_BYTES = 2
"""Grey values as the study stores them (16 bits)."""

PAPER_PROJECTIONS = {1: 1571, 8: 196}
PAPER_PROJECTIONS_USED = {8: 141}
PAPER_RESOLUTION_NM = {1: 150.0, 8: 512.0}
"""Of 10.1002/advs.202000362: what it calls resolution is that of the optics at binning 1 and the
voxel at binning 8."""
PAPER_VOLUME_MB = {8: 4.0}
PAPER_TIME_S = {8: 300.0}
"""Upper bound: "under 5 min"."""

SMALLEST_VOID_VOXELS = 3.5
"""Diameter in voxels of the smallest void found with 90 % probability at a signal-to-noise of 10:
1.8 um at 512 nm, measured (benchmarks/accuracy_against_truth.py)."""


@dataclass(frozen=True)
class BudgetRow:
    """One binning.

    Attributes
    ----------
    binning
        Pixels binned on the chip, along one side.
    voxel_um
        Edge of a voxel.
    resolution_um
        What limits: the optics, or two voxels.
    crowther, projections
        Views that resolve every pixel, and views used.
    exposure_s
        For equal noise in each voxel.
    time_s
        Of the whole tomogram.
    volume_bytes, raw_bytes
        Of the volume as stored and of the frames.
    memory_bytes
        To reconstruct it while it is scanned: 32-bit volume and filtered projections.
    smallest_void_um
        Diameter of voids found with 90 % probability.
    """

    binning: int
    voxel_um: float
    resolution_um: float
    crowther: int
    projections: int
    exposure_s: float
    time_s: float
    volume_bytes: int
    raw_bytes: int
    memory_bytes: int
    smallest_void_um: float


def equal_noise_exposure_s(exposure_s: float, binning: int, reference: int) -> float:
    """Return the exposure with the noise per voxel of another binning.

    A voxel collects photons in proportion to its projected area times the views; views grow as
    the pixels do, so the noise ``sigma^2 ~ 1 / (voxel^2 * voxel^2 * views * exposure)`` of
    filtered back-projection needs ``exposure ~ (reference / binning)^3`` when the views follow
    the binning (R. A. Brooks and G. Di Chiro, Med. Phys. 3, 237 (1976), doi:10.1118/1.594240).

    Examples
    --------
    >>> equal_noise_exposure_s(1.0, 4, 8)
    8.0
    """
    return exposure_s * (reference / binning) ** 3


def relative_snr(row: BudgetRow, other: BudgetRow) -> float:
    """Return the signal-to-noise of a voxel in units of that of another binning.

    As for `equal_noise_exposure_s`: ``sigma^2 ~ 1 / (voxel^4 * views * exposure)``, photons alone.
    """
    photons = row.projections * row.exposure_s / (other.projections * other.exposure_s)
    return (row.voxel_um / other.voxel_um) ** 2 * math.sqrt(photons)


def resolution_um(voxel_um: float, optics_um: float) -> float:
    """Return what can be told apart: two voxels, or what the optics resolve if that is larger.

    Examples
    --------
    >>> resolution_um(0.512, 0.15), resolution_um(0.064, 0.15)
    (1.024, 0.15)
    """
    return max(2 * voxel_um, optics_um)


def smallest_void_um(voxel_um: float, optics_um: float) -> float:
    """Return the diameter of voids found with 90 % probability at a signal-to-noise of 10.

    Measured at 512 nm; elsewhere it is taken to scale with the voxel, but never below twice the
    resolution of the optics.

    Examples
    --------
    >>> round(smallest_void_um(0.512, 0.15), 2)
    1.79
    """
    return max(SMALLEST_VOID_VOXELS * voxel_um, 2 * optics_um)


def volume_bytes(rows: int, columns: int) -> int:
    """Return the size of a volume of 16-bit voxels.

    Examples
    --------
    >>> volume_bytes(128, 128)
    4194304
    """
    return rows * columns * columns * VOXEL_BYTES


def used_projections(crowther: int, share: float) -> int:
    """Return the views used when fewer than the criterion asks for are.

    Examples
    --------
    >>> used_projections(201, 141 / 201)
    141
    """
    return max(2, math.ceil(crowther * share - 1e-9))
