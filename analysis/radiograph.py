"""Particles in the radiograph map: count, size and projected mass before any tomogram.

A map is a projection, so a particle is a dome of absorption that falls to nothing at its rim.
Otsu's threshold, half way up the domes, loses small particles; a threshold just above the
noise finds them all but draws the blurred outlines too wide. So detection uses the noise
threshold (Otsu's only bounds it), and each outline is then drawn where a blurred dome of its
size has its true edge. Touching particles are split by a watershed on distance times
absorption.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from .mosaic import LOWEST_TRANSMISSION, NORMAL_MAD, Mosaic

SMOOTHING_PX = 1.0
"""Gaussian sigma before thresholding; cuts white pixel noise to 28 %."""

OPTICAL_BLUR_PX = 0.5
"""Gaussian sigma of pixel and zone plate together at binning 8 (0.29 pixel for the pixel alone)."""

BLUR_PX = float(np.hypot(SMOOTHING_PX, OPTICAL_BLUR_PX))

NOISE_SIGMAS = 4.0
"""Threshold in standard deviations of the smoothed background."""

OTSU_FLOOR = 0.1
"""Lowest threshold as a fraction of Otsu's, for pictures almost without noise."""

PEAK_FACTOR = 1.5
"""A particle must somewhere exceed this many thresholds, else it is a ripple."""

BACKGROUND_SIGMA_FRACTION = 0.125
"""Gaussian sigma of the local background as a fraction of the tile."""

ABSORPTION_POWER = 0.5
"""Domes are distance times this power of absorption: distance alone misses particles that
overlap in projection, absorption alone breaks hollow ones."""

MIN_OPEN_SHARE = 0.02
"""Open beam within reach (some tens of pixels) below which the map's own median stands in."""

SADDLE_RATIO = 0.9
"""Two domes are two particles when the pass between them lies below this fraction of the lower
one. On simulated NMC622 maps anything from 0.7 to 0.93 splits no whole particle, voids or not;
0.9 leaves 4 to 5 % of the particles hidden by neighbours."""

DISTANCE_OFFSET_PX = 1.0
"""Added to distances before taking ratios, so that pixel steps do not split small particles."""

OUTLINE_ITERATIONS = 8
"""Outline and mean absorption depend on each other; the area of the smallest settles in eight."""

RIM_PX = 2
"""Weak rim around a detected particle that is not background either."""

STACKED_RATIO = 1.6
"""Thickness over diameter above which particles must lie on top of each other."""

BACKGROUND_SE = 0.0035
"""Uncertainty of the absorption of what lies behind a particle (tape, illumination) ..."""
VOLUME_SE_SHARE = 0.005
"""... and share of a volume that is uncertain besides: calibrated on seeds 500 to 502 of
``benchmarks/radiograph_against_tomogram.py``."""

TOP_FRACTION = 0.1
"""The greatest thickness is the mean over this share of a particle's pixels, times the factor
by which blur and averaging flatten a sphere of its size."""


def find_particles_2d(
    mosaic: Mosaic,
    *,
    attenuation_per_um: float | None = None,
    threshold: float | None = None,
    min_diameter_um: float = 1.5,
    split: bool = True,
) -> pd.DataFrame:
    """Find the particles of a radiograph map and measure them.

    Parameters
    ----------
    mosaic
        The map, in transmission or absorption.
    attenuation_per_um
        Linear attenuation coefficient of the particles; gives thickness and volume.
    threshold
        Absorption (-ln T, above the local background) that counts as particle; from the
        noise of the map by default.
    min_diameter_um
        Smaller objects are dropped.
    split
        Separate particles whose outlines touch.

    Returns
    -------
    pandas.DataFrame
        A row per particle, from the top left: `particle_id`, `center_x_um`, `center_y_um`
        (specimen frame), `projected_area_um2`, `equivalent_diameter_um` (of the disc of the
        same area), `mean_absorption`, `touches_border` (cut by the edge of the map),
        `overlaps` (outline shared with a neighbour, or too thick for its width) and, with
        `attenuation_per_um`, `thickness_max_um`, `volume_um3` of solid and
        `volume_um3_se` from the pixel noise, the blurred rim and the background. `attrs` hold
        `threshold` and `noise`.

    Raises
    ------
    ValueError
        If the attenuation is not positive.
    """
    if attenuation_per_um is not None and not attenuation_per_um > 0:
        raise ValueError(f"attenuation {attenuation_per_um!r} per um must be positive")
    absorption, noise, spread = _above_background(mosaic)
    smooth = ndimage.gaussian_filter(absorption, SMOOTHING_PX)
    threshold = _threshold(smooth, mosaic, spread) if threshold is None else threshold
    basins, filled = _detect(smooth, mosaic, threshold, min_diameter_um, split)
    outlines = _outline(basins, absorption, filled, threshold)
    table = _measure(basins, outlines, absorption, smooth, mosaic, attenuation_per_um, noise)
    table.attrs.update(threshold=threshold, noise=noise)
    return table


