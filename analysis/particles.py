"""Tables of particles and of voids: a row per object, units in the column names."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .grey_columns import (
    Columns,
    add_particle_shapes,
    add_void_shapes,
    compare_with_grey,
    particle_shapes,
    void_shapes,
)
from .grey_slabs import SLAB_VOXELS
from .grey_volume import measure_grey_voids
from .moments import Moments, measure_moments
from .segmentation import Center, Segmentation
from .shape_columns import add_places, add_shapes, shapes_of_labels
from .summary import MINIMUM_VOID_UM
from .surface_area import FACES_OVER_TRUE_AREA, AreaMethod, count_crossings
from .uncertainty import BoundaryUncertainty

Array = NDArray[np.float64]
Labels = NDArray[np.int32]


def measure_particles(
    segmentation_or_labels: Segmentation | ArrayLike,
    voxel_um: float,
    area: AreaMethod = "crofton",
    *,
    center_um: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Measure every particle.

    Parameters
    ----------
    segmentation_or_labels : Segmentation or (rows, depth, columns) array of int
        Labels 1..N with internal voids filled in. A plain array has no voids, and its border is
        the border of the array.
    voxel_um : float
        Voxel edge.
    area : {"crofton", "faces"}
        Definition of the surface area (`zoneplate.analysis.surface_area`): "crofton" is free of
        bias, "faces" is what the study's Table 1 used and reads 1.5 times as much.
    center_um : (x, y, z), optional
        Where the centre of the volume lies in the specimen frame; that of the segmentation, or
        (0, 0, 0), when not given.

    Returns
    -------
    pandas.DataFrame
        A row per particle: ``particle_id``; ``center_x_um, center_y_um, center_z_um`` (y up, row
        0 at the top); ``voxels``; ``volume_um3`` (voids included); ``surface_area_um2`` (outer
        surface only); ``sphericity`` = ``pi**(1/3) * (6 V)**(2/3) / S`` (Wadell; above 1 is
        normal below about 4 voxels radius); ``surface_to_volume_per_um``;
        ``equivalent_diameter_um`` = ``(6 V / pi)**(1/3)``, each with its standard uncertainty
        ``_se`` (`zoneplate.analysis.uncertainty`); ``extent_x_um, extent_y_um, extent_z_um``
        (bounding lengths); ``touches_border``; ``split`` (cut from a touching particle);
        ``void_count``; ``void_volume_um3`` (voxels) and ``void_volume_grey_um3``;
        ``solid_volume_um3`` and ``dead_volume_fraction``, which use the grey void volume;
        ``volume_grey_um3, equivalent_diameter_grey_um, surface_area_grey_um2, sphericity_grey``
        with ``_se``, from the grey values (`zoneplate.analysis.grey_shape`; NaN for plain
        labels): without the bias of the blur and the roughening by noise; ``feret_max_um,
        feret_min_um, semi_axis_a_um, semi_axis_b_um, semi_axis_c_um, solidity`` with ``_se``
        (`zoneplate.analysis.shape_columns`); ``below_shape_limit`` (less than 6 voxels across).

    Raises
    ------
    ValueError
        When the labels are not a three-dimensional array of non-negative integers.

    Examples
    --------
    >>> labels = np.zeros((8, 10, 12), dtype=np.int32)
    >>> labels[2:4, 3:5, 4:6] = 1
    >>> table = measure_particles(labels, 0.5, area="faces")
    >>> table[["volume_um3", "surface_area_um2", "center_x_um", "center_y_um"]].values.tolist()
    [[1.0, 6.0, -0.5, 0.5]]
    """
    if isinstance(segmentation_or_labels, Segmentation):
        segmentation = segmentation_or_labels
        labels = segmentation.particles
        borders, split = segmentation.touches_border, segmentation.split
        center = segmentation.center_um if center_um is None else _center(center_um)
        boundary = BoundaryUncertainty.of_segmentation(segmentation)
    else:
        segmentation = None
        labels = _checked_labels(segmentation_or_labels)
        borders = _touching_array_border(labels)
        split = np.zeros(len(borders), dtype=bool)
        center = _center((0.0, 0.0, 0.0) if center_um is None else center_um)
        boundary = BoundaryUncertainty.of_labels(voxel_um)
    moments = segmentation.particle_moments if segmentation else measure_moments(labels)
    crossings = segmentation.particle_crossings if segmentation else count_crossings(labels)
    areas = crossings.area(area) * voxel_um**2
    table = _measure("particle_id", labels.shape, moments, areas, voxel_um, area, center, boundary)
    ids = table["particle_id"]
    table["touches_border"] = borders[ids]
    table["split"] = split[ids]
    if segmentation is not None and labels.size <= SLAB_VOXELS:
        # Neither needs the other, both are mostly compiled, and the table of voids comes next.
        with ThreadPoolExecutor(1) as pool:
            voids = pool.submit(void_shapes, segmentation)
            particle_shapes(segmentation)
            voids.result()
    _add_voids(table, segmentation, voxel_um)
    shapes = add_particle_shapes(table, segmentation, voxel_um)
    add_shapes(table, ids, shapes or shapes_of_labels(labels), voxel_um)
    compare_with_grey(table, area_scale=_area_scale(area))
    return pd.DataFrame(table)


