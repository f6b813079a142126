"""Tile positions from the overlaps of neighbouring pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import spsolve

MIN_OVERLAP_PX = 8
"""Narrower overlaps hold too little structure to be matched safely."""

MIN_CORRELATION = 0.4
"""Matches below this correlation are not believed; unrelated strips of powder reach 0.3."""

HIGH_PASS_PX = 8.0
"""Gaussian sigma of the background removed before matching: illumination must not match."""

SMOOTHING_PX = 1.0
"""Gaussian sigma of the pixel noise removed before matching."""

CALIBRATION_LINKS = 6
"""Matches needed to find out that steps of the stage are not what it says: six numbers would
describe any four of them, and some matches are wrong."""

CALIBRATION_PX = 2.0
"""A calibration that moves no tile against its neighbour by more than this changes nothing."""

CALIBRATED_SEARCH = 0.05
"""Search radius once the steps are known, as a fraction of the tile: what one step differs from
the next."""

LINK_SIGMA_PX = 0.25
"""Typical error of one accepted match, against which the stage's own error is weighed."""

OUTLIER_PX = 2.5
"""A match further than this (ten standard deviations) from the others contradicts them; less
may be a true match of an overlap that shows little."""

ROBUST_ITERATIONS = 15
"""Reweightings; the answer no longer changes after about ten."""


@dataclass(frozen=True)
class Registration:
    """Positions found and how.

    Attributes
    ----------
    positions_um : (n, 2) array
        (x, y) of the tile centres.
    tied : (n,) array of bool
        Tiles with at least one accepted match.
    pairs, links, dropped
        Neighbours that overlap enough, matches used, matches dropped as contradictory.
    rms_px
        Root mean square mismatch of the used matches after the global solution.
    loops
        Matches beyond those that tie the tiles together: what the mismatch is measured on.
    step_scale
        True steps over those that the stage states, along x and y; 1 unless the pictures show
        otherwise.
    """

    positions_um: NDArray[np.float64]
    tied: NDArray[np.bool_]
    pairs: int
    links: int
    dropped: int
    rms_px: float
    loops: int = 0
    step_scale: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class _Link:
    first: int
    second: int
    shift_px: tuple[float, float]  # (rows down, columns right) of second against first
    weight: float  # information of the match, relative to others


def register_tiles(
    tiles: NDArray[np.float32],
    positions_um: NDArray[np.float64],
    pixel_um: float,
    max_shift_um: float,
) -> Registration:
    """Refine stage positions from the overlaps.

    Parameters
    ----------
    tiles : (n, rows, columns) array
        The pictures.
    positions_um : (n, 2) array
        (x, y) from the stage.
    pixel_um
        Pixel size.
    max_shift_um
        Largest error of the stage between two neighbours.
    """
    # From the specimen frame (x right, y up) to pixels (rows down, columns right).
    nominal = np.stack([-positions_um[:, 1], positions_um[:, 0]], axis=1) / pixel_um
    pairs = _neighbours(nominal, tiles.shape[1:])
    if not pairs:
        return Registration(positions_um.copy(), np.zeros(len(tiles), dtype=bool), 0, 0, 0, 0.0)
    sharp = np.stack([_band_pass(tile) for tile in tiles])
    search_px = max_shift_um / pixel_um
    links = _links(sharp, nominal, pairs, search_px)
    found, used, rms = _solve(nominal, links, search_px)
    scale = (1.0, 1.0)
    steps = _calibration(nominal, links)
    if steps is not None:
        # The stage does not make the steps it states: look again, near where they really end.
        scale = float(steps[1, 1]), float(steps[0, 0])
        nominal = nominal @ steps.T
        search_px = min(search_px, CALIBRATED_SEARCH * max(tiles.shape[1:]))
        links = _links(sharp, nominal, pairs, search_px)
        found, used, rms = _solve(nominal, links, search_px)
    tied = np.zeros(len(tiles), dtype=bool)
    for link in used:
        tied[[link.first, link.second]] = True
    positions = np.stack([found[:, 1], -found[:, 0]], axis=1) * pixel_um
    dropped = len(links) - len(used)
    loops = _loops(len(tiles), used)
    return Registration(positions, tied, len(pairs), len(used), dropped, rms, loops, scale)


