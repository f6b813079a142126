"""Compiled parts of the calipers: boundary points, support functions, refined widths, polytopes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .workers import in_parts

REFINEMENTS = 8
"""Halvings of the step by which the direction of an extreme width is refined ..."""
FIRST_STEP_RAD = 0.07
"""... from 4 degrees, which is more than half of the distance between directions."""
PROBABLE = (0.02, 0.98)
"""Shares between which the edge is straightened before a crossing is interpolated."""

LEAST_ROWS = 16
"""Fewer rows of a volume are not worth a thread."""
FIRST_ROOM = 2**14
"""Boundary points for which there is room at first; it doubles when they are more."""
FARTHEST = np.float32(1e9)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Labels = NDArray[np.int32]
Flags = NDArray[np.bool_]


@njit(cache=True, nogil=True, fastmath=True)
def mean_cubes(support: Singles, steepness: Singles) -> Floats:  # pragma: no cover - compiled
    """Mean cube of the distance from the centre to the polytope's surface, over all rays."""
    count, total = support.shape
    result = np.empty(count)
    for n in range(count):
        planes = support[n]
        cubes = 0.0
        for ray in range(total):
            nearest = FARTHEST
            for plane in range(total):
                distance = planes[plane] * steepness[ray, plane]
                nearest = distance if distance < nearest else nearest
            cubes += np.float64(nearest) ** 3
        result[n] = cubes / total
    return result


@njit(cache=True, nogil=True, fastmath=True)
def products(values: Floats, matrix: Floats) -> Floats:  # pragma: no cover - compiled
    """Multiply many short rows by a matrix.

    Not by BLAS: its threads go on spinning for some time after each call and take the cores from
    the kernels that follow.
    """
    result = np.zeros((len(values), matrix.shape[1]))
    for n in range(len(values)):
        for k in range(matrix.shape[0]):
            value = values[n, k]
            for m in range(matrix.shape[1]):
                result[n, m] += value * matrix[k, m]
    return result


@njit(cache=True, nogil=True)
def support_functions(
    points: Singles, first: NDArray[np.intp], half: Singles
) -> tuple[Floats, Floats, Floats]:  # pragma: no cover - compiled
    """Support functions of groups of points, and how refining changes their extreme widths."""
    count, total = len(first) - 1, half.shape[1]
    support = np.full((count, 2 * total), np.nan)
    refined = np.zeros((2, count))
    high, low = np.empty(total, dtype=np.float32), np.empty(total, dtype=np.float32)
    for n in range(count):
        if first[n] == first[n + 1]:
            continue
        own = points[first[n] : first[n + 1]]
        _extremes(own, half, high, low)
        widths = high - low
        for k in range(total):
            support[n, k], support[n, total + k] = high[k], -low[k]
        for kind in range(2):
            sign = 1.0 if kind == 0 else -1.0
            best = np.argmax(sign * widths)
            coarse = sign * widths[best]
            refined[kind, n] = sign * (_refine(own, half[:, best], sign) - coarse)
    return support, refined[0], refined[1]


@njit(cache=True, nogil=True, fastmath=True)
def _extremes(
    points: Singles, half: Singles, high: Singles, low: Singles
) -> None:  # pragma: no cover - compiled
    high[:], low[:] = -FARTHEST, FARTHEST
    for p in range(len(points)):
        y, z, x = points[p, 0], points[p, 1], points[p, 2]
        for k in range(half.shape[1]):
            along = y * half[0, k] + z * half[1, k] + x * half[2, k]
            high[k] = along if along > high[k] else high[k]
            low[k] = along if along < low[k] else low[k]


@njit(cache=True, nogil=True, fastmath=True)
def _width(points: Singles, y: float, z: float, x: float) -> float:  # pragma: no cover - compiled
    a, b, c = np.float32(y), np.float32(z), np.float32(x)
    high, low = -FARTHEST, FARTHEST
    for p in range(len(points)):
        along = points[p, 0] * a + points[p, 1] * b + points[p, 2] * c
        high = along if along > high else high
        low = along if along < low else low
    return float(high - low)


