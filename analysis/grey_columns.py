"""Columns of the particle and void tables that come from grey values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .grey_shape import GreyShapes, measure_grey_shapes
from .morphology import dilate, erode
from .segmentation import Segmentation
from .surface_area import contact_area_voxels

VOID_REACH_VOXELS = 2
"""How far the blur of a void darkens the solid around it."""

Floats = NDArray[np.float64]


def add_particle_shapes(
    table: pd.DataFrame, segmentation: Segmentation | None, voxel_um: float
) -> None:
    """Add volume, surface, sphericity and diameter from grey values to a particle table.

    Parameters
    ----------
    table : DataFrame
        With ``particle_id``; gets ``volume_grey_um3, surface_area_grey_um2, sphericity_grey,
        equivalent_diameter_grey_um``, each with its ``_se``, NaN without grey values; and
        ``contact_area_um2``, the cut to touching particles, which is part of the surface.
    segmentation : Segmentation or None
        None for plain labels.
    voxel_um : float
        Voxel edge.
    """
    shapes = None
    ids = table["particle_id"].to_numpy()
    contact = np.zeros(int(ids.max(initial=0)) + 1)
    if segmentation is not None:
        contact = _contacts(segmentation)
        shapes = _particle_shapes(segmentation, contact)
    table["contact_area_um2"] = contact[ids] * voxel_um**2
    _add(table, ids, shapes, voxel_um)


def add_void_shapes(
    table: pd.DataFrame, segmentation: Segmentation, voxel_um: float, volume: Floats
) -> None:
    """Add the surface and sphericity of voids, at volumes (voxels, by void) known from grey values.

    Parameters
    ----------
    table : DataFrame
        With ``void_id``; gets ``surface_area_grey_um2`` and ``sphericity_grey`` with ``_se``.
    segmentation : Segmentation
        With its volume.
    voxel_um : float
        Voxel edge.
    volume : (M,) array
        Grey volumes of the voids 1..M, in voxels.
    """
    phases = segmentation.phases
    shapes = None
    if phases is not None and len(volume):
        missing = (phases.solid_level - segmentation.volume) / np.float32(phases.contrast)
        deep = erode(segmentation.particles > 0) | (segmentation.voids > 0)
        missing[~deep] = 0.0  # what is dark there is the particle's own edge
        shapes = measure_grey_shapes(
            missing,
            segmentation.voids,
            noise=phases.solid_noise / phases.contrast,
            volume=np.concatenate([[0.0], volume]),
            allowed=deep,
        )
    _add(table, table["void_id"].to_numpy(), shapes, voxel_um, volume_too=False)


def _contacts(segmentation: Segmentation) -> Floats:
    """Area of the cuts of every particle, in squares of the voxel edge."""
    count = len(segmentation.split) - 1
    if not segmentation.split.any():
        return np.zeros(count + 1)
    # Only particles that were cut from others touch any.
    labels = np.where(segmentation.split, np.arange(count + 1), 0)[segmentation.particles]
    return contact_area_voxels(labels, count)


def _particle_shapes(segmentation: Segmentation, contact: Floats) -> GreyShapes | None:
    phases = segmentation.phases
    if phases is None:
        return None
    share = (segmentation.volume - phases.background_level) / np.float32(phases.contrast)
    if segmentation.voids.any():
        filled = dilate(segmentation.voids > 0, VOID_REACH_VOXELS) & erode(
            segmentation.particles > 0
        )
        share[filled] = 1.0
    noise = float(np.hypot(phases.background_noise, phases.solid_noise) / np.sqrt(2))
    shapes = measure_grey_shapes(
        share, segmentation.particles, noise=noise / phases.contrast, allowed=segmentation.field
    )
    return replace(shapes, area=np.where(shapes.area > 0, shapes.area + contact, 0.0))


def _add(
    table: pd.DataFrame,
    ids: NDArray[np.int64],
    shapes: GreyShapes | None,
    voxel_um: float,
    *,
    volume_too: bool = True,
) -> None:
    if shapes is None:
        nothing = np.full(int(ids.max(initial=0)) + 1, np.nan)
        shapes = GreyShapes(nothing, nothing, nothing, nothing, 0.0)
    volume = np.where(shapes.volume[ids] > 0, shapes.volume[ids], np.nan)
    area = np.where(shapes.area[ids] > 0, shapes.area[ids], np.nan)
    share, area_share = shapes.volume_noise[ids] / volume, shapes.area_noise[ids] / area
    diameter = np.cbrt(6 * volume / np.pi)
    sphericity = np.pi * diameter**2 / area
    columns: dict[str, Floats] = {}
    if volume_too:
        columns["volume_grey_um3"] = volume * voxel_um**3
        columns["volume_grey_um3_se"] = share * volume * voxel_um**3
        columns["equivalent_diameter_grey_um"] = diameter * voxel_um
        columns["equivalent_diameter_grey_um_se"] = share / 3 * diameter * voxel_um
    columns["surface_area_grey_um2"] = area * voxel_um**2
    # At the level that encloses the volume, the area follows it with the power 2/3.
    columns["surface_area_grey_um2_se"] = np.hypot(area_share, 2 / 3 * share) * area * voxel_um**2
    columns["sphericity_grey"] = sphericity
    columns["sphericity_grey_se"] = sphericity * area_share
    for name, values in columns.items():
        table[name] = values
