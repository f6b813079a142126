"""Open pores: cracks and narrow hollows of a particle that reach its surface.

The flood from outside fills them, so they are no internal voids and no part of the particle: they
are looked for apart. A pore is where a ball that is rolled around the particle from outside cannot
come (the closing of the particle by that ball), with whatever lies behind, if it is deep enough to
be no dent. What is wider than the ball is a matter of the particle's shape.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cc3d
import edt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from .morphology import Box, dilate, dilate_by_ball, grown
from .segmentation import Segmentation
from .workers import available_threads

WIDEST_VOXELS = 4.0
"""Diameter of the ball: 2 um at binning 8. A hollow may be wider, if its mouth is not."""
LEAST_DEPTH_VOXELS = 2.5
"""Of its deepest voxel below the closed surface: what is shallower is taken for roughness."""
LEAST_VOXELS = 12
"""Of 28 rough particles without any crack (NMC811, 2 um) four showed pores of up to 10 voxels.
Three of 84 have larger dents: they are counted."""
MISSED_SHARE = 0.21
"""Of a pore's volume, what lies outside the closed surface at its mouth, or is too thin to see: of
91 cracks (``benchmarks/open_cracks.py``, seeds 900 to 902 and 910 to 912, and `nmc622_bad`)."""
MISSED_SHARE_SE = 0.15
"""Standard uncertainty of the volume for that reason, as a share of it."""
EDGE_BLUR_VOXELS = 0.5
"""Of the closed surface, to compare it with grey values."""
REACH_VOXELS = 1
"""How far around a pore its grey values are summed: further out noise wins."""

COUNT, VOLUME = "open_pore_count", "open_pore_volume_um3"
PLACE = ("open_pore_x_um", "open_pore_y_um", "open_pore_z_um")

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Pore(NamedTuple):
    """One open pore, in voxels: its volume, the standard uncertainty of that, its middle."""

    volume: float
    volume_se: float
    place: tuple[float, float, float]


def measure_open_pores(
    segmentation: Segmentation,
    *,
    widest_um: float | None = None,
    least_depth_um: float | None = None,
    least_voxels: int = LEAST_VOXELS,
) -> pd.DataFrame:
    """Count and measure the open pores of every particle.

    Parameters
    ----------
    segmentation : Segmentation
        From `zoneplate.analysis.segmentation.segment`.
    widest_um : float, optional
        Diameter of the ball that does not fit through the mouth of a pore; 4 voxels by default.
    least_depth_um : float, optional
        How far below the closed surface its deepest voxel lies at least; 2.5 voxels by default.
    least_voxels : int
        Smaller ones are taken for roughness.

    Returns
    -------
    pandas.DataFrame
        A row per particle: ``particle_id``, ``open_pore_count``, ``open_pore_volume_um3`` (from
        the missing attenuation; no part of the particle's volume) and its standard uncertainty
        ``open_pore_volume_um3_se``, and where the largest one is: ``open_pore_x_um,
        open_pore_y_um, open_pore_z_um``, NaN without any.

    Raises
    ------
    ValueError
        When a size is not positive.

    Notes
    -----
    Closing: Serra, Image Analysis and Mathematical Morphology, 1982. What is found of cracks 0.6
    to 1.4 um wide, and on powders without any, is measured by ``benchmarks/open_cracks.py``.

    Examples
    --------
    >>> from zoneplate.analysis import segment
    >>> i, j, k = np.mgrid[:40, :40, :40] - 20
    >>> volume = np.where((i**2 + j**2 + k**2 < 14**2) & ~((abs(k) < 2) & (i > 4)), 0.044, 0.0)
    >>> measure_open_pores(segment(volume, 0.5))["open_pore_count"].tolist()
    [1]
    """
    voxel_um = segmentation.voxel_um
    radius = WIDEST_VOXELS / 2 if widest_um is None else widest_um / voxel_um / 2
    depth = LEAST_DEPTH_VOXELS if least_depth_um is None else least_depth_um / voxel_um
    for name, value in (
        ("widest_um", widest_um),
        ("least_depth_um", least_depth_um),
        ("least_voxels", least_voxels),
    ):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, not {value}; leave it out for the default")
    boxes = cc3d.statistics(segmentation.particles.view(np.uint32))["bounding_boxes"]
    ids = [n for n in range(1, len(segmentation.split)) if segmentation.particle_moments.voxels[n]]

    def of_particle(number: int) -> list[Pore]:
        return _pores(segmentation, number, boxes[number], radius, depth, least_voxels)

    with ThreadPoolExecutor(available_threads()) as pool:
        found = list(pool.map(of_particle, ids))
    scale = voxel_um**3
    # What is missed is missed of all alike: uncertainties add up.
    volume = [scale * sum(pore.volume for pore in pores) for pores in found]
    volume_se = [scale * sum(pore.volume_se for pore in pores) for pores in found]
    return pd.DataFrame(
        {
            "particle_id": np.array(ids, dtype=np.int64),
            COUNT: np.array([len(pores) for pores in found], dtype=np.int64),
            VOLUME: np.array(volume, dtype=np.float64),
            f"{VOLUME}_se": np.array(volume_se, dtype=np.float64),
            **_places(segmentation, found),
        }
    )


def _places(segmentation: Segmentation, found: list[list[Pore]]) -> dict[str, Floats]:
    """Return where the largest pore of each particle is, in the specimen frame."""
    largest = [max(pores).place if pores else (math.nan,) * 3 for pores in found]
    y, z, x = np.array(largest, dtype=np.float64).reshape(-1, 3).T
    rows, depth, columns = segmentation.particles.shape
    along = (x - (columns - 1) / 2, (rows - 1) / 2 - y, z - (depth - 1) / 2)
    return {
        name: middle_um + segmentation.voxel_um * offset
        for name, middle_um, offset in zip(PLACE, segmentation.center_um, along, strict=True)
    }


def _pores(
    segmentation: Segmentation, number: int, box: Box, radius: float, depth: float, least: int
) -> list[Pore]:
    """Return the open pores of one particle."""
    # What is closed lies in the particle's box; the ball needs room to roll on outside.
    margin = math.ceil(radius) + 1
    box = grown(box, REACH_VOXELS, segmentation.particles.shape)
    part = segmentation.particles[box]
    own = part == number
    closed = _closed(np.pad(own, margin), radius)
    inner = tuple(slice(margin, -margin) for _ in range(3))
    missing = cc3d.dust(
        np.ascontiguousarray(closed[inner] & (part == 0)), threshold=least, connectivity=26
    )
    if not missing.any():
        return []
    labels = cc3d.connected_components(missing, connectivity=26)
    below = edt.edt(closed, black_border=False)[inner]
    deepest = ndimage.maximum(below, labels, np.arange(1, int(labels.max()) + 1))
    others = dilate((part > 0) & ~own)
    full = ndimage.gaussian_filter(closed.astype(np.float32), EDGE_BLUR_VOXELS)[inner]
    phases = segmentation.phases
    pores: list[Pore] = []
    for deep in np.flatnonzero(deepest >= depth) + 1:
        pore = labels == deep
        near = dilate(pore, REACH_VOXELS) & ~others
        if phases is None:
            volume, noise = float(np.count_nonzero(pore)), 0.0
        else:
            grey = (segmentation.volume[box][near] - phases.background_level) / phases.contrast
            volume = float((full[near] - grey).sum())
            noise = math.sqrt(grey.size) * phases.solid_noise / phases.contrast
        volume /= 1 - MISSED_SHARE
        y, z, x = (
            float(place.mean() + side.start)
            for place, side in zip(np.nonzero(pore), box, strict=True)
        )
        pores.append(Pore(volume, math.hypot(MISSED_SHARE_SE * volume, noise), (y, z, x)))
    return pores


def _closed(own: Mask, radius: float) -> Mask:
    """Return what a ball outside a particle cannot reach."""
    closed = ~dilate_by_ball(~dilate_by_ball(own, radius), radius)
    regions = cc3d.connected_components(~closed, connectivity=6)
    return regions != regions[0, 0, 0]
