"""From tables of particles and voids to the numbers of the study's Table 1, with uncertainty."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .statistics import (
    Interval,
    frequency_interval,
    mean_and_se,
    ratio_of_sums_interval,
)
from .statistics_percentiles import percentile_interval

MINIMUM_VOID_UM = 1.8
"""Diameter from which voids are found with a probability of 90 % and more at the study's settings
(141 views, 512 nm voxels, signal-to-noise 10). A frequency of voids without such a size has no
meaning: there are smaller ones in most particles."""
PERCENTS = (10, 50, 90)

QUANTITIES = {
    "volume_um3": "um3",
    "surface_area_um2": "um2",
    "sphericity": "1",
    "surface_to_volume_per_um": "1/um",
    "equivalent_diameter_um": "um",
}
GREY_QUANTITIES = {"volume_grey_um3": "um3", "equivalent_diameter_grey_um": "um"}
GREY_DIAMETER = "equivalent_diameter_grey_um"

VOID_COUNT, VOID_VOLUME = "void_count_counted", "void_volume_counted_um3"

Json = dict[str, Any]


def summarize(
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    *,
    minimum_void_um: float = MINIMUM_VOID_UM,
    confidence: float = 0.95,
    seed: int = 0,
) -> Json:
    """Summarise the particles and voids of one or several regions.

    Only whole particles count, and voids in whole particles, larger than `minimum_void_um`: the
    same for measured tables and for tables of the truth.

    Parameters
    ----------
    particles : DataFrame
        A row per particle: ``particle_id, volume_um3, surface_area_um2, sphericity,
        surface_to_volume_per_um, equivalent_diameter_um``; optional ``touches_border``,
        ``split``, ``weight`` (such as `miles_lantuejoul_weights`; used for the means), columns
        ending in ``_se`` and ``region``.
    voids : DataFrame
        A row per void, ``particle_id`` and the same columns; optional ``volume_grey_um3`` and
        ``equivalent_diameter_grey_um``, which then decide what is large enough and how much
        volume is dead. When both tables have ``region``, ids count within a region.
    minimum_void_um : float
        Equivalent diameter from which a void counts.
    confidence : float
        Of all intervals.
    seed : int
        Of the bootstrap: the same tables give the same numbers.

    Returns
    -------
    dict
        Of plain numbers, strings and None (never NaN): ``particles`` and ``voids`` (``count``
        and, per quantity, number-weighted ``mean``, its standard error ``se`` from the scatter of
        the objects, ``measurement_se`` (what all objects may be off together, at most),
        ``median`` and ``unit``; ``sphericity_of_means`` is that of the mean volume and mean area,
        the study's, which is lower than the mean sphericity for any spread of sizes),
        ``particles.percentiles_um``, ``void_frequency``, ``dead_volume_fraction`` (and by two
        more definitions), ``void_to_particle_volume_ratio`` and ``net_dead_volume_fraction``.

    Raises
    ------
    ValueError
        When a table lacks a column, or `minimum_void_um` is negative.

    Examples
    --------
    >>> sphere = {"volume_um3": 113.1, "surface_area_um2": 113.1, "sphericity": 1.0,
    ...           "surface_to_volume_per_um": 1.0, "equivalent_diameter_um": 6.0}
    >>> particles = pd.DataFrame([{"particle_id": i, **sphere} for i in (1, 2)])
    >>> result = summarize(particles, pd.DataFrame())
    >>> result["particles"]["count"], result["void_frequency"]["value"]
    (2, 0.0)
    """
    if minimum_void_um < 0:
        raise ValueError(f"minimum_void_um must not be negative, not {minimum_void_um}")
    for name, table in (("particles", particles), ("voids", voids)):
        missing = {"particle_id", *QUANTITIES} - set(table.columns)
        if missing and not table.empty:
            raise ValueError(f"the {name} table lacks {', '.join(sorted(missing))}")

    whole, counted = count_voids(particles, voids, minimum_void_um=minimum_void_um)
    borders, keys = _flags(particles, "touches_border"), _keys(particles, voids)
    dead_um3 = _column(whole, VOID_VOLUME)
    number_per_particle = _column(whole, VOID_COUNT)
    region = whole["region"].tolist() if "region" in whole else None
    volume = _column(whole, "volume_um3")

    frequency = frequency_interval(number_per_particle > 0, region=region, confidence=confidence)
    dead = ratio_of_sums_interval(dead_um3, volume, region=region, confidence=confidence)
    bearing = number_per_particle > 0
    of_bearing = [one for one, has in zip(region, bearing, strict=True) if has] if region else None
    in_bearing = ratio_of_sums_interval(
        dead_um3[bearing], volume[bearing], region=of_bearing, confidence=confidence
    )
    own_share = np.divide(dead_um3, volume, out=np.zeros(len(volume)), where=volume > 0)
    each = ratio_of_sums_interval(
        own_share, np.ones(len(volume)), region=region, confidence=confidence
    )
    mean_void = float(_void_volume(counted).mean()) if len(counted) else 0.0
    ratio = mean_void / float(volume.mean()) if len(whole) else None
    net = ratio * frequency.value if ratio is not None and frequency.value is not None else None
    estimator = "grey values" if GREY_DIAMETER in voids else "volume_um3"
    return {
        "particles": {
            "count": len(whole),
            "counted_whole": len(whole),
            "touching_border": int(borders.sum()),
            "split": int(_flags(whole, "split").sum()),
            "regions": len(set(region)) if region is not None else None,
            **_quantities(whole, QUANTITIES, region),
            "percentiles_um": _percentiles(whole, confidence, seed),
        },
        "voids": {
            "count": len(counted),
            "count_any_size": len(_of_particles(voids, whole, keys)),
            "larger_than_um": float(minimum_void_um),
            **_quantities(counted, QUANTITIES, _regions(counted)),
            **_quantities(counted, _present(counted, GREY_QUANTITIES), _regions(counted)),
        },
        "void_frequency": {
            **_plain(frequency),
            "k": int((number_per_particle > 0).sum()),
            "larger_than_um": float(minimum_void_um),
            "definition": "whole particles with at least one void, over whole particles",
        },
        "dead_volume_fraction": {
            **_plain(dead),
            "larger_than_um": float(minimum_void_um),
            "void_volume_from": estimator,
            "definition": "sum of void volumes over sum of particle volumes, voids included",
        },
        "dead_volume_fraction_with_voids": {
            **_plain(in_bearing),
            "definition": "the same over particles with voids only",
        },
        "dead_volume_fraction_mean": {
            **_plain(each),
            "definition": "mean over particles of the share of each that is void",
        },
        "void_to_particle_volume_ratio": {
            "value": _number(ratio),
            "definition": "mean void volume over mean particle volume, V_D of the study",
        },
        "net_dead_volume_fraction": {
            "value": _number(net),
            "definition": "void frequency times V_D, as in the study",
        },
    }


def count_voids(
    particles: pd.DataFrame, voids: pd.DataFrame, *, minimum_void_um: float = MINIMUM_VOID_UM
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the whole particles with what counts of their voids, and those voids.

    Parameters
    ----------
    particles, voids : DataFrame
        As for `summarize`.
    minimum_void_um : float
        Equivalent diameter from which a void counts.

    Returns
    -------
    whole, counted : DataFrame
        The rows of particles that do not touch the border, with the columns
        ``void_count_counted`` and ``void_volume_counted_um3``; and the rows of the voids in them
        that are large enough.
    """
    whole = _rows(particles, ~_flags(particles, "touches_border"))
    large = _rows(voids, void_diameter(voids) > minimum_void_um)
    keys = _keys(particles, voids)
    counted = _of_particles(large, whole, keys)
    columns = {
        VOID_COUNT: _sums(counted, np.ones(len(counted)), whole, keys),
        VOID_VOLUME: _sums(counted, _void_volume(counted), whole, keys),
    }
    return whole.assign(**columns), counted


def _keys(particles: pd.DataFrame, voids: pd.DataFrame) -> list[str]:
    return ["region", "particle_id"] if _both_have_region(particles, voids) else ["particle_id"]


def _quantities(table: pd.DataFrame, names: dict[str, str], region: list[Any] | None) -> Json:
    weights = table["weight"].to_numpy(np.float64) if "weight" in table else None
    result: Json = {}
    for name, unit in names.items():
        values = _column(table, name)
        mean, se = mean_and_se(values, weights, region=region)
        uncertainty = _column(table, f"{name}_se") if f"{name}_se" in table else np.zeros(0)
        result[name] = {
            "mean": _number(mean),
            "se": _number(se),
            "measurement_se": _number(uncertainty.mean() if uncertainty.size else None),
            "median": _number(np.median(values) if values.size else None),
            "unit": unit,
        }
    if "sphericity" in names:
        volume, area = result["volume_um3"]["mean"], result["surface_area_um2"]["mean"]
        if volume is None or area is None:
            result["sphericity_of_means"] = None
        else:
            result["sphericity_of_means"] = math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area
    return result


def _percentiles(whole: pd.DataFrame, confidence: float, seed: int) -> Json:
    diameters = _column(whole, "equivalent_diameter_um")
    result: Json = {}
    for percent in PERCENTS:
        by_number = percentile_interval(diameters, percent, confidence=confidence)
        by_volume = percentile_interval(
            diameters, percent, weighting="volume", confidence=confidence, seed=seed
        )
        result[f"d{percent}_number"] = _plain(by_number)
        result[f"d{percent}_volume"] = _plain(by_volume)
    return result


def void_diameter(voids: pd.DataFrame) -> NDArray[np.float64]:
    """Return the diameters that decide which voids count: from grey values where known."""
    return _preferred(voids, GREY_DIAMETER, "equivalent_diameter_um")


def _void_volume(voids: pd.DataFrame) -> NDArray[np.float64]:
    return _preferred(voids, "volume_grey_um3", "volume_um3")


def _preferred(table: pd.DataFrame, first: str, second: str) -> NDArray[np.float64]:
    """Take the first column where it has a number, else the second."""
    fallback = _column(table, second)
    if first not in table:
        return fallback
    best = _column(table, first)
    return np.where(np.isfinite(best), best, fallback)


def _of_particles(voids: pd.DataFrame, whole: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    if voids.empty or whole.empty:
        return voids.head(0)
    return _rows(voids, _identity(voids, keys).isin(_identity(whole, keys)))


def _sums(
    voids: pd.DataFrame, amounts: NDArray[np.float64], whole: pd.DataFrame, keys: list[str]
) -> NDArray[np.float64]:
    """Sum an amount per void over the voids of each particle, in the order of the particles."""
    if voids.empty or whole.empty:
        return np.zeros(len(whole))
    parents = _identity(whole, keys)
    if not parents.is_unique:
        raise ValueError("particle_id occurs twice; give both tables a region column")
    where = parents.get_indexer(_identity(voids, keys))
    return np.bincount(where, weights=amounts, minlength=len(whole)).astype(np.float64)


def _identity(table: pd.DataFrame, keys: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([table[key] for key in keys], names=keys)


def _rows(table: pd.DataFrame, mask: NDArray[np.bool_]) -> pd.DataFrame:
    return table.take(np.flatnonzero(mask))


def _both_have_region(particles: pd.DataFrame, voids: pd.DataFrame) -> bool:
    return "region" in particles and "region" in voids


def _regions(table: pd.DataFrame) -> list[Any] | None:
    return table["region"].tolist() if "region" in table else None


def _present(table: pd.DataFrame, names: dict[str, str]) -> dict[str, str]:
    return {name: unit for name, unit in names.items() if name in table}


def _flags(table: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    if name not in table:
        return np.zeros(len(table), dtype=bool)
    return table[name].to_numpy(dtype=bool)


def _column(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return table[name].to_numpy(dtype=np.float64) if name in table else np.zeros(0)


def _plain(interval: Interval) -> Json:
    return asdict(interval)


def _number(value: float | np.floating[Any] | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
