"""Radiographs of settled spheres with exact positions: what the map tests compare against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PIXEL_UM = 0.512
MU_PER_UM = 0.0438
MEDIAN_UM, SIGMA = 5.84, 0.428

Array = NDArray[np.float64]


def powder(width_um: float, height_um: float, count: int, seed: int) -> Array:
    """Rows (x, y, z, radius) of spheres that lie on z = 0 and do not interpenetrate."""
    rng = np.random.default_rng(seed)
    placed = np.empty((0, 4))
    radii = np.sort(rng.lognormal(np.log(MEDIAN_UM), SIGMA, count).clip(2, 20) / 2)[::-1]
    for radius in radii:
        while True:
            x, y = rng.uniform(-width_um / 2, width_um / 2), rng.uniform(-1, 1) * height_um / 2
            gap = np.linalg.norm(placed[:, :3] - (x, y, radius), axis=1) - placed[:, 3] - radius
            if not len(placed) or gap.min() > 0:
                break
        placed = np.vstack([placed, (x, y, radius, radius)])
    return placed


def voids_in(spheres: Array, seed: int, share: float = 0.55) -> Array:
    """One spherical void, off centre, in a share of the spheres."""
    rng = np.random.default_rng(seed)
    rows = []
    for x, y, z, radius in spheres:
        size = min(rng.lognormal(np.log(2.315), 0.27) / 2, 0.5 * radius)
        direction = rng.normal(size=3)
        shift = direction / np.linalg.norm(direction) * rng.uniform(0, radius - size - 0.3)
        if rng.random() < share:
            rows.append((x + shift[0], y + shift[1], z + shift[2], size))
    return np.array(rows)


def absorption(
    spheres: Array,
    shape: tuple[int, int],
    center_um: tuple[float, float] = (0.0, 0.0),
    blur_px: float = 0.5,
) -> Array:
    """-ln T of spheres seen along z; row 0 is the largest y."""
    fine = 2
    step = PIXEL_UM / fine
    rows, columns = shape[0] * fine, shape[1] * fine
    x = center_um[0] + (np.arange(columns) - (columns - 1) / 2) * step
    y = center_um[1] + ((rows - 1) / 2 - np.arange(rows)) * step
    image = np.zeros((rows, columns))
    for sphere_x, sphere_y, _, radius in spheres:
        square = (x[None, :] - sphere_x) ** 2 + (y[:, None] - sphere_y) ** 2
        image += 2 * MU_PER_UM * np.sqrt(np.maximum(radius**2 - square, 0))
    image = image.reshape(shape[0], fine, shape[1], fine).mean(axis=(1, 3))
    return np.asarray(ndimage.gaussian_filter(image, blur_px))


def noisy(transmission: Array, noise: float, seed: int) -> Array:
    """Add photon noise of the given relative size at open beam."""
    rng = np.random.default_rng(seed)
    return transmission + noise * np.sqrt(transmission) * rng.normal(size=transmission.shape)


def grid_positions(shape: tuple[int, int], step_um: float) -> Array:
    """Centres of a map of (rows along y, columns along x), bottom row first."""
    rows, columns = shape
    return np.array(
        [
            ((j - (columns - 1) / 2) * step_um, (i - (rows - 1) / 2) * step_um)
            for i in range(rows)
            for j in range(columns)
        ]
    )


def cut(image: Array, positions_um: Array, size: int) -> Array:
    """Cut square tiles out of a large image centred on the origin, at whole pixels."""
    rows, columns = image.shape
    tiles = []
    for x, y in positions_um:
        row = round(rows / 2 - y / PIXEL_UM - size / 2)
        column = round(columns / 2 + x / PIXEL_UM - size / 2)
        tiles.append(image[row : row + size, column : column + size])
    return np.array(tiles)
