"""Columns of the particle and void tables that come from grey values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .grey_kernels import fill_voids
from .grey_shape import GreyShapes
from .grey_slabs import measure_grey_shapes_in_slabs
from .grey_volume import measure_grey_voids
from .morphology import Box, erode
from .segmentation import Segmentation
from .thresholds import Phases
from .uncertainty import standard_uncertainty_with_bias
from .workers import in_parts

VOID_REACH_VOXELS = 2
"""How far the blur of a void darkens the solid around it."""

NECK_OF_CONTACT = 0.37
NECK_OF_RADIUS = 0.8
"""Surface that the blur closes up around a contact, in contact areas and in voxels times the
particle's radius: two balls run together where their gap is narrower than the blur. Fitted to the
scans of ``benchmarks/uncertainty_coverage.py``."""

NECK_CERTAINTY = 0.65
"""Share of it that counts as uncertain. This and the following are calibrated on seeds 100 to 105
of ``benchmarks/uncertainty_coverage.py``."""
AREA_MODEL, AREA_MODEL_OF_VOIDS = 0.14, 0.025
"""Relative error of an area because the blur of a scan is not a Gaussian: of particles times the
square of their radius in voxels, as what the blur does to a ball goes; of voids times their
radius ..."""
AREA_OF_SMALL_VOIDS = 0.35
"""... and what comes on top for them, times the fourth power: nothing from 3 um on, 3 % of the
sphericity at 1.9 um."""
USUAL_SPHERICITY, USUAL_SPHERICITY_SE = 0.98, 0.02
"""Taken for objects whose area the grey values do not tell."""
OWN_NOISE = {
    "volume_um3": 0.75,
    "equivalent_diameter_um": 0.75,
    "surface_area_um2": 0.85,
    "surface_to_volume_per_um": 0.9,
    "sphericity": 0.95,
}
OWN_NOISE_OF_VOIDS = dict.fromkeys(OWN_NOISE, 0.8) | {"surface_area_um2": 0.6, "sphericity": 0.55}
"""Columns from voxels share part of the noise and of the blur with those from grey values: so much
of the uncertainty of the latter is left when the two are compared. Noise roughens a particle's
voxel area in its own way; a small void's area is off by its volume and the blur, as the other."""
LEAST_ROWS = 16
"""Fewer are not worth a thread."""
THINNEST_WALL_VOXELS = 1.5
"""Behind thinner walls the blur of void and surface run together and the void's area is lost."""

Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]
"""A table that is being made: a DataFrame takes a third of a millisecond per column added."""


def add_particle_shapes(
    table: Columns, segmentation: Segmentation | None, voxel_um: float
) -> GreyShapes | None:
    """Add volume, surface, sphericity and diameter from grey values to a particle table.

    Parameters
    ----------
    table : dict of columns
        With ``particle_id``; gets ``volume_grey_um3, surface_area_grey_um2, sphericity_grey,
        equivalent_diameter_grey_um``, each with its ``_se``, NaN without grey values; and
        ``contact_area_um2``, the cut to touching particles, which is part of the surface.
    segmentation : Segmentation or None
        None for plain labels.
    voxel_um : float
        Voxel edge.

    Returns
    -------
    GreyShapes or None
        What the columns are made of; None without grey values.
    """
    shapes = None
    ids = table["particle_id"]
    contact = np.zeros(int(ids.max(initial=0)) + 1)
    if segmentation is not None:
        contact = _contacts(segmentation)
        shapes = particle_shapes(segmentation)
    table["contact_area_um2"] = contact[ids] * voxel_um**2
    _add(table, ids, shapes, voxel_um)
    return shapes


def add_void_shapes(
    table: Columns, segmentation: Segmentation, voxel_um: float
) -> GreyShapes | None:
    """Add the surface and sphericity of voids, at their volumes from grey values.

    Parameters
    ----------
    table : dict of columns
        With ``void_id``; gets ``surface_area_grey_um2`` and ``sphericity_grey`` with ``_se``.
    segmentation : Segmentation
        With its volume.
    voxel_um : float
        Voxel edge.

    Returns
    -------
    GreyShapes or None
        What the columns are made of; None without grey values.
    """
    shapes = void_shapes(segmentation)
    _add(table, table["void_id"], shapes, voxel_um, volume_too=False)
    return shapes


def compare_with_grey(table: Columns, *, area_scale: float = 1.0) -> None:
    """Set the uncertainties of the columns from voxels by comparing them with those from grey.

    Parameters
    ----------
    table : dict of columns
        Of particles or voids, with its grey columns; ``_se`` of ``volume_um3``,
        ``surface_area_um2``, ``sphericity``, ``surface_to_volume_per_um`` and
        ``equivalent_diameter_um`` change where there is a grey value.
    area_scale : float
        What the table's areas read of the true ones (1.5 for voxel faces).
    """
    volume, diameter = table["volume_grey_um3"], table["equivalent_diameter_grey_um"]
    diameter_share = table["equivalent_diameter_grey_um_se"] / diameter
    known = np.isfinite(table["sphericity_grey"])
    sphericity = np.where(known, table["sphericity_grey"], USUAL_SPHERICITY)
    shape_se = np.where(known, table["sphericity_grey_se"], USUAL_SPHERICITY_SE)
    area = np.pi * diameter**2 / sphericity
    area_se = area * np.hypot(shape_se / sphericity, 2 * diameter_share)
    # A void of a few voxels may have no grey volume: then nothing is known of its ratio.
    ratio = np.divide(area, volume, out=np.full_like(area, np.nan), where=volume > 0)
    ratio_se = ratio * np.hypot(shape_se / sphericity, diameter_share)
    best = {
        "volume_um3": (volume, 3 * diameter_share * volume, 1.0),
        "surface_area_um2": (area, area_se, area_scale),
        "sphericity": (sphericity, shape_se, 1 / area_scale),
        "surface_to_volume_per_um": (ratio, ratio_se, area_scale),
        "equivalent_diameter_um": (diameter, diameter_share * diameter, 1.0),
    }
    own = OWN_NOISE_OF_VOIDS if "void_id" in table else OWN_NOISE
    for name, (value, se, scale) in best.items():
        off = table[name] - scale * value
        found = standard_uncertainty_with_bias(off, own[name] * scale * se)
        # Without any grey value the boundary's uncertainty stays.
        use = np.isfinite(found) & np.isfinite(volume)
        table[f"{name}_se"] = np.where(use, found, table[f"{name}_se"])


