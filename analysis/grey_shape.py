"""Volume and surface area of objects from grey values, where counting voxels loses them.

At half contrast a blurred sphere of 3 voxels radius has lost a fifth of its voxels, and noise
roughens every boundary that is drawn voxel by voxel. The grey values know better:

* **volume**: the sum of ``(grey - background) / (solid - background)`` over the edge of the
  object, plus one per voxel of its core, whatever the blur.
* **area**: by the co-area formula, ``S = sum of |grad f| k(f - t)`` on a gently smoothed volume,
  with a window k about the level t at which the surface encloses the volume just found. A blurred
  sphere is then read right although it has shrunk, and noise hardly roughens it. What the width
  of the window changes is known exactly for a blurred sphere, and taken off.

Bumps shorter than about six voxels are smoothed away and their area is lost. How close all this
comes beside other libraries: ``benchmarks/bias_table.py``, `docs/accuracy.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calipers import Calipers, measure_calipers, no_calipers
from .grey_edges import core_sums, enclosing_levels, gathered, put_back, sorted_voxels
from .grey_kernels import (
    SMOOTHING_VOXELS,
    TRUNCATION_VOXELS,
    grown_labels,
    smoothed_with_gradient,
)
from .local_levels import LocalBackground, local_background
from .moments import Moments, measure_moments
from .morphology import grown
from .uncertainty import blurred_ball
from .workers import available_threads

OUTER_STEPS = 2
"""Voxels around an object that are summed: 2.6 standard deviations of the blur and more."""
INNER_STEPS = 3
"""Voxels inside an object that are summed; deeper ones are solid and count one each."""
LEVEL_SPREAD = 0.02
"""Share of the contrast by which grey levels of objects differ at most in a scan (streaks,
cupping), and are taken to where there are too few objects to see it ..."""
LEAST_SPREAD = 0.004
"""... and at least."""
TELLING_VOXELS = 30
TELLING_OBJECTS = 8
"""So many objects with cores of so many voxels show by how much levels differ."""
NORMAL_MEDIAN_SQUARE = 0.455
"""Median of the square of a standard normal variable."""
SOLID_SHARE = 0.5
"""Mean share of solid in the voxels near a surface."""
WINDOW = 0.4
"""Half-width of the window about the level, as a share of the contrast ..."""
WINDOW_OF_LEVEL = 0.8
"""... but no more than this share of the level, which is low for small objects."""
LEVEL_RANGE = (0.1, 0.9)
LEVEL_MARGIN = 0.02
BISECTIONS = 8
HALF_WAY = 0.05
"""How near to half contrast a voxel must be to tell the slope of its edge."""
BLUR_ITERATIONS = 4
USUAL_BLUR_VOXELS = 0.76
"""Of a voxel and a zone plate at binning 8."""
SMALLEST_FOR_BLUR_VOXELS = 2.7
LARGEST_BLUR_VOXELS = 4.0
FAINTEST_SLOPE = 0.02
"""Gradient, in contrasts per voxel, that still counts as an edge."""
LARGEST_ELONGATION = 0.3
"""Correction of an area for the object's elongation beyond which the blur hides its shape."""
ERRING_TOGETHER = 3.4
"""So many times the variance of independent voxels is that of an area: neighbours share the noise
that smoothing leaves, but window and level follow the grey values, which takes most of it away.
Calibrated on seeds 100 to 105 of ``benchmarks/uncertainty_coverage.py``."""
MARGIN_VOXELS = TRUNCATION_VOXELS + OUTER_STEPS + 2

Floats = NDArray[np.float64]
Grey = NDArray[np.float32]
Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class GreyShapes:
    """Volumes and areas of the objects 1..N, in voxels; entry 0 stands for the background.

    Attributes
    ----------
    volume, volume_noise : (N + 1,) arrays
        Volume, and its standard uncertainty from noise and from the local grey levels.
    area, area_noise : (N + 1,) arrays
        Free surface (what touches another object is not part of it), and its standard
        uncertainty from noise. 0 for an object too small or too near to others to have one.
    blur : float
        Standard deviation of the blur that was found at the edges of all objects.
    calipers : Calipers
        Widths and hulls.
    moments : Moments
        Of the labels.
    """

    volume: Floats
    volume_noise: Floats
    area: Floats
    area_noise: Floats
    blur: float
    calipers: Calipers
    moments: Moments


