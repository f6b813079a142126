"""Choosing where on the map to take tomograms.

At 90 degrees the beam runs along x: everything at the same height lies in the beam, inside the
field or not. So a good region has many (or diverse) whole particles, little other material in
its band of y, and a band that no other region uses.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .mosaic import Mosaic

Strategy = Literal["count", "diversity"]

STEP_FRACTION = 1 / 32
"""Candidate windows lie on a grid of this fraction of the field (2 um for a 64 um field)."""

OUTSIDE_WEIGHT = 0.1
"""Score lost when the rest of the band holds the most material of all candidates."""

SHARED_BAND_WEIGHT = 0.5
"""Score lost when a region shares its whole band of y with one chosen before."""

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
        (its choice for NMC811: "particles of various sizes").
    margin_um
        Distance kept from the edge of the map.
    avoid
        Regions already measured, as returned before; new ones do not overlap them.

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
    left.
    """
    width, height = field_um if isinstance(field_um, tuple) else (field_um, field_um)
    if count < 1 or not min(width, height) > 0:
        raise ValueError(f"{count} regions of {width} x {height} um cannot be chosen")
    if strategy not in ("count", "diversity"):
        raise ValueError(f"strategy {strategy!r} is unknown: use 'count' or 'diversity'")
    x, y = _candidates(mosaic, width, height, margin_um)
    if not (len(x) and len(y)):
        return _nothing(f"The map is smaller than the {width:.0f} × {height:.0f} µm field.")
    whole = _whole_in(particles_2d, x, y, width, height)
    value, number, classes = _values(particles_2d, whole, strategy)
    outside = _outside_path(particles_2d, whole, width, height)
    score = value * (1 - OUTSIDE_WEIGHT * outside / max(float(outside.max()), 1e-12))
    score[~_covered(mosaic, x, y, width, height)] = -1.0
    score[number == 0] = -1.0

    taken = [] if avoid is None else list(zip(avoid.center_x_um, avoid.center_y_um, strict=True))
    rows: list[dict[str, object]] = []
    while len(rows) < count:
        shared = np.zeros(len(y))
        free = np.ones(score.shape, dtype=bool)
        for taken_x, taken_y in taken:
            shared = np.maximum(shared, 1 - np.abs(y - taken_y) / height)
            same_band = np.abs(y - taken_y) < height * (1 - 1e-9)
            same_column = np.abs(x - taken_x) < width * (1 - 1e-9)
            free &= ~(same_band[:, None] & same_column[None, :])
        shared = np.clip(shared, 0, 1)
        rank = np.where(free & (score > 0), score * (1 - SHARED_BAND_WEIGHT * shared)[:, None], -1)
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
                    int(classes[i, j]),
                    int(np.where(score > 0, number, 0).max()),
                    float(shared[i]),
                ),
            }
        )
        taken.append((x[j], y[i]))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    table.attrs["note"] = ""
    if len(rows) < count:
        what = "no particles" if not (number > 0).any() else "no more room for whole fields"
        table.attrs["note"] = f"{len(rows)} of {count} regions chosen: the map has {what}."
    return table


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
    """Value, number of whole particles and number of size classes present in each window."""
    number = whole.total(np.ones(len(particles)))
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


def _reason(strategy: Strategy, number: int, classes: int, best: int, shared: float) -> str:
    if strategy == "count":
        text = f"{number} whole particles expected"
        text += " (the most anywhere on the map)" if number == best else f" (most anywhere: {best})"
    else:
        text = f"{number} whole particles from {classes} of {SIZE_CLASSES} size classes"
    if shared > 0.01:
        return f"{text}; shares {shared:.0%} of its height with a region chosen before"
    return f"{text}; no other region at its height"
