"""Grey levels of the two phases, and the threshold between them.

The histogram of a monolayer is badly unbalanced: particles fill 3 to 10 % of the volume, an empty
region none of it. A plain Otsu threshold then drifts into the noise of the larger phase. So the
two phases are looked for in space first (a smoothed mask, its core, its surroundings), and Otsu's
criterion decides only about voxels near material.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from .morphology import dilate, erode

ThresholdMethod = Literal["otsu", "half-contrast"]

HISTOGRAM_BINS = 1024
MINIMUM_CORE_VOXELS = 27
"""Fewer voxels than a 3 x 3 x 3 block say nothing about a phase."""
MINIMUM_CONTRAST_TO_NOISE = 2.0
"""Two halves of one noise distribution are 1.6 standard deviations apart, phases further."""
MINIMUM_EDGE_SHARE = 0.4
"""Share of the contrast that must be crossed within about four voxels of the boundary.

A smooth gradient (cupping, an empty field) crosses a few per cent, a blurred particle over 60 %.
"""
OTSU_SEARCH_RANGE = (0.2, 0.8)
"""Range of the search for Otsu's threshold, as a share of the contrast between the phases."""
CLEAR_OF_NOISE = 2.2
"""Standard deviations of the background below which the threshold does not go (half contrast
permitting): 1.4 % of the voxels of pure noise lie above, too few to join into specks."""
OTSU_ITERATIONS = 50
OTSU_TOLERANCE = 1e-4
LIGHTER_SOLID_SHARE = 0.1
"""A solid of less than this share of the next denser one's contrast is support (tape: 0.07 of
NMC), unless the caller says what contrast a particle has at least."""
LIGHTER_SOLIDS = 2
DENSE_MARGIN_VOXELS = 3
"""The blurred edge of a dense grain passes through every lighter grey level."""
MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
REFINEMENTS = 6
REFINED = 0.02
"""Steps of the half-contrast level, as a share of the contrast, that end its refinement."""
SUM_BLOCK = 2**20
"""Voxels that are summed at a time."""
LEVEL_SAMPLE = 100_000
"""Voxels that a median is taken over: its standard error is then 0.4 % of the noise."""


@dataclass(frozen=True)
class Phases:
    """Grey levels of background and solid, in the unit of the volume (1/um).

    Attributes
    ----------
    background_level, solid_level
        Median grey value away from the particles, and in their cores.
    background_noise, solid_noise
        Robust standard deviation of the same voxels.
    otsu
        Otsu's threshold, searched between the two levels.
    separability
        Otsu's between-class variance over the total variance, 0 to 1; low values foretell a
        binarisation that depends on the threshold (doi:10.1039/C7SE00498B).
    """

    background_level: float
    background_noise: float
    solid_level: float
    solid_noise: float
    otsu: float
    separability: float

    @property
    def contrast(self) -> float:
        """Solid minus background level."""
        return self.solid_level - self.background_level

    @property
    def half_contrast(self) -> float:
        """Grey value half-way between the two levels."""
        return 0.5 * (self.solid_level + self.background_level)


def find_phases(
    volume: NDArray[np.float32],
    field: NDArray[np.bool_],
    *,
    minimum_contrast: float = 0.0,
) -> Phases | None:
    """Find the grey levels of background and solid.

    Of several solids, as with metal in a powder, it is the lightest: the threshold has to let all
    of them in.

    Parameters
    ----------
    volume : (rows, depth, columns) array
        Attenuation, finite inside the field.
    field : (rows, depth, columns) array of bool
        Voxels that count.
    minimum_contrast : float, optional
        Contrasts below this are no particles (a support tape, for example), in the volume's unit.

    Returns
    -------
    Phases or None
        None when there is only one phase: a flat, empty or noise-only volume.
    """
    inside = volume[field]
    if (
        inside.size < 2 * MINIMUM_CORE_VOXELS
        or np.ptp(inside) <= np.finfo(np.float32).eps * np.abs(inside).max()
    ):
        return None
    # Smoothing serves only to tell where the phases are; levels are read from the raw values.
    outside = np.float32(np.median(inside))
    del inside  # large volumes: what is not needed any more makes room
    smooth = np.where(field, volume, outside)
    ndimage.uniform_filter(smooth, 3, output=smooth)
    phases = _phases_around(volume, smooth, field, _otsu(smooth[field]))
    if phases is None or phases.contrast < minimum_contrast:
        return None
    return _without_dense(volume, smooth, field, phases, minimum_contrast)


def phases_at(
    volume: NDArray[np.float32], field: NDArray[np.bool_], threshold: float
) -> Phases | None:
    """Grey levels on either side of a threshold that somebody chose; None if one side is empty."""
    inside = volume[field]
    above, below = inside[inside > threshold], inside[inside <= threshold]
    if above.size == 0 or below.size == 0:
        return None
    (background, background_noise), (solid, solid_noise) = _level(below), _level(above)
    if not solid > background:
        return None
    otsu, separability = _otsu_of_classes(inside, inside[:0], background, solid, background)
    return Phases(background, background_noise, solid, solid_noise, otsu, separability)