def measure_voids(
    segmentation: Segmentation,
    voxel_um: float,
    area: AreaMethod = "crofton",
    *,
    center_um: Sequence[float] | None = None,
    minimum_void_um: float = MINIMUM_VOID_UM,
) -> pd.DataFrame:
    """Measure every internal void.

    Parameters
    ----------
    segmentation : Segmentation
        From `zoneplate.analysis.segmentation.segment`.
    voxel_um : float
        Voxel edge.
    area : {"crofton", "faces"}
        Definition of the surface area.
    center_um : (x, y, z), optional
        Where the centre of the volume lies in the specimen frame.
    minimum_void_um : float
        Detection limit: the grey diameter up to which a void is ``unresolved``.

    Returns
    -------
    pandas.DataFrame
        A row per void with ``void_id``, ``particle_id`` (its parent) and the columns of
        `measure_particles`; ``touches_border`` and ``split`` are those of the parent. Counting
        voxels reads half of a void of 4 voxels diameter (the uncertainty says so), therefore
        ``volume_grey_um3`` and ``equivalent_diameter_grey_um``, from the missing attenuation
        (`zoneplate.analysis.grey_volume`), ``surface_area_grey_um2`` and ``sphericity_grey`` at
        that volume, and their ``_se``. ``depth_um`` is the distance of the
        void's centre from the particle's surface, ``wall_um`` the shell thickness where it is
        thinnest, ``radial_position`` 0 in the particle's centre and 1 at its surface, each with
        ``_se``; ``unresolved`` voids are below the detection limit.
    """
    center = segmentation.center_um if center_um is None else _center(center_um)
    boundary = BoundaryUncertainty.of_segmentation(segmentation)
    moments = segmentation.void_moments
    areas = segmentation.void_crossings.area(area) * voxel_um**2
    shape = segmentation.voids.shape
    table = _measure("void_id", shape, moments, areas, voxel_um, area, center, boundary)
    ids = table.pop("void_id")
    parents = segmentation.parent[ids]
    table = {"void_id": ids, "particle_id": parents, **table}
    table["touches_border"] = segmentation.touches_border[parents]
    table["split"] = segmentation.split[parents]
    grey = measure_grey_voids(segmentation)
    volume, volume_se = grey.volume * voxel_um**3, grey.volume_se * voxel_um**3
    table["volume_grey_um3"] = volume
    table["volume_grey_um3_se"] = volume_se
    diameter = np.cbrt(6 * volume / np.pi)
    table["equivalent_diameter_grey_um"] = diameter
    relative = np.divide(volume_se, 3 * volume, out=np.full_like(volume, np.nan), where=volume > 0)
    table["equivalent_diameter_grey_um_se"] = diameter * relative
    table["unresolved"] = ~(diameter > minimum_void_um)  # also where it is not known
    shapes = add_void_shapes(table, segmentation, voxel_um)
    add_shapes(table, ids, shapes or shapes_of_labels(segmentation.voids), voxel_um)
    add_places(table, segmentation, shapes, particle_shapes(segmentation))
    compare_with_grey(table, area_scale=_area_scale(area))
    return pd.DataFrame(table)