def measure_grey_shapes(
    share: Grey,
    labels: Labels,
    *,
    noise: float,
    volume: Floats | None = None,
    allowed: NDArray[np.bool_] | None = None,
    moments: Moments | None = None,
) -> GreyShapes:
    """Measure the volume and the free surface of every label.

    Parameters
    ----------
    share : (rows, depth, columns) array
        What each voxel holds of the objects' material: 0 in the background, 1 inside, anything
        between at edges, noise on top. Holes in the objects have to be filled (1).
    labels : (rows, depth, columns) array of int32
        Objects 1..N.
    noise : float
        Standard deviation of `share` away from edges.
    volume : (N + 1,) array, optional
        Volumes in voxels, if they are known better; measured when not given.
    allowed : (rows, depth, columns) array of bool, optional
        Where the edges of objects may be looked for; everywhere when not given.
    moments : Moments, optional
        Of the labels, if they are known.

    Returns
    -------
    GreyShapes

    Notes
    -----
    ``V = N_core + sum over the edge of (share - b) / (s - b)`` with b and s the levels beside and
    inside the object, drawn towards 0 and 1 as far as few noisy voxels tell them.

    ``S = sum of (g - n**2 / g) k(f - t) / q(r)`` with f the smoothed share, g the length of its
    gradient, n the noise of one component of the gradient (noise lengthens a gradient by
    ``n**2 / g``), k a raised cosine of integral one, and q what a blurred ball of the same volume
    reads (`_ball_response`).
    """
    moments = measure_moments(labels) if moments is None else moments
    count = len(moments.voxels) - 1
    zeros = np.zeros(count + 1)
    if count == 0:
        return GreyShapes(zeros, zeros, zeros, zeros, 0.0, no_calipers(0), moments)
    there = moments.voxels > 0
    low, high = moments.first[there].min(axis=0), moments.stop[there].max(axis=0)
    first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    box = grown((first, second, third), MARGIN_VOXELS, labels.shape)
    labels, share = np.ascontiguousarray(labels[box]), np.ascontiguousarray(share[box])
    inside = None if allowed is None else allowed[box]
    edges = _edges(share, labels, inside, count, noise)
    if volume is None:
        volume, volume_noise = edges.volume(count)
    else:
        volume_noise = zeros
    surface = edges.surface(volume, count)
    elongation = _elongation(moments.semi_axes, surface.blur)
    corner = [side.start for side in box]
    calipers = edges.calipers(surface, labels, replace(moments, center=moments.center - corner))
    calipers = replace(calipers, points=calipers.points + np.array(corner, dtype=np.float32))
    return GreyShapes(
        volume,
        volume_noise,
        surface.area * elongation,
        surface.area_noise * elongation,
        float(np.sqrt(max(surface.blur**2 - SMOOTHING_VOXELS**2, 0.0))),
        calipers,
        moments,
    )


@dataclass(frozen=True, eq=False)
class _Surface:
    """Levels and areas of the surfaces, radii by volume, and the blur with the smoothing."""

    level: Floats
    radius: Floats
    area: Floats
    area_noise: Floats
    blur: float


