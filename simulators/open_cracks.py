"""Open cracks: what ellipsoids that cross the surface of a particle take away from it.

Particle E and crack C are convex, so along a ray the loss is the overlap of two intervals, and
everything about ``E and C`` is an integral over a sphere: exact shadows, and truth by quadrature
whose error is below 1e-3 of the crack. What is lost belongs to the outside: it is no void.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .ellipsoids import Ellipsoids, Floats

_POLAR_STEPS, _AZIMUTHS = 96, 128
"""Of the quadrature: two to three degrees apart, for an error near 5e-4 of the crack."""


@dataclass(frozen=True, eq=False)
class CrackLoss:
    """What one crack takes from one particle.

    Attributes
    ----------
    volume_um3
        Of the part of the crack inside the particle.
    moment_um4
        Shape (3,): that volume times its centroid.
    opening_um2
        Of the particle's surface, what the crack opens.
    walls_um2
        The surface of the crack inside the particle.
    """

    volume_um3: float
    moment_um4: Floats
    opening_um2: float
    walls_um2: float


@dataclass(frozen=True, eq=False)
class CrackedTruth:
    """Measures of what is left of a particle.

    Attributes
    ----------
    volume_um3, surface_area_um2
        Of what is left, voids not subtracted; walls of the cracks are surface.
    centroid_um
        Shape (3,), of what is left.
    extent_um
        Shape (3,), sides of its bounding box.
    lost_um3
        Volume of the cracks inside the particle.
    """

    volume_um3: float
    surface_area_um2: float
    centroid_um: Floats
    extent_um: Floats
    lost_um3: float


def crack_loss(solid: Ellipsoids, crack: Ellipsoids) -> CrackLoss:
    """Return what a crack takes from a particle.

    Parameters
    ----------
    solid, crack
        One ellipsoid each.
    """
    generator = crack.generator[0]
    whitening = solid.whitening[0]
    # A point s of the crack's unit ball lies at `offset + way @ s` in that of the particle.
    offset = whitening @ (crack.center[0] - solid.center[0])
    way = whitening @ generator
    # Poles where the crack comes out: its rim then runs along a parallel and is met squarely.
    sphere = _Sphere.around(way.T @ offset)
    direction = sphere.direction
    image = direction @ way.T
    a = (image**2).sum(axis=-1)
    b = image @ offset
    # A ray may miss the particle, or graze it: then there is no interval.
    half = np.sqrt(np.maximum(b * b - a * (offset @ offset - 1.0), 0.0))
    first, last = np.clip((-b - half) / a, 0, 1), np.clip((-b + half) / a, 0, 1)
    determinant = float(np.linalg.det(generator))
    volume = determinant / 3 * sphere.integral(last**3 - first**3)
    lever = determinant / 4 * sphere.integral((last**4 - first**4)[..., None] * direction)
    element = np.linalg.norm(direction @ crack.whitening[0], axis=-1)
    depth = 1 - np.linalg.norm(offset + image, axis=-1)
    return CrackLoss(
        volume_um3=float(volume),
        moment_um4=crack.center[0] * volume + generator @ lever,
        opening_um2=_covered(solid, crack),
        walls_um2=determinant * float(sphere.integral(element, depth)),
    )


def cracked_truth(solid: Ellipsoids, cracks: Ellipsoids, area_um2: float) -> CrackedTruth:
    """Return the measures of a particle with cracks, which do not meet inside it.

    Parameters
    ----------
    solid
        The particle without cracks, one ellipsoid.
    cracks
        One or more.
    area_um2
        Surface of the particle without cracks.
    """
    each = [cracks.subset(np.array([k])) for k in range(len(cracks))]
    losses = [crack_loss(solid, crack) for crack in each]
    lost = sum(loss.volume_um3 for loss in losses)
    whole = float(solid.volume[0])
    moment = solid.center[0] * whole - np.sum([loss.moment_um4 for loss in losses], axis=0)
    area = area_um2 + sum(loss.walls_um2 - loss.opening_um2 for loss in losses)
    return CrackedTruth(whole - lost, area, moment / (whole - lost), _extent(solid, cracks), lost)


def pieces_left(solid: Ellipsoids, crack: Ellipsoids) -> int:
    """Return into how many pieces a crack cuts a particle.

    From every point of the particle outside a convex crack a straight way leads to the surface
    without meeting the crack, so pieces of the particle are pieces of its surface.
    """
    _, depth = _surface_in_crack(solid, crack)
    labelled: Any = ndimage.label(depth <= 0)
    labels, count = labelled
    links = [*zip(labels[:, 0], labels[:, -1], strict=True)]  # the azimuth comes round
    for pole in (labels[0], labels[-1]):  # a row of samples of the same point
        links += [*pairwise(pole)]
    joined = np.array([link for link in links if min(link) > 0], dtype=int).reshape(-1, 2) - 1
    graph = coo_array((np.ones(len(joined)), joined.T), shape=(count, count))
    return int(connected_components(graph, directed=False, return_labels=False))


def surface_left(solid: Ellipsoids, cracks: Ellipsoids) -> Floats:
    """Return points (m, 3) of a particle's surface, um, that no crack has taken."""
    points = solid.center[0] + _Sphere.around(np.array([0.0, 0.0, 1.0])).flat @ (
        solid.generator[0].T
    )
    for k in range(len(cracks)):
        points = points[_depth(points, cracks.subset(np.array([k]))) <= 0]
    return points


