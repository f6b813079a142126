"""Where to put the rotation axis so that chosen particles stay in the field at every angle.

The view at 0 degrees shows x and y of the particles, the views at -90 and +90 degrees their z. A
particle stays in the field over the whole rotation when its distance from the axis and its radius
together fit into half of the field: the best place is the middle of the smallest circle, seen
along y, that holds all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from .alignment import axis_offset
from .mosaic import stitch
from .radiograph import find_particles_2d

BAND_SHARE: Final = 0.7
"""Part of a particle's radius, up and down from its middle, over which its z is looked for."""

SPREAD_SHARE: Final = 0.1
"""Particles are where rows differ by more than this share of the most they differ anywhere."""

NOISE_SIGMAS: Final = 3.0
"""Absorption must rise above the noise by this much to count."""

EDGE_UM: Final = 1.0
"""Distance that particles keep from the edge of the field."""

Floats = NDArray[np.float64]


class CenteringError(ValueError):
    """The chosen particles cannot be centred; the message says what to do."""


@dataclass(frozen=True)
class Centering:
    """Where a region has its middle.

    Attributes
    ----------
    center_um
        Stage (x, y, z) that puts it onto the rotation axis at the middle of the field.
    standard_error_um
        Of the z that was found: the scatter of the particles' own, over the root of their number.
    axis_offset_um
        Where the rotation axis is, towards larger columns from the middle of the field.
    particles
        A row per chosen particle: `center_x_um`, `center_y_um`, `center_z_um`,
        `equivalent_diameter_um`, `reach_um` (how far it comes from the axis at the new centre),
        `stays` (in the field at every angle).
    """

    center_um: tuple[float, float, float]
    standard_error_um: float
    axis_offset_um: float
    particles: pd.DataFrame


def center_region(
    view_0: ArrayLike,
    view_minus_90: ArrayLike,
    view_plus_90: ArrayLike,
    pixel_um: float,
    position_um: Sequence[float],
    chosen_um: Sequence[tuple[float, float]] | None = None,
) -> Centering:
    """Return the middle of the chosen particles.

    Parameters
    ----------
    view_0, view_minus_90, view_plus_90 : array_like, shape (rows, columns)
        Transmission at theta 0, -90 and +90 degrees.
    pixel_um
        Pixel size at the sample.
    position_um
        Stage (x, y, z) at which they were taken.
    chosen_um
        (x, y) of the particles, as on a map; each is the particle that lies there. None: as many
        whole particles of the view as stay in the field.

    Returns
    -------
    Centering

    Raises
    ------
    CenteringError
        If a chosen particle is not there, none is in view, or they do not all fit.
    RotationCenterError
        If the views at -90 and +90 degrees have no common structure.

    Notes
    -----
    In a layer of powder, particles stand one behind the other at 90 degrees: what is found is the
    mean z of all solid that the beam crosses at a particle's height, weighted by volume. A particle
    that is alone at its height gets its own.
    """
    front = np.asarray(view_0, dtype=np.float64)
    absorption = [
        -np.log(np.clip(np.asarray(view, dtype=np.float64), 1e-3, None))
        for view in (view_plus_90, view_minus_90)
    ]
    axis = axis_offset(absorption[0], absorption[1], pixel_um)
    rows, columns = front.shape
    found = find_particles_2d(stitch([front], [(0.0, 0.0)], pixel_um))
    table = _chosen(found, position_um, axis.offset_um, chosen_um)
    depth = _depth_profiles(absorption[0], absorption[1], pixel_um, axis.offset_um)
    height = ((rows - 1) / 2 - np.arange(rows)) * pixel_um
    middle = (np.arange(depth.shape[1]) - (depth.shape[1] - 1) / 2) * pixel_um
    z: list[float] = []
    places = table[["center_y_um", "equivalent_diameter_um"]].to_numpy(float)
    for center_y_um, diameter_um in places:
        near = np.abs(height - (center_y_um - position_um[1])) <= max(
            BAND_SHARE * diameter_um / 2, pixel_um / 2
        )
        weight = depth[near].sum(axis=0)
        total = weight.sum()
        z.append(float(weight @ middle / total) if total > 0 else 0.0)
    table["center_z_um"] = np.array(z) + position_um[2]
    room_um = (
        columns * pixel_um / 2 - abs(axis.offset_um) - EDGE_UM,
        rows * pixel_um / 2 - EDGE_UM,
    )
    table, center = _fitting(table, room_um, drop=chosen_um is None)
    scatter = (
        float(np.std(table["center_z_um"].to_numpy(float), ddof=1)) if len(table) > 1 else pixel_um
    )
    return Centering(
        (center[0], center[1], center[2]),
        scatter / float(np.sqrt(len(table))),
        axis.offset_um,
        table.reset_index(drop=True),
    )