@dataclass(frozen=True, eq=False)
class _Edges:
    """The voxels near surfaces, flat: owner, share and its smoothed version with gradient.

    Beside them whole arrays: where they lie, the grown labels, the cores, and the smoothed share.
    """

    where: NDArray[np.bool_]
    grown: Labels
    inside: NDArray[np.bool_]
    field: Grey
    owner: NDArray[np.int32]
    share: Floats
    smooth: Floats
    gradient: Floats
    background: Floats
    core: Floats
    solid: Floats
    solid_noise: Floats
    noise: float
    factor: Callable[[Floats], Floats]
    gradient_noise: float

    def volume(self, count: int) -> tuple[Floats, Floats]:
        contrast = self.solid[self.owner] - self.background
        edge = _sums(self.owner, (self.share - self.background) / contrast, count)
        size = _sums(self.owner, None, count)
        chance = np.sqrt(size) * self.noise * self.factor(size)
        # An error of the solid's level moves half of the edge's sum.
        return self.core + edge, np.hypot(chance, SOLID_SHARE * self.solid_noise * size)

    def surface(self, volume: Floats, count: int) -> _Surface:
        owner = self.owner
        contrast = self.solid[owner] - self.background
        smooth = (self.smooth - self.background) / contrast
        gradient = np.maximum(self.gradient / contrast, FAINTEST_SLOPE)
        level = enclosing_levels(
            owner, smooth, gradient, self.core, volume, LEVEL_RANGE, BISECTIONS
        )
        radius = np.cbrt(np.maximum(volume, 0) * 3 / (4 * np.pi))
        blur = _blur(smooth, gradient, radius[owner])
        width = _window_width(level)
        offset = (smooth - level[owner]) / width[owner]
        near = np.flatnonzero(np.abs(offset) < 1)
        owner, gradient, offset = owner[near], gradient[near], offset[near]
        window = _window(offset) / width[owner]
        straight = gradient - np.minimum(self.gradient_noise**2 / gradient, gradient)
        radii, responses, _ = _ball_response(round(blur, 2))
        response = np.interp(radius, radii, responses)
        area = _sums(owner, straight * window, count) / response
        # At the end of the range the object has no such surface: too small, or cut short.
        area[(level < LEVEL_RANGE[0] + LEVEL_MARGIN) | (level > LEVEL_RANGE[1] - LEVEL_MARGIN)] = 0
        spread = _sums(owner, (self.gradient_noise * window) ** 2, count)
        scatter = np.sqrt(ERRING_TOGETHER * spread) / response
        scatter[0] = 0.0
        return _Surface(level, radius, area, scatter, blur)

    def calipers(self, surface: _Surface, labels: Labels, moments: Moments) -> Calipers:
        contrast = self.solid[self.owner] - self.background
        share = self.field
        put_back(self.where, (self.smooth - self.background) / contrast, share)
        blur = surface.blur
        noise = self.gradient_noise * np.sqrt(2) * SMOOTHING_VOXELS * np.sqrt(2 * np.pi) * blur
        return measure_calipers(
            share, self.grown, labels, self.inside, surface.level, moments,
            radius=surface.radius, blur=blur, point_noise=noise,
        )  # fmt: skip


def _edges(
    share: Grey, labels: Labels, allowed: NDArray[np.bool_] | None, count: int, noise: float
) -> _Edges:
    with ThreadPoolExecutor(available_threads()) as pool:
        outside = pool.submit(grown_labels, labels, OUTER_STEPS)
        inside = pool.submit(grown_labels, (labels == 0).astype(np.int32), INNER_STEPS)
        smooth, gradient = smoothed_with_gradient(share)
    (owner, outer), (_, inner) = outside.result(), inside.result()
    everywhere = np.empty((0, 0, 0), dtype=bool)
    edge, core, empty, quiet = sorted_voxels(
        labels,
        owner,
        outer,
        inner,
        everywhere if allowed is None else np.ascontiguousarray(allowed),
        gradient,
        OUTER_STEPS,
    )
    background = local_background(share, empty)
    size, total = core_sums(labels, core, share, count)
    solid, solid_se = _solid_levels(size, total, noise, background)
    whose, *values = gathered(
        edge, owner, share, smooth, gradient, background.level, background.layers
    )
    return _Edges(
        edge,
        owner,
        core,
        smooth,
        whose,
        *values,
        core=size,
        solid=solid,
        solid_noise=solid_se,
        noise=noise,
        factor=background.factor,
        gradient_noise=float(np.sqrt(quiet / 3)),
    )


def _solid_levels(
    size: Floats, total: Floats, noise: float, background: LocalBackground
) -> tuple[Floats, Floats]:
    """Mean level of each object's core, drawn towards 1 as far as few noisy voxels tell it.

    By how much objects differ (streaks, cupping) is what their cores scatter more than noise does.
    """
    mean = np.divide(total, size, out=np.ones(len(size)), where=size > 0)
    usable = np.maximum(size, 1)
    variance = np.square(max(noise, 1e-6) * background.factor(usable)) / usable
    telling = size >= TELLING_VOXELS
    spread = LEVEL_SPREAD
    if np.count_nonzero(telling) >= TELLING_OBJECTS:
        excess = np.square(mean[telling] - 1) - variance[telling]
        spread = float(np.sqrt(np.clip(np.median(excess) / NORMAL_MEDIAN_SQUARE, 0, np.inf)))
        spread = min(max(spread, LEAST_SPREAD), LEVEL_SPREAD)
    own, shared = np.where(size > 0, 1 / variance, 0.0), 1 / spread**2
    return (own * mean + shared) / (own + shared), 1 / np.sqrt(own + shared)


def _sums(owner: NDArray[np.int32], values: NDArray[Any] | None, count: int) -> Floats:
    total = np.bincount(owner, weights=values, minlength=count + 1).astype(np.float64)
    total[0] = 0.0
    return total


