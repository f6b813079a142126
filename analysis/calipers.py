"""Feret diameters and convex hulls of labelled objects, from boundary points below a voxel.

The boundary is where the smoothed grey value crosses the level at which the surface encloses the
object's volume (`zoneplate.analysis.grey_shape`): a blurred sphere then has its true diameter. Of
the convex hull of the boundary points the support function is kept, ``h(d) = max of p . d`` over
the points p, in 600 directions d spread evenly over the sphere; ``h(d) + h(-d)`` is the width that
a caliper reads. From it:

* **Feret diameters**: the largest and the smallest width.
* **hull volume**: of the polytope ``{p: p . d <= h(d) for all d}``.

Two things would make them wrong. Blur moves a surface inwards where it is more curved than
elsewhere, so that long objects read too short: what it does to the ellipsoid of the same moments
is put back. And the largest of many noisy widths is too large: the support functions are drawn to
a smooth one (spherical harmonics up to order 4) as far as what they differ from it is what noise
explains, all the way for a noisy sphere, hardly for a box.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .caliper_kernels import (
    boundary_points,
    mean_cubes,
    nearest,
    products,
    support_functions,
    touching_objects,
)
from .moments import Moments
from .workers import in_parts

HALF_DIRECTIONS = 300
"""Directions of one half of the sphere, 8 degrees apart."""
ORDER = 4
"""Of the spherical harmonics: widths of ellipsoids of 2 : 1 are within 0.5 %."""
GRAZING = 0.05
"""Cosine below which a plane is taken not to bound a ray."""
NEVER = 1e6
"""What stands for one over such a cosine."""
LEAST_OBJECTS = 64
"""Fewer are not worth a thread."""
LARGEST_SHIFT = 0.15
"""Share of the distance to the surface that the blur may have moved it; beyond, it hides it."""

HULL_NOISE = 0.65
"""Scatter of a tangent plane about a smooth hull, in standard deviations of a boundary point."""
HULL_BIAS, LARGEST_HULL_BIAS = 0.04, 0.6
"""How far outside noise puts it on average: this times the radius in voxels, at most so much,
again in standard deviations; more points take part the larger the object."""
CURVED = 0.19
"""How far inside it lies without noise, times the radius in voxels: the surface of a ball passes
a little inside of the crossings between voxels that enclose its volume. All four from white noise
on blurred balls and ellipsoids of radius 3 to 20."""

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Labels = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Calipers:
    """Widths and hulls of the objects 1..N, in voxels; NaN where there is no boundary.

    Attributes
    ----------
    feret_max, feret_min : (N + 1,) arrays
        Largest and smallest distance between two parallel tangent planes.
    hull_volume : (N + 1,) array
        Volume of the convex hull.
    point_noise : (N + 1,) array
        Standard deviation of single boundary points.
    kept : (N + 1,) array
        How much of the deviations from a smooth hull was kept: 0 for a noisy sphere.
    shift : (N + 1,) array
        By how much the blur moved the ends of the longest axis, which was put back.
    touching : (N + 1,) array of bool
        Whether the object shares a face with another one.
    points : (P, 3) array of float32
        Boundary points (row, depth, column) of all objects, one object after the other.
    first : (N + 2,) array of int
        Where those of each object begin.
    """

    feret_max: Floats
    feret_min: Floats
    hull_volume: Floats
    point_noise: Floats
    kept: Floats
    shift: Floats
    touching: Flags
    points: Singles
    first: NDArray[np.intp]


def measure_calipers(
    share: Singles,
    owner: Labels,
    labels: Labels,
    core: Flags,
    level: Floats,
    moments: Moments,
    *,
    radius: Floats,
    blur: float,
    point_noise: float,
) -> Calipers:
    """Measure the hulls of the surfaces ``share == level`` of every object.

    Parameters
    ----------
    share : (rows, depth, columns) array of float32
        Smoothed share of material, 0 outside and 1 inside.
    owner : (rows, depth, columns) array of int32
        Whose edge a voxel belongs to, within reach of an object; 0 elsewhere.
    labels : (rows, depth, columns) array of int32
        The objects 1..N.
    core : (rows, depth, columns) array of bool
        Voxels inside objects where no surface is looked for.
    level : (N + 1,) array
        Share at the surface of each object.
    moments : Moments
        Of the labels.
    radius : (N + 1,) array
        Radius of the ball of the same volume.
    blur : float
        Standard deviation of the blur of `share`, smoothing included, in voxels.
    point_noise : float
        Standard deviation of the position of a surface point, in voxels.

    Returns
    -------
    Calipers

    Notes
    -----
    Where an object touches another one, or the array ends, its boundary is the voxels' face. The
    rim of a contact, which blur widens, is left out.
    """
    touching = touching_objects(labels, len(level))
    whose, points = boundary_points(share, owner, labels, core, level, touching)
    first = np.searchsorted(whose, np.arange(len(level) + 1))
    half = np.ascontiguousarray(directions()[:HALF_DIRECTIONS].T.astype(np.float32))
    about = (points - moments.center[whose]).astype(np.float32)
    parts = in_parts(lambda a, b: support_functions(about, first[a : b + 1], half), len(level))
    support, longer, shorter = (np.concatenate(part) for part in zip(*parts, strict=True))
    shift = blur_shift(moments, blur)
    noise = np.full(len(level), point_noise)
    support, kept = smoothed(support + shift, HULL_NOISE * noise)
    outside = noise * np.minimum(HULL_BIAS * radius, LARGEST_HULL_BIAS)
    support += (CURVED / np.maximum(radius, 1.0) - outside)[:, None]
    width = support[:, :HALF_DIRECTIONS] + support[:, HALF_DIRECTIONS:]
    return Calipers(
        feret_max=width.max(axis=1) + kept * longer,
        feret_min=width.min(axis=1) + kept * shorter,
        hull_volume=hull_volumes(support),
        point_noise=noise,
        kept=kept,
        shift=shift.max(axis=1),
        touching=touching,
        points=points.astype(np.float32),
        first=first,
    )


def no_calipers(count: int) -> Calipers:
    """Calipers of N objects of which nothing is known."""
    nothing = np.full(count + 1, np.nan)
    none = np.empty((0, 3), dtype=np.float32)
    return Calipers(
        *[nothing] * 6,
        touching=np.zeros(count + 1, dtype=bool),
        points=none,
        first=np.zeros(count + 2, dtype=np.intp),
    )


def gaps(inner: Calipers, outer: Calipers, pairs: NDArray[np.integer[Any]]) -> Floats:
    """Return the smallest distances between the boundaries of two objects.

    Parameters
    ----------
    inner, outer : Calipers
        Of the first and of the second objects.
    pairs : (n, 2) array of int
        Numbers of the two objects of each pair.

    Returns
    -------
    (n,) array
        In voxels; NaN where one has no boundary.
    """
    first, second = pairs.T
    starts = np.stack([inner.first[first], inner.first[first + 1]], axis=1)
    stops = np.stack([outer.first[second], outer.first[second + 1]], axis=1)
    return nearest(inner.points, starts, outer.points, stops)


def depths(points: Floats, outer: Calipers, owners: NDArray[np.integer[Any]]) -> Floats:
    """Return the distances of single points to the boundaries of objects.

    Parameters
    ----------
    points : (n, 3) array
        Where (row, depth, column).
    outer : Calipers
        Of the objects.
    owners : (n,) array of int
        Object of each point.

    Returns
    -------
    (n,) array
        In voxels; NaN where an object has no boundary.
    """
    number = np.arange(len(points))
    alone = np.stack([number, number + 1], axis=1)
    stops = np.stack([outer.first[owners], outer.first[owners + 1]], axis=1)
    return nearest(points.astype(np.float32), alone, outer.points, stops)


@lru_cache(maxsize=1)
def directions() -> Floats:
    """Return 600 unit vectors, evenly spread; the second half are the opposites of the first.

    Examples
    --------
    >>> spread = directions()
    >>> spread.shape, bool(np.allclose(spread[:300], -spread[300:]))
    ((600, 3), True)
    """
    number = np.arange(HALF_DIRECTIONS) + 0.5
    height = number / HALF_DIRECTIONS  # a spiral over one half of the sphere (Fibonacci)
    turn = np.pi * (1 + np.sqrt(5)) * number
    flat = np.sqrt(1 - height**2)
    half = np.stack([height, flat * np.cos(turn), flat * np.sin(turn)], axis=1)
    return np.concatenate([half, -half])


def blur_shift(moments: Moments, blur: float) -> Floats:
    """Return by how much the blur moved ellipsoids' surfaces inwards, against their mean.

    Blurring by a standard deviation s moves a surface by ``s**2 / 2`` times the sum of its
    principal curvatures; at constant volume the mean over the surface stays. At the tangent
    plane across d of an ellipsoid with matrix A (axes squared), ``h = sqrt(d A d)`` away, that
    sum is ``h**3 (trace A - |A d|**2 / h**2) / det A``.

    Parameters
    ----------
    moments : Moments
        Of N objects.
    blur : float
        Standard deviation in voxels.

    Returns
    -------
    (N + 1, 600) array
        In voxels, by direction.
    """
    spread = directions()
    squares = np.square(np.maximum(moments.semi_axes, 1.0))
    along = np.square(moments.directions @ spread.T)
    weighted = squares[:, :, None] * along
    square = weighted[:, 0] + weighted[:, 1] + weighted[:, 2]
    height = np.sqrt(square)
    weighted *= squares[:, :, None]
    reach = (weighted[:, 0] + weighted[:, 1] + weighted[:, 2]) / square
    determinant = squares.prod(axis=1, keepdims=True)
    curvature = square * height * (squares.sum(axis=1, keepdims=True) - reach) / determinant
    # Area of the surface per solid angle of its normals: one over the Gauss curvature.
    area = determinant / square**2
    mean = (curvature * area).sum(axis=1, keepdims=True) / area.sum(axis=1, keepdims=True)
    limit = LARGEST_SHIFT * height
    return np.clip(blur**2 / 2 * (curvature - mean), -limit, limit)


def smoothed(support: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Draw support functions to smooth ones as far as noise explains the difference.

    Parameters
    ----------
    support : (N + 1, 600) array
        Distances of tangent planes, by direction.
    noise : (N + 1,) array
        Standard deviation of what noise alone makes them differ by.

    Returns
    -------
    support : (N + 1, 600) array
        With less noise.
    kept : (N + 1,) array
        What was kept of the difference: 0 for a noisy sphere, 1 for a box without noise.
    """
    basis, inverse = _harmonics()
    parts = in_parts(
        lambda a, b: products(products(support[a:b], inverse), basis), len(support), LEAST_OBJECTS
    )
    smooth = np.concatenate(parts)
    rest = support - smooth
    variance = np.square(rest).mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = np.where(variance > 0, np.clip(1 - noise**2 / variance, 0, 1), 1.0)
    return smooth + kept[:, None] * rest, kept