def _chosen(
    found: pd.DataFrame,
    position_um: Sequence[float],
    axis_offset_um: float,
    chosen_um: Sequence[tuple[float, float]] | None,
) -> pd.DataFrame:
    """Return the chosen particles, in the frame of the sample."""
    table = pd.DataFrame(
        {
            "center_x_um": found["center_x_um"].to_numpy(float) + position_um[0] - axis_offset_um,
            "center_y_um": found["center_y_um"].to_numpy(float) + position_um[1],
            "equivalent_diameter_um": found["equivalent_diameter_um"].to_numpy(float),
        }
    )
    if chosen_um is None:
        table = table.take(np.flatnonzero(~found["touches_border"].to_numpy(bool)))
        if table.empty:
            raise CenteringError(
                "no whole particle is in the field: go to a place where the map shows some"
            )
        return table.reset_index(drop=True)
    rows: list[int] = []
    for x_um, y_um in chosen_um:
        away = np.hypot(table["center_x_um"] - x_um, table["center_y_um"] - y_um)
        inside = away <= table["equivalent_diameter_um"] / 2
        if not inside.any():
            raise CenteringError(
                f"no particle is in view at x = {x_um:.1f}, y = {y_um:.1f} um: give places of "
                "particles that the field shows at 0 degrees"
            )
        rows.append(int(np.argmin(away)))
    return table.iloc[sorted(set(rows))].reset_index(drop=True)


def _depth_profiles(plus: Floats, minus: Floats, pixel_um: float, offset_um: float) -> Floats:
    """Return, for each row, absorption along z, the rotation axis in the middle column.

    The view at -90 degrees is the mirror image of the one at +90; their mean has no offset left.
    """
    columns = plus.shape[1]
    place = np.arange(columns, dtype=np.float64)
    shift = offset_um / pixel_um
    both = np.empty_like(plus)
    for row in range(plus.shape[0]):
        right = np.interp(place + shift, place, plus[row])
        left = np.interp(place + shift, place, minus[row])[::-1]
        both[row] = (right + left) / 2
    return _particles_only(both)


def _particles_only(profiles: Floats) -> Floats:
    """Take the support away: it looks the same at every height, particles do not."""
    spread = profiles.std(axis=0)
    seen = np.flatnonzero(spread > SPREAD_SHARE * spread.max())
    first, last = int(seen[0]), int(seen[-1])
    sides = [np.median(profiles[:, :first]) if first else np.inf]
    sides.append(np.median(profiles[:, last + 1 :]) if last + 1 < profiles.shape[1] else np.inf)
    # The support is on one side of them at most; open beam is on the other.
    level = min(sides) if np.isfinite(min(sides)) else float(profiles.min())
    noise = float(spread.min())
    only = np.zeros_like(profiles)
    inside = profiles[:, first : last + 1] - level
    # Noise has no centre: what does not rise above it does not count.
    only[:, first : last + 1] = np.where(inside > NOISE_SIGMAS * noise, inside, 0.0)
    return only


def _fitting(
    table: pd.DataFrame, room_um: tuple[float, float], *, drop: bool
) -> tuple[pd.DataFrame, Floats]:
    """Return the particles that fit, with how far each reaches, and their middle."""
    while True:
        places = table[["center_x_um", "center_y_um", "center_z_um"]].to_numpy(float)
        radius = table["equivalent_diameter_um"].to_numpy(float) / 2
        center = _middle(places, radius)
        across = np.hypot(places[:, 0] - center[0], places[:, 2] - center[2]) + radius
        along = np.abs(places[:, 1] - center[1]) + radius
        worst = np.maximum(across - room_um[0], along - room_um[1])
        if worst.max() <= 0 or (drop and len(table) == 1):
            break
        if not drop:
            raise CenteringError(
                f"the chosen particles do not fit: from the best centre one of them reaches "
                f"{worst.max():.1f} um out of the field while the stage turns; choose fewer, or "
                "nearer ones"
            )
        table = table.take(np.flatnonzero(worst < worst.max())).reset_index(drop=True)
        if table.empty:
            raise CenteringError("no particle stays in the field; choose another region")
    return table.assign(reach_um=across, stays=worst <= 0), center


def _middle(places: Floats, radius: Floats) -> Floats:
    """Return the middle of the smallest circle seen along y, and of the range of y."""
    start = places[:, [0, 2]].mean(axis=0)

    def furthest(center: Floats) -> float:
        return float((np.hypot(*(places[:, [0, 2]] - center).T) + radius).max())

    # A maximum of distances is convex: there is one minimum, and it has a kink there.
    found: Any = minimize(furthest, start, method="Nelder-Mead", options={"xatol": 1e-3})
    low = (places[:, 1] - radius).min()
    high = (places[:, 1] + radius).max()
    return np.array([found.x[0], (low + high) / 2, found.x[1]])