def _contacts(segmentation: Segmentation) -> Floats:
    """Area of the cuts of every particle, in squares of the voxel edge."""
    return segmentation.particle_crossings.contact_area()


def particle_shapes(segmentation: Segmentation) -> GreyShapes | None:
    """Measure the shapes of all particles, once for a segmentation; None without grey values."""
    if segmentation.phases is None:
        return None
    known = _MEASURED.get(segmentation)
    if known is None:
        known = _MEASURED[segmentation] = _particle_shapes(segmentation, segmentation.phases)
    return known


def void_shapes(segmentation: Segmentation) -> GreyShapes | None:
    """Measure the shapes of all voids, once for a segmentation; None where there are none."""
    if segmentation.phases is None or len(segmentation.parent) < 2:
        return None
    known = _MEASURED_VOIDS.get(segmentation)
    if known is None:
        known = _MEASURED_VOIDS[segmentation] = _void_shapes(segmentation, segmentation.phases)
    return known


# The tables of particles and of voids both need them; kept as long as the segmentation lives.
_MEASURED: WeakKeyDictionary[Segmentation, GreyShapes] = WeakKeyDictionary()
_MEASURED_VOIDS: WeakKeyDictionary[Segmentation, GreyShapes] = WeakKeyDictionary()


def _void_shapes(segmentation: Segmentation, phases: Phases) -> GreyShapes:
    grey = measure_grey_voids(segmentation)

    def deep(box: Box) -> NDArray[np.bool_]:
        return erode(segmentation.particles[box] > 0) | (segmentation.voids[box] > 0)

    def missing(box: Box) -> NDArray[np.float32]:
        part = (phases.solid_level - segmentation.volume[box]) / np.float32(phases.contrast)
        part[~deep(box)] = 0.0  # what is dark there is the particle's own edge
        return part

    shapes = measure_grey_shapes_in_slabs(
        missing,
        segmentation.voids,
        segmentation.void_moments,
        noise=phases.solid_noise / phases.contrast,
        volume=np.concatenate([[0.0], grey.volume]),
        allowed=deep,
    )
    thick = np.concatenate([[True], grey.wall > THINNEST_WALL_VOXELS])
    return replace(
        shapes,
        area=np.where(thick, shapes.area, 0.0),
        volume_noise=np.concatenate([[0.0], grey.volume_se]),
    )


def _particle_shapes(segmentation: Segmentation, phases: Phases) -> GreyShapes:
    contact = _contacts(segmentation)

    def share(box: Box) -> NDArray[np.float32]:
        volume = segmentation.volume[box]
        part = np.empty(volume.shape, dtype=np.float32)

        def scale(first: int, stop: int) -> None:
            own = part[first:stop]
            np.subtract(volume[first:stop], np.float32(phases.background_level), out=own)
            own /= np.float32(phases.contrast)

        in_parts(scale, len(part), LEAST_ROWS)
        # As solid as their walls: the hulls and surfaces of particles know no voids.
        fill_voids(part, segmentation.particles[box], segmentation.voids[box], VOID_REACH_VOXELS)
        return part

    noise = float(np.hypot(phases.background_noise, phases.solid_noise) / np.sqrt(2))
    shapes = measure_grey_shapes_in_slabs(
        share,
        segmentation.particles,
        segmentation.particle_moments,
        noise=noise / phases.contrast,
        allowed=lambda box: segmentation.field[box],
    )
    radius = np.cbrt(3 / (4 * np.pi) * np.maximum(shapes.volume, 0))
    hidden = np.where(segmentation.split, NECK_OF_CONTACT * contact + NECK_OF_RADIUS * radius, 0)
    return replace(
        shapes,
        area=np.where(shapes.area > 0, shapes.area + contact + hidden, 0.0),
        area_noise=np.hypot(shapes.area_noise, NECK_CERTAINTY * hidden),
    )


def _add(
    table: Columns,
    ids: NDArray[np.int64],
    shapes: GreyShapes | None,
    voxel_um: float,
    *,
    volume_too: bool = True,
) -> None:
    if shapes is None:
        volume = area = share = area_share = np.full(len(ids), np.nan)
    else:
        volume = np.where(shapes.volume[ids] > 0, shapes.volume[ids], np.nan)
        area = np.where(shapes.area[ids] > 0, shapes.area[ids], np.nan)
        share, area_share = shapes.volume_noise[ids] / volume, shapes.area_noise[ids] / area
    radius = np.cbrt(3 * volume / (4 * np.pi))
    if volume_too:
        model = AREA_MODEL / radius**2
    else:
        small = AREA_OF_SMALL_VOIDS / np.maximum(radius, 1.0) ** 4
        model = np.hypot(AREA_MODEL_OF_VOIDS / radius, small)
    area_share = np.hypot(area_share, model)
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
    table.update(columns)