def _extent(solid: Ellipsoids, cracks: Ellipsoids) -> Floats:
    half = solid.half_extent[0]
    sides = 2 * half
    # Where the surface is farthest along +x, -x, +y and so on.
    poles = solid.shape_matrix[0] / half
    tips = solid.center[0] + np.concatenate([poles.T, -poles.T])
    taken = np.zeros(6, dtype=np.bool_)
    for k in range(len(cracks)):
        taken |= _depth(tips, cracks.subset(np.array([k]))) > 0
    if taken.any():
        sampled = np.ptp(surface_left(solid, cracks), axis=0)
        sides = np.where(taken[:3] | taken[3:], sampled, sides)
    return sides


def _depth(points: Floats, ellipsoid: Ellipsoids) -> Floats:
    """Return how deep points (..., 3) lie in an ellipsoid, in its mean radii; negative: outside."""
    inside = (points - ellipsoid.center[0]) @ ellipsoid.whitening[0].T
    return 1 - np.linalg.norm(inside, axis=-1)


def _surface_in_crack(solid: Ellipsoids, crack: Ellipsoids) -> tuple[_Sphere, Floats]:
    """Return directions of the particle's surface and how deep each point is in the crack."""
    generator = solid.generator[0]
    normal = crack.rotation[0][:, np.argmin(crack.semi_axes[0])]
    # The mouth of a thin crack then lies along the equator.
    sphere = _Sphere.around(generator.T @ normal)
    return sphere, _depth(solid.center[0] + sphere.direction @ generator.T, crack)


def _covered(solid: Ellipsoids, crack: Ellipsoids) -> float:
    sphere, depth = _surface_in_crack(solid, crack)
    generator = solid.generator[0]
    element = np.linalg.norm(sphere.direction @ solid.whitening[0], axis=-1)
    return float(np.linalg.det(generator) * sphere.integral(element, depth))


@dataclass(frozen=True, eq=False)
class _Sphere:
    """Directions of a quadrature, shape (polar, azimuth, 3), and sin of the polar angle."""

    direction: Floats
    sine: Floats

    @classmethod
    def around(cls, pole: Floats) -> _Sphere:
        length = float(np.linalg.norm(pole))
        axis = pole / length if length > 0 else np.array([0.0, 0.0, 1.0])
        aside = np.eye(3)[np.argmin(np.abs(axis))]
        first = np.cross(axis, aside)
        first /= np.linalg.norm(first)
        second = np.cross(axis, first)
        polar = np.linspace(0, math.pi, _POLAR_STEPS + 1)[:, None, None]
        azimuth = (np.arange(_AZIMUTHS) * (2 * math.pi / _AZIMUTHS))[None, :, None]
        around = np.cos(azimuth) * first + np.sin(azimuth) * second
        direction = np.cos(polar) * axis + np.sin(polar) * around
        return cls(np.asarray(direction, dtype=np.float64), np.sin(polar[:, :, 0]))

    @property
    def flat(self) -> Floats:
        """All directions, shape (m, 3)."""
        return self.direction.reshape(-1, 3)

    def integral(self, value: Floats, depth: Floats | None = None) -> Floats:
        """Return the integral over the sphere, or over the part where `depth` is above 0.

        Trapezoids along the meridians; of a step that `depth` crosses, the share above 0 counts.
        """
        extra = (1,) * (value.ndim - 2)
        weighted = value * self.sine.reshape(-1, 1, *extra)
        step = 0.5 * (weighted[1:] + weighted[:-1])
        if depth is not None:
            low, high = depth[:-1], depth[1:]
            above = np.maximum(low, 0) + np.maximum(high, 0)
            span = np.abs(low) + np.abs(high)
            share = np.divide(above, span, out=np.zeros_like(above), where=span > 0)
            step = step * share.reshape(*share.shape, *extra)
        area = (math.pi / _POLAR_STEPS) * (2 * math.pi / _AZIMUTHS)
        return step.sum(axis=(0, 1)) * area


