"""Rough particles: star-shaped surfaces just inside an ellipsoid, with exact truth.

The surface is ``c + M s rho(s)`` over unit vectors s, where ``c + M s`` is the particle's ellipsoid
and ``1 - depth <= rho <= 1``. So the ellipsoid is the envelope: what is checked for it, that
particles do not interpenetrate and rest above the tape, holds for the rough particle too.

``rho`` is a table on the octahedral map of the sphere, interpolated bilinearly: it needs no
trigonometry, has no poles, and the interpolated table *is* the surface, for projection and truth
alike. Its values are a sum of plane waves of random direction, phase and, within an octave,
length, so the roughness is band-limited.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from zoneplate.devices.errors import ConfigurationError

from .ellipsoids import Ellipsoids

Floats = NDArray[np.float64]
Table = NDArray[np.float32]
"""rho at the nodes of the octahedral map, shape (n, n)."""

NODES = 65
"""Nodes of a table along each side: 2.8 degrees apart, 0.5 um on a particle of 20 um."""

WAVES = 48
"""Plane waves in the sum; from about 30 the heights are as good as Gaussian."""

DEEPEST_SHARE = 0.5
"""Largest depth as a share of the mean radius."""

SHORTEST_SHARE = 0.2
"""Shortest wavelength as a share of the mean radius: four nodes of the table."""

_TABLES_KEPT = 4096
_POLAR_POINTS, _AZIMUTHS = 64, 128
"""Directions of the quadrature: 2.8 degrees apart, as the nodes of the table."""

_GRADIENT_STEP = 1e-3
_SHELL_STEPS = 4
"""Steps along a ray between the envelope and the core, where the surface is crossed."""
_RIM_STEPS = 12
"""Steps along a ray that misses the core and may meet the surface several times."""


@dataclass(frozen=True)
class Roughness:
    """How the surface of a particle deviates from its ellipsoid.

    Attributes
    ----------
    depth_um
        From the highest to the lowest point of the surface. The highest touches the ellipsoid.
    wavelength_um
        The shortest wavelength along the surface; the longest is twice as long.
    seed
        The same seed gives the same surface.

    Raises
    ------
    ConfigurationError
        If depth or wavelength are not above 0.
    """

    depth_um: float
    wavelength_um: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("depth_um", "wavelength_um"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"roughness {name} {value} must be above 0 um")

    def relative_depth(self, semi_axes_um: tuple[float, float, float]) -> float:
        """Return the depth as a share of the mean radius of a particle.

        Raises
        ------
        ConfigurationError
            If it is more than `DEEPEST_SHARE`, or the wavelength less than `SHORTEST_SHARE`.
        """
        radius_um = math.prod(semi_axes_um) ** (1 / 3)
        if self.wavelength_um < SHORTEST_SHARE * radius_um:
            raise ConfigurationError(
                f"roughness with a wavelength of {self.wavelength_um:g} um is too fine for a mean "
                f"radius of {radius_um:.4g} um: choose at least {SHORTEST_SHARE * radius_um:.4g} um"
            )
        if self.depth_um > DEEPEST_SHARE * radius_um:
            raise ConfigurationError(
                f"roughness of {self.depth_um:g} um is too deep for a mean radius of "
                f"{radius_um:.4g} um: choose at most {DEEPEST_SHARE * radius_um:.4g} um"
            )
        return self.depth_um / radius_um

    def table(self, semi_axes_um: tuple[float, float, float]) -> Table:
        """Return rho for a particle of these semi-axes, shape (`NODES`, `NODES`), read-only."""
        return _table(self, semi_axes_um)


@lru_cache(maxsize=_TABLES_KEPT)
def _table(roughness: Roughness, semi_axes_um: tuple[float, float, float]) -> Table:
    depth = roughness.relative_depth(semi_axes_um)
    random = np.random.default_rng(roughness.seed)
    shortest = roughness.wavelength_um / math.prod(semi_axes_um) ** (1 / 3)
    wave = random.standard_normal((WAVES, 3))
    wave /= np.linalg.norm(wave, axis=1, keepdims=True)
    wave *= 2 * math.pi / (shortest * random.uniform(1.0, 2.0, (WAVES, 1)))
    phase = random.uniform(0, 2 * math.pi, WAVES)
    height = np.cos(_node_directions() @ wave.T + phase).sum(axis=-1)
    low, high = height.min(), height.max()
    table = (1 - depth * (high - height) / (high - low)).astype(np.float32)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def _node_directions() -> Floats:
    """Return the unit vectors of the nodes, shape (NODES, NODES, 3)."""
    node = np.linspace(-1.0, 1.0, NODES)
    x, y = np.meshgrid(node, node, indexing="ij")
    z = 1 - np.abs(x) - np.abs(y)
    below = z < 0
    folded_x = np.where(below, (1 - np.abs(y)) * np.where(x < 0, -1, 1), x)
    folded_y = np.where(below, (1 - np.abs(x)) * np.where(y < 0, -1, 1), y)
    direction = np.stack([folded_x, folded_y, z], axis=-1)
    return direction / np.linalg.norm(direction, axis=-1, keepdims=True)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", inline="always")
def radius_towards(table: Table, x: float, y: float, z: float) -> float:  # pragma: no cover
    """Return rho in a direction, which need not be of unit length but not 0."""
    scale = 1.0 / (abs(x) + abs(y) + abs(z))
    u, v = x * scale, y * scale
    if z < 0.0:
        u, v = (
            math.copysign(1.0 - abs(v), u),
            math.copysign(1.0 - abs(u), v),
        )
    last = table.shape[0] - 1
    i_exact, j_exact = (u + 1.0) * 0.5 * last, (v + 1.0) * 0.5 * last
    i, j = min(int(i_exact), last - 1), min(int(j_exact), last - 1)
    f, g = i_exact - i, j_exact - j
    low = table[i, j] + (table[i, j + 1] - table[i, j]) * g
    high = table[i + 1, j] + (table[i + 1, j + 1] - table[i + 1, j]) * g
    return low + (high - low) * f


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _length_inside(
    table: Table, start: Floats, way: Floats, first: float, last: float, steps: int
) -> float:  # pragma: no cover - compiled
    """Return the length of ``start + t way``, first <= t <= last, that lies under the surface.

    Between steps the distance to the surface is taken as linear, so every crossing counts.
    """
    step = (last - first) / steps
    length, before = 0.0, 0.0
    for k in range(steps + 1):
        t = first + k * step
        x, y, z = start[0] + t * way[0], start[1] + t * way[1], start[2] + t * way[2]
        under = radius_towards(table, x, y, z) - math.sqrt(x * x + y * y + z * z)
        if k > 0:
            if under >= 0.0 and before >= 0.0:
                length += step
            elif under >= 0.0 or before >= 0.0:
                length += step * max(under, before) / abs(under - before)
        before = under
    return length


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_rough(
    image: NDArray[np.float32],
    first_u: float,
    first_v: float,
    step: float,
    center: Floats,
    packed: Floats,
    axes: Floats,
    tables: NDArray[np.float32],
    core: Floats,
    factor: Floats,
) -> None:  # pragma: no cover - compiled
    rows, columns = image.shape
    start = np.empty(3)
    for n in range(len(center)):
        uu, uv, vv = packed[n]
        half_v = math.sqrt(vv)
        top = max(0, math.ceil((first_v - center[n, 1] - half_v) / step))
        bottom = min(rows - 1, math.floor((first_v - center[n, 1] + half_v) / step))
        across, up, along = axes[n, 0], axes[n, 1], axes[n, 2]
        a = along[0] ** 2 + along[1] ** 2 + along[2] ** 2
        for row in range(top, bottom + 1):
            dv = first_v - row * step - center[n, 1]
            half2 = (uu - uv * uv / vv) * (1.0 - dv * dv / vv)
            if half2 <= 0.0:
                continue
            half = math.sqrt(half2)
            middle = center[n, 0] + uv / vv * dv - first_u
            left = max(0, math.ceil((middle - half) / step))
            right = min(columns - 1, math.floor((middle + half) / step))
            for column in range(left, right + 1):
                du = first_u + column * step - center[n, 0]
                for k in range(3):
                    start[k] = across[k] * du + up[k] * dv
                b = start[0] * along[0] + start[1] * along[1] + start[2] * along[2]
                c = start[0] ** 2 + start[1] ** 2 + start[2] ** 2
                outer = b * b - a * (c - 1.0)
                if outer <= 0.0:
                    continue
                t_in, t_out = (-b - math.sqrt(outer)) / a, (-b + math.sqrt(outer)) / a
                inner = b * b - a * (c - core[n] * core[n])
                if inner > 0.0:
                    c_in, c_out = (-b - math.sqrt(inner)) / a, (-b + math.sqrt(inner)) / a
                    length = c_out - c_in
                    length += _length_inside(tables[n], start, along, t_in, c_in, _SHELL_STEPS)
                    length += _length_inside(tables[n], start, along, c_out, t_out, _SHELL_STEPS)
                else:
                    length = _length_inside(tables[n], start, along, t_in, t_out, _RIM_STEPS)
                image[row, column] += np.float32(factor[n] * length)


def add_rough_shadows(
    image: NDArray[np.float32],
    first_um: tuple[float, float],
    step_um: float,
    center_um: Floats,
    ellipse: Floats,
    axes: Floats,
    tables: NDArray[np.float32],
    factor: Floats,
    threads: int,
) -> None:
    """Add the shadows of n rough particles to an image, rows shared between threads.

    Parameters
    ----------
    image
        Shape (rows, columns), changed in place.
    first_um
        (u, v) of the pixel in row 0, column 0.
    step_um
        Distance of pixels.
    center_um
        Shape (n, 2): (u, v) of the centres.
    ellipse
        Shape (n, 3): shadows of the envelopes, (uu, uv, vv), um2.
    axes
        Shape (n, 3, 3): the directions u, v and along the beam in the coordinates in which the
        envelope is the unit ball, 1/um.
    tables
        Shape (n, nodes, nodes).
    factor
        Shape (n,): what a micrometre of path adds.
    threads
        How many to use.
    """
    core = tables.min(axis=(1, 2)).astype(np.float64)
    bounds = np.linspace(0, len(image), 4 * threads + 1).astype(int)

    def add(band: int) -> None:
        low, high = int(bounds[band]), int(bounds[band + 1])
        first_v = first_um[1] - low * step_um
        _add_rough(
            image[low:high],
            first_um[0],
            first_v,
            step_um,
            center_um,
            ellipse,
            axes,
            tables,
            core,
            factor,
        )

    with ThreadPoolExecutor(threads) as pool:
        # The list makes an exception of a thread come out here.
        list(pool.map(add, range(len(bounds) - 1)))


@dataclass(frozen=True, eq=False)
class RoughTruth:
    """What quadrature over the surface says of one rough particle.

    Attributes
    ----------
    volume_um3, surface_area_um2
        Of the solid under the surface, voids not subtracted.
    centroid_um
        Shape (3,), of that solid.
    extent_um
        Shape (3,), sides of the bounding box of the surface's points in these directions.
    """

    volume_um3: float
    surface_area_um2: float
    centroid_um: Floats
    extent_um: Floats


def rough_truth(table: Table, envelope: Ellipsoids) -> RoughTruth:
    """Return the exact measures of a rough particle.

    With ``x = rho(s) s`` in the coordinates in which the envelope is the unit ball, the volume is
    ``det M / 3 * int rho^3``, the centroid ``c + M int rho^4 s / 4`` over the former, and the
    area ``det M int |M^-T (rho^2 s - rho grad rho)|``, integrals over the sphere; Gauss-Legendre
    quadrature in the polar angle, even steps in azimuth.

    Parameters
    ----------
    table
        The surface.
    envelope
        One ellipsoid.
    """
    direction, weight = _sphere()
    rho, gradient = _sample(table, direction)
    generator = envelope.generator[0]
    determinant = float(np.linalg.det(generator))
    volume = determinant / 3 * float(weight @ rho**3)
    moment = determinant / 4 * ((weight * rho**4) @ direction)
    element = (rho**2)[:, None] * direction - rho[:, None] * gradient
    area = determinant * float(weight @ np.linalg.norm(element @ np.linalg.inv(generator), axis=1))
    return RoughTruth(
        volume,
        area,
        envelope.center[0] + generator @ (moment / volume),
        np.ptp((rho[:, None] * direction) @ generator.T, axis=0),
    )


def surface_points(table: Table, envelope: Ellipsoids) -> Floats:
    """Return points (m, 3) of a rough surface, um, in the directions of the quadrature."""
    direction, _ = _sphere()
    rho, _ = _sample(table, direction)
    return envelope.center[0] + (rho[:, None] * direction) @ envelope.generator[0].T


@lru_cache(maxsize=1)
def _sphere() -> tuple[Floats, Floats]:
    """Return directions (m, 3) and weights (m,) that sum to 4 pi."""
    cosine, weight = np.polynomial.legendre.leggauss(_POLAR_POINTS)
    azimuth = (np.arange(_AZIMUTHS) + 0.5) * (2 * math.pi / _AZIMUTHS)
    sine = np.sqrt(1 - cosine**2)
    direction = np.stack(
        [
            sine[:, None] * np.cos(azimuth),
            sine[:, None] * np.sin(azimuth),
            np.repeat(cosine[:, None], _AZIMUTHS, axis=1),
        ],
        axis=-1,
    )
    return direction.reshape(-1, 3), np.repeat(weight * 2 * math.pi / _AZIMUTHS, _AZIMUTHS)


@njit(cache=True, nogil=True)
def _sample(table: Table, direction: Floats) -> tuple[Floats, Floats]:  # pragma: no cover
    """Return rho (m,) and its gradient along the sphere (m, 3)."""
    rho = np.empty(len(direction))
    gradient = np.zeros((len(direction), 3))
    probe = np.empty(3)
    for n in range(len(direction)):
        s = direction[n]
        rho[n] = radius_towards(table, s[0], s[1], s[2])
        for k in range(3):
            # Along the tangent nearest to axis k; rho does not depend on the length of s.
            for sign in (-1.0, 1.0):
                for m in range(3):
                    probe[m] = s[m] + (sign * _GRADIENT_STEP if m == k else 0.0)
                value = radius_towards(table, probe[0], probe[1], probe[2])
                gradient[n, k] += sign * value / (2 * _GRADIENT_STEP)
    return rho, gradient


@njit(cache=True, nogil=True)
def fill_rough(
    grid: NDArray[np.int32],
    label: int,
    center: Floats,
    half_extent: Floats,
    whitening: Floats,
    table: Table,
    voxel: float,
) -> None:  # pragma: no cover - compiled
    """Label the voxels [y, z, x] whose centres lie in a rough particle.

    `center` is relative to the centre of the grid; `whitening` turns the envelope into the unit
    ball.
    """
    ny, nz, nx = grid.shape
    middle_y, middle_z, middle_x = (ny - 1) / 2, (nz - 1) / 2, (nx - 1) / 2
    y_first = max(0, int(np.ceil(middle_y - (center[1] + half_extent[1]) / voxel)))
    y_last = min(ny - 1, int(np.floor(middle_y - (center[1] - half_extent[1]) / voxel)))
    z_first = max(0, int(np.ceil(middle_z + (center[2] - half_extent[2]) / voxel)))
    z_last = min(nz - 1, int(np.floor(middle_z + (center[2] + half_extent[2]) / voxel)))
    x_first = max(0, int(np.ceil(middle_x + (center[0] - half_extent[0]) / voxel)))
    x_last = min(nx - 1, int(np.floor(middle_x + (center[0] + half_extent[0]) / voxel)))
    offset = np.empty(3)
    for i in range(y_first, y_last + 1):
        offset[1] = (middle_y - i) * voxel - center[1]
        for j in range(z_first, z_last + 1):
            offset[2] = (j - middle_z) * voxel - center[2]
            for k in range(x_first, x_last + 1):
                offset[0] = (k - middle_x) * voxel - center[0]
                x = whitening[0, 0] * offset[0] + whitening[0, 1] * offset[1]
                x += whitening[0, 2] * offset[2]
                y = whitening[1, 0] * offset[0] + whitening[1, 1] * offset[1]
                y += whitening[1, 2] * offset[2]
                z = whitening[2, 0] * offset[0] + whitening[2, 1] * offset[1]
                z += whitening[2, 2] * offset[2]
                radius = np.sqrt(x * x + y * y + z * z)
                if radius <= 1.0 and (radius == 0.0 or radius <= radius_towards(table, x, y, z)):
                    grid[i, j, k] = label
