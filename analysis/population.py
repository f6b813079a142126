"""The powder behind the particles that happened to lie whole in the fields.

Large particles are cut by the border of a field more often than small ones, voids below the
detection limit are not counted, and a tomogram sees tens of particles, the map a thousand.
Here each is put right by its own means: weights, a correction, and sizes from the map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .statistics import Interval, frequency_interval
from .statistics_correction import correct_for_detection, miles_lantuejoul_weights
from .statistics_percentiles import Weighting, percentile_interval
from .summary import PERCENTS, VOID_COUNT, count_voids, void_diameter

Json = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """Where a particle counts as whole.

    Attributes
    ----------
    radius_um
        Of the cylinder about the axis (along y) of the reconstruction.
    height_um
        Of the window along y.
    center_um
        Its centre (x, y, z) in the sample.
    """

    radius_um: float
    height_um: float
    center_um: tuple[float, float, float]


def border_weights(particles: pd.DataFrame, fields: Mapping[int, Field]) -> NDArray[np.float64]:
    """Return the Miles-Lantuejoul weight of each particle, by the field of its region.

    Parameters
    ----------
    particles : DataFrame
        As for `miles_lantuejoul_weights`, with the column ``region``.
    fields
        Field of each region.
    """
    weights = np.zeros(len(particles))
    for region, field in fields.items():
        own = (particles["region"] == region).to_numpy(bool)
        weights[own] = miles_lantuejoul_weights(
            particles.loc[own],
            field_height_um=field.height_um,
            field_radius_um=field.radius_um,
            center_um=field.center_um,
        )
    return weights


def detected_share(
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    *,
    d50_um: float,
    d90_um: float,
    minimum_void_um: float,
) -> float:
    """Return how likely a particle with voids is found to have one, given those that were found.

    Parameters
    ----------
    particles, voids : DataFrame
        As for `summarize`.
    d50_um, d90_um : float
        Diameters of which half and nine tenths of the voids are found: the probability is logistic
        in the logarithm of the diameter (`fit_detection`).
    minimum_void_um
        Equivalent diameter from which a void counts.

    Returns
    -------
    float
        Harmonic mean, over particles, of the probability of finding their largest void: each one
        found stands for as many as it takes to find one. 1 where none was found.

    Examples
    --------
    >>> table = pd.DataFrame({"particle_id": [1], "equivalent_diameter_um": [6.0],
    ...                       "volume_um3": [113.0]})
    >>> void = table.assign(equivalent_diameter_um=1.2, volume_um3=0.9)
    >>> round(detected_share(table, void, d50_um=1.2, d90_um=1.33, minimum_void_um=1.0), 3)
    0.5
    """
    _, counted = count_voids(particles, voids, minimum_void_um=minimum_void_um)
    if counted.empty:
        return 1.0
    keys = [key for key in ("region", "particle_id") if key in counted]
    sizes = counted.assign(um=void_diameter(counted)).groupby(keys).agg(um=("um", "max"))
    slope = math.log(9) / math.log(d90_um / d50_um)
    odds = (sizes["um"].to_numpy(np.float64) / d50_um) ** slope
    return float(1 / np.mean(1 + 1 / odds))


def describe_population(
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    fields: Mapping[int, Field],
    *,
    minimum_void_um: float,
    map_particles: pd.DataFrame | None = None,
    detected: float | None = None,
    false_alarms: float = 0.0,
    confidence: float = 0.95,
) -> Json:
    """Describe the powder: border and detection put right, sizes from the map where there is one.

    Parameters
    ----------
    particles, voids : DataFrame
        As for `summarize`, with ``region``, ``center_z_um`` and ``extent_..._um``.
    fields
        Field of each region.
    minimum_void_um
        Equivalent diameter from which a void counts.
    map_particles : DataFrame, optional
        Particles of the map (`find_particles_2d`).
    detected, false_alarms
        For `correct_for_detection`; None leaves that out.
    confidence
        Of the intervals.

    Returns
    -------
    dict
        ``void_frequency`` and ``sizes_tomograms`` with border weights, and ``sizes_map``:
        intervals of d10, d50, d90 and the span (d90 - d10) / d50, by number and by volume. A span
        has no limits, and none is given where one of its percentiles has no honest interval.
    """
    whole, _ = count_voids(particles, voids, minimum_void_um=minimum_void_um)
    weights = border_weights(whole, fields) if len(whole) else np.zeros(0)
    region = whole["region"].tolist()
    frequency = frequency_interval(
        whole[VOID_COUNT].to_numpy() > 0, weights, region=region, confidence=confidence
    )
    if detected is not None and frequency.value is not None:
        frequency = correct_for_detection(frequency, detected=detected, false_alarms=false_alarms)
    found: Json = {
        "void_frequency": {
            **asdict(frequency),
            "detected": detected,
            "false_alarms": false_alarms if detected is not None else None,
        },
        "sizes_tomograms": sizes(
            whole["equivalent_diameter_um"].to_numpy(np.float64), weights, region, confidence
        ),
    }
    if map_particles is not None and len(map_particles):
        alone = ~map_particles["touches_border"].astype(bool)
        if "overlaps" in map_particles:
            alone &= ~map_particles["overlaps"].astype(bool)
        diameters = map_particles.loc[alone, "equivalent_diameter_um"].to_numpy(np.float64)
        found["sizes_map"] = sizes(diameters, None, None, confidence)
    return found


def sizes(
    diameters: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    region: Sequence[object] | None = None,
    confidence: float = 0.95,
) -> Json:
    """Return percentiles and span of diameters by number and by volume.

    Examples
    --------
    >>> found = sizes(np.linspace(4.0, 8.0, 400))
    >>> round(found["d50_number_um"]["value"], 2), round(found["span_number"]["value"], 2)
    (6.0, 0.53)
    """
    found: Json = {"n": int(np.count_nonzero(weights)) if weights is not None else len(diameters)}
    kinds: tuple[Weighting, ...] = ("number", "volume")
    for kind in kinds:
        limits = [
            percentile_interval(
                diameters,
                percent,
                weights=weights,
                weighting=kind,
                region=region,
                confidence=confidence,
            )
            for percent in PERCENTS
        ]
        for percent, limit in zip(PERCENTS, limits, strict=True):
            found[f"d{percent}_{kind}_um"] = asdict(limit)
        found[f"span_{kind}"] = _span(limits)
    return found


def _span(limits: Sequence[Interval]) -> Json:
    low, middle, high = limits
    refused = [limit for limit in limits if limit.low is None]
    value = None
    warning = None
    if refused:
        warning = f"no span: {refused[0].warning}"
    elif low.value is not None and middle.value is not None and high.value is not None:
        value = (high.value - low.value) / middle.value
    return {"value": value, "definition": "(d90 - d10) / d50", "warning": warning}