@njit(cache=True, nogil=True, error_model="numpy")
def add_crack_shadows(
    image: NDArray[np.float32],
    first_u: float,
    first_v: float,
    step: float,
    solid_center: Floats,
    solid_inverse: Floats,
    crack_center: Floats,
    crack_inverse: Floats,
    crack_reach: Floats,
    factor: Floats,
) -> None:  # pragma: no cover - compiled
    """Take the overlap of particles and their cracks along every ray from an image.

    Parameters
    ----------
    image
        Shape (rows, columns), changed in place.
    first_u, first_v, step
        Of the rays, um.
    solid_center, crack_center
        Shape (n, 3): (u, v, depth) in the frame of the beam.
    solid_inverse, crack_inverse
        Shape (n, 3, 3): turn offsets in that frame into those from the centre of the unit ball.
    crack_reach
        Shape (n, 2): half sides of the cracks' shadows along u and v.
    factor
        Shape (n,): what a micrometre of path is worth.
    """
    rows, columns = image.shape
    for n in range(len(factor)):
        top = max(0, math.ceil((first_v - crack_center[n, 1] - crack_reach[n, 1]) / step))
        bottom = min(
            rows - 1, math.floor((first_v - crack_center[n, 1] + crack_reach[n, 1]) / step)
        )
        left = max(0, math.ceil((crack_center[n, 0] - crack_reach[n, 0] - first_u) / step))
        right = min(
            columns - 1, math.floor((crack_center[n, 0] + crack_reach[n, 0] - first_u) / step)
        )
        for row in range(top, bottom + 1):
            v = first_v - row * step
            for column in range(left, right + 1):
                u = first_u + column * step
                c_in, c_out = _interval(crack_center[n], crack_inverse[n], u, v)
                if c_in >= c_out:
                    continue
                s_in, s_out = _interval(solid_center[n], solid_inverse[n], u, v)
                overlap = min(c_out, s_out) - max(c_in, s_in)
                if overlap > 0.0:
                    image[row, column] -= np.float32(factor[n] * overlap)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _interval(
    center: Floats, inverse: Floats, u: float, v: float
) -> tuple[float, float]:  # pragma: no cover - compiled
    """Return between which depths the ray at (u, v) lies in an ellipsoid; (0, 0) if it misses."""
    a = b = c = 0.0
    for k in range(3):
        start = inverse[k, 0] * (u - center[0]) + inverse[k, 1] * (v - center[1])
        along = inverse[k, 2]
        a += along * along
        b += along * start
        c += start * start
    under = b * b - a * (c - 1.0)
    if under <= 0.0:
        return 0.0, 0.0
    half = math.sqrt(under)
    return center[2] + (-b - half) / a, center[2] + (-b + half) / a


@njit(cache=True, nogil=True)
def carve(
    grid: NDArray[np.int32],
    owner: NDArray[np.int32],
    center: Floats,
    half_extent: Floats,
    inverse: Floats,
    voxel: float,
) -> None:  # pragma: no cover - compiled
    """Clear the voxels [y, z, x] of particles whose centres lie in one of their cracks.

    `owner` (n,) is the label of each crack's particle, `center` relative to that of the grid,
    `inverse` (n, 3, 3) the inverse shape matrices.
    """
    ny, nz, nx = grid.shape
    middle_y, middle_z, middle_x = (ny - 1) / 2, (nz - 1) / 2, (nx - 1) / 2
    for n in range(len(owner)):
        q = inverse[n]
        y_first = max(0, int(np.ceil(middle_y - (center[n, 1] + half_extent[n, 1]) / voxel)))
        y_last = min(ny - 1, int(np.floor(middle_y - (center[n, 1] - half_extent[n, 1]) / voxel)))
        z_first = max(0, int(np.ceil(middle_z + (center[n, 2] - half_extent[n, 2]) / voxel)))
        z_last = min(nz - 1, int(np.floor(middle_z + (center[n, 2] + half_extent[n, 2]) / voxel)))
        x_first = max(0, int(np.ceil(middle_x + (center[n, 0] - half_extent[n, 0]) / voxel)))
        x_last = min(nx - 1, int(np.floor(middle_x + (center[n, 0] + half_extent[n, 0]) / voxel)))
        for i in range(y_first, y_last + 1):
            dy = (middle_y - i) * voxel - center[n, 1]
            for j in range(z_first, z_last + 1):
                dz = (j - middle_z) * voxel - center[n, 2]
                for k in range(x_first, x_last + 1):
                    if grid[i, j, k] != owner[n]:
                        continue
                    dx = (k - middle_x) * voxel - center[n, 0]
                    radius = q[0, 0] * dx * dx + q[1, 1] * dy * dy + q[2, 2] * dz * dz
                    radius += 2 * (q[0, 1] * dx * dy + q[0, 2] * dx * dz + q[1, 2] * dy * dz)
                    if radius <= 1.0:
                        grid[i, j, k] = 0