def _blur(smooth: Floats, gradient: Floats, radius: Floats) -> float:
    """Estimate the standard deviation of the blur from the slopes half-way up the edges.

    Of objects so small that blurring nearly levels them the slope says little: they are left out,
    and where there are no others the blur is taken to be a usual one.
    """
    middle = (np.abs(smooth - 0.5) < HALF_WAY) & (radius > SMALLEST_FOR_BLUR_VOXELS)
    if not middle.any():
        return float(np.hypot(USUAL_BLUR_VOXELS, SMOOTHING_VOXELS))
    slope, radius = gradient[middle], radius[middle]
    blur = float(np.hypot(USUAL_BLUR_VOXELS, SMOOTHING_VOXELS))
    for _ in range(BLUR_ITERATIONS):
        radii, _, steepness = _ball_response(round(blur, 2))
        flat = slope / np.interp(radius, radii, steepness)
        blur = float(1 / (np.sqrt(2 * np.pi) * np.median(flat)))
        blur = min(max(blur, SMOOTHING_VOXELS), LARGEST_BLUR_VOXELS)
    return blur


@lru_cache(maxsize=64)
def _ball_response(blur: float) -> tuple[Floats, Floats, Floats]:
    """Tabulate what balls read whose edges are blurred by this standard deviation (voxels).

    Returns their radii, the area that the window reads over the true one, and the slope half-way
    up their edges over that of a flat edge (`zoneplate.analysis.uncertainty.blurred_ball`).
    """
    radii = np.concatenate([np.linspace(1.0, 6.0, 26), np.geomspace(7.0, 60.0, 12)]) * blur
    responses: list[float] = []
    steepness: list[float] = []
    for radius in radii:
        first = max(radius - 6 * blur, 1e-3)
        rho = np.linspace(first, radius + 6 * blur, 3001)
        profile = blurred_ball(rho, radius, blur)
        slope = np.abs(np.gradient(profile, rho))
        linear = np.maximum(slope, FAINTEST_SLOPE)
        low, high = LEVEL_RANGE
        level = 0.5
        for _ in range(2 * BISECTIONS):  # the level at which `_Edges.levels` finds its volume
            level = (low + high) / 2
            filling = np.clip(0.5 + (profile - level) / linear, 0, 1)
            larger = first**3 + 3 * np.trapezoid(filling * rho**2, rho) > radius**3
            low, high = (level, high) if larger else (low, level)
        width = _window_width(np.array(level))
        window = _window((profile - level) / width) / width
        responses.append(float(np.trapezoid(window * rho**2 * slope, rho)) / radius**2)
        half = int(np.argmin(np.abs(profile - 0.5)))
        steepness.append(float(slope[half]) * np.sqrt(2 * np.pi) * blur)
    return radii, np.array(responses), np.array(steepness)


def _window_width(level: Floats) -> Floats:
    return np.minimum(WINDOW, WINDOW_OF_LEVEL * np.minimum(level, 1 - level))


def _window(offset: Floats) -> Floats:
    return np.where(np.abs(offset) < 1, (1 + np.cos(np.pi * np.clip(offset, -1, 1))) / 2, 0.0)


def _elongation(semi_axes: Floats, blur: float) -> Floats:
    """Area of an ellipsoid over the area that is left after blurring, for the same volume.

    Blurring by a standard deviation s moves a surface by ``s**2 / 2`` times its curvature k (the
    sum of the principal ones); at equal volume that takes away the share
    ``s**2 / 2 (<k**2> - <k>**2)`` of its area: nothing of a sphere.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)
    angle = (np.arange(16) + 0.5) * (np.pi / 8)
    height = np.repeat(nodes, len(angle))
    flat, turn = np.sqrt(1 - height**2), np.tile(angle, len(nodes))
    direction = np.stack([flat * np.cos(turn), flat * np.sin(turn), height])
    squares = np.square(np.maximum(semi_axes, 1.0))
    support = (1 / squares) @ direction**2
    curvature = squares.sum(axis=1, keepdims=True) - squares @ direction**2
    curvature /= squares.prod(axis=1, keepdims=True) * support**1.5
    area = np.repeat(weights, len(angle)) * np.sqrt(support)
    area /= area.sum(axis=1, keepdims=True)
    mean = (area * curvature).sum(axis=1)
    variance = (area * curvature**2).sum(axis=1) - mean**2
    total = blur**2 + SMOOTHING_VOXELS**2
    return 1 + np.minimum(total / 2 * variance, LARGEST_ELONGATION)