def hull_volumes(support: Floats) -> Floats:
    """Volume of the polytopes bounded by the tangent planes of support functions.

    What planes in 600 directions leave too much of a sphere (0.5 %) is taken off.

    Parameters
    ----------
    support : (N, 600) array
        Distances of the planes.

    Returns
    -------
    (N,) array

    Examples
    --------
    >>> bool(np.isclose(hull_volumes(np.full((1, 600), 2.0))[0], 32 / 3 * np.pi))
    True
    """
    steepness, sphere = _slants()
    singles = support.astype(np.float32)
    cubes = in_parts(lambda a, b: mean_cubes(singles[a:b], steepness), len(singles))
    return 4 / 3 * np.pi * np.concatenate(cubes) / sphere


@lru_cache(maxsize=1)
def _harmonics() -> tuple[Floats, Floats]:
    """Return what spans the spherical harmonics up to `ORDER`, (25, 600), and its inverse."""
    powers = [
        power
        for power in itertools.product(range(ORDER + 1), repeat=3)
        if sum(power) in (ORDER - 1, ORDER)  # on the sphere these span all lower orders too
    ]
    basis = np.stack([np.prod(directions() ** power, axis=1) for power in powers])
    return basis, np.ascontiguousarray(np.linalg.pinv(basis))


@lru_cache(maxsize=1)
def _slants() -> tuple[Singles, float]:
    """Return one over the cosine between rays and directions, and what a sphere's cubes read.

    The rays are turned against the directions: along these, planes around a sphere touch it.
    """
    turn = Rotation.from_rotvec((0.3, 0.5, 0.7)).as_matrix()
    cosine = directions() @ turn.T @ directions().T
    inverse = np.where(cosine > GRAZING, 1 / np.maximum(cosine, GRAZING), NEVER)
    steepness = inverse.astype(np.float32)
    sphere = mean_cubes(np.ones((1, len(cosine)), dtype=np.float32), steepness)
    return steepness, float(sphere[0])
