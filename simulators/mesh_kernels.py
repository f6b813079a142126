"""What is computed over the triangles of a closed surface: shadows, labels, distances.

Along a ray the length inside a closed surface is the sum over the triangles it crosses of where
it leaves less where it enters. So a shadow is drawn triangle by triangle: each adds its depth,
with the sign of the side it shows. A ray through an edge or corner counts for one of the
triangles there, so no ray is lost or counted twice.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .ellipsoids import Floats

Faces = NDArray[np.int64]


@njit(cache=True, nogil=True)
def winding(triangles: Floats, point: Floats) -> float:  # pragma: no cover - compiled
    """Return how often a surface winds around a point: 1 inside, 0 outside.

    The sum of solid angles (doi:10.1109/TBME.1983.325207) over 4 pi.
    """
    total = 0.0
    for n in range(len(triangles)):
        a, b, c = triangles[n, 0] - point, triangles[n, 1] - point, triangles[n, 2] - point
        la, lb, lc = np.sqrt((a * a).sum()), np.sqrt((b * b).sum()), np.sqrt((c * c).sum())
        top = (
            a[0] * (b[1] * c[2] - b[2] * c[1])
            + a[1] * (b[2] * c[0] - b[0] * c[2])
            + a[2] * (b[0] * c[1] - b[1] * c[0])
        )
        bottom = la * lb * lc + (a * b).sum() * lc + (b * c).sum() * la + (c * a).sum() * lb
        total += 2 * math.atan2(top, bottom)
    return total / (4 * math.pi)


@njit(cache=True, nogil=True)
def nearest(triangles: Floats) -> float:  # pragma: no cover - compiled
    """Return the distance of the nearest point of any triangle from the origin."""
    best = np.inf
    for n in range(len(triangles)):
        a, b, c = triangles[n, 0], triangles[n, 1], triangles[n, 2]
        normal = np.cross(b - a, c - a)
        square = (normal * normal).sum()
        inside = square > 0.0
        if inside:
            # The foot of the perpendicular, if it lies in the triangle.
            foot = normal * ((a * normal).sum() / square)
            for p, q in ((a, b), (b, c), (c, a)):
                if (np.cross(q - p, foot - p) * normal).sum() < 0.0:
                    inside = False
            if inside:
                best = min(best, (foot * foot).sum())
        if not inside:
            for p, q in ((a, b), (b, c), (c, a)):
                way = q - p
                length = (way * way).sum()
                t = 0.0 if length == 0.0 else min(1.0, max(0.0, -(p * way).sum() / length))
                near = p + t * way
                best = min(best, (near * near).sum())
    return math.sqrt(best)


@njit(cache=True, nogil=True)
def cross_each_other(edges_of: Floats, faces: Floats) -> bool:  # pragma: no cover - compiled
    """Return whether an edge of one set of triangles crosses one of the other set."""
    for n in range(len(edges_of)):
        for k in range(3):
            p, q = edges_of[n, k], edges_of[n, (k + 1) % 3]
            way = q - p
            for m in range(len(faces)):
                # Moeller and Trumbore's intersection, doi:10.1080/10867651.1997.10487468.
                first, second = faces[m, 1] - faces[m, 0], faces[m, 2] - faces[m, 0]
                across = np.cross(way, second)
                scale = (first * across).sum()
                if scale == 0.0:
                    continue
                start = p - faces[m, 0]
                u = (start * across).sum() / scale
                if u < 0.0 or u > 1.0:
                    continue
                up = np.cross(start, first)
                v = (way * up).sum() / scale
                if v < 0.0 or u + v > 1.0:
                    continue
                if 0.0 <= (second * up).sum() / scale <= 1.0:
                    return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def add_mesh_shadow(
    image: NDArray[np.float32],
    first_u: float,
    first_v: float,
    step: float,
    corners: Floats,
    faces: Faces,
    factor: float,
) -> None:  # pragma: no cover - compiled
    """Add the shadow of a closed surface to an image.

    Parameters
    ----------
    image
        Shape (rows, columns), changed in place.
    first_u, first_v, step
        Of the rays, um.
    corners
        Shape (n, 3): (u, v, depth) in the frame of the beam.
    faces
        Shape (m, 3).
    factor
        What a micrometre of path adds.
    """
    rows, columns = image.shape
    for n in range(len(faces)):
        i, j, k = faces[n]
        left = max(
            0, math.ceil((min(corners[i, 0], corners[j, 0], corners[k, 0]) - first_u) / step)
        )
        right = min(
            columns - 1,
            math.floor((max(corners[i, 0], corners[j, 0], corners[k, 0]) - first_u) / step),
        )
        top = max(0, math.ceil((first_v - max(corners[i, 1], corners[j, 1], corners[k, 1])) / step))
        bottom = min(
            rows - 1,
            math.floor((first_v - min(corners[i, 1], corners[j, 1], corners[k, 1])) / step),
        )
        for row in range(top, bottom + 1):
            v = first_v - row * step
            for column in range(left, right + 1):
                u = first_u + column * step
                side, depth = _hit(corners, i, j, k, u, v)
                if side != 0:
                    # The far side faces away from the source: leave less enter.
                    image[row, column] += np.float32(factor * side * depth)


@njit(cache=True, nogil=True, error_model="numpy")
def _hit(
    corners: Floats, i: int, j: int, k: int, u: float, v: float
) -> tuple[int, float]:  # pragma: no cover - compiled
    """Return on which side (1 far, -1 near, 0 none) and at what depth a ray meets a triangle."""
    a = _edge(corners, j, k, u, v)
    b = _edge(corners, k, i, u, v)
    c = _edge(corners, i, j, u, v)
    twice = a + b + c
    if twice == 0.0:
        return 0, 0.0
    way = 1 if twice > 0.0 else -1
    if not (_within(corners, j, k, a, way) and _within(corners, k, i, b, way)):
        return 0, 0.0
    if not _within(corners, i, j, c, way):
        return 0, 0.0
    return way, (a * corners[i, 2] + b * corners[j, 2] + c * corners[k, 2]) / twice


@njit(cache=True, nogil=True, inline="always")
def _edge(
    corners: Floats, p: int, q: int, u: float, v: float
) -> float:  # pragma: no cover - compiled
    """Return on which side of an edge a ray lies, exactly opposite seen from the other triangle."""
    if p > q:
        return -_edge_up(corners, q, p, u, v)
    return _edge_up(corners, p, q, u, v)


@njit(cache=True, nogil=True, inline="always")
def _edge_up(
    corners: Floats, p: int, q: int, u: float, v: float
) -> float:  # pragma: no cover - compiled
    return (corners[p, 0] - u) * (corners[q, 1] - v) - (corners[p, 1] - v) * (corners[q, 0] - u)


@njit(cache=True, nogil=True, inline="always")
def _within(
    corners: Floats, p: int, q: int, value: float, way: int
) -> bool:  # pragma: no cover - compiled
    """Return whether a ray lies on the inner side of an edge.

    On the edge itself, it is given to the side that edges running up, or level to the right, have
    on their left.
    """
    if value != 0.0:
        return (value > 0.0) == (way > 0)
    du, dv = corners[q, 0] - corners[p, 0], corners[q, 1] - corners[p, 1]
    upward = dv > 0.0 or (dv == 0.0 and du > 0.0)
    return upward == (way > 0)


@njit(cache=True, nogil=True)
def fill_mesh(
    grid: NDArray[np.int32], label: int, corners: Floats, faces: Faces, voxel: float
) -> None:  # pragma: no cover - compiled
    """Label the voxels [y, z, x] whose centres lie in a closed surface.

    `corners` (n, 3) are (x, y, z) from the centre of the grid.
    """
    ny, nz, nx = grid.shape
    middle_y, middle_z, middle_x = (ny - 1) / 2, (nz - 1) / 2, (nx - 1) / 2
    low_x = max(0, math.ceil(corners[:, 0].min() / voxel + middle_x))
    high_x = min(nx - 1, math.floor(corners[:, 0].max() / voxel + middle_x))
    low_y = max(0, math.ceil(middle_y - corners[:, 1].max() / voxel))
    high_y = min(ny - 1, math.floor(middle_y - corners[:, 1].min() / voxel))
    if low_x > high_x or low_y > high_y:
        return
    # How many surfaces a column along z has entered less left, below each voxel.
    depth = np.zeros((high_y - low_y + 1, nz + 1, high_x - low_x + 1), dtype=np.int32)
    for n in range(len(faces)):
        i, j, k = faces[n]
        xs = corners[i, 0], corners[j, 0], corners[k, 0]
        ys = corners[i, 1], corners[j, 1], corners[k, 1]
        left = max(low_x, math.ceil(min(xs) / voxel + middle_x))
        right = min(high_x, math.floor(max(xs) / voxel + middle_x))
        top = max(low_y, math.ceil(middle_y - max(ys) / voxel))
        bottom = min(high_y, math.floor(middle_y - min(ys) / voxel))
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                side, z = _hit(
                    corners, i, j, k, (column - middle_x) * voxel, (middle_y - row) * voxel
                )
                if side != 0:
                    first = min(nz, max(0, math.ceil(z / voxel + middle_z)))
                    depth[row - low_y, first, column - low_x] -= side
    for row in range(depth.shape[0]):
        for column in range(depth.shape[2]):
            inside = 0
            for z in range(nz):
                inside += depth[row, z, column]
                if inside > 0:
                    grid[row + low_y, z, column + low_x] = label
