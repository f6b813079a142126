"""Stitching of radiograph tiles into one map in the specimen frame.

Stage positions place the tiles; where neighbours overlap enough, the pictures themselves
refine them: normalised cross-correlation of each overlap (Lewis 1995; masked form Padfield,
doi:10.1109/TIP.2011.2181402) gives pairwise shifts with a quality, and one least-squares
solution over all tiles reconciles them (as in Preibisch et al.,
doi:10.1093/bioinformatics/btp184), with links that contradict the rest dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .mosaic_registration import MIN_OVERLAP_PX, Registration, register_tiles
from .mosaic_seams import divide_by_open_beam, join_by_gradients

FloatArray = NDArray[np.floating]

DEFAULT_SEARCH_FRACTION = 0.05
"""Search radius around the stage position as a fraction of the tile, when none is given."""

GAP_PX = 2
"""Seams up to this wide, left by stage errors between abutting tiles, are interpolated."""

MAX_INTENSITY_STEP = 0.2
"""Largest tile-to-tile step treated as beam drift; a larger one is another problem."""

MIN_BACKGROUND_FRACTION = 0.15
"""A tile's open-beam level is trusted when at least this share of its pixels is close to it."""

LOWEST_TRANSMISSION = 1e-3
"""Darker pixels read as this, so that the logarithm stays finite."""

MODE_BINS = 128
MODE_SMOOTHING_BINS = 2.0
NORMAL_MAD = 1.4826
"""Median absolute deviation to standard deviation of a normal distribution."""


@dataclass(frozen=True)
class Mosaic:
    """A stitched map.

    Attributes
    ----------
    image : (rows, columns) array of float32
        The map; row 0 is the top (largest y), columns grow with x. NaN where no tile looked.
    pixel_um
        Pixel size.
    center_um
        (x, y) of the image centre in the specimen frame.
    positions_um : (n, 2) array
        (x, y) found for each tile centre, before rounding to whole pixels.
    stage_positions_um : (n, 2) array
        (x, y) the stage reported.
    tile_shape
        (rows, columns) of one tile.
    coverage : (rows, columns) array of bool
        Pixels some tile looked at.
    area_um2
        Area of the union of the tile fields.
    transmission
        True when the image is transmission, False when it is absorption (-ln T).
    registered_tiles : (n,) array of bool
        Tiles tied to a neighbour by their pictures; the others lie where the stage said.
    intensity_correction : (n,) array
        Factor (transmission) or offset (absorption) applied to each tile against beam drift.
    notes
        What a reader must know about the stitching, in words.
    """

    image: NDArray[np.float32]
    pixel_um: float
    center_um: tuple[float, float]
    positions_um: NDArray[np.float64]
    stage_positions_um: NDArray[np.float64]
    tile_shape: tuple[int, int]
    coverage: NDArray[np.bool_]
    area_um2: float
    transmission: bool
    registered_tiles: NDArray[np.bool_]
    intensity_correction: NDArray[np.float64]
    notes: tuple[str, ...] = field(default=())

    @property
    def registered(self) -> bool:
        """Whether the pictures tied every tile to a neighbour."""
        return bool(self.registered_tiles.all())

    @property
    def extent_um(self) -> tuple[float, float, float, float]:
        """Outer edges (left, right, bottom, top), as matplotlib's ``extent`` wants them."""
        rows, columns = self.image.shape
        half_width, half_height = columns / 2 * self.pixel_um, rows / 2 * self.pixel_um
        x, y = self.center_um
        return x - half_width, x + half_width, y - half_height, y + half_height

    @overload
    def to_um(self, row: float, column: float) -> tuple[float, float]: ...
    @overload
    def to_um(self, row: FloatArray, column: FloatArray) -> tuple[FloatArray, FloatArray]: ...
    def to_um(self, row, column):  # pyright: ignore[reportInconsistentOverload]
        """Return (x, y) in micrometres of a pixel position.

        Examples
        --------
        >>> import numpy as np
        >>> m = stitch(np.ones((1, 4, 6)), [(10.0, 20.0)], 0.5)
        >>> m.to_um(0, 0), m.to_pixel(10.0, 20.0)
        ((8.75, 20.75), (1.5, 2.5))
        """
        rows, columns = self.image.shape
        x = self.center_um[0] + (column - (columns - 1) / 2) * self.pixel_um
        y = self.center_um[1] + ((rows - 1) / 2 - row) * self.pixel_um
        return x, y

    @overload
    def to_pixel(self, x: float, y: float) -> tuple[float, float]: ...
    @overload
    def to_pixel(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]: ...
    def to_pixel(self, x, y):  # pyright: ignore[reportInconsistentOverload]
        """Return the fractional (row, column) of a point given in micrometres."""
        rows, columns = self.image.shape
        column = (x - self.center_um[0]) / self.pixel_um + (columns - 1) / 2
        row = (rows - 1) / 2 - (y - self.center_um[1]) / self.pixel_um
        return row, column


