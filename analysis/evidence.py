"""What the particles measured so far say about a limit, as a log likelihood ratio.

Shares of particles use the likelihood of independent trials divided by the design effect of the
regions (a quasi-likelihood). Everything else has an estimate with a standard error on the scale
of logarithms, where volumes are nearly normal and limits are factors: its ratio is that of two
normal distributions about the two levels, ``(b - a) (x - (a + b) / 2) / se^2``. Because `se` is
itself an estimate, the ratio is shortened by the squared ratio of normal to Student's quantile:
tails at the level of the risks are then Student's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .lot_specification import Limit, SpecificationError
from .statistics import (
    TYPICAL_CORRELATION,
    effective_number,
    proportion_interval,
    ratio_error,
    region_codes,
    region_correlation,
)
from .statistics_percentiles import weighted_quantile
from .summary import VOID_COUNT, VOID_VOLUME, count_voids

MINIMUM_OBJECTS = 10
"""With fewer, the scatter of sizes says nothing: the test waits for the next region."""
FEW_EVENTS = 12
"""With fewer particles that have (or lack) the property, regions happen to look alike: the design
effect is then at least that of the typical correlation, whatever is assumed. Without this, lots of
5 % pass for lots of 2 % in 10 % of cases where 5 % is stated."""
ONE_SIGMA = 0.6827
"""Confidence of an interval of one standard error."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What has been seen about one limit.

    Attributes
    ----------
    value : float or None
        The estimate, in the unit of the limit.
    n : int
        Objects behind it.
    ratio : float
        Log likelihood ratio of the rejectable to the acceptable level; 0 when nothing can be said.
    step : float
        Standard deviation that a region has added to `ratio` on average; 0 likewise.
    effect : float
        Design effect: how many times more objects it takes because they come in regions.
    """

    value: float | None
    n: int
    ratio: float
    step: float
    effect: float


NOTHING = Evidence(None, 0, 0.0, 0.0, 1.0)


def evidence(
    limit: Limit,
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    *,
    minimum_void_um: float,
    correlation: float = TYPICAL_CORRELATION,
) -> Evidence:
    """Return what tables of particles and voids say about a limit.

    Parameters
    ----------
    limit
        The limit.
    particles, voids
        As for `summarize`, with a column ``region`` when there are several regions; a column
        ``weight`` of the particles is used.
    minimum_void_um
        Equivalent diameter from which a void counts.
    correlation
        Particles of one region are taken to be at least so alike, also where regions happen to
        agree: a few of them cannot tell.

    Raises
    ------
    SpecificationError
        If the limit names a column that there is not.
    """
    whole, counted = count_voids(particles, voids, minimum_void_um=minimum_void_um)
    table = counted if limit.of == "voids" else whole
    if limit.column is not None and limit.column not in table and len(table):
        names = ", ".join(sorted(str(name) for name in table.columns))
        raise SpecificationError(
            f"{limit.name}: there is no column {limit.column!r}; choose of {names}"
        )
    if table.empty:
        return NOTHING
    weights = table["weight"].to_numpy(np.float64) if "weight" in table else np.ones(len(table))
    region = table["region"].tolist() if "region" in table else [0] * len(table)
    if limit.quantity == "void_frequency":
        return of_share(limit, table[VOID_COUNT].to_numpy() > 0, region, weights, correlation)
    if limit.quantity == "share":
        values = table[str(limit.column)].to_numpy(np.float64)
        hits = values > limit.above if limit.above is not None else values < (limit.below or 0.0)
        return of_share(limit, hits, region, weights, correlation)
    if limit.quantity == "percentile":
        sizes = table["equivalent_diameter_um"].to_numpy(np.float64)
        return of_percentile(limit, sizes, region, weights, correlation)
    if limit.quantity == "dead_volume_fraction":
        top = table[VOID_VOLUME].to_numpy(np.float64)
        bottom = table["volume_um3"].to_numpy(np.float64)
        return of_ratio(limit, top, bottom, region)
    values = table[str(limit.column)].to_numpy(np.float64)
    known = np.isfinite(values)
    kept = [one for one, good in zip(region, known, strict=True) if good]
    return of_ratio(limit, weights[known] * values[known], weights[known], kept, correlation)


def of_share(
    limit: Limit,
    hits: NDArray[np.bool_],
    region: Sequence[object],
    weights: Array | None = None,
    correlation: float = TYPICAL_CORRELATION,
) -> Evidence:
    """Return the evidence of trials.

    Parameters
    ----------
    limit
        Its levels are proportions.
    hits : (n,) array of bool
        Whether each object has the property.
    region : (n,) sequence
        Region of each.
    weights : (n,) array, optional
        Of each.
    correlation : float
        As for `evidence`.
    """
    has = np.asarray(hits, dtype=np.float64)
    each = np.ones(len(has)) if weights is None else weights
    n = int(np.count_nonzero(each))
    if n == 0:
        return NOTHING
    codes, regions = _codes(region)
    effect = _effect(has, codes, each, correlation)
    share = float(np.average(has, weights=each))
    if min(share, 1 - share) * n < FEW_EVENTS:
        _, size = region_correlation(has, codes, each)
        effect = max(effect, 1 + max(size - 1, 0.0) * TYPICAL_CORRELATION)
    trials = effective_number(each) / effect
    good, bad = limit.acceptable, limit.rejectable
    one, other = math.log(bad / good), math.log((1 - bad) / (1 - good))
    ratio = trials * (share * one + (1 - share) * other)
    # What separates the two levels: the symmetric divergence of Kullback and Leibler.
    per_trial = (bad - good) * (one - other)
    shorter = student(student_freedom(regions)) if effect > 1 else 1.0
    return Evidence(
        share, n, ratio * shorter, math.sqrt(trials * per_trial / regions * shorter), effect
    )


def of_ratio(
    limit: Limit,
    top: Array,
    bottom: Array,
    region: Sequence[object],
    correlation: float = 0.0,
) -> Evidence:
    """Return the evidence of a ratio of sums, such as a mean (`bottom` counts) or a dead volume.

    Parameters
    ----------
    limit
        Its levels are values of the ratio.
    top, bottom : (n,) arrays
        What each object adds to either sum.
    region : (n,) sequence
        Region of each.
    correlation : float
        As for `evidence`; none for a dead volume. A few large particles decide it, wherever they
        lie, and Student's tails for their sake keep the risks already; with it a verdict takes
        three tenths more regions.
    """
    found = sums_error(top, bottom, region, correlation)
    value = found.value if math.isfinite(found.value) else None
    if value is None or not found.standard_error > 0:
        return Evidence(value, found.n, 0.0, 0.0, found.effect)
    return _normal(limit, found)


def of_percentile(
    limit: Limit,
    sizes: Array,
    region: Sequence[object],
    weights: Array | None = None,
    correlation: float = TYPICAL_CORRELATION,
) -> Evidence:
    """Return the evidence of a percentile by number.

    Its standard error on the logarithmic scale is half the distance of the percentiles between
    which the share of smaller objects lies with one standard error (Woodruff 1952,
    doi:10.1080/01621459.1952.10483443); no distribution is assumed.

    Parameters
    ----------
    limit
        Its levels are sizes.
    sizes : (n,) array
        One per object, above 0.
    region : (n,) sequence
        Region of each.
    weights : (n,) array, optional
        Of each.
    correlation : float
        As for `evidence`.
    """
    quantile = float(limit.percent or 50.0) / 100
    found = percentile_error(sizes, region, quantile, weights, correlation)
    value = found.value if math.isfinite(found.value) else None
    if value is None or not found.standard_error > 0:
        return Evidence(value, found.n, 0.0, 0.0, found.effect)
    return _normal(limit, found)


@dataclass(frozen=True)
class LogEstimate:
    """An estimate with the standard error of its logarithm.

    Attributes
    ----------
    value
        The estimate itself; NaN without any.
    standard_error
        Of its logarithm; NaN where none would be honest.
    freedom
        Degrees of freedom of that error.
    n, regions
        Objects and regions behind it.
    effect
        Design effect.
    """

    value: float
    standard_error: float
    freedom: float
    n: int
    regions: int
    effect: float


def percentile_error(
    sizes: Array,
    region: Sequence[object],
    quantile: float,
    weights: Array | None = None,
    correlation: float = 0.0,
) -> LogEstimate:
    """Return a percentile by number with its error; arguments as for `of_percentile`."""
    each = np.ones(len(sizes)) if weights is None else weights
    counts = each > 0
    n = int(counts.sum())
    if n < MINIMUM_OBJECTS:
        return LogEstimate(math.nan, math.nan, 0.0, n, 0, 1.0)
    order = np.argsort(sizes[counts], kind="stable")
    data, each = sizes[counts][order], each[counts][order]
    codes, regions = _codes(np.asarray(region, dtype=object)[counts][order])
    value = weighted_quantile(data, each, quantile)
    effect = _effect((data <= value).astype(np.float64), codes, each, correlation)
    trials = effective_number(each) / effect
    low, high = proportion_interval(quantile * trials, trials, ONE_SIGMA)
    se = math.nan
    if low * trials >= 1 and (1 - high) * trials >= 1:
        limits = [math.log(weighted_quantile(data, each, share)) for share in (low, high)]
        se = (limits[1] - limits[0]) / 2
    return LogEstimate(value, se, trials - 1, n, regions, effect)


def sums_error(
    top: Array, bottom: Array, region: Sequence[object], correlation: float = 0.0
) -> LogEstimate:
    """Return a ratio of sums with its error; arguments as for `of_ratio`."""
    n = len(top)
    if n < MINIMUM_OBJECTS or not (top.sum() > 0 and bottom.sum() > 0):
        return LogEstimate(math.nan, math.nan, 0.0, n, 0, 1.0)
    value = float(top.sum() / bottom.sum())
    se, freedom = ratio_error(top, bottom)
    codes, regions = _codes(region)
    effect = _effect(top - value * bottom, codes, None, correlation)
    return LogEstimate(value, se / value * math.sqrt(effect), freedom, n, regions, effect)


def _normal(limit: Limit, found: LogEstimate) -> Evidence:
    """Return the evidence of an estimate whose logarithm has a standard error."""
    good, bad = math.log(limit.acceptable), math.log(limit.rejectable)
    freedom = found.freedom
    if found.effect > 1:
        freedom = min(freedom, student_freedom(found.regions))
    information = student(freedom) / found.standard_error**2
    ratio = (bad - good) * (math.log(found.value) - (good + bad) / 2) * information
    step = abs(bad - good) * math.sqrt(information / found.regions)
    return Evidence(found.value, found.n, ratio, step, found.effect)


@lru_cache(maxsize=4096)
def student(freedom: float, level: float = 0.95) -> float:
    """Return by how much an estimated variance lessens what a ratio is worth, at most 1.

    Examples
    --------
    >>> round(student(5.0), 3), round(student(1e9), 3)
    (0.816, 1.0)
    """
    return float(stats.norm.ppf(level) / stats.t.ppf(level, max(freedom, 1.0)))


def student_freedom(regions: float) -> float:
    """Return the degrees of freedom of a variance between regions, what is assumed included.

    Twice the regions less one, so three for two regions: chosen by simulation, such that
    early decisions, where most errors are made, keep the stated risks also when particles are more
    alike than assumed (`benchmarks/lot_campaign.py`).
    """
    return max(2 * regions - 1, 2.0)


def _effect(
    values: Array, codes: NDArray[np.intp], weights: Array | None, correlation: float
) -> float:
    """Return the design effect, of a correlation that is at least what is assumed."""
    icc, size = region_correlation(values, codes, weights)
    return 1 + max(size - 1, 0.0) * max(icc, correlation)


def _codes(region: Sequence[object] | NDArray[Any]) -> tuple[NDArray[np.intp], int]:
    codes, regions = region_codes(region)
    assert codes is not None
    return codes, regions