def label_particles_2d(
    mosaic: Mosaic,
    *,
    threshold: float | None = None,
    min_diameter_um: float = 1.5,
    split: bool = True,
) -> NDArray[np.int32]:
    """Return the labels 1..N behind `find_particles_2d`, for pictures; 0 is background.

    Parameters are those of `find_particles_2d`; the result has the shape of the map.
    """
    absorption, _, spread = _above_background(mosaic)
    smooth = ndimage.gaussian_filter(absorption, SMOOTHING_PX)
    threshold = _threshold(smooth, mosaic, spread) if threshold is None else threshold
    basins, filled = _detect(smooth, mosaic, threshold, min_diameter_um, split)
    return _outline(basins, absorption, filled, threshold)


def _above_background(mosaic: Mosaic) -> tuple[NDArray[np.float64], float, float]:
    """Subtract the slowly varying background; return also the noise, single-pixel and smoothed."""
    image = mosaic.image.astype(np.float64)
    known = np.isfinite(image)
    if not known.any():
        return np.zeros(image.shape), 0.0, 0.0
    if mosaic.transmission:
        absorption = -np.log(np.maximum(np.where(known, image, 1.0), LOWEST_TRANSMISSION))
    else:
        absorption = np.where(known, image, 0.0)
    smooth = ndimage.gaussian_filter(absorption, SMOOTHING_PX)
    low, high = np.percentile(smooth[known], (0.1, 99.9))
    if not high > low:
        return np.where(known, absorption - low, 0.0), 0.0, 0.0
    middle = float(np.median(smooth[known]))
    spread = _spread(smooth[known])
    solid = smooth > middle + max((_otsu(smooth[known]) - middle) / 2, NOISE_SIGMAS * spread)
    sigma = BACKGROUND_SIGMA_FRACTION * max(mosaic.tile_shape)
    background = np.full(image.shape, middle)
    # Twice: the first background tells which weak rims are particle, the second leaves them out.
    for _ in range(2):
        open_beam = known & ~_dilated(solid)
        background = _local_mean(absorption, open_beam, sigma, background)
        spread = _spread((smooth - background)[open_beam])
        solid = smooth - background > NOISE_SIGMAS * spread
    open_beam = known & ~_dilated(solid)
    noise = _spread((absorption - background)[open_beam])
    return np.where(known, absorption - background, 0.0), noise, spread


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(ndimage.binary_dilation(mask, iterations=RIM_PX), dtype=bool)