def _area_scale(area: AreaMethod) -> float:
    return FACES_OVER_TRUE_AREA if area == "faces" else 1.0


def _measure(
    name: str,
    shape: tuple[int, ...],
    moments: Moments,
    areas: Array,
    voxel_um: float,
    area: AreaMethod,
    center_um: Center,
    edge: BoundaryUncertainty,
) -> Columns:
    """Columns that particles and voids share, for every label that occurs; `name` is the first."""
    if not voxel_um > 0:
        raise ValueError(f"voxel_um must be positive, not {voxel_um}")
    voxels = moments.voxels
    ids = np.flatnonzero(voxels)
    index = moments.center[ids]
    extents = (moments.stop - moments.first)[ids]
    middle = (np.array(shape) - 1) / 2
    volume = voxels[ids].astype(np.float64) * voxel_um**3
    surface = areas[ids]
    true_surface = surface / FACES_OVER_TRUE_AREA if area == "faces" else surface
    sphericity = np.cbrt(np.pi) * np.cbrt(6 * volume) ** 2 / surface
    volume_se = edge.volume_se(volume, true_surface)
    area_se = edge.area_se(volume, true_surface) * surface / true_surface
    ratio = surface / volume
    diameter_se = edge.diameter_se(volume, true_surface)
    return {
        name: ids.astype(np.int64),
        "center_x_um": (index[:, 2] - middle[2]) * voxel_um + center_um[0],
        "center_y_um": (middle[0] - index[:, 0]) * voxel_um + center_um[1],
        "center_z_um": (index[:, 1] - middle[1]) * voxel_um + center_um[2],
        "voxels": voxels[ids],
        "volume_um3": volume,
        "volume_um3_se": volume_se,
        "surface_area_um2": surface,
        "surface_area_um2_se": area_se,
        "sphericity": sphericity,
        "sphericity_se": edge.sphericity_se(volume, true_surface, sphericity),
        "surface_to_volume_per_um": ratio,
        # Of a sphere it is 6 / d, so that its relative uncertainty is the diameter's.
        "surface_to_volume_per_um_se": ratio * diameter_se / np.cbrt(6 * volume / np.pi),
        "equivalent_diameter_um": np.cbrt(6 * volume / np.pi),
        "equivalent_diameter_um_se": diameter_se,
        "extent_x_um": extents[:, 2] * voxel_um,
        "extent_y_um": extents[:, 0] * voxel_um,
        "extent_z_um": extents[:, 1] * voxel_um,
    }


def _add_voids(table: Columns, segmentation: Segmentation | None, voxel_um: float) -> None:
    """Add what the voids take from each particle."""
    ids = table["particle_id"]
    size = int(ids.max(initial=0)) + 1
    counts = np.zeros(size, dtype=np.int64)
    counted, grey = np.zeros(size), np.zeros(size)
    if segmentation is not None:
        parents = segmentation.parent[1:]
        sizes = segmentation.void_moments.voxels[1:]
        counts = np.bincount(parents, minlength=size)
        counted = np.bincount(parents, weights=sizes, minlength=size) * voxel_um**3
        volumes = measure_grey_voids(segmentation).volume
        grey = np.bincount(parents, weights=volumes, minlength=size) * voxel_um**3
    table["void_count"] = counts[ids]
    table["void_volume_um3"] = counted[ids]
    table["void_volume_grey_um3"] = grey[ids]
    table["solid_volume_um3"] = table["volume_um3"] - grey[ids]
    table["dead_volume_fraction"] = grey[ids] / table["volume_um3"]


def _center(center_um: Sequence[float]) -> Center:
    x, y, z = (float(value) for value in center_um)
    return x, y, z


def _checked_labels(labels: ArrayLike) -> Labels:
    array: NDArray[Any] = np.asarray(labels)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"labels have three axes [y, z, x]; these have shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"labels are integers, not {array.dtype}")
    if array.min() < 0:
        raise ValueError("labels are 0 for the background and 1..N for the particles, not negative")
    return np.ascontiguousarray(array, dtype=np.int32)


def _touching_array_border(labels: Labels) -> NDArray[np.bool_]:
    flags = np.zeros(int(labels.max()) + 1, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            flags[np.take(labels, end, axis=axis).ravel()] = True
    flags[0] = False
    return flags
