"""Digital ellipsoids with known volume and area: exact labels, partial volume, blurred, noisy.

Positions and semi-axes are in voxels, in array order (row, depth, column).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scipy.special import elliprg

Array = NDArray[np.float64]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid; `rotation` turns its own axes into those of the array."""

    center: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    rotation: Rotation | None = None

    @property
    def volume(self) -> float:
        a, b, c = self.semi_axes
        return 4 / 3 * np.pi * a * b * c

    @property
    def area(self) -> float:
        """Exact area by Carlson's elliptic integral (DLMF 19.33.1)."""
        a, b, c = self.semi_axes
        return float(4 * np.pi * a * b * c * elliprg(a**-2, b**-2, c**-2))

    @property
    def equivalent_diameter(self) -> float:
        return float(np.cbrt(6 * self.volume / np.pi))

    def window(self, shape: Shape) -> tuple[slice, slice, slice]:
        reach = max(self.semi_axes) + 1
        first, second, third = (
            slice(max(int(np.floor(c - reach)), 0), max(min(int(np.ceil(c + reach)) + 1, n), 0))
            for c, n in zip(self.center, shape, strict=True)
        )
        return first, second, third

    def contains(self, i: Array, j: Array, k: Array) -> NDArray[np.bool_]:
        offsets = [axis - c for axis, c in zip((i, j, k), self.center, strict=True)]
        if self.rotation is not None:
            turn = self.rotation.inv().as_matrix()
            offsets = [sum(turn[a, b] * offsets[b] for b in range(3)) for a in range(3)]
        return sum((o / s) ** 2 for o, s in zip(offsets, self.semi_axes, strict=True)) <= 1


def sphere(center: tuple[float, float, float], radius: float) -> Ellipsoid:
    return Ellipsoid(center, (radius, radius, radius))


def mask_of(shape: Shape, body: Ellipsoid) -> NDArray[np.bool_]:
    """Voxels whose centres lie inside."""
    mask = np.zeros(shape, dtype=bool)
    window = body.window(shape)
    i, j, k = np.ogrid[window]
    mask[window] = body.contains(i, j, k)
    return mask


def labels_of(shape: Shape, bodies: list[Ellipsoid]) -> NDArray[np.int32]:
    labels = np.zeros(shape, dtype=np.int32)
    for number, body in enumerate(bodies, 1):
        labels[mask_of(shape, body)] = number
    return labels


def coverage(shape: Shape, body: Ellipsoid, samples: int = 4) -> Array:
    """Share of each voxel inside the body, by samples**3 points per voxel."""
    share = np.zeros(shape)
    window = body.window(shape)
    fractions = (np.arange(samples) + 0.5) / samples - 0.5
    axes = [(np.arange(side.start, side.stop)[:, None] + fractions).ravel() for side in window]
    i, j, k = np.ix_(*axes)
    inside = body.contains(i, j, k)
    counts = [side.stop - side.start for side in window]
    blocks = inside.reshape(counts[0], samples, counts[1], samples, counts[2], samples)
    share[window] = blocks.mean(axis=(1, 3, 5))
    return share


def grey_volume(
    shape: Shape,
    solids: list[Ellipsoid],
    voids: list[Ellipsoid] = [],  # noqa: B006 - never changed
    *,
    solid_per_um: float = 0.044,
    background_per_um: float = 0.0,
    blur: float = 0.7,
    signal_to_noise: float = np.inf,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Attenuation of solids with voids: partial volume, Gaussian blur, white noise."""
    share = np.zeros(shape)
    for body in solids:
        share = np.maximum(share, coverage(shape, body))
    for hole in voids:
        share -= coverage(shape, hole)
    contrast = solid_per_um - background_per_um
    volume = background_per_um + contrast * ndimage.gaussian_filter(share, blur)
    noise = np.random.default_rng(seed).normal(0, solid_per_um / signal_to_noise, shape)
    return (volume + noise).astype(np.float32)


def powder(
    seed: int,
    shape: Shape = (96, 80, 96),
    *,
    count: int = 25,
    radii: tuple[float, float] = (4.0, 9.0),
    void_radius: float | None = None,
) -> tuple[list[Ellipsoid], list[Ellipsoid]]:
    """Separate spheres, wholly inside the inscribed cylinder, and a void in each if wanted."""
    rng = np.random.default_rng(seed)
    solids: list[Ellipsoid] = []
    voids: list[Ellipsoid] = []
    middle = (np.array(shape) - 1) / 2
    field = min(shape[1:]) / 2
    for radius in rng.uniform(*radii, size=50 * count):
        center = rng.uniform(radius + 2, np.array(shape) - radius - 3)
        off_axis = float(np.hypot(*(center - middle)[1:]))
        apart = all(
            np.linalg.norm(center - other.center) > radius + other.semi_axes[0] + 3
            for other in solids
        )
        if off_axis + radius + 3 < field and apart:
            solids.append(sphere(tuple(center), radius))
            if void_radius is not None and radius > void_radius + 3:
                reach = radius - void_radius - 3
                shift = rng.uniform(-1, 1, 3) * reach / np.sqrt(3)
                voids.append(sphere(tuple(center + shift), void_radius))
        if len(solids) == count:
            break
    return solids, voids


@lru_cache(maxsize=32)
def noisy_powder(
    seed: int, radii: tuple[float, float] = (4.0, 9.0), void_radius: float | None = None
) -> tuple[list[Ellipsoid], list[Ellipsoid], NDArray[np.float32]]:
    """Spheres, their voids and their volume at a signal-to-noise of 10; not to be changed."""
    solids, voids = powder(seed, count=25, radii=radii, void_radius=void_radius)
    volume = grey_volume((96, 80, 96), solids, voids, signal_to_noise=10, seed=seed)
    volume.flags.writeable = False
    return solids, voids, volume