def _links(
    sharp: NDArray[np.float32],
    nominal: NDArray[np.float64],
    pairs: list[tuple[int, int]],
    search_px: float,
) -> list[_Link]:
    links: list[_Link] = []
    for first, second in pairs:
        match = _match(sharp[first], sharp[second], nominal[second] - nominal[first], search_px)
        if match is not None:
            links.append(_Link(first, second, *match))
    return links


def _calibration(nominal: NDArray[np.float64], links: list[_Link]) -> NDArray[np.float64] | None:
    """Return the matrix from stated to true steps, or None if they agree or nobody can tell.

    Least absolute residuals (by reweighting), so that wrong matches do not decide.
    """
    if len(links) < CALIBRATION_LINKS:
        return None
    stated = np.array([nominal[link.second] - nominal[link.first] for link in links])
    measured = np.array([link.shift_px for link in links])
    if np.linalg.matrix_rank(stated, tol=1.0) < 2:
        return None
    quality = np.array([link.weight for link in links])
    weights = quality
    steps = np.eye(2)
    for _ in range(ROBUST_ITERATIONS):
        root = np.sqrt(weights)[:, None]
        steps = np.linalg.lstsq(stated * root, measured * root, rcond=None)[0].T
        residual = np.hypot(*(stated @ steps.T - measured).T)
        weights = quality / np.maximum(residual, LINK_SIGMA_PX)
    moved = np.hypot(*(stated @ steps.T - stated).T)
    return steps if float(moved.max()) > CALIBRATION_PX else None


def _loops(count: int, links: list[_Link]) -> int:
    """Return how many links close a loop: links less those of a spanning forest."""
    if not links:
        return 0
    ends = np.array([(link.first, link.second) for link in links]).T
    graph = sparse.coo_matrix((np.ones(len(links)), tuple(ends)), shape=(count, count))
    parts = int(csgraph.connected_components(graph, directed=False)[0])
    return len(links) - (count - parts)