@njit(cache=True, nogil=True)
def _refine(points: Singles, start: Singles, sign: float) -> float:  # pragma: no cover - compiled
    """Climb from a direction to the extreme width beside it; return ``sign * width``."""
    y, z, x = float(start[0]), float(start[1]), float(start[2])
    best = sign * _width(points, y, z, x)
    step = FIRST_STEP_RAD
    for _ in range(REFINEMENTS):
        # Two directions across this one.
        u = (0.0, x, -z) if abs(y) < 0.6 else (-x, 0.0, y)
        length = np.sqrt(u[0] ** 2 + u[1] ** 2 + u[2] ** 2)
        u = (u[0] / length, u[1] / length, u[2] / length)
        v = (z * u[2] - x * u[1], x * u[0] - y * u[2], y * u[1] - z * u[0])
        for turn in range(6):
            cosine, sine = np.cos(turn * np.pi / 3), np.sin(turn * np.pi / 3)
            p = y + step * (cosine * u[0] + sine * v[0])
            q = z + step * (cosine * u[1] + sine * v[1])
            r = x + step * (cosine * u[2] + sine * v[2])
            size = np.sqrt(p**2 + q**2 + r**2)
            found = sign * _width(points, p / size, q / size, r / size)
            if found > best:
                best, y, z, x = found, p / size, q / size, r / size
        step /= 2
    return best


def boundary_points(
    share: Singles,
    owner: Labels,
    labels: Labels,
    core: Flags,
    level: Floats,
    touching: Flags,
) -> tuple[Labels, Floats]:
    """Points of all boundaries, and the object of each, in the order of the objects.

    Of the contact between two objects the middle is kept, and what is not at its rim.
    """
    arguments = (share, owner, labels, core, level.astype(np.float32), touching)

    parts = in_parts(lambda a, b: _walk(*arguments, a, b), len(owner), LEAST_ROWS)
    whose, points = (np.concatenate(part) for part in zip(*parts, strict=True))
    contact = whose[:, 1] != 0
    pairs, member, size = np.unique(
        np.abs(whose[contact]), axis=0, return_inverse=True, return_counts=True
    )
    middles = [
        np.bincount(member.ravel(), weights=side, minlength=len(pairs)) / size
        for side in points[contact].T
    ]
    kept = whose[:, 1] <= 0
    owners = np.concatenate([whose[kept, 0], pairs[:, 0]])
    places = np.concatenate([points[kept], np.stack(middles, axis=1)])
    order = np.argsort(owners, kind="stable")
    return owners[order], places[order]


@njit(cache=True, nogil=True)
def touching_objects(labels: Labels, count: int) -> Flags:  # pragma: no cover - compiled
    """Which objects share a face with another one."""
    found = np.zeros(count, dtype=np.bool_)
    rows, depth, columns = labels.shape
    for y in range(rows):
        for z in range(depth):
            for x in range(columns):
                n = labels[y, z, x]
                if n == 0:
                    continue
                for axis in range(3):
                    p, q, r = y + (axis == 0), z + (axis == 1), x + (axis == 2)
                    if p < rows and q < depth and r < columns:
                        m = labels[p, q, r]
                        if m != 0 and m != n:
                            found[n] = found[m] = True
    return found


@njit(cache=True, nogil=True)
def _crossing(here: float, there: float, level: float) -> float:  # pragma: no cover - compiled
    """Where between two voxels the level is crossed: logits are straight where shares bend."""
    first, second, third = _logit(here), _logit(there), _logit(level)
    if first == second:
        return 0.5
    return min(max((first - third) / (first - second), 0.0), 1.0)


@njit(cache=True, nogil=True)
def _logit(value: float) -> float:  # pragma: no cover - compiled
    inside = min(max(value, PROBABLE[0]), PROBABLE[1])
    return np.log(inside / (1 - inside))


