"""What the radii of particles say: how rough they seem, and whether that depends on their size."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from .radii import local_roughness, roughness_proxy
from .statistics import Interval, check_confidence, mean_and_se

MINIMUM_FOR_RANKS = 10
"""With fewer particles the ranks of two quantities tell nothing."""

Json = dict[str, Any]


def rank_correlation(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return Spearman's rank correlation of two quantities.

    Parameters
    ----------
    x, y : (n,) arrays
        The two quantities of each object.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        With the limits of Bonett and Wright on Fisher's scale, standard error
        ``sqrt((1 + r^2 / 2) / (n - 3))``; without any below 10 objects.

    References
    ----------
    D. G. Bonett, T. A. Wright 2000, doi:10.1007/BF02294183.

    Examples
    --------
    >>> found = rank_correlation(np.arange(20), np.arange(20) % 7)
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
    (0.24, -0.23, 0.62)
    """
    check_confidence(confidence)
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n, method = len(first), "Spearman, Fisher's scale"
    if n < MINIMUM_FOR_RANKS or np.ptp(first) == 0 or np.ptp(second) == 0:
        refusal = f"no rank correlation from {n} particles; {MINIMUM_FOR_RANKS} are needed"
        return Interval(None, None, None, n, confidence, method, refusal)
    ranks = stats.rankdata(first), stats.rankdata(second)
    value = float(np.corrcoef(*ranks)[0, 1])
    place = math.atanh(min(max(value, -1 + 1e-12), 1 - 1e-12))
    reach = float(stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt((1 + value**2 / 2) / (n - 3))
    low, high = math.tanh(place - reach), math.tanh(place + reach)
    return Interval(value, low, high, n, confidence, method)


def describe_roughness(
    radii: pd.DataFrame, particles: pd.DataFrame, noise_floor_um: float | None
) -> Json:
    """Describe radii as `results.json` holds them.

    Parameters
    ----------
    radii
        Table of `measure_radii`, of whole particles of one region.
    particles
        Table of `measure_particles` of that region.
    noise_floor_um
        Total proxy of a smooth sphere of typical size (`roughness_floor_um`).

    Returns
    -------
    dict
        ``total_proxy_um`` and ``local_proxy_um`` (mean over planes of each particle, then over
        particles), ``size_correlation`` of the total proxy, and how volume and area compare with
        those of spheres of the mean radius (the study's test of sphericity).
    """
    planes = roughness_proxy(radii).groupby("particle_id")
    table = planes.agg(radius_um=("mean_radius_um", "mean"), total_um=("total_proxy_um", "mean"))
    local = local_roughness(radii).groupby("particle_id")
    table["local_um"] = local.agg(local_um=("local_proxy_um", "mean"))["local_um"]
    measured = particles.set_index("particle_id").reindex(table.index)
    volume_um3 = measured["volume_um3"].to_numpy(np.float64)
    area_um2 = measured["surface_area_um2"].to_numpy(np.float64)
    radius = table["radius_um"].to_numpy(np.float64)
    total = table["total_um"].to_numpy(np.float64)
    sphere_um3, sphere_um2 = 4 / 3 * np.pi * radius**3, 4 * np.pi * radius**2
    return {
        "particles": len(table),
        "azimuths": len(set(radii["azimuth_deg"].tolist())),
        "noise_floor_um": noise_floor_um,
        "total_proxy_um": _quantity(total, "um"),
        "local_proxy_um": _quantity(table["local_um"].to_numpy(np.float64), "um"),
        "size_correlation": asdict(rank_correlation(2 * radius, total)),
        "volume_to_sphere": _quantity(volume_um3 / sphere_um3, "1"),
        "area_to_sphere": _quantity(area_um2 / sphere_um2, "1"),
    }


def _quantity(values: ArrayLike, unit: str) -> Json:
    data = np.asarray(values, dtype=np.float64)
    mean, se = mean_and_se(data)
    return {
        "mean": mean if math.isfinite(mean) else None,
        "se": se if math.isfinite(se) else None,
        "median": float(np.median(data)) if len(data) else None,
        "unit": unit,
    }
