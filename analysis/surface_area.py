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

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .workers import in_parts

AreaMethod = Literal["faces", "crofton"]

FACES_OVER_TRUE_AREA = 1.5
"""Exposed voxel faces of a large isotropic surface over its true area."""
LEAST_ROWS = 16
"""Fewer rows of a volume are not worth a thread."""
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
    return count_crossings(labels, count).area(method)


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
    return count_crossings(labels, count).contact_area()


def count_crossings(labels: NDArray[np.integer[Any]], count: int | None = None) -> Crossings:
    """Count in one pass how often lines along 13 directions cross the surface of every label.

    Parameters
    ----------
    labels : (rows, depth, columns) array of int
        Labels 1..N; 0 is the background, and so is everything beyond the array.
    count : int, optional
        N, when it is known.

    Returns
    -------
    Crossings
    """
    count = int(labels.max(initial=0)) if count is None else count
    steps = np.array(
        [(*step, kind) for kind, steps in enumerate(CROFTON_WEIGHTS) for step in steps]
    )
    compact = np.ascontiguousarray(labels, dtype=np.int32)
    parts = in_parts(lambda a, b: _crossings(compact, steps, count, a, b), len(compact), LEAST_ROWS)
    changes, contacts = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    return Crossings(changes, contacts)


@dataclass(frozen=True, eq=False)
class Crossings:
    """Numbers of label changes of the labels 1..N along lines, by kind of direction.

    Attributes
    ----------
    changes : (N + 1, 3) array of int
        All changes along the axes, the diagonals of faces, and those of cubes.
    contacts : (N + 1, 3) array of int
        Those to another label.
    """

    changes: NDArray[np.int64]
    contacts: NDArray[np.int64]

    def area(self, method: AreaMethod = "crofton") -> NDArray[np.float64]:
        """Surface area by label, see `surface_area_voxels`."""
        if method not in ("faces", "crofton"):
            raise ValueError(f'area must be "crofton" or "faces", not {method!r}')
        return self.changes[:, 0].astype(np.float64) if method == "faces" else _area(self.changes)

    def contact_area(self) -> NDArray[np.float64]:
        """Area shared with other labels, see `contact_area_voxels`."""
        return _area(self.contacts)


def _area(changes: NDArray[np.int64]) -> NDArray[np.float64]:
    lengths = [float(np.linalg.norm(steps[0])) for steps in CROFTON_WEIGHTS]
    return changes @ (2 * np.array(list(CROFTON_WEIGHTS.values())) / lengths)


@njit(cache=True, nogil=True)
def _crossings(
    labels: NDArray[np.int32], steps: NDArray[np.int64], count: int, start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # pragma: no cover - compiled
    changes, contacts = np.zeros((count + 1, 3), np.int64), np.zeros((count + 1, 3), np.int64)
    rows, depth, columns = labels.shape
    filled = _filled_ends(labels, start, min(stop + 1, rows))
    for y in range(start, stop):
        for z in range(depth):
            own = labels[y, z]
            begin, end = filled[y - start, z]
            for k in range(len(steps)):
                kind, along = steps[k, 3], steps[k, 2]
                p, q = y + steps[k, 0], z + steps[k, 1]
                first, last = max(-along, 0), columns - max(along, 0)
                if p < rows and 0 <= q < depth:
                    other = labels[p, q]
                    # Where both lines are empty nothing changes.
                    beside = filled[p - start, q]
                    left = max(first, min(begin, beside[0] - along))
                    right = min(last, max(end, beside[1] - along))
                    for x in range(left, right):
                        n, m = own[x], other[x + along]
                        if n == m:
                            continue
                        changes[n, kind] += 1
                        changes[m, kind] += 1
                        if n > 0 and m > 0:
                            contacts[n, kind] += 1
                            contacts[m, kind] += 1
                else:
                    first, last = columns, columns
                # What lies beyond the array, ahead and behind, is background.
                for x in range(first):
                    changes[own[x], kind] += 1
                for x in range(last, columns):
                    changes[own[x], kind] += 1
                p, q = y - steps[k, 0], z - steps[k, 1]
                first, last = max(along, 0), columns - max(-along, 0)
                if not (p >= 0 and 0 <= q < depth):
                    first, last = columns, columns
                for x in range(first):
                    changes[own[x], kind] += 1
                for x in range(last, columns):
                    changes[own[x], kind] += 1
    changes[0] = 0
    contacts[0] = 0
    return changes, contacts


@njit(cache=True, nogil=True)
def _filled_ends(
    labels: NDArray[np.int32], start: int, stop: int
) -> NDArray[np.int32]:  # pragma: no cover - compiled
    """First labelled voxel of each line along x, and that after the last; none: columns and 0."""
    depth, columns = labels.shape[1:]
    ends = np.empty((stop - start, depth, 2), dtype=np.int32)
    for y in range(start, stop):
        for z in range(depth):
            own = labels[y, z]
            first, last = columns, 0
            for x in range(columns):
                if own[x] != 0:
                    first = min(first, x)
                    last = x + 1
            ends[y - start, z, 0], ends[y - start, z, 1] = first, last
    return ends