@njit(cache=True, nogil=True)
def _beside(
    labels: Labels, y: int, z: int, x: int, own: int
) -> bool:  # pragma: no cover - compiled
    """Whether a neighbour belongs to another object; with `own` 0: whether to none."""
    for p in range(max(y - 1, 0), min(y + 2, labels.shape[0])):
        for q in range(max(z - 1, 0), min(z + 2, labels.shape[1])):
            for r in range(max(x - 1, 0), min(x + 2, labels.shape[2])):
                n = labels[p, q, r]
                if (n == 0) if own == 0 else (n != 0 and n != own):
                    return True
    return False


@njit(cache=True, nogil=True)
def _walk(
    share: Singles,
    owner: Labels,
    labels: Labels,
    core: Flags,
    level: Singles,
    touching: Flags,
    start: int,
    stop: int,
) -> tuple[Labels, Floats]:  # pragma: no cover - compiled
    """Return the points, and beside the object of each the one that it touches there.

    That is 0 for none, and negative away from the rim of the contact.
    """
    shape = share.shape
    whose, points = np.empty((FIRST_ROOM, 2), dtype=np.int32), np.empty((FIRST_ROOM, 3))
    count = 0
    for y in range(start, stop):
        for z in range(shape[1]):
            for x in range(shape[2]):
                n = owner[y, z, x]
                if n == 0:
                    continue
                own = labels[y, z, x] == n
                value, surface = float(share[y, z, x]), float(level[n])
                for way in range(6):
                    axis, step = way // 2, 1 - 2 * (way % 2)
                    p = y + step * (axis == 0)
                    q = z + step * (axis == 1)
                    r = x + step * (axis == 2)
                    outside = (
                        p < 0 or q < 0 or r < 0 or p >= shape[0] or q >= shape[1] or r >= shape[2]
                    )
                    along, other = 0.5, 0
                    if outside:
                        if not own:
                            continue  # the end of what is looked at, not of the object
                    elif owner[p, q, r] == n:
                        if step < 0 or (core[y, z, x] and core[p, q, r]):
                            continue
                        if (value >= surface) == (share[p, q, r] >= surface):
                            continue
                        if touching[n] and (
                            _beside(labels, y, z, x, n) or _beside(labels, p, q, r, n)
                        ):
                            continue  # blur widens the rim of a contact
                        along = _crossing(value, share[p, q, r], surface)
                    else:
                        if not own or owner[p, q, r] == 0:
                            continue  # where nothing may be looked for, nothing is known
                        other = labels[p, q, r]
                        if other == 0:
                            if (value >= surface) != (share[p, q, r] >= surface):
                                along = _crossing(value, share[p, q, r], surface)
                        elif not _beside(labels, y, z, x, 0):
                            other = -other
                    if count == len(whose):
                        whose = np.concatenate((whose, np.empty_like(whose)))
                        points = np.concatenate((points, np.empty_like(points)))
                    whose[count, 0], whose[count, 1] = n, other
                    points[count, 0] = y + along * (p - y)
                    points[count, 1] = z + along * (q - z)
                    points[count, 2] = x + along * (r - x)
                    count += 1
    return whose[:count], points[:count]


@njit(cache=True, nogil=True)
def nearest(
    sources: Singles, first: NDArray[np.intp], targets: Singles, stops: NDArray[np.intp]
) -> Floats:  # pragma: no cover - compiled
    """Smallest distance between the points of two clouds, for pairs of clouds.

    Cloud n of the sources is ``sources[first[n, 0]:first[n, 1]]``, and likewise for the targets.
    NaN where one of the two is empty.
    """
    result = np.full(len(first), np.nan)
    for n in range(len(first)):
        near = targets[stops[n, 0] : stops[n, 1]]
        best = np.float32(np.inf)
        for source in sources[first[n, 0] : first[n, 1]]:
            y, z, x = source[0], source[1], source[2]
            for p in range(len(near)):
                apart = (near[p, 0] - y) ** 2 + (near[p, 1] - z) ** 2 + (near[p, 2] - x) ** 2
                best = min(best, apart)
        if best < np.inf:
            result[n] = np.sqrt(best)
    return result