def stitch(
    tiles: ArrayLike,
    positions_um: ArrayLike,
    pixel_um: float,
    *,
    transmission: bool = True,
    register: bool = True,
    max_shift_um: float | None = None,
    equalize: bool = True,
    self_flat: bool = False,
    seamless: bool = False,
) -> Mosaic:
    """Stitch tiles into one map.

    Parameters
    ----------
    tiles : (n, rows, columns) array
        Normalised transmission (or absorption, or raw counts), upright: row 0 at the largest y.
    positions_um : (n, 2) array
        (x, y) of each tile centre in the specimen frame.
    pixel_um
        Pixel size in the specimen plane.
    transmission
        True for transmission or counts (drift is a factor), False for absorption (an offset).
    register
        Refine the positions from the overlaps of neighbours. Tiles that overlap by fewer than
        8 pixels, or whose overlap shows nothing, keep their stage positions.
    max_shift_um
        How far from the stage position to look; 5 % of the tile by default.
    equalize
        Bring the open-beam levels of the tiles to their common median.
    self_flat
        Find the open beam from the tiles first: for maps stored as counts without a reference
        image, whose fixed pattern would otherwise match itself.
    seamless
        Join the tiles by their gradients, so that no grey step is left at a seam: for looking
        and for outlines. Grey levels far from open beam are then no measured absorption.

    Returns
    -------
    Mosaic
        Tiles are placed on whole pixels (at most half a pixel from `positions_um`) so that
        the noise stays as measured, and blended linearly where they overlap.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a position or the pixel size is not a usable number.
    """
    stack = np.asarray(tiles, dtype=np.float32)
    stage = np.asarray(positions_um, dtype=np.float64)
    _check(stack, stage, pixel_um)
    notes: list[str] = []
    if self_flat:
        stack = _divide_by_reference_found(stack, transmission)
        notes.append("No reference image: the tiles where they are open stand in for it.")
    correction = np.full(len(stack), 1.0 if transmission else 0.0)
    if equalize and len(stack) > 1:
        correction, note = _intensity_correction(stack, transmission)
        notes += note
        shaped = correction[:, None, None].astype(np.float32)
        stack = stack * shaped if transmission else stack + shaped

    if register and len(stack) > 1:
        radius_um = max_shift_um or DEFAULT_SEARCH_FRACTION * max(stack.shape[1:]) * pixel_um
        found = register_tiles(stack, stage, pixel_um, radius_um)
        notes.append(_registration_note(found, len(stack), pixel_um))
    else:
        found = Registration(stage.copy(), np.zeros(len(stack), dtype=bool), 0, 0, 0, 0.0)
    if seamless:
        notes.append("Tiles are joined by their gradients: grey levels are no absorption.")
    return _blend(stack, found, stage, pixel_um, transmission, correction, notes, seamless)


def _check(stack: FloatArray, stage: FloatArray, pixel_um: float) -> None:
    if stack.ndim != 3 or 0 in stack.shape:
        raise ValueError(f"tiles have shape {stack.shape}; expected (tiles, rows, columns)")
    if stage.shape != (len(stack), 2):
        raise ValueError(
            f"positions have shape {stage.shape}; expected ({len(stack)}, 2): x and y per tile"
        )
    if not np.isfinite(stage).all():
        bad = np.flatnonzero(~np.isfinite(stage).all(axis=1)).tolist()
        raise ValueError(f"the positions of tiles {bad} are not finite numbers")
    if not (np.isfinite(pixel_um) and pixel_um > 0):
        raise ValueError(f"pixel size {pixel_um!r} um must be a positive number")


