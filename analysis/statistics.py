"""Intervals for populations of particles: frequencies, ratios of sums, means.

Particles of one region are not independent (one tape, one scan). With five regions or more every
interval accounts for that; with fewer it is the naive one, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri, stdtrit

Method = Literal["wilson", "clopper-pearson", "jeffreys"]

MINIMUM_REGIONS = 5
"""Fewer clusters do not tell how much clusters differ."""
MINIMUM_FOR_RATIO = 10
"""With fewer particles, their scatter says nothing about the tail."""
TYPICAL_CORRELATION = 0.05
"""Intraclass correlation of particles of one region that is assumed before any is measured."""
TYPICAL_CORRELATION_WEIGHT = 4
"""Regions that this assumption is worth: a correlation from five regions alone is all scatter.
With both, 95 % intervals of simulated lots (5 to 12 regions of 30 to 40; 2, 5 and 55 % with voids)
fail in 2 to 5 % at a correlation of 0.05, in 3 to 8 % at 0.1, and in 2 % or less at none."""
FEW_REGIONS = "naive: particles of one region are not independent; measure 5 regions or more"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes
    ----------
    value, low, high : float or None
        None where there is no data, or where an interval would not be honest.
    n : int
        Objects behind it.
    confidence : float
        Between 0 and 1.
    method : str
        How the interval was made.
    warning : str or None
        What to keep in mind, or why there is no interval.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    confidence: float
    method: str
    warning: str | None = None


def proportion_interval(
    k: float, n: float, confidence: float = 0.95, method: Method = "wilson"
) -> tuple[float, float]:
    """Interval of a proportion of independent trials.

    Parameters
    ----------
    k, n : float
        Successes and trials; need not be whole numbers (effective sample sizes).
    confidence : float
        Between 0 and 1.
    method : {"wilson", "clopper-pearson", "jeffreys"}
        Wilson's score interval is right on average; Clopper and Pearson's never claims too much,
        for numbers in a contract; Jeffreys' is Bayesian with an uninformative prior.

    Returns
    -------
    low, high : float
        (0, 1) without trials.

    Raises
    ------
    ValueError
        Unless 0 <= k <= n and 0 < confidence < 1, and the method is one of the three.

    References
    ----------
    E. B. Wilson 1927, doi:10.1080/01621459.1927.10502953. C. J. Clopper, E. S. Pearson 1934,
    doi:10.1093/biomet/26.4.404. Compared by Brown, Cai and DasGupta 2001,
    doi:10.1214/ss/1009213286: Wilson covers 95 % at n = 40 and p = 0.02, where the textbook
    interval covers 55 %.

    Examples
    --------
    >>> [round(limit, 3) for limit in proportion_interval(22, 40)]
    [0.398, 0.693]
    """
    check_confidence(confidence)
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    if not 0 <= k <= n:
        raise ValueError(f"k must lie between 0 and n, not {k} of {n}")
    if n == 0:
        return 0.0, 1.0
    if method == "wilson":
        return _wilson(k, n, confidence)
    tail = 0.5 - confidence / 2
    add = 0.5 if method == "jeffreys" else 0.0
    low = 0.0 if k == 0 else float(betaincinv(k + add, n - k + 1 - add, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1 - add, n - k + add, 1 - tail))
    return low, high


def _wilson(k: float, n: float, confidence: float) -> tuple[float, float]:
    z = float(ndtri(0.5 + confidence / 2))
    share = k / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = 0.0 if k == 0 else max(middle - half, 0.0)
    high = 1.0 if k == n else min(middle + half, 1.0)
    return low, high


def wilson_interval(k: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's `proportion_interval`.

    Examples
    --------
    >>> [round(limit, 3) for limit in wilson_interval(0, 20)]
    [0.0, 0.161]
    """
    return proportion_interval(k, n, confidence)


