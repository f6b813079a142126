"""Columns of the tables about shape: Feret diameters, axes, solidity, and where a void lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .calipers import depths, gaps
from .grey_columns import Columns
from .grey_shape import GreyShapes, measure_grey_shapes
from .moments import sharpened_axes
from .segmentation import Segmentation

SHAPE_LIMIT_VOXELS = 6.0
"""Equivalent diameter below which an object is mostly edge and has no shape to speak of: from
there on areas and sphericities from grey values are within 2 % (``benchmarks/bias_table.py``)."""
DIGITAL_NOISE_VOXELS = 0.1
"""Scatter of the surface of labels about the true one, where there are no grey values."""
FERET_NOISE, FERET_MODEL, FERET_SHIFT = (1.8, 1.0), (0.5, 0.4), 0.3
"""Uncertainty of a Feret diameter: so many times the noise of a boundary point (the largest of
many widths picks the worst point), so many voxels squared over the radius for what the model of
the blur leaves, and such a share of what was put back for the blur. These and the following are
calibrated on seeds 100 to 105 of ``benchmarks/uncertainty_coverage.py``."""
AXIS_NOISE, AXIS_MODELS, AXIS_SHIFT = 0.4, (0.40, 0.23, 0.21), 0.2
"""The same for the semi-axes: noise makes the longest too long more than it does the others."""
AXIS_MODELS_OF_VOIDS = (0.40, 0.38, 0.26)
"""Of voids all three are too long: their volume is what is missing, by the level around them."""
SOLIDITY_MODEL, SOLIDITY_ROUGH = 0.018, 0.04
"""The same for solidity, over the radius in voxels: of smooth objects, and more of those whose
hull is not smooth."""
CONTACT_MAX = 0.45
"""What a cut to a touching particle adds to the largest Feret diameter, in voxels: the blur bridges
the neck, and the longest width ends there."""
CONTACT_MIN, CONTACT_AXIS, CONTACT_HULL = 0.9, 0.12, 0.6
"""What it adds to the smallest one, to semi-axes, and to the mean distance between hull and
surface, in voxels squared, over the radius: the cut is a flat spot that takes a share of the
surface which falls with the radius."""
DEPTH_SE, CENTER_SE, WALL_SE = 0.33, 0.25, 0.04
"""Scatter of the depth of a void and of its distance from the centre, in voxels squared, over its
radius (few voxels tell a centre less well), and of its wall, in voxels."""

FERETS = ("feret_max", "feret_min")
AXES = ("semi_axis_a_um", "semi_axis_b_um", "semi_axis_c_um")

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]


def shapes_of_labels(labels: Labels) -> GreyShapes:
    """Shapes of labels without grey values: their voxels stand for the material."""
    count = int(labels.max(initial=0))
    voxels = np.bincount(labels.ravel(), minlength=count + 1).astype(np.float64)
    voxels[0] = 0.0
    return measure_grey_shapes((labels > 0).astype(np.float32), labels, noise=0.0, volume=voxels)


def add_shapes(table: Columns, ids: NDArray[np.int64], shapes: GreyShapes, voxel_um: float) -> None:
    """Add Feret diameters, semi-axes and solidity, each with ``_se``, and ``below_shape_limit``.

    Parameters
    ----------
    table : dict of columns
        A row per object.
    ids : (n,) array
        Label of each row.
    shapes : GreyShapes
        Of all labels, with their volumes.
    voxel_um : float
        Voxel edge.
    """
    volume = np.where(shapes.volume > 0, shapes.volume, shapes.moments.voxels)[ids]
    radius = np.cbrt(3 * volume / (4 * np.pi))
    share = shapes.volume_noise[ids] / volume
    calipers = shapes.calipers
    noise = calipers.point_noise[ids]
    noise = np.where(noise > 0, noise, DIGITAL_NOISE_VOXELS)
    shift, cut = calipers.shift[ids], calipers.touching[ids].astype(np.float64)
    flat = cut / radius
    columns: dict[str, Floats] = {}
    for name, noises, model, contact in zip(
        FERETS, FERET_NOISE, FERET_MODEL, (CONTACT_MAX * cut, CONTACT_MIN * flat), strict=True
    ):
        feret = getattr(calipers, name)[ids]
        off = _root(noises * noise, model / radius, FERET_SHIFT * shift, contact)
        columns[f"{name}_um"] = feret * voxel_um
        columns[f"{name}_um_se"] = np.hypot(off, share / 3 * feret) * voxel_um
    axes = sharpened_axes(shapes.moments, shapes.volume, shapes.blur)[ids]
    models = AXIS_MODELS_OF_VOIDS if "void_id" in table else AXIS_MODELS
    for name, axis, model in zip(AXES, axes.T, models, strict=True):
        off = _root(AXIS_NOISE * noise, model / radius, AXIS_SHIFT * shift, CONTACT_AXIS * flat)
        columns[name] = axis * voxel_um
        columns[f"{name}_se"] = np.hypot(off, share / 3 * axis) * voxel_um
    columns["solidity"] = volume / calipers.hull_volume[ids]
    rough = SOLIDITY_ROUGH * calipers.kept[ids]
    columns["solidity_se"] = _root(SOLIDITY_MODEL, rough, CONTACT_HULL * flat) / radius
    table.update(columns)
    table["below_shape_limit"] = 2 * radius < SHAPE_LIMIT_VOXELS


def add_places(
    table: Columns,
    segmentation: Segmentation,
    voids: GreyShapes | None,
    particles: GreyShapes | None,
) -> None:
    """Add where voids lie: ``depth_um``, ``wall_um`` and ``radial_position``, each with ``_se``.

    Parameters
    ----------
    table : dict of columns
        A row per void, with ``void_id`` and ``particle_id``.
    segmentation : Segmentation
        With the voids.
    voids, particles : GreyShapes or None
        With the boundaries of both; None when there is no void.
    """
    ids, parents = (table[name] for name in ("void_id", "particle_id"))
    center = segmentation.void_moments.center[ids]
    off = np.linalg.norm(center - segmentation.particle_moments.center[parents], axis=1)
    depth, wall, noise, radius = np.full((4, len(ids)), np.nan)
    if voids is not None and particles is not None:
        outer = particles.calipers
        depth = depths(center, outer, parents)
        wall = gaps(voids.calipers, outer, np.stack([ids, parents], axis=1))
        noise = np.hypot(outer.point_noise[parents], 2 * voids.calipers.point_noise[ids])
        volume = np.where(voids.volume > 0, voids.volume, voids.moments.voxels)[ids]
        radius = np.cbrt(3 * volume / (4 * np.pi))
    depth_se, wall_se = np.hypot(DEPTH_SE / radius, noise), np.hypot(WALL_SE, noise)
    whole = off + depth
    position_se = np.hypot(CENTER_SE / radius * depth, off * depth_se) / whole**2
    voxel_um = segmentation.voxel_um
    for name, values in (
        ("depth_um", depth * voxel_um),
        ("depth_um_se", depth_se * voxel_um),
        ("wall_um", wall * voxel_um),
        ("wall_um_se", wall_se * voxel_um),
        ("radial_position", off / whole),
        ("radial_position_se", position_se),
    ):
        table[name] = values


def _root(*parts: Floats | float) -> Floats:
    """Root of the sum of the squares."""
    return np.sqrt(sum(np.square(part) for part in parts))