def _phases_around(
    volume: NDArray[np.float32],
    smooth: NDArray[np.float32],
    field: NDArray[np.bool_],
    threshold: float,
) -> Phases | None:
    mask = core = away = field
    background = background_noise = solid = solid_noise = 0.0
    for _ in range(REFINEMENTS):
        mask = field & (smooth > threshold)
        if mask.sum() < MINIMUM_CORE_VOXELS:
            return None
        core = erode(mask)
        if core.sum() < MINIMUM_CORE_VOXELS:
            core = mask
        away = field & ~dilate(mask, 2)
        if away.sum() < MINIMUM_CORE_VOXELS:
            away = field & ~mask
        if not away.any():
            return None
        background, background_noise = _level(volume[away])
        solid, solid_noise = _level(volume[core])
        previous, threshold = threshold, 0.5 * (background + solid)
        if abs(threshold - previous) < REFINED * (solid - background):
            break
    contrast = solid - background
    noise = np.hypot(background_noise, solid_noise) / np.sqrt(2.0)
    if contrast <= 0 or contrast < MINIMUM_CONTRAST_TO_NOISE * noise:
        return None
    if _edge_share(volume, mask, field, contrast) < MINIMUM_EDGE_SHARE:
        return None
    close = dilate(mask) & field
    lowest = background + min(CLEAR_OF_NOISE * background_noise, 0.5 * contrast)
    otsu, separability = _otsu_of_classes(
        volume[close], volume[field & ~close], background, solid, lowest
    )
    return Phases(background, background_noise, solid, solid_noise, otsu, separability)


def _without_dense(
    volume: NDArray[np.float32],
    smooth: NDArray[np.float32],
    field: NDArray[np.bool_],
    phases: Phases,
    minimum_contrast: float,
) -> Phases:
    """Look for a lighter solid where the one found is not: metal in a powder, or a dense grain."""
    for _ in range(LIGHTER_SOLIDS):
        least = minimum_contrast if minimum_contrast > 0 else LIGHTER_SOLID_SHARE * phases.contrast
        rest = field & ~dilate(smooth > phases.half_contrast, DENSE_MARGIN_VOXELS)
        seen = smooth[rest]
        if seen.size < MINIMUM_CORE_VOXELS or np.ptp(seen) < least:
            break
        start = _otsu(seen)
        if seen[seen > start].mean() - seen[seen <= start].mean() < least:
            break
        lighter = _phases_around(volume, smooth, rest, start)
        if lighter is None or lighter.contrast < least:
            break
        phases = lighter
    return phases


def _level(values: NDArray[np.float32]) -> tuple[float, float]:
    values = values[:: max(values.size // LEVEL_SAMPLE, 1)]
    middle = float(np.median(values))
    return middle, MAD_TO_SD * float(np.median(np.abs(values - middle)))


def _otsu(values: NDArray[np.float32]) -> float:
    if not values.max() > values.min():
        return float(values.max())
    counts, edges = np.histogram(values, bins=HISTOGRAM_BINS)
    return float(threshold_otsu(hist=(counts, 0.5 * (edges[1:] + edges[:-1]))))


def _edge_share(
    volume: NDArray[np.float32],
    mask: NDArray[np.bool_],
    field: NDArray[np.bool_],
    contrast: float,
) -> float:
    """How much of the contrast is crossed between two voxels inside and two outside the mask."""
    rest = field & ~mask  # not the border of the field, where nothing is crossed
    inner = dilate(rest)
    inner = dilate(inner) & ~inner & mask
    outer = dilate(mask)
    outer = dilate(outer) & ~outer & field
    if not inner.any():
        inner = mask
    if not outer.any():
        return 1.0  # the solid fills the field: nothing to compare with
    return float(volume[inner].mean() - volume[outer].mean()) / contrast


def _otsu_of_classes(
    near: NDArray[np.float32],
    away: NDArray[np.float32],
    background: float,
    solid: float,
    lowest: float,
) -> tuple[float, float]:
    """Otsu's threshold and its separability, with voxels far from material as background.

    Otsu's optimum lies half-way between the means of the two classes (Ridler and Calvard 1978,
    doi:10.1109/TSMC.1978.4310039). It is looked for from half contrast on. Counting the noise far
    from any particle as background keeps it from running away when the solid is rare.
    """
    threshold = 0.5 * (background + solid)
    bottom, highest = (background + share * (solid - background) for share in OTSU_SEARCH_RANGE)
    lowest = max(lowest, bottom)
    away_sum = float(away.sum(dtype=np.float64))
    ordered = np.sort(near).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    size = ordered.size + away.size
    low_count, low, high = float(size), background, solid
    for _ in range(OTSU_ITERATIONS):
        below = int(np.searchsorted(ordered, threshold, side="right"))
        low_count = float(below + away.size)
        if low_count == 0 or below == ordered.size:
            break
        low = (sums[below] + away_sum) / low_count
        high = (sums[-1] - sums[below]) / (ordered.size - below)
        following = float(np.clip(0.5 * (low + high), lowest, highest))
        if abs(following - threshold) < OTSU_TOLERANCE * (solid - background):
            break
        threshold = following
    share = low_count / size
    mean = (sums[-1] + away_sum) / size
    variance = (_squares(ordered, mean) + _squares(away, mean)) / size
    between = share * (1 - share) * (high - low) ** 2
    return threshold, min(between / variance, 1.0) if variance > 0 else 0.0


def _squares(values: NDArray[np.floating[Any]], mean: float) -> float:
    """Sum of squared distances from a value, without another array of that size."""
    blocks = range(0, values.size, SUM_BLOCK)
    return sum(
        float(np.square(values[start : start + SUM_BLOCK] - mean, dtype=np.float64).sum())
        for start in blocks
    )
