"""Particles by their closed rims: radiographs where absorption alone tells little.

Phase contrast draws a rim around each particle, also where particles lie on top of each other and
no threshold separates them. From a centre, the rim is the closed path r(angle) along which the
picture falls off most steeply outwards, found by dynamic programming in polar coordinates. Centres
are blobs of many sizes; each path found gives a better centre. A path is believed when there is a
rim at nearly every angle, when it is darker than what lies around it, and when it has no rims
inside, as a clump would. What is dark or full of rims but not believed is a heap: not countable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon
from skimage.measure import label
from skimage.morphology import disk

FloatArray = NDArray[np.float64]

ANGLES = 48
RADII = 44
RADIUS_RANGE = (0.4, 1.9)
"""Radii tried, as multiples of the radius of the blob."""
STEEPEST = 2
"""A rim may move by this many radii from one angle to the next ..."""
STEP_COST = 0.2
"""... at this cost each, in units of a rim just believed."""

SMOOTHING_PX = 1.0
BLOB_RATIO = 1.3
BLOB_CONTRAST = 0.010
ROUNDS = 3
SAME = 0.12
"""Centres nearer than this share of the radius, and as similar in size, are one."""

STRONGEST = 2.0
"""Rims stronger than this many times the weakest believed count no more than that."""
MIN_CLOSED = 0.90
"""Share of the angles at which half the weakest rim is found."""
MIN_STRENGTH = 1.6
MIN_CONTRAST = 0.06
MIN_CONTRAST_AROUND = 0.0
"""Darker than the median of the surroundings, and than four fifths of them."""
MAX_INNER_RIMS = 0.24
INNER_RIM = 0.6
"""A clump has gradients of this share of its rim on a quarter of what is inside."""
RIM_WIDTH_PX = 6.0
MAX_COVERED = 0.30
"""Part of a particle that may lie under better ones."""

HEAP_ABSORPTION = 0.06
HEAP_RIMS = 0.02
"""Absorption, and mean gradient per pixel, that say that something is there."""
HEAP_SMOOTHING_PX = 5.0
HEAP_OPENING_PX = 4
HEAP_AREA_PX = 150
IN_HEAP = 0.5
"""A particle with heap along this share of its rim lies in a heap."""


@dataclass(frozen=True)
class ClosedRims:
    """What can be counted, and what cannot.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per particle: `row_px`, `column_px` (centre), `diameter_px` (of the disc of the same
        area), `closed` (share of the angles with a rim), `strength` (mean rim, in units of the
        weakest believed, at most 2), `in_heap` (not to be counted).
    rows_px, columns_px : (particles, angles) array
        The outlines.
    heap : (rows, columns) array of bool
        Where something is that is no particle with a rim of its own.
    """

    table: pd.DataFrame
    rows_px: FloatArray
    columns_px: FloatArray
    heap: NDArray[np.bool_]


def find_closed_rims(
    absorption: NDArray[np.floating],
    *,
    rim_per_px: float = 0.012,
    min_diameter_px: float = 8.0,
    max_diameter_px: float = 110.0,
) -> ClosedRims:
    """Find particles by closed rims.

    Parameters
    ----------
    absorption : (rows, columns) array
        -ln T without steps at seams; NaN where nothing was measured. Rims should be some three
        pixels wide: bin finer maps.
    rim_per_px
        Weakest rim believed: fall of the absorption outwards per pixel, above the texture.
    min_diameter_px, max_diameter_px
        Sizes looked for.

    Returns
    -------
    ClosedRims
        The best rim first.
    """
    known = np.isfinite(absorption)
    ground = float(np.median(absorption[known])) if known.any() else 0.0
    smooth = ndimage.gaussian_filter(np.where(known, absorption, ground), SMOOTHING_PX)
    rims = _closed_paths(smooth, rim_per_px, min_diameter_px, max_diameter_px)
    rims = rims[_believed(rims, smooth, rim_per_px, min_diameter_px, max_diameter_px)]
    chosen, owner = _once_each(rims, smooth.shape, rim_per_px)
    rims = rims[np.array(chosen, dtype=np.intp)]
    heap = _heap(smooth, ground, owner > 0) & known
    around = _sample(heap.astype(float), *rims.scaled(RIM_WIDTH_PX + 1), order=0)
    table = pd.DataFrame(
        {
            "row_px": rims.centre[:, 0],
            "column_px": rims.centre[:, 1],
            "diameter_px": rims.diameter,
            "closed": rims.closed(rim_per_px),
            "strength": rims.strength(rim_per_px),
            "in_heap": around.mean(axis=1) > IN_HEAP,
        }
    )
    return ClosedRims(table, rims.rows, rims.columns, heap)


@dataclass(frozen=True)
class _Paths:
    rows: FloatArray
    columns: FloatArray
    falls: FloatArray  # outward fall of the absorption at each angle

    def __getitem__(self, which: NDArray[np.integer] | NDArray[np.bool_]) -> _Paths:
        return _Paths(self.rows[which], self.columns[which], self.falls[which])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def area(self) -> FloatArray:
        return np.abs(self._cross().sum(axis=1)) / 2

    @property
    def diameter(self) -> FloatArray:
        return np.sqrt(4 / np.pi * self.area)

    @property
    def centre(self) -> FloatArray:
        cross = self._cross()
        total = 3 * cross.sum(axis=1)
        return np.stack(
            [((p + np.roll(p, -1, axis=1)) * cross).sum(axis=1) / total for p in self._both()],
            axis=1,
        )

    def closed(self, rim_per_px: float) -> FloatArray:
        return (self.falls > rim_per_px / 2).mean(axis=1)

    def strength(self, rim_per_px: float) -> FloatArray:
        return np.clip(self.falls / rim_per_px, -1.0, STRONGEST).mean(axis=1)

    def scaled(self, outwards_px: float) -> tuple[FloatArray, FloatArray]:
        """Return the outline moved outwards from its centre."""
        factor = np.maximum(1 + outwards_px / (self.diameter / 2), 0.35)[:, None]
        row, column = self.centre.T[:, :, None]
        return row + (self.rows - row) * factor, column + (self.columns - column) * factor

    def _both(self) -> tuple[FloatArray, FloatArray]:
        return self.rows, self.columns

    def _cross(self) -> FloatArray:
        rows, columns = self._both()
        return columns * np.roll(rows, -1, axis=1) - np.roll(columns, -1, axis=1) * rows


def _closed_paths(smooth: FloatArray, rim: float, smallest: float, largest: float) -> _Paths:
    gradient = [np.gradient(smooth, axis=0), np.gradient(smooth, axis=1)]
    blobs = _blobs(smooth, smallest, largest)
    paths = _paths(gradient, blobs, rim)
    for _ in range(ROUNDS - 1):
        radius = np.clip(paths.diameter / 2, smallest / 2, largest / 2)
        blobs = np.column_stack([paths.centre, radius])
        cell = np.maximum(SAME * radius, 1.0)[:, None]
        key = np.column_stack([paths.centre / cell, np.log(radius) / SAME])
        _, first = np.unique(np.rint(key).astype(int), axis=0, return_index=True)
        paths = _paths(gradient, blobs[first], rim)
    return paths


def _blobs(smooth: FloatArray, smallest: float, largest: float) -> FloatArray:
    """Return (row, column, radius) of what is darker than its surroundings, at many sizes."""
    found = [np.empty((0, 3))]
    sigma = smallest / 2 / np.sqrt(2)
    while sigma <= largest / 2 / np.sqrt(2):
        size = max(1, int(sigma // 4))
        rows, columns = (length // size * size for length in smooth.shape)
        small = smooth[:rows, :columns].reshape(rows // size, size, columns // size, size)
        small = small.mean(axis=(1, 3))
        scale = sigma / size
        response = -(scale**2) * ndimage.gaussian_laplace(small, scale)
        window = 2 * max(1, int(scale * 0.6)) + 1
        peak = response == ndimage.maximum_filter(response, size=window)
        at = (np.argwhere(peak & (response > BLOB_CONTRAST)) + 0.5) * size - 0.5
        found.append(np.column_stack([at, np.full(len(at), sigma * np.sqrt(2))]))
        sigma *= BLOB_RATIO
    return np.vstack(found)


def _paths(gradient: list[FloatArray], blobs: FloatArray, rim: float) -> _Paths:
    """Return the steepest closed path around each blob."""
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    sine, cosine = np.sin(angle), np.cos(angle)
    radii = blobs[:, 2:] * np.linspace(*RADIUS_RANGE, RADII)
    rows = blobs[:, 0, None, None] + radii[:, None, :] * sine[:, None]
    columns = blobs[:, 1, None, None] + radii[:, None, :] * cosine[:, None]
    falls = -_sample(gradient[0], rows, columns) * sine[:, None]
    falls -= _sample(gradient[1], rows, columns) * cosine[:, None]
    # Growing ever slower: the path lies where the rim is steepest, but a strong piece of another
    # rim does not draw it away from where its own is weak.
    gain = np.log2(1 + np.maximum(falls / rim, -0.5))
    # Twice round: the middle turn starts and ends where the path closes.
    total = gain[:, 0].copy()
    back = np.zeros((2 * ANGLES, *total.shape), dtype=np.int8)
    for turn in range(1, 2 * ANGLES):
        choices = np.full((2 * STEEPEST + 1, *total.shape), -np.inf)
        for number, step in enumerate(range(-STEEPEST, STEEPEST + 1)):
            to = slice(max(0, -step), RADII - max(0, step))
            source = slice(max(0, step), RADII - max(0, -step))
            choices[number, :, to] = total[:, source] - STEP_COST * abs(step)
        best = choices.argmax(axis=0)
        back[turn] = best - STEEPEST
        total = np.take_along_axis(choices, best[None], axis=0)[0] + gain[:, turn % ANGLES]
    number, index = np.arange(len(blobs)), total.argmax(axis=1)
    path = np.zeros((len(blobs), 2 * ANGLES), dtype=int)
    for turn in range(2 * ANGLES - 1, -1, -1):
        path[:, turn] = index
        index = np.clip(index + back[turn, number, index], 0, RADII - 1)
    half = ANGLES // 2
    middle = np.concatenate([path[:, ANGLES : ANGLES + half], path[:, half:ANGLES]], axis=1)

    def along(values: FloatArray) -> FloatArray:
        return np.take_along_axis(values, middle[:, :, None], axis=2)[:, :, 0]

    return _Paths(along(rows), along(columns), along(falls))


def _sample(image: FloatArray, rows: FloatArray, columns: FloatArray, order: int = 1) -> FloatArray:
    values = ndimage.map_coordinates(image, [rows, columns], order=order, mode="nearest")
    return np.asarray(values, dtype=np.float64)


def _believed(
    paths: _Paths, smooth: FloatArray, rim: float, smallest: float, largest: float
) -> NDArray[np.intp]:
    """Return which paths go around one particle."""
    size = paths.diameter
    good = (paths.closed(rim) >= MIN_CLOSED) & (paths.strength(rim) >= MIN_STRENGTH)
    candidates = np.flatnonzero(good & (size >= smallest) & (size <= largest))
    some = paths[candidates]
    if not len(some):
        return candidates
    around = _sample(smooth, *some.scaled(RIM_WIDTH_PX - 1))
    inside = np.array(
        [_mean_inside(smooth, *outline) for outline in zip(*some.scaled(-2.0), strict=True)]
    )
    contrast = inside - np.median(around, axis=1)
    contrast_around = inside - np.percentile(around, 80, axis=1)
    steep = _steepness(smooth)
    limits = INNER_RIM * np.median(some.falls, axis=1)
    inner = np.array(
        [
            _mean_inside(steep > limit, *outline)
            for limit, *outline in zip(limits, *some.scaled(-RIM_WIDTH_PX), strict=True)
        ]
    )
    single = (inner <= MAX_INNER_RIMS) | (some.diameter < 20)  # too small to look inside
    return candidates[
        (contrast >= MIN_CONTRAST) & (contrast_around >= MIN_CONTRAST_AROUND) & single
    ]


def _mean_inside(image: NDArray, rows: FloatArray, columns: FloatArray) -> float:
    at = polygon(rows, columns, image.shape)
    return float(image[at].mean()) if len(at[0]) else 0.0


def _once_each(
    paths: _Paths, shape: tuple[int, ...], rim: float
) -> tuple[list[int], NDArray[np.int32]]:
    """Keep the best of those that cover each other, large ones rather than what is in them."""
    score = paths.strength(rim) * paths.closed(rim) * np.log(np.maximum(paths.diameter, 1.0))
    owner = np.zeros(shape, dtype=np.int32)
    chosen: list[int] = []
    sizes = [0]
    for index in np.argsort(-score):
        at = polygon(paths.rows[index], paths.columns[index], shape)
        below = owner[at]
        taken = below > 0
        if not below.size or taken.mean() > MAX_COVERED:
            continue
        ids, counts = np.unique(below[taken], return_counts=True)
        if any(
            count > MAX_COVERED * sizes[other] for other, count in zip(ids, counts, strict=True)
        ):
            continue
        chosen.append(int(index))
        sizes.append(below.size)
        owner[at] = np.where(taken, below, len(chosen))
    return chosen, owner


def _heap(smooth: FloatArray, ground: float, particles: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where something is that is no particle."""
    rims = _dilated(particles, 5)
    steep = np.where(rims, 0.0, _steepness(smooth))
    share = ndimage.gaussian_filter((~rims).astype(float), HEAP_SMOOTHING_PX)
    busy = ndimage.gaussian_filter(steep, HEAP_SMOOTHING_PX) / np.maximum(share, 0.15)
    there = (smooth > ground + HEAP_ABSORPTION) | (busy > HEAP_RIMS)
    there &= ~_dilated(particles, 3)
    shape = disk(HEAP_OPENING_PX)
    there = np.asarray(ndimage.binary_opening(there, shape), dtype=bool)
    padded = ndimage.binary_closing(np.pad(there, 10), shape, iterations=2)
    there = np.asarray(padded, dtype=bool)[10:-10, 10:-10]
    labels = np.asarray(label(there & ~particles, connectivity=1))
    large = np.bincount(labels.ravel()) >= HEAP_AREA_PX
    large[0] = False
    return np.asarray(large[labels], dtype=bool)


def _steepness(smooth: FloatArray) -> FloatArray:
    return np.hypot(np.gradient(smooth, axis=0), np.gradient(smooth, axis=1))


def _dilated(mask: NDArray[np.bool_], iterations: int) -> NDArray[np.bool_]:
    return np.asarray(ndimage.binary_dilation(mask, iterations=iterations), dtype=bool)
