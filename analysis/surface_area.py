"""Surface area of labelled objects, by two named definitions.

``faces`` is the area of the exposed voxel faces, what "cubic" voxel counting gives: 3/2 of the
true area of any large isotropic surface. ``crofton`` counts the intersections of the surface with
lines along 13 directions (Crofton's formula), without bias beyond the resolution.

Measured on digital spheres with random centres (bias and scatter in per cent of the true area):

=========  =========  ==========  ==========  =========  =========
radius     1.5        2.35        4           10         30 voxels
=========  =========  ==========  ==========  =========  =========
faces      45 ± 16    49 ± 10     48 ± 2.6    50         50
crofton    -7 ± 8     -2.2 ± 3.5  -1.3 ± 0.9  -0.2       0.0
=========  =========  ==========  ==========  =========  =========

Flat faces along the axes are Crofton's weak side: a cube of 10 voxels reads 0.87 of its area.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

AreaMethod = Literal["faces", "crofton"]

FACES_OVER_TRUE_AREA = 1.5
"""Exposed voxel faces of a large isotropic surface over its true area."""
FACE_DIRECTIONS = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
EDGE_DIRECTIONS = ((0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0))
CORNER_DIRECTIONS = ((1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1))

# Share of the unit sphere that is nearest to a direction of each kind (a Voronoi partition of the
# 26 points), for a direction and its opposite together; Legland, Kieu and Devaux 2007,
# doi:10.5566/ias.v26.p83-92, and MorphoLibJ, doi:10.1093/bioinformatics/btw413.
CROFTON_WEIGHTS = {
    FACE_DIRECTIONS: 2 * 0.04577789120476,
    EDGE_DIRECTIONS: 2 * 0.03698062787608,
    CORNER_DIRECTIONS: 2 * 0.03519563978232,
}


def surface_area_voxels(
    labels: NDArray[np.integer[Any]], method: AreaMethod = "crofton", count: int | None = None
) -> NDArray[np.float64]:
    """Surface area of every label, in squares of the voxel edge.

    Parameters
    ----------
    labels : (rows, depth, columns) array of int
        Labels 1..N; 0 is the background, and so is everything beyond the array.
    method : {"crofton", "faces"}
        Definition of the area; see the module.
    count : int, optional
        N, when it is known.

    Returns
    -------
    (N + 1,) array
        Area by label; entry 0 is 0.

    Notes
    -----
    The area between two touching labels counts for both. Crofton:
    ``S = 2 * sum_k c_k N_k / d_k`` with ``N_k`` the number of label changes along direction
    ``k``, ``d_k`` the length of its step and ``c_k`` its share of the directions. The result is
    that of SimpleITK's ``GetPerimeter``, and of "Area3d" in Avizo.

    Examples
    --------
    >>> one = np.ones((1, 1, 1), dtype=np.int32)
    >>> [round(float(surface_area_voxels(one, kind)[1]), 3) for kind in ("faces", "crofton")]
    [6.0, 3.004]
    """
    if method not in ("faces", "crofton"):
        raise ValueError(f'area must be "crofton" or "faces", not {method!r}')
    count = int(labels.max(initial=0)) if count is None else count
    area = np.zeros(count + 1)
    if count == 0:
        return area
    padded = np.pad(_occupied(labels), 1)
    if method == "faces":
        for direction in FACE_DIRECTIONS:
            area += _changes(padded, direction, count)
    else:
        for directions, weight in CROFTON_WEIGHTS.items():
            step = float(np.linalg.norm(directions[0]))
            for direction in directions:
                area += 2 * weight / step * _changes(padded, direction, count)
    area[0] = 0.0
    return area


def contact_area_voxels(
    labels: NDArray[np.integer[Any]], count: int | None = None
) -> NDArray[np.float64]:
    """Area that every label shares with others, in squares of the voxel edge.

    Parameters
    ----------
    labels : (rows, depth, columns) array of int
        Labels 1..N; 0 is the background.
    count : int, optional
        N, when it is known.

    Returns
    -------
    (N + 1,) array
        Crofton area by label, as in `surface_area_voxels`, of what touches another label.

    Examples
    --------
    >>> pair = np.repeat(np.int32([1, 2]), 20)[None, None, :] * np.ones((20, 20, 1), np.int32)
    >>> contact_area_voxels(pair)[1] > 300  # a flat face along the axes reads 0.9 of its area
    np.True_
    """
    count = int(labels.max(initial=0)) if count is None else count
    area = np.zeros(count + 1)
    if count == 0:
        return area
    padded = np.pad(_occupied(labels), 1)
    for directions, weight in CROFTON_WEIGHTS.items():
        step = float(np.linalg.norm(directions[0]))
        for direction in directions:
            area += 2 * weight / step * _changes(padded, direction, count, contacts=True)
    area[0] = 0.0
    return area


def _occupied(labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Crop to the bounding box of all labels: a monolayer fills a fraction of its volume."""
    for axis in range(labels.ndim):
        others = tuple(other for other in range(labels.ndim) if other != axis)
        where = np.flatnonzero(labels.any(axis=others))
        labels = np.moveaxis(np.moveaxis(labels, axis, 0)[where[0] : where[-1] + 1], 0, axis)
    return labels


def _changes(
    padded: NDArray[np.integer[Any]],
    direction: tuple[int, int, int],
    count: int,
    *,
    contacts: bool = False,
) -> NDArray[np.float64]:
    """Count the label changes along one direction, by label: all, or those between two labels."""
    along = list(zip(direction, padded.shape, strict=True))
    near = tuple(slice(max(-step, 0), size - max(step, 0)) for step, size in along)
    far = tuple(slice(max(step, 0), size - max(-step, 0)) for step, size in along)
    first, second = padded[near], padded[far]
    differ = first != second
    if contacts:
        differ &= (first > 0) & (second > 0)
    seen = np.bincount(first[differ], minlength=count + 1)
    seen += np.bincount(second[differ], minlength=count + 1)
    return seen.astype(np.float64)