def frequency_interval(
    hits: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    region: Sequence[object] | None = None,
    confidence: float = 0.95,
    method: Method = "wilson",
) -> Interval:
    """Share of objects with a property.

    Parameters
    ----------
    hits : (n,) array of bool
        Whether each object has it.
    weights : (n,) array, optional
        Such as `miles_lantuejoul_weights`; objects of weight 0 do not count.
    region : (n,) sequence, optional
        Region of each object. With five or more the trials are divided by the design effect
        ``1 + (m - 1) icc`` (`region_correlation`), and where that is above 1 by the squared ratio
        of Student's t to the normal quantile (Korn and Graubard 1998).
    confidence : float
        Between 0 and 1.
    method : {"wilson", "clopper-pearson", "jeffreys"}
        See `proportion_interval`.

    Returns
    -------
    Interval
        Of the method, with effective numbers of trials.
    """
    check_confidence(confidence)
    has = np.asarray(hits, dtype=np.float64)
    each = np.ones(len(has)) if weights is None else np.asarray(weights, dtype=np.float64)
    n = int(np.count_nonzero(each))
    if n == 0:
        return Interval(None, None, None, 0, confidence, method, "no particles")
    share = float(np.average(has, weights=each))
    trials = effective_number(each)
    codes, regions = region_codes(region)
    if codes is None or regions < MINIMUM_REGIONS:
        low, high = proportion_interval(share * trials, trials, confidence, method)
        return Interval(share, low, high, n, confidence, method, FEW_REGIONS)
    effect = design_effect(has, codes, each)
    if effect > 1:
        upper = 0.5 + confidence / 2
        freedom = regions - 1 + TYPICAL_CORRELATION_WEIGHT
        effect *= float(stdtrit(freedom, upper) / ndtri(upper)) ** 2
    trials /= effect
    low, high = proportion_interval(share * trials, trials, confidence, method)
    return Interval(share, low, high, n, confidence, f"{method}, {regions} regions as clusters")


def effective_number(weights: Array) -> float:
    """Return how many equally weighted objects scatter as these do (Kish)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def region_correlation(
    values: ArrayLike, codes: NDArray[np.intp], weights: ArrayLike | None = None
) -> tuple[float, float]:
    """Estimate how alike the objects of one region are.

    Parameters
    ----------
    values : (n,) array
        One value per object.
    codes : (n,) array of int
        Region of each, counted from 0.
    weights : (n,) array, optional
        Weight of each.

    Returns
    -------
    icc, size : float
        Intraclass correlation, pulled towards `TYPICAL_CORRELATION` as if that had been seen in
        `TYPICAL_CORRELATION_WEIGHT` regions, at least 0; and the mean size of the region that an
        object is in.
    """
    data = np.asarray(values, dtype=np.float64)
    each = np.ones(len(data)) if weights is None else np.asarray(weights, dtype=np.float64)
    total = each.sum()
    sizes = np.bincount(codes, weights=each)
    regions = len(sizes)
    # Equal weights of any size count as ones.
    size = float((sizes**2).sum() / (each**2).sum())
    rest = data - np.average(data, weights=each)
    variance = float(np.average(rest**2, weights=each))
    if variance == 0 or size <= 1 or regions < 2:
        return TYPICAL_CORRELATION, size  # objects that are all the same do not tell
    pulls = np.bincount(codes, weights=each * rest)
    between = regions / (regions - 1) * float((pulls**2).sum()) / total**2
    seen = (between / (variance / effective_number(each)) - 1) / (size - 1)
    known = TYPICAL_CORRELATION_WEIGHT
    pooled = ((regions - 1) * seen + known * TYPICAL_CORRELATION) / (regions - 1 + known)
    return max(pooled, 0.0), size


def design_effect(
    values: ArrayLike, codes: NDArray[np.intp], weights: ArrayLike | None = None
) -> float:
    """Return how many times more objects it takes because they come in regions, at least 1."""
    icc, size = region_correlation(values, codes, weights)
    return 1 + max(size - 1, 0.0) * icc


def ratio_of_sums_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    region: Sequence[object] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Ratio of two sums over objects, such as all void volume over all particle volume.

    Parameters
    ----------
    numerator, denominator : (n,) arrays
        What each object adds to either sum.
    region : (n,) sequence, optional
        Region of each object; with five or more, regions are the units instead of objects.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        ``R exp(+-t se / R)`` with the linearised standard error of the ratio, and Student's t
        with fewer degrees of freedom the more a few units dominate: ``2 n / (kurtosis - 1)``.
        Without limits below 10 objects, or when the numerator is nowhere positive: zeros have no
        scatter and would claim certainty.

    Notes
    -----
    Volumes are cubes: a few large particles decide. Where 5 % is stated, resampling fails in
    8 % of simulated lots of 40 particles and in 17 % of lots of five regions; this in 5 to 7 %
    from 40 particles on, and in 8 % of lots of 20.
    """
    check_confidence(confidence)
    top = np.asarray(numerator, dtype=np.float64)
    bottom = np.asarray(denominator, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"two lists of the same length, not shapes {top.shape}, {bottom.shape}")
    n = len(top)
    name = "log ratio, Student's t"
    if n == 0 or bottom.sum() <= 0:
        return Interval(None, None, None, n, confidence, name, "no particles")
    value = float(top.sum() / bottom.sum())
    codes, regions = region_codes(region)
    warning: str | None = FEW_REGIONS
    method = f"{name} over particles"
    if codes is not None and regions >= MINIMUM_REGIONS:
        top = np.asarray(np.bincount(codes, weights=top), dtype=np.float64)
        bottom = np.asarray(np.bincount(codes, weights=bottom), dtype=np.float64)
        method, warning = f"{name} over {regions} regions", None
    elif n < MINIMUM_FOR_RATIO:
        refusal = f"no interval from fewer than {MINIMUM_FOR_RATIO} particles"
        return Interval(value, None, None, n, confidence, method, refusal)
    if not top.any():
        return Interval(value, None, None, n, confidence, method, "no interval: none has any")
    se, freedom = ratio_error(top, bottom)
    reach = math.exp(float(stdtrit(freedom, 0.5 + confidence / 2)) * se / value)
    return Interval(value, value / reach, value * reach, n, confidence, method, warning)


