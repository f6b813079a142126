"""Exact truth of a specimen: tables with the columns of the measured ones, and labels.

Volumes of particles include their voids, as the segmentation fills voids before it measures;
`solid_volume_um3` leaves them out. Open cracks belong to the outside: no volume of a particle
includes them, and their walls are surface. Ellipsoids and meshes have closed formulas; rough
surfaces and cracks are integrated, see `zoneplate.simulators.surfaces` and
`zoneplate.simulators.open_cracks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.special import elliprg

from .ellipsoids import (
    Ellipsoids,
    Floats,
    distance_to_surface,
    farthest_distance,
    interpenetrations,
)
from .mesh_kernels import fill_mesh
from .open_cracks import carve
from .surfaces import fill_rough, surface_points

if TYPE_CHECKING:
    from .specimen import Specimen


@dataclass(frozen=True, eq=False)
class Labels:
    """A specimen on a voxel grid, indexed [y, z, x] as every volume.

    Attributes
    ----------
    particles
        Shape (ny, nz, nx), int32: row of the particle in the truth table plus 1, voids filled in,
        open cracks not.
    voids
        Same shape, int32: row of the void plus 1.
    """

    particles: NDArray[np.int32]
    voids: NDArray[np.int32]


def surface_area_um2(semi_axes_um: Floats) -> Floats:
    """Return the surface areas of ellipsoids.

    ``4 pi R_G(a2b2, a2c2, b2c2)`` with Carlson's symmetric integral R_G
    (https://dlmf.nist.gov/19.33.E1).

    Parameters
    ----------
    semi_axes_um
        Shape (n, 3).

    Returns
    -------
    ndarray
        Shape (n,), um2.

    Examples
    --------
    >>> area = surface_area_um2(np.array([[2.0, 2.0, 2.0]]))
    >>> bool(np.isclose(area[0], 16 * np.pi))
    True
    """
    a2, b2, c2 = np.moveaxis(semi_axes_um**2, -1, 0)
    return 4 * np.pi * elliprg(a2 * b2, a2 * c2, b2 * c2)


def particle_table(specimen: Specimen) -> pd.DataFrame:
    """Return a row per particle.

    Returns
    -------
    DataFrame
        ``particle_id`` (1..N), ``name`` (the free-text id), ``center_{x,y,z}_um`` (of mass, voids
        filled in), ``volume_um3`` (voids filled in), ``solid_volume_um3``,
        ``surface_area_um2`` (outer), ``sphericity``,
        ``surface_to_volume_per_um``, ``equivalent_diameter_um``, ``void_count``,
        ``void_volume_um3``, ``dead_volume_fraction`` (of that volume), ``extent_{x,y,z}_um``
        (sides of the bounding box), ``crack_count`` and ``crack_volume_um3`` (of open cracks),
        ``defect`` (empty for an ordinary one).
    """
    geometry = specimen.particle_geometry
    count = len(geometry)
    parent = specimen.void_parent
    void_volume = np.bincount(parent, weights=specimen.void_geometry.volume, minlength=count)
    center, volume = geometry.center.copy(), geometry.volume.copy()
    area, extent = surface_area_um2(geometry.semi_axes), 2 * geometry.half_extent
    crack_volume = np.zeros(count)
    for index, truth in (specimen.rough_truth | specimen.cracked_truth).items():
        center[index], volume[index] = truth.centroid_um, truth.volume_um3
        area[index], extent[index] = truth.surface_area_um2, truth.extent_um
    for index, mesh in specimen.meshed.items():
        center[index], volume[index] = mesh.centroid_um, mesh.volume_um3
        area[index], extent[index] = mesh.surface_area_um2, mesh.extent_um
    for index, truth in specimen.cracked_truth.items():
        crack_volume[index] = truth.lost_um3
    columns = {
        "particle_id": np.arange(1, count + 1),
        "name": pd.Series([particle.id for particle in specimen.particles], dtype=object),
        **_shape_columns(center, volume, area),
        "solid_volume_um3": volume - void_volume,
        "void_count": np.bincount(parent, minlength=count),
        "void_volume_um3": void_volume,
        "dead_volume_fraction": void_volume / volume,
    }
    for axis, sides in zip("xyz", extent.T, strict=True):
        columns[f"extent_{axis}_um"] = sides
    columns["crack_count"] = np.bincount(specimen.crack_parent, minlength=count)
    columns["crack_volume_um3"] = crack_volume
    columns["defect"] = pd.Series([item.defect for item in specimen.particles], dtype=object)
    return pd.DataFrame(columns)


def void_table(specimen: Specimen) -> pd.DataFrame:
    """Return a row per void.

    Returns
    -------
    DataFrame
        ``void_id`` (1..N), ``particle_id`` (of its particle), ``name``, ``center_{x,y,z}_um``,
        ``volume_um3``, ``surface_area_um2``, ``sphericity``, ``surface_to_volume_per_um``,
        ``equivalent_diameter_um``, ``depth_um`` (from its centre to the nearest point of its
        particle's surface, cracks left out), ``defect`` (empty for an ordinary one).
    """
    geometry = specimen.void_geometry
    parent = specimen.void_parent
    depth = distance_to_surface(geometry.center, specimen.particle_geometry.subset(parent))
    for void in np.flatnonzero(np.isin(parent, specimen.rough)):
        index = int(parent[void])
        surface = surface_points(specimen.rough_table(index), specimen.envelope(index))
        depth[void] = np.sqrt(((surface - geometry.center[void]) ** 2).sum(axis=1).min())
    for void in np.flatnonzero(np.isin(parent, list(specimen.meshed))):
        depth[void] = specimen.meshed[int(parent[void])].distance_um(geometry.center[void])
    return pd.DataFrame(
        {
            "void_id": np.arange(1, len(geometry) + 1),
            "particle_id": parent + 1,
            "name": pd.Series([void.id for void in specimen.voids], dtype=object),
            **_shape_columns(
                geometry.center, geometry.volume, surface_area_um2(geometry.semi_axes)
            ),
            "depth_um": depth,
            "defect": pd.Series([void.defect for void in specimen.voids], dtype=object),
        }
    )


def contact_table(specimen: Specimen, within_um: float) -> pd.DataFrame:
    """Return a row per pair of particles that touch.

    Parameters
    ----------
    specimen
        N particles.
    within_um
        Both semi-axes grow by half of this, and pairs that overlap then are said to touch: round
        particles whose gap is smaller than this, flat ones sooner at their edges.

    Returns
    -------
    DataFrame
        ``first_particle_id``, ``second_particle_id``, as in `particle_table`, first < second.
    """
    geometry = specimen.particle_geometry
    grown = Ellipsoids(geometry.center, geometry.semi_axes + within_um / 2, geometry.quaternion)
    meshed = specimen.meshed
    pairs = sorted(
        (i, j)
        for i, j, _ in interpenetrations(grown, 0.0)
        if not (i in meshed or j in meshed) or specimen.gap_um(i, j) <= within_um
    )
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T + 1
    return pd.DataFrame({"first_particle_id": first, "second_particle_id": second})


def _shape_columns(center_um: Floats, volume: Floats, area: Floats) -> dict[str, Floats]:
    centers = {f"center_{axis}_um": values for axis, values in zip("xyz", center_um.T, strict=True)}
    return {
        **centers,
        "volume_um3": volume,
        "surface_area_um2": area,
        "sphericity": np.cbrt(np.pi) * np.cbrt(6 * volume) ** 2 / area,
        "surface_to_volume_per_um": area / volume,
        "equivalent_diameter_um": np.cbrt(6 * volume / np.pi),
    }


def whole_in_field(
    specimen: Specimen,
    center_um: tuple[float, float, float],
    radius_um: float,
    half_height_um: float,
) -> NDArray[np.bool_]:
    """Return which particles lie wholly inside a reconstruction cylinder.

    Exact for ellipsoids of any orientation and meshes: every point of the particle is within
    `radius_um` of the rotation axis and within `half_height_um` of the central slice, open cracks
    filled. Of rough particles the points of the quadrature are asked, two degrees apart.

    Parameters
    ----------
    specimen
        N particles.
    center_um
        (x, y, z) of the sample point on the rotation axis, which is the stage position.
    radius_um
        Of the cylinder; half the width of the field at most.
    half_height_um
        Half the height of the field.

    Returns
    -------
    ndarray
        Shape (N,), bool, in the order of `particle_table`.
    """
    center = np.asarray(center_um, dtype=np.float64)
    inside = _inside_cylinder(specimen.particle_geometry, center, radius_um, half_height_um)
    core = _inside_cylinder(specimen.core_geometry, center, radius_um, half_height_um)
    for index in specimen.rough:
        # Its envelope may reach out where the surface does not; its core must not.
        if core[index] and not inside[index]:
            surface = surface_points(specimen.rough_table(index), specimen.envelope(index))
            x, y, z = (surface - center).T
            wide, high = np.hypot(x, z).max(), np.abs(y).max()
            inside[index] = wide <= radius_um and high <= half_height_um
    for index, mesh in specimen.meshed.items():
        x, y, z = (mesh.vertices_um - center).T
        wide, high = np.hypot(x, z).max(), np.abs(y).max()
        inside[index] = wide <= radius_um and high <= half_height_um
    return inside


def _inside_cylinder(
    geometry: Ellipsoids, center: Floats, radius_um: float, half_height_um: float
) -> NDArray[np.bool_]:
    offset = geometry.center - center
    across = [0, 2]
    distance = farthest_distance(offset[:, across], geometry.generator[:, across, :])
    height = np.abs(offset[:, 1]) + geometry.half_extent[:, 1]
    return (distance <= radius_um) & (height <= half_height_um)


def rasterize(
    specimen: Specimen,
    shape: tuple[int, int, int],
    voxel_um: float,
    center_um: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Labels:
    """Return the specimen on a voxel grid: a voxel belongs to what its centre lies in.

    Parameters
    ----------
    specimen
        What to draw.
    shape
        (ny, nz, nx); slice 0 is the top.
    voxel_um
        Side of a voxel.
    center_um
        Sample point (x, y, z) in the centre of the grid.
    """
    center = np.asarray(center_um, dtype=np.float64)
    labels = Labels(np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32))
    solids, voids = specimen.particle_geometry, specimen.void_geometry
    number = np.arange(1, len(solids) + 1, dtype=np.int32)
    special = [*specimen.rough, *specimen.meshed]
    smooth = np.setdiff1d(np.arange(len(solids)), special).astype(np.intp)
    for grid, geometry, label in (
        (labels.particles, solids.subset(smooth), number[smooth]),
        (labels.voids, voids, np.arange(1, len(voids) + 1, dtype=np.int32)),
    ):
        inverse = np.asarray(np.linalg.inv(geometry.shape_matrix), dtype=np.float64)
        _fill(grid, label, geometry.center - center, geometry.half_extent, inverse, float(voxel_um))
    for index in specimen.rough:
        fill_rough(
            labels.particles,
            int(number[index]),
            solids.center[index] - center,
            solids.half_extent[index],
            np.linalg.inv(solids.generator[index]),
            specimen.rough_table(index),
            float(voxel_um),
        )
    for index, mesh in specimen.meshed.items():
        corners = mesh.vertices_um - center
        fill_mesh(labels.particles, int(number[index]), corners, mesh.faces, float(voxel_um))
    cracks = specimen.crack_geometry
    carve(
        labels.particles,
        number[specimen.crack_parent],
        cracks.center - center,
        cracks.half_extent,
        np.asarray(np.linalg.inv(cracks.shape_matrix), dtype=np.float64),
        float(voxel_um),
    )
    return labels


@njit(cache=True, nogil=True)
def _fill(
    grid: NDArray[np.int32],
    label: NDArray[np.int32],
    center: Floats,
    half_extent: Floats,
    inverse: Floats,
    voxel: float,
) -> None:  # pragma: no cover - compiled
    ny, nz, nx = grid.shape
    middle_y, middle_z, middle_x = (ny - 1) / 2, (nz - 1) / 2, (nx - 1) / 2
    for n in range(len(center)):
        cx, cy, cz = center[n]
        hx, hy, hz = half_extent[n]
        # y runs against the slice index: slice 0 is the top.
        y_first = max(0, int(np.ceil(middle_y - (cy + hy) / voxel)))
        y_last = min(ny - 1, int(np.floor(middle_y - (cy - hy) / voxel)))
        z_first = max(0, int(np.ceil(middle_z + (cz - hz) / voxel)))
        z_last = min(nz - 1, int(np.floor(middle_z + (cz + hz) / voxel)))
        x_first = max(0, int(np.ceil(middle_x + (cx - hx) / voxel)))
        x_last = min(nx - 1, int(np.floor(middle_x + (cx + hx) / voxel)))
        q = inverse[n]
        for i in range(y_first, y_last + 1):
            dy = (middle_y - i) * voxel - cy
            for j in range(z_first, z_last + 1):
                dz = (j - middle_z) * voxel - cz
                for k in range(x_first, x_last + 1):
                    dx = (k - middle_x) * voxel - cx
                    radius = (
                        q[0, 0] * dx * dx
                        + q[1, 1] * dy * dy
                        + q[2, 2] * dz * dz
                        + 2 * (q[0, 1] * dx * dy + q[0, 2] * dx * dz + q[1, 2] * dy * dz)
                    )
                    if radius <= 1.0:
                        grid[i, j, k] = label[n]
