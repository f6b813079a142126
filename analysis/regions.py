"""Choosing where on the map to take tomograms.

At 90 degrees the beam runs along x: everything at the same height lies in the beam, inside the
field or not. So a good region has many (or diverse, or suspect) whole particles, little other
material in its band of y, and no other region lies behind it at any angle of the scan: material
that is looked through for one is not measured a second time, with the same shadows, for another.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .mosaic import NORMAL_MAD, Mosaic

Strategy = Literal["count", "diversity", "voids"]

STRATEGIES: tuple[Strategy, ...] = ("count", "diversity", "voids")

STEP_FRACTION = 1 / 32
"""Candidate windows lie on a grid of this fraction of the field (2 um for a 64 um field)."""

OUTSIDE_WEIGHT = 0.1
"""Score lost when the rest of the band holds the most material of all candidates."""

SHARED_EDGE = 0.0325
"""Regions do not overlap along the beam when they share less than this fraction of their height
(2 um of a 64 um field, a step of the candidates): what lies there is whole in neither."""

SUSPECT_SIGMAS = 1.0
"""A particle is suspected of a void when it is lighter than others of its outline by this much."""

MOST_SIGMAS = 3.0
"""A particle that is lighter by more than this is no more suspect: its outline may be wrong."""

SIZE_CLASSES = 8
"""Number of diameter classes, equally populated, over which diversity is judged."""

COLUMNS = {
    "region_id": "int64",
    "center_x_um": "float64",
    "center_y_um": "float64",
    "width_um": "float64",
    "height_um": "float64",
    "particles_expected": "int64",
    "outside_path_um": "float64",
    "score": "float64",
    "reason": "object",
}


def choose_regions(
    particles_2d: pd.DataFrame,
    mosaic: Mosaic,
    field_um: float | tuple[float, float],
    count: int,
    *,
    strategy: Strategy = "count",
    margin_um: float = 0.0,
    avoid: pd.DataFrame | None = None,
    range_deg: tuple[float, float] = (-90.0, 90.0),
) -> pd.DataFrame:
    """Choose tomography regions on a map.

    Parameters
    ----------
    particles_2d
        Table of `find_particles_2d`.
    mosaic
        The map.
    field_um
        Field of the tomogram, one number or (width along x, height along y).
    count
        How many regions are wanted.
    strategy
        ``"count"`` ranks by the number of whole particles in the field (the study's choice for
        NMC622), ``"diversity"`` by the number of particles times the evenness of their sizes
        (its choice for NMC811: "particles of various sizes"), ``"voids"`` by the whole particles
        that absorb less than others of the same outline, weighted by how much less
        (`void_suspicion`).
    margin_um
        Distance kept from the edge of the map.
    avoid
        Regions already measured, as returned before; new ones keep clear of them too.
    range_deg
        Angles of the tomograms. Over a whole half turn no two regions share a height; a smaller
        range leaves room for regions beside each other.

    Returns
    -------
    pandas.DataFrame
        A row per region, best first: `region_id`, `center_x_um`, `center_y_um`, `width_um`,
        `height_um`, `particles_expected` (whole, in the field), `outside_path_um` (mean
        thickness of solid that the beam crosses at 90 degrees beyond the field, over the
        field's height and the layer's thickness), `score`, and the `reason` in words. When
        fewer than `count` fit, `attrs["note"]` says why; otherwise it is empty.

    Raises
    ------
    ValueError
        If `count`, `field_um` or `strategy` makes no sense.

    Notes
    -----
    Greedy and deterministic: the same map always gives the same regions; ties go to the top
    left. A region is not taken where it would leave no room for as many as are wanted.
    """
    width, height = field_um if isinstance(field_um, tuple) else (field_um, field_um)
    if count < 1 or not min(width, height) > 0:
        raise ValueError(f"{count} regions of {width} x {height} um cannot be chosen")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r} is unknown: use one of {', '.join(STRATEGIES)}")
    x, y = _candidates(mosaic, width, height, margin_um)
    if not (len(x) and len(y)):
        return _nothing(f"The map is smaller than the {width:.0f} × {height:.0f} µm field.")
    whole = _whole_in(particles_2d, x, y, width, height)
    value, number, what = _values(particles_2d, whole, strategy)
    outside = _outside_path(particles_2d, whole, width, height)
    score = value * (1 - OUTSIDE_WEIGHT * outside / max(float(outside.max()), 1e-12))
    score[~_covered(mosaic, x, y, width, height)] = -1.0
    score[number == 0] = -1.0

    rows: list[dict[str, object]] = []
    taken = [] if avoid is None else list(zip(avoid.center_x_um, avoid.center_y_um, strict=True))
    # Seen along the beam, regions side by side come nearest at the largest angle.
    nearest = max(np.cos(np.radians(max(map(abs, range_deg)))), 0.0)
    clear_y, clear_x = height * (1 - SHARED_EDGE), width * (1 - 1e-9)
    while len(rows) < count:
        behind = np.zeros(score.shape, dtype=bool)
        for taken_x, taken_y in taken:
            same_band = np.abs(y - taken_y) < clear_y
            in_line = np.abs(x - taken_x) * nearest < clear_x
            behind |= same_band[:, None] & in_line[None, :]
        rank = np.where(~behind & (score > 0), score, -1.0)
        if nearest < 1e-6:
            rank[~_leaves_room(y, np.any(rank > 0, axis=1), clear_y, count - len(rows))] = -1.0
        i, j = np.unravel_index(int(np.argmax(rank)), rank.shape)
        if rank[i, j] <= 0:
            break
        rows.append(
            {
                "region_id": len(rows) + 1,
                "center_x_um": float(x[j]),
                "center_y_um": float(y[i]),
                "width_um": width,
                "height_um": height,
                "particles_expected": int(number[i, j]),
                "outside_path_um": float(outside[i, j]),
                "score": float(rank[i, j]),
                "reason": _reason(
                    strategy,
                    int(number[i, j]),
                    int(what[i, j]),
                    int(np.where(score > 0, number, 0).max()),
                    range_deg if nearest >= 1e-6 else None,
                ),
            }
        )
        taken.append((x[j], y[i]))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    table.attrs["note"] = ""
    if len(rows) < count:
        lacks = "no particles"
        if (number > 0).any():
            lacks = "no more room for whole fields that do not lie behind each other in the beam"
        table.attrs["note"] = f"{len(rows)} of {count} regions chosen: the map has {lacks}."
    return table


def void_suspicion(particles_2d: pd.DataFrame) -> NDArray[np.float64]:
    """Return how suspect each particle is of holding a void, from 0 to `MOST_SIGMAS`.

    A void takes mass away and leaves the outline: a particle is suspect that absorbs less than the
    others for the cube of its diameter, counted in standard deviations of the powder. Particles
    that overlap others, or that the map cuts, are not.

    Parameters
    ----------
    particles_2d
        Table of `find_particles_2d`.

    Notes
    -----
    Particles that are flat along the beam look the same; it is a suspicion, not a measurement.
    """
    diameter = particles_2d["equivalent_diameter_um"].to_numpy(dtype=float)
    if "volume_um3" in particles_2d:
        mass = particles_2d["volume_um3"].to_numpy(dtype=float)
    elif "mean_absorption" in particles_2d:
        mass = particles_2d["mean_absorption"].to_numpy(dtype=float) * diameter**2
    else:
        return np.zeros(len(particles_2d))
    clear = (mass > 0) & (diameter > 0)
    for column in ("overlaps", "touches_border"):
        if column in particles_2d:
            clear &= ~particles_2d[column].to_numpy(dtype=bool)
    if clear.sum() < SIZE_CLASSES:
        return np.zeros(len(particles_2d))
    filling = np.log(np.where(clear, mass, 1.0) / np.where(clear, diameter, 1.0) ** 3)
    # The blur of the map changes the filling with the size: compare with others as large.
    trend = np.polyfit(np.log(diameter[clear]), filling[clear], 1)
    off = filling - np.polyval(trend, np.log(np.where(clear, diameter, 1.0)))
    middle = np.median(off[clear])
    spread = max(float(np.median(np.abs(off[clear] - middle))) / NORMAL_MAD, 1e-9)
    return np.where(clear, np.clip((middle - off) / spread, 0.0, MOST_SIGMAS), 0.0)


def _leaves_room(
    y: NDArray[np.float64], free: NDArray[np.bool_], clear_um: float, wanted: int
) -> NDArray[np.bool_]:
    """Return at which heights a region may be taken so that as many as possible of `wanted` fit."""
    possible = min(wanted, _bands(y, free, clear_um))
    good = np.zeros_like(free)
    for row in np.flatnonzero(free):
        rest = free & (np.abs(y - y[row]) >= clear_um)
        good[row] = 1 + _bands(y, rest, clear_um) >= possible
    return good


def _bands(y: NDArray[np.float64], free: NDArray[np.bool_], clear_um: float) -> int:
    """Return how many heights can be taken, from the top down."""
    count, last = 0, np.inf
    for row in np.flatnonzero(free):
        if last - y[row] >= clear_um:
            count, last = count + 1, y[row]
    return count


def _nothing(note: str) -> pd.DataFrame:
    table = pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)
    table.attrs["note"] = note
    return table


def _candidates(
    mosaic: Mosaic, width: float, height: float, margin_um: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Window centres along x (left to right) and along y (top to bottom)."""
    left, right, bottom, top = mosaic.extent_um
    low_x, high_x = left + margin_um + width / 2, right - margin_um - width / 2
    low_y, high_y = bottom + margin_um + height / 2, top - margin_um - height / 2
    return _grid(low_x, high_x, width), _grid(low_y, high_y, height)[::-1]