def _divide_by_reference_found(
    stack: NDArray[np.float32], transmission: bool
) -> NDArray[np.float32]:
    if transmission:
        return divide_by_open_beam(stack)
    return (stack - np.median(stack, axis=0)).astype(np.float32)


def _registration_note(found: Registration, count: int, pixel_um: float) -> str:
    if found.pairs == 0:
        return (
            f"Neighbouring tiles overlap by less than {MIN_OVERLAP_PX} pixels "
            f"({MIN_OVERLAP_PX * pixel_um:.1f} µm): the map uses the stage positions."
        )
    tied = int(found.tied.sum())
    text = (
        f"{found.links} of {found.pairs} overlaps matched; {tied} of {count} tiles positioned by "
        f"their pictures"
    )
    if found.loops:
        text += f", remaining mismatch {found.rms_px * pixel_um:.2f} µm rms"
    elif found.links:
        text += ", none of them checked by a second way round"
    if found.step_scale != (1.0, 1.0):
        text += (
            f"; the steps are {found.step_scale[0]:.3f} (x) and {found.step_scale[1]:.3f} (y) of "
            "the stated ones"
        )
    if tied < count:
        text += "; the others lie at their stage positions"
    if found.dropped:
        text += f"; {found.dropped} contradictory matches dropped"
    return text + "."


# --- placing and blending -------------------------------------------------------------------


def _blend(
    stack: NDArray[np.float32],
    found: Registration,
    stage: NDArray[np.float64],
    pixel_um: float,
    transmission: bool,
    correction: NDArray[np.float64],
    notes: list[str],
    seamless: bool,
) -> Mosaic:
    _, rows, columns = stack.shape
    column_at, left_px = _whole_pixels(found.positions_um[:, 0] / pixel_um - columns / 2)
    row_at, top_px = _whole_pixels(-found.positions_um[:, 1] / pixel_um - rows / 2)
    shape = (int(row_at.max()) + rows, int(column_at.max()) + columns)
    total = np.zeros(shape, dtype=np.float32)
    weight = np.zeros(shape, dtype=np.float32)
    feather = np.minimum(_ramp(rows)[:, None], _ramp(columns)[None, :])
    for tile, row, column in zip(stack, row_at, column_at, strict=True):
        window = np.s_[row : row + rows, column : column + columns]
        good = np.isfinite(tile)
        total[window] += np.where(good, tile, 0) * feather
        weight[window] += good * feather
    coverage = weight > 0
    image = np.full(shape, np.nan, dtype=np.float32)
    np.divide(total, weight, out=image, where=coverage)
    if seamless:
        additive = np.log(np.maximum(stack, LOWEST_TRANSMISSION)) if transmission else stack
        joined = join_by_gradients(additive, row_at, column_at, feather)
        image = np.exp(joined) if transmission else joined
    _fill_seams(image, coverage)
    center_um = (
        float((left_px + shape[1] / 2) * pixel_um),
        float(-(top_px + shape[0] / 2) * pixel_um),
    )
    return Mosaic(
        image=image,
        pixel_um=float(pixel_um),
        center_um=center_um,
        positions_um=found.positions_um,
        stage_positions_um=stage,
        tile_shape=(rows, columns),
        coverage=coverage,
        area_um2=_union_area(found.positions_um, columns * pixel_um, rows * pixel_um),
        transmission=transmission,
        registered_tiles=found.tied,
        intensity_correction=correction,
        notes=tuple(notes),
    )


