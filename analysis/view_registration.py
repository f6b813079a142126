"""How an image lies over the projection of the particles that the volume holds.

Only particles are projected: the volume is cut at Otsu's threshold first. Without that, every image
would find itself again in the volume, streaks and all, and would fit where it lies; slow movements
over the angles, such as run-out, are even perfectly consistent with some smeared specimen.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

FINE_PIXELS: Final = 1.0
COARSE_PIXELS: Final = 4.0
"""Images are compared between these standard deviations: finer is noise; coarser is material
beyond the field, which the volume does not hold."""

FADE_VOXELS: Final = 8.0
"""Over so much the particles fade out at the wall of the field, where they are cut off."""

TILE_PIXELS: Final = 16
"""Side of the tiles over which residuals are summed for the standard error: as wide as particles
that are not in the volume, which are most of what the residuals are."""

MARGIN_PIXELS: Final = 3
"""Not looked at, along the sides of an image."""

SOLID_RANGE: Final = (1e-4, 0.5)
"""Share of the field that is to be above the threshold: else there are no particles."""


def particles_of(volume: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the solid of a volume, fading out at the wall of the field; None if there is none.

    Parameters
    ----------
    volume : ndarray of float32, shape (rows, depth, width)
        [y, z, x], in any unit.
    """
    size = volume.shape[2]
    place = np.arange(size) - (size - 1) / 2
    radius = np.hypot(place[:, None], place[None, :])
    reach = (size - 1) / 2 - 1
    field = volume[:, radius < reach]
    low, high = float(field.min()), float(field.max())
    if not high > low:
        return None
    solid = volume > threshold_otsu(field)
    share = float(np.count_nonzero(solid[:, radius < reach])) / field.size
    if not SOLID_RANGE[0] < share < SOLID_RANGE[1]:
        return None
    fade = np.clip((reach - radius) / FADE_VOXELS, 0, 1)
    fade = (fade * fade * (3 - 2 * fade)).astype(np.float32)
    particles = volume * fade
    particles[~solid] = 0
    return particles


def _structure(image: NDArray[np.float32]) -> NDArray[np.float32]:
    fine, coarse = (
        ndimage.gaussian_filter(image, width, mode="nearest")
        for width in (FINE_PIXELS, COARSE_PIXELS)
    )
    return np.asarray(fine - coarse, dtype=np.float32)


class Registration(NamedTuple):
    """How far an image lies from its reprojection.

    Attributes
    ----------
    found, errors
        Shift along u and v, in pixels, and what goes with `more`; with standard errors. Infinite
        errors where the image shows nothing.
    products
        Mean products of image and reprojection, of the image with itself, and of the reprojection
        with itself: of their structure.
    """

    found: tuple[float, ...]
    errors: tuple[float, ...]
    products: tuple[float, float, float]


def register(
    image: NDArray[np.float32],
    projected: NDArray[np.float32],
    more: NDArray[np.float32] | None = None,
) -> Registration:
    """Lay an image over its reprojection: one step of Gauss-Newton for shift and contrast.

    Parameters
    ----------
    image, projected : ndarray of float32, shape (rows, columns)
        Absorption, and what it should be.
    more : ndarray of float32, shape (rows, columns), optional
        How the reprojection changes with something else that is to be found.
    """
    cut = slice(MARGIN_PIXELS, -MARGIN_PIXELS)
    measured, model = _structure(image), _structure(projected)
    down, along = np.gradient(model)
    wanted = [-along, down] if more is None else [-along, down, _structure(more)]
    design = np.stack([*wanted, model])[:, cut, cut].astype(np.float64)
    measured, model = measured[cut, cut], model[cut, cut]
    size = measured.size
    products = (
        float(np.vdot(measured, model)) / size,
        float(np.vdot(measured, measured)) / size,
        float(np.vdot(model, model)) / size,
    )
    count = len(wanted)
    nothing = Registration((0.0,) * count, (math.inf,) * count, products)
    matrix = np.einsum("aij,bij->ab", design, design)
    if products[2] <= 0 or np.linalg.cond(matrix) > 1e12:
        return nothing
    inverse = np.linalg.inv(matrix)
    gain = float((inverse @ np.einsum("aij,ij->a", design, measured))[-1])
    if gain <= 0:
        return nothing
    scores = design * (measured - gain * model)
    step = inverse @ scores.sum(axis=(1, 2)) / gain
    for axis in (1, 2):
        scores = np.add.reduceat(scores, np.arange(0, scores.shape[axis], TILE_PIXELS), axis=axis)
    scores = scores.reshape(count + 1, -1)
    # Sandwich estimate: what is not in the volume enters as it scatters over the tiles.
    covariance = inverse @ (scores @ scores.T) @ inverse / gain**2
    error = np.sqrt(np.diag(covariance))
    return Registration(tuple(step[:-1].tolist()), tuple(error[:-1].tolist()), products)