def _local_mean(
    values: NDArray[np.float64],
    where: NDArray[np.bool_],
    sigma: float,
    fallback: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Gaussian mean over the chosen pixels; `fallback` where there are too few."""
    share = ndimage.gaussian_filter(where.astype(np.float64), sigma)
    total = ndimage.gaussian_filter(np.where(where, values, 0.0), sigma)
    enough = share > MIN_OPEN_SHARE
    return np.where(enough, total / np.where(enough, share, 1.0), fallback)


def _spread(values: NDArray[np.float64]) -> float:
    """Robust standard deviation of the weak side, where no particle hides."""
    if values.size == 0:
        return 0.0
    below = values[values <= np.median(values)]
    return float(NORMAL_MAD * np.median(np.median(values) - below))


def _otsu(values: NDArray[np.float64]) -> float:
    return float(threshold_otsu(values)) if values.max() > values.min() else float(values.max())


def _threshold(smooth: NDArray[np.float64], mosaic: Mosaic, spread: float) -> float:
    """Just above the noise of the smoothed map; Otsu's bounds it where there is hardly any."""
    known = np.isfinite(mosaic.image)
    otsu = _otsu(smooth[known]) if known.any() else 0.0
    return max(NOISE_SIGMAS * spread, OTSU_FLOOR * otsu)


def _detect(
    smooth: NDArray[np.float64],
    mosaic: Mosaic,
    threshold: float,
    min_diameter_um: float,
    split: bool,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return generous labels, and the smooth absorption with its dips filled."""
    known = np.isfinite(mosaic.image)
    filled = _fill_dips(smooth)  # internal voids are dips and must not split or shrink anything
    mask = (filled > threshold) & known
    if threshold <= 0 or not mask.any():
        return np.zeros(smooth.shape, dtype=np.int32), filled
    labels = _split(mask, filled) if split else _label_connected(mask)
    labels = _drop_small(labels, filled, threshold, min_diameter_um / mosaic.pixel_um)
    return labels, filled


def _label_connected(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.asarray(label(mask, connectivity=1)).astype(np.int32)


def _fill_dips(height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raise every basin that is closed all round to its lowest rim."""
    if min(height.shape) < 3:
        return height
    seed = height.copy()
    seed[1:-1, 1:-1] = height.max()
    return np.asarray(reconstruction(seed, height, method="erosion"))


def _split(mask: NDArray[np.bool_], filled: NDArray[np.float64]) -> NDArray[np.int32]:
    """Watershed on distance times absorption, from domes that stand out by `SADDLE_RATIO`."""
    # Outside the map is particle: the cut edge of a particle must not pull its centre inwards.
    padded = np.pad(mask, 1, mode="edge")
    distance = np.asarray(ndimage.distance_transform_edt(padded))[1:-1, 1:-1]
    distance = ndimage.gaussian_filter(distance, SMOOTHING_PX)
    # In logarithms a constant height difference is a constant ratio.
    height = np.log(distance + DISTANCE_OFFSET_PX)
    height[mask] += ABSORPTION_POWER * np.log(filled[mask])
    drop = -np.log(SADDLE_RATIO)
    bottom = float(height[mask].min()) - 1.0
    height = np.where(mask, height, bottom)
    domes = height - reconstruction(height - drop, height, method="dilation")
    seeds = np.asarray(label(mask & (domes >= drop - 1e-9), connectivity=2))
    return watershed(-height, seeds, mask=mask).astype(np.int32)


def _drop_small(
    labels: NDArray[np.int32],
    smooth: NDArray[np.float64],
    threshold: float,
    min_diameter_px: float,
) -> NDArray[np.int32]:
    count = int(labels.max())
    area = np.bincount(labels.ravel(), minlength=count + 1)
    peak = np.zeros(count + 1)
    np.maximum.at(peak, labels.ravel(), smooth.ravel())
    keep = (area >= np.pi / 4 * min_diameter_px**2) & (peak >= PEAK_FACTOR * threshold)
    keep[0] = False
    renumber = np.zeros(count + 1, dtype=np.int32)
    renumber[keep] = np.arange(1, int(keep.sum()) + 1)
    return renumber[labels]


def _outline(
    basins: NDArray[np.int32],
    absorption: NDArray[np.float64],
    filled: NDArray[np.float64],
    threshold: float,
) -> NDArray[np.int32]:
    """Shrink generous labels to where a blurred dome of each one's size has its true edge.

    The edge value is a known fraction of the mean absorption, which blur does not change; the
    fraction depends only on radius over blur.
    """
    count = int(basins.max())
    flat = basins.ravel()
    total = np.bincount(flat, weights=absorption.ravel(), minlength=count + 1)
    pixels = np.bincount(flat, minlength=count + 1).astype(float)
    radii, fractions, _ = _blurred_domes()
    outlines = basins
    for _ in range(OUTLINE_ITERATIONS):
        pixels = np.maximum(pixels, 1)
        edge = np.interp(np.sqrt(pixels / np.pi) / BLUR_PX, radii, fractions) * total / pixels
        outlines = np.where(filled > np.maximum(edge, threshold)[basins], basins, 0)
        pixels = np.bincount(outlines.ravel(), minlength=count + 1).astype(float)
    return outlines.astype(np.int32)


@lru_cache(maxsize=1)
def _blurred_domes() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Describe projections of spheres blurred by a Gaussian of sigma 1.

    Returns the radii in sigmas, the value at the true edge over the mean, and the mean of the
    top `TOP_FRACTION` over the diameter.
    """
    step = 0.2
    radii = np.array([0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 6.0, 9.0, 14.0, 25.0])
    edges, tops = [], []
    for radius in radii:
        axis = np.arange(0, radius + 4 + step, step)
        axis = np.concatenate([-axis[:0:-1], axis])
        square = axis[:, None] ** 2 + axis[None, :] ** 2
        dome = 2 * np.sqrt(np.maximum(radius**2 - square, 0))
        blurred = np.asarray(ndimage.gaussian_filter(dome, 1 / step))
        edges.append(np.interp(radius, axis, blurred[len(axis) // 2]) / (4 / 3 * radius))
        inside = np.sort(blurred[square <= radius**2])
        tops.append(inside[-max(1, round(TOP_FRACTION * inside.size)) :].mean() / (2 * radius))
    return radii, np.array(edges), np.array(tops)


def _measure(
    basins: NDArray[np.int32],
    outlines: NDArray[np.int32],
    absorption: NDArray[np.float64],
    smooth: NDArray[np.float64],
    mosaic: Mosaic,
    attenuation_per_um: float | None,
    noise: float,
) -> pd.DataFrame:
    count = int(basins.max())

    def per_particle(
        labels: NDArray[np.int32], weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        flat = None if weights is None else weights.ravel()
        return np.bincount(labels.ravel(), weights=flat, minlength=count + 1)[1:].astype(float)

    index = np.arange(1, count + 1)
    rows = np.broadcast_to(np.arange(basins.shape[0], dtype=float)[:, None], basins.shape)
    columns = np.broadcast_to(np.arange(basins.shape[1], dtype=float), basins.shape)
    pixels = np.maximum(per_particle(outlines), 1)
    total = per_particle(basins, absorption)
    x, y = mosaic.to_um(
        per_particle(outlines, rows) / pixels, per_particle(outlines, columns) / pixels
    )
    pixel_area = mosaic.pixel_um**2
    diameter = np.sqrt(4 / np.pi * pixels * pixel_area)
    overlaps = np.isin(index, _sharing_an_outline(basins))
    table = {
        "particle_id": index,
        "center_x_um": x,
        "center_y_um": y,
        "projected_area_um2": pixels * pixel_area,
        "equivalent_diameter_um": diameter,
        "mean_absorption": per_particle(outlines, absorption) / pixels,
        "touches_border": np.isin(index, _cut_by_the_edge(basins, mosaic)),
    }
    if attenuation_per_um is not None:
        radii, _, tops = _blurred_domes()
        flattened = np.interp(np.sqrt(pixels / np.pi) / BLUR_PX, radii, tops)
        thickness = _thickest(outlines, smooth, count) / flattened / attenuation_per_um
        # What lies outside the outline may be this particle's blur or a neighbour's.
        rim = total - per_particle(outlines, absorption)
        random = np.sqrt(per_particle(basins)) * noise
        table["thickness_max_um"] = thickness
        table["volume_um3"] = total * pixel_area / attenuation_per_um
        background = BACKGROUND_SE * pixels
        share = VOLUME_SE_SHARE * total
        off = np.sqrt(random**2 + (rim / 2) ** 2 + background**2 + share**2)
        table["volume_um3_se"] = off * pixel_area / attenuation_per_um
        overlaps = overlaps | (thickness > STACKED_RATIO * diameter)
    table["overlaps"] = overlaps
    return pd.DataFrame(table)


def _thickest(
    labels: NDArray[np.int32], smooth: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Average the thickest tenth of each particle, which is the maximum without the noise."""
    inside = labels > 0
    owner, value = labels[inside], smooth[inside]
    order = np.lexsort((-value, owner))
    owner, value = owner[order], value[order]
    size = np.bincount(owner, minlength=count + 1)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    rank = np.arange(len(owner)) - start[owner]
    top = rank < np.ceil(TOP_FRACTION * size[owner])
    total = np.bincount(owner[top], weights=value[top], minlength=count + 1)
    number = np.bincount(owner[top], minlength=count + 1)
    return total[1:] / np.maximum(number[1:], 1)


def _sharing_an_outline(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    shared = []
    for first, second in (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
    ):
        touching = (first != second) & (first > 0) & (second > 0)
        shared += [first[touching], second[touching]]
    return np.unique(np.concatenate(shared))


def _cut_by_the_edge(labels: NDArray[np.int32], mosaic: Mosaic) -> NDArray[np.int32]:
    known = np.pad(np.isfinite(mosaic.image), 1)
    edge = np.asarray(ndimage.binary_dilation(~known), dtype=bool)[1:-1, 1:-1]
    return np.unique(labels[edge & (labels > 0)])