def _neighbours(nominal: NDArray[np.float64], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs that share an edge strip: enough overlap across, at least half a tile along."""
    offset = np.abs(nominal[None] - nominal[:, None])
    overlap = np.asarray(shape) - offset
    half = np.asarray(shape) / 2
    side_by_side = (overlap >= MIN_OVERLAP_PX).all(axis=2) & (overlap >= half).any(axis=2)
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(side_by_side, 1))]


def _band_pass(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leave what is larger than the noise and smaller than the illumination."""
    filled = np.where(np.isfinite(tile), tile, np.float32(np.nanmedian(tile)))
    smooth = np.asarray(ndimage.gaussian_filter(filled, HIGH_PASS_PX, mode="nearest"))
    quiet = np.asarray(ndimage.gaussian_filter(filled, SMOOTHING_PX, mode="nearest"))
    return (quiet - smooth).astype(np.float32)


def _match(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    offset_px: NDArray[np.float64],
    search_px: float,
) -> tuple[tuple[float, float], float] | None:
    """Find where `second` lies relative to `first`, near `offset_px`, and how sure that is.

    None if no place stands out.
    """
    crops, starts = [], []
    for image, sign in ((first, 1), (second, -1)):
        low = np.floor(sign * offset_px - search_px).astype(int)
        high = np.ceil(sign * offset_px + search_px).astype(int) + image.shape
        low, high = np.maximum(low, 0), np.minimum(high, image.shape)
        crops.append(image[low[0] : high[0], low[1] : high[1]])
        starts.append(low)
    score, overlap = _correlation(*crops)
    # Axis values: offset of second against first for each element of the score.
    base = starts[0] - starts[1]
    rows = base[0] + np.arange(-crops[1].shape[0] + 1, crops[0].shape[0])
    columns = base[1] + np.arange(-crops[1].shape[1] + 1, crops[0].shape[1])
    near = (np.abs(rows - offset_px[0]) <= search_px)[:, None] & (
        np.abs(columns - offset_px[1]) <= search_px
    )[None, :]
    allowed = near & (overlap >= MIN_OVERLAP_PX)
    # Chance correlations are larger in narrow overlaps, as 1 / sqrt(width): rank without them.
    rank = np.where(allowed, score * np.sqrt(overlap), -np.inf)
    score = np.where(allowed, score, -np.inf)
    row, column = np.unravel_index(int(np.argmax(rank)), rank.shape)
    best = float(score[row, column])
    if not best >= MIN_CORRELATION:
        return None
    shift = (
        float(rows[row] + _vertex(score[row - 1 : row + 2, column])),
        float(columns[column] + _vertex(score[row, column - 1 : column + 2])),
    )
    # Signal over noise power in the overlap, times its width: the information on a shift.
    return shift, best**2 / max(1 - best**2, 0.01) * float(overlap[row, column])


def _correlation(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normalised cross-correlation at every shift, and the shorter side of each overlap.

    Element [i, j] belongs to `second` shifted by (i - (rows2 - 1), j - (columns2 - 1)).
    """
    full = [a + b - 1 for a, b in zip(first.shape, second.shape, strict=True)]
    size = [fft.next_fast_len(n, real=True) for n in full]

    def transform(image: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        return np.asarray(fft.rfft2(image.astype(np.float64), size))

    def back(product: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        return np.asarray(fft.irfft2(product, size))[: full[0], : full[1]]

    flipped = second[::-1, ::-1]
    one_first, one_second = transform(np.ones_like(first)), transform(np.ones_like(second))
    a, b = transform(first), transform(flipped)
    count = np.maximum(np.rint(back(one_first * one_second)), 1)
    sum_a, sum_b = back(a * one_second), back(one_first * b)
    var_a = back(transform(first**2) * one_second) - sum_a**2 / count
    var_b = back(one_first * transform(flipped**2)) - sum_b**2 / count
    scale = np.sqrt(np.maximum(var_a, 0) * np.maximum(var_b, 0))
    floor = 1e-9 * max(float(scale.max()), np.finfo(float).tiny)
    score = np.where(scale > floor, (back(a * b) - sum_a * sum_b / count) / (scale + floor), 0)
    sides = [
        np.minimum.reduce([np.arange(1, n + 1), np.arange(n, 0, -1), np.full(n, min(p, q))])
        for n, p, q in zip(full, first.shape, second.shape, strict=True)
    ]
    return score, np.minimum(sides[0][:, None], sides[1][None, :]).astype(float)


def _vertex(three: NDArray[np.float64]) -> float:
    """Sub-pixel position of the maximum of a parabola through three samples."""
    if three.size != 3 or not np.isfinite(three).all():
        return 0.0
    curvature = three[0] - 2 * three[1] + three[2]
    return float(0.5 * (three[0] - three[2]) / curvature) if curvature < 0 else 0.0


def _solve(
    nominal: NDArray[np.float64], links: list[_Link], search_px: float
) -> tuple[NDArray[np.float64], list[_Link], float]:
    """Least squares over all tiles, without the links that contradict the others.

    The contradictory ones show in the solution of least absolute residuals (by reweighting),
    which the majority decides; in least squares they would bend their neighbours.
    """
    quality = np.array([link.weight for link in links])
    quality = np.minimum(quality / np.median(quality), 1.0) if len(links) else quality
    weights = quality
    for _ in range(ROBUST_ITERATIONS):
        _, residual = _least_squares(nominal, links, weights, search_px)
        weights = quality * LINK_SIGMA_PX / np.maximum(residual, LINK_SIGMA_PX)
    _, residual = _least_squares(nominal, links, weights, search_px)
    good = residual <= OUTLIER_PX
    used = [link for link, keep in zip(links, good, strict=True) if keep]
    found, residual = _least_squares(nominal, used, quality[good], search_px)
    return found, used, float(np.sqrt(np.mean(residual**2))) if used else 0.0


def _least_squares(
    nominal: NDArray[np.float64],
    links: list[_Link],
    weights: NDArray[np.float64],
    search_px: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions, and how far each link is from them."""
    if not links:
        return nominal.copy(), np.empty(0)
    # The stage is believed to within its search radius (taken as two standard deviations).
    anchor = (LINK_SIGMA_PX / (search_px / 2)) ** 2
    count, number = len(nominal), np.arange(len(links))
    first = np.array([link.first for link in links])
    second = np.array([link.second for link in links])
    signs = np.concatenate([-np.ones(len(links)), np.ones(len(links))])
    places = (np.concatenate([number, number]), np.concatenate([first, second]))
    difference = sparse.csc_matrix((signs, places), shape=(len(links), count))
    measured = np.array([link.shift_px for link in links])
    weighted = difference.T @ sparse.diags(weights)
    normal = sparse.csc_matrix(weighted @ difference + anchor * sparse.identity(count))
    found = np.asarray(spsolve(normal, weighted @ measured + anchor * nominal), dtype=np.float64)
    found = found.reshape(count, 2)
    return found, np.hypot(*(difference @ found - measured).T)