def _whole_pixels(edges_px: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
    """Round tile edges to one pixel grid, chosen so that the tiles move least."""
    phase = np.angle(np.exp(2j * np.pi * edges_px).mean()) / (2 * np.pi)
    snapped = np.rint(edges_px - phase).astype(np.int64)
    return snapped - snapped.min(), float(snapped.min() + phase)


def _ramp(length: int) -> NDArray[np.float32]:
    index = np.arange(length)
    return np.minimum(index + 1, length - index).astype(np.float32)


def _fill_seams(image: NDArray[np.float32], coverage: NDArray[np.bool_]) -> None:
    """Interpolate seams of a pixel or two, which would cut particles in half."""
    if coverage.all():
        return
    size = 2 * GAP_PX + 1
    padded = np.pad(coverage, size)
    closed = ndimage.binary_closing(padded, np.ones((GAP_PX + 1, GAP_PX + 1), dtype=bool))
    seam = np.asarray(closed, dtype=bool)[size:-size, size:-size] & ~coverage
    if not seam.any():
        return
    share = ndimage.uniform_filter(coverage.astype(np.float32), size)
    mean = ndimage.uniform_filter(np.where(coverage, image, 0), size)
    image[seam] = (mean / np.maximum(share, np.finfo(np.float32).tiny))[seam]


def _union_area(positions_um: NDArray[np.float64], width_um: float, height_um: float) -> float:
    """Area covered by equal rectangles, by coordinate compression."""
    left, bottom = (positions_um - (width_um / 2, height_um / 2)).T
    x = np.unique(np.concatenate([left, left + width_um]))
    y = np.unique(np.concatenate([bottom, bottom + height_um]))
    covered = np.zeros((len(y) - 1, len(x) - 1), dtype=bool)
    columns = np.searchsorted(x, np.stack([left, left + width_um]))
    rows = np.searchsorted(y, np.stack([bottom, bottom + height_um]))
    for (c0, c1), (r0, r1) in zip(columns.T, rows.T, strict=True):
        covered[r0:r1, c0:c1] = True
    return float(np.diff(y) @ covered @ np.diff(x))


# --- beam drift between tiles ---------------------------------------------------------------


def _intensity_correction(
    stack: NDArray[np.float32], transmission: bool
) -> tuple[NDArray[np.float64], list[str]]:
    """Return a factor (transmission) or offset (absorption) per tile, and what to tell."""
    neutral = 1.0 if transmission else 0.0
    levels = np.array([open_beam_level(tile, bright=transmission) for tile in stack])
    correction = np.full(len(stack), neutral)
    known = np.isfinite(levels)
    if known.sum() < 2:
        return correction, []
    target = np.median(levels[known])
    wanted = target / levels[known] if transmission else target - levels[known]
    small = np.abs(wanted - neutral) <= MAX_INTENSITY_STEP
    correction[known] = np.where(small, wanted, neutral)
    notes = []
    if not small.all():
        names = (np.flatnonzero(known)[~small] + 1).tolist()
        notes.append(
            f"The open-beam level of tiles {names} differs from the others by more than "
            f"{MAX_INTENSITY_STEP:.0%}: left as measured."
        )
    return correction, notes


def open_beam_level(tile: FloatArray, *, bright: bool = True) -> float:
    """Return the open-beam level of one picture, or NaN when too little of it is open.

    The peak of the histogram on the bright (or, for absorption, the weak) side, refined by the
    mean of the pixels within three standard deviations of the pixel noise.

    Parameters
    ----------
    tile : (rows, columns) array
        Transmission, counts or absorption.
    bright
        Whether open beam is the large values (transmission) or the small ones (absorption).
    """
    values = tile[np.isfinite(tile)].astype(np.float64)
    low, middle, high = np.percentile(values, (0.5, 50, 99.5)) if values.size else (0.0, 0.0, 0.0)
    if not high > low:
        return float(middle) if values.size else float("nan")
    counts, edges = np.histogram(values, bins=MODE_BINS, range=(low, high))
    smooth = ndimage.gaussian_filter1d(counts.astype(float), MODE_SMOOTHING_BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    bin_width = edges[1] - edges[0]
    side = middles >= middle - bin_width if bright else middles <= middle + bin_width
    mode = middles[np.argmax(np.where(side, smooth, -1))]
    noise = max(pixel_noise(tile), bin_width)
    near = np.abs(values - mode) <= 3 * noise
    if near.mean() < MIN_BACKGROUND_FRACTION:
        return float("nan")
    return float(values[near].mean())


def pixel_noise(image: FloatArray) -> float:
    """Return the standard deviation of the pixel noise, from second differences along rows.

    Robust (median absolute deviation), so that particle edges do not count.
    """
    second = image[:, 2:] - 2 * image[:, 1:-1] + image[:, :-2]
    second = second[np.isfinite(second)]
    if second.size == 0:
        return 0.0
    # The variance of a - 2 b + c is 6 times that of one pixel.
    return float(NORMAL_MAD * np.median(np.abs(second)) / np.sqrt(6))