def _grid(low: float, high: float, field_um: float) -> NDArray[np.float64]:
    if high < low - 1e-6 * field_um:
        return np.empty(0)
    steps = int(max(high - low, 0.0) // (field_um * STEP_FRACTION))
    return np.linspace(low, max(high, low), steps + 1)


def _covered(
    mosaic: Mosaic, x: NDArray[np.float64], y: NDArray[np.float64], width: float, height: float
) -> NDArray[np.bool_]:
    """Whether a window holds no pixel without data, from a summed-area table."""
    holes = np.pad(np.isnan(mosaic.image), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    limit_rows, limit_columns = np.asarray(holes.shape) - 1
    row, column = mosaic.to_pixel(x[None, :] * np.ones((len(y), 1)), y[:, None] * np.ones(len(x)))
    half_rows, half_columns = height / mosaic.pixel_um / 2, width / mosaic.pixel_um / 2
    r0 = np.clip(np.rint(row - half_rows + 0.5), 0, limit_rows).astype(int)
    r1 = np.clip(np.rint(row + half_rows + 0.5), 0, limit_rows).astype(int)
    c0 = np.clip(np.rint(column - half_columns + 0.5), 0, limit_columns).astype(int)
    c1 = np.clip(np.rint(column + half_columns + 0.5), 0, limit_columns).astype(int)
    return (holes[r1, c1] - holes[r0, c1] - holes[r1, c0] + holes[r0, c0]) == 0


class _Whole:
    """Which particles lie whole between the sides (x) and the ends (y) of each window."""

    def __init__(self, in_x: NDArray[np.bool_], in_y: NDArray[np.bool_]) -> None:
        self.in_x, self.in_y = in_x, in_y

    def total(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum of the weights of the particles in each window; shape (windows y, windows x)."""
        return (self.in_y * weights).astype(np.float64) @ self.in_x.T.astype(np.float64)

    def band(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum of the weights of the particles at each window's height; shape (windows y,)."""
        return (self.in_y * weights).sum(axis=1)


def _whole_in(
    particles: pd.DataFrame,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    width: float,
    height: float,
) -> _Whole:
    radius = particles["equivalent_diameter_um"].to_numpy(dtype=float) / 2
    center_x = particles["center_x_um"].to_numpy(dtype=float)
    center_y = particles["center_y_um"].to_numpy(dtype=float)
    in_x = np.abs(center_x[None, :] - x[:, None]) + radius <= width / 2
    in_y = np.abs(center_y[None, :] - y[:, None]) + radius <= height / 2
    return _Whole(in_x, in_y)


def _values(
    particles: pd.DataFrame, whole: _Whole, strategy: Strategy
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Value, number of whole particles, and number of size classes or suspects in each window."""
    number = whole.total(np.ones(len(particles)))
    if strategy == "voids":
        suspicion = void_suspicion(particles)
        suspects = whole.total((suspicion >= SUSPECT_SIGMAS).astype(np.float64))
        return (
            whole.total(suspicion),
            np.rint(number).astype(np.int64),
            np.rint(suspects).astype(np.int64),
        )
    diameter = particles["equivalent_diameter_um"].to_numpy(dtype=float)
    edges = (
        np.quantile(diameter, np.linspace(0, 1, SIZE_CLASSES + 1)[1:-1]) if len(diameter) else []
    )
    size_class = np.searchsorted(edges, diameter, side="right")
    per_class = np.stack([whole.total(size_class == k) for k in range(SIZE_CLASSES)])
    present = (per_class > 0).sum(axis=0)
    if strategy == "count":
        value = number
    else:
        share = per_class / np.maximum(number, 1)
        evenness = -np.sum(np.where(share > 0, share * np.log(np.maximum(share, 1e-12)), 0), axis=0)
        value = number * evenness / np.log(SIZE_CLASSES)
    return value.astype(float), np.rint(number).astype(np.int64), present.astype(np.int64)


def _outside_path(
    particles: pd.DataFrame, whole: _Whole, width: float, height: float
) -> NDArray[np.float64]:
    """Mean solid path beyond the field at 90 degrees, averaged over height and layer."""
    diameter = particles["equivalent_diameter_um"].to_numpy(dtype=float)
    if "volume_um3" in particles:
        volume = particles["volume_um3"].to_numpy(dtype=float)
    else:
        volume = np.pi / 6 * diameter**3
    if len(volume) == 0:
        return whole.total(volume)
    # A settled layer is about as thick as its large particles.
    layer = max(float(np.quantile(diameter, 0.9)), 1e-6)
    return (whole.band(volume)[:, None] - whole.total(volume)) / (height * layer)


def _reason(
    strategy: Strategy,
    number: int,
    what: int,
    best: int,
    range_deg: tuple[float, float] | None,
) -> str:
    if strategy == "count":
        text = f"{number} whole particles expected"
        text += " (the most anywhere on the map)" if number == best else f" (most anywhere: {best})"
    elif strategy == "diversity":
        text = f"{number} whole particles from {what} of {SIZE_CLASSES} size classes"
    else:
        text = f"{what} of {number} whole particles are lighter than others of their outline"
    if range_deg is None:
        return f"{text}; no other region at its height"
    low, high = range_deg
    return f"{text}; no other region behind it from {low:g} to {high:g} degrees"
