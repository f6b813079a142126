"""Maps without a reference image: their open beam, and tiles joined without a step.

The open beam is found from the tiles themselves: for each pixel of the detector the median over
those tiles that are open *there*, which the median over all tiles is not when half of them are
covered. Each tile has a level of its own besides.

Levels of tiles that are covered all over stay uncertain, and stray light that differs over the
field makes the same object darker in one tile than in the next. So the tiles are joined by their
gradients (Pérez et al., doi:10.1145/882262.882269): the map is the picture whose differences from
pixel to pixel are those of the tiles, which leaves no step where one tile ends.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

OPEN_ROUNDS = 5
"""Which tiles are open where, and the open beam, depend on each other; five rounds settle."""

OPEN_TOLERANCE = 0.06
"""A pixel within this (in -ln T) of the open beam may be open ..."""
OPEN_SHARE = 0.6
OPEN_WINDOW_PX = 9
"""... if this share of the pixels in a window around it is so too."""

SMOOTHING_PX = 2.0
"""Gaussian sigma before that comparison."""

DARK_SHARE = 0.4
"""Pixels below this share of the median in every tile never see the beam (corners behind an
aperture)."""

LEVEL_BINS = 200
LEVEL_RANGE = (-0.8, 0.4)
LEVEL_SMOOTHING_BINS = 2.0
LEVEL_PEAK = 0.35
"""The open beam of a tile is its brightest peak of the histogram that is at least this share as
high as the highest."""

ANCHOR_PX = 400.0
"""Structures larger than this keep the grey levels of the tiles, smaller ones their gradients."""


def divide_by_open_beam(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn counts without a reference image into transmission.

    Parameters
    ----------
    counts : (n, rows, columns) array
        The tiles.

    Returns
    -------
    (n, rows, columns) array
        Transmission; NaN where a pixel never sees the beam.
    """
    dark = counts.max(axis=0) < DARK_SHARE * np.median(counts)
    logs = np.log(np.maximum(counts, np.finfo(np.float32).tiny))
    pattern = np.median(logs, axis=0)
    for number in range(OPEN_ROUNDS):
        above = logs - pattern
        above -= np.array([_open_level(tile[~dark]) for tile in above])[:, None, None]
        # At first all tiles, now without their levels, which a plain median mixes up.
        covered = np.stack([~_open(tile) for tile in above]) & (number > 0)
        step = np.ma.median(np.ma.masked_where(covered, above), axis=0)
        pattern = pattern + np.ma.filled(step, 0.0)
    above = logs - pattern
    above -= np.array([_open_level(tile[~dark]) for tile in above])[:, None, None]
    transmission = np.exp(above).astype(np.float32)
    transmission[:, dark] = np.nan
    return transmission


def _open(above: NDArray[np.floating]) -> NDArray[np.bool_]:
    near = np.abs(ndimage.gaussian_filter(above, SMOOTHING_PX)) < OPEN_TOLERANCE
    share = ndimage.uniform_filter(near.astype(np.float32), OPEN_WINDOW_PX)
    return np.asarray(share > OPEN_SHARE)


def _open_level(values: NDArray[np.floating]) -> float:
    counts, edges = np.histogram(values, bins=LEVEL_BINS, range=LEVEL_RANGE)
    smooth = ndimage.gaussian_filter1d(counts.astype(float), LEVEL_SMOOTHING_BINS)
    peaks = (smooth == ndimage.maximum_filter1d(smooth, 7)) & (smooth > LEVEL_PEAK * smooth.max())
    if not peaks.any():
        return float(np.median(values))
    brightest = int(np.flatnonzero(peaks)[-1])
    return float((edges[brightest] + edges[brightest + 1]) / 2)


def join_by_gradients(
    tiles: NDArray[np.floating],
    rows_at: NDArray[np.integer],
    columns_at: NDArray[np.integer],
    weights: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Return the map whose pixel-to-pixel differences are those of the tiles.

    Parameters
    ----------
    tiles : (n, rows, columns) array
        Additive quantities: absorption, or the logarithm of transmission. NaN where unknown.
    rows_at, columns_at : (n,) array of int
        Where the first pixel of each tile lies in the map.
    weights : (rows, columns) array
        How much a pixel of a tile counts where tiles overlap.

    Returns
    -------
    (map rows, map columns) array
        NaN where no tile looked.
    """
    rows, columns = tiles.shape[1:]
    shape = (int(rows_at.max()) + rows, int(columns_at.max()) + columns)
    # Sums and weights of: the level, its difference down, its difference to the right.
    sums, shares = np.zeros((3, *shape)), np.zeros((3, *shape))
    for tile, top, left in zip(tiles, rows_at, columns_at, strict=True):
        window = np.s_[top : top + rows, left : left + columns]
        known = np.isfinite(tile)
        values = np.where(known, tile, 0.0)
        parts = [(values, known)]
        for axis in (0, 1):
            step = np.diff(values, axis=axis, append=0.0)
            both = known & np.roll(known, -1, axis=axis)
            both[(-1, slice(None)) if axis == 0 else (slice(None), -1)] = False
            parts.append((step, both))
        for total, share, (values, valid) in zip(sums, shares, parts, strict=True):
            total[window] += np.where(valid, values * weights, 0.0)
            share[window] += valid * weights
    level, down, right = np.divide(sums, shares, out=np.zeros_like(sums), where=shares > 0)
    divergence = np.diff(down, axis=0, prepend=0.0) + np.diff(right, axis=1, prepend=0.0)
    # Least squares: |grad u - g|^2 + |u - level|^2 / ANCHOR^2, which cosines solve at once.
    anchor = 1 / ANCHOR_PX**2
    frequencies = [2 * np.cos(np.pi * np.arange(length) / length) - 2 for length in shape]
    laplacian = frequencies[0][:, None] + frequencies[1][None, :]
    spectrum = fft.dctn(divergence - anchor * level, norm="ortho") / (laplacian - anchor)
    joined = np.asarray(fft.idctn(spectrum, norm="ortho"))
    return np.where(shares[0] > 0, joined, np.nan).astype(np.float32)