def ratio_error(top: Array, bottom: Array) -> tuple[float, float]:
    """Return the linearised standard error of a ratio of sums, and its degrees of freedom.

    Examples
    --------
    >>> se, freedom = ratio_error(np.array([1.0, 2.0, 3.0]), np.ones(3))
    >>> round(se, 3), round(freedom, 1)
    (0.577, 2.0)
    """
    units = len(top)
    rest = top - top.sum() / bottom.sum() * bottom
    squares = float((rest**2).mean())
    if squares == 0:
        return 0.0, units - 1.0
    se = math.sqrt(units / (units - 1) * units * squares) / float(bottom.sum())
    kurtosis = float((rest**4).mean()) / squares**2
    heavy = 2 * units / (kurtosis - 1) if kurtosis > 1 else math.inf
    return se, min(units - 1.0, heavy)


def mean_and_se(
    values: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    region: Sequence[object] | None = None,
) -> tuple[float, float]:
    """Mean and its standard error.

    Parameters
    ----------
    values : (n,) array
        One value per object.
    weights : (n,) array, optional
        Such as `miles_lantuejoul_weights`.
    region : (n,) sequence, optional
        With five regions or more the error comes from the scatter between them.

    Returns
    -------
    mean, se : float
        NaN where there is nothing to tell them from (no value, or one).

    Examples
    --------
    >>> mean_and_se([1.0, 2.0, 3.0, 4.0])
    (2.5, 0.6454972243679028)
    """
    data = np.asarray(values, dtype=np.float64)
    n = len(data)
    each = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if n == 0 or each.sum() <= 0:
        return math.nan, math.nan
    mean = float(np.average(data, weights=each))
    pulls = each * (data - mean)  # linearisation of a ratio of sums
    codes, regions = region_codes(region)
    if codes is not None and regions >= MINIMUM_REGIONS:
        pulls = np.bincount(codes, weights=pulls)
    units = len(pulls)
    if units < 2:
        return mean, math.nan
    se = float(np.sqrt(units / (units - 1) * (pulls**2).sum()) / each.sum())
    return mean, se


def region_codes(
    region: Sequence[object] | NDArray[Any] | None,
) -> tuple[NDArray[np.intp] | None, int]:
    """Return the region of each object, counted from 0, and how many regions there are."""
    if region is None:
        return None, 0
    values = region if isinstance(region, np.ndarray) else pd.Series(list(region))
    codes, names = pd.factorize(values)
    return codes, len(names)


def check_confidence(confidence: float) -> None:
    """Refuse a confidence outside (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
