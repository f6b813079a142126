"""Two lots side by side: tests and effect sizes that know that particles come in regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .evidence import LogEstimate, sums_error
from .particle_defects import SHAPE, find_defects
from .statistics import (
    MINIMUM_REGIONS,
    TYPICAL_CORRELATION_WEIGHT,
    check_confidence,
    design_effect,
    proportion_interval,
    region_codes,
)
from .summary import VOID_COUNT, VOID_VOLUME

STUDY_RANGE_KM = 483.0
"""Range of the vehicle in the study's estimate: 300 miles."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How a quantity differs between lots A and B.

    Attributes
    ----------
    quantity
        What is compared.
    value_a, value_b
        Its estimates; None where there is nothing to tell them from.
    unit
        Of both.
    effect, low, high
        Size of the difference with its interval: `effect_kind` says of what.
    effect_kind
        ``B minus A`` or ``B over A``.
    p_value
        How often a difference as large would be seen between equal lots.
    test
        How that was worked out.
    n_a, n_b, regions_a, regions_b
        Objects and regions.
    warning
        What to keep in mind.
    """

    quantity: str
    value_a: float | None
    value_b: float | None
    unit: str
    effect: float | None
    low: float | None
    high: float | None
    effect_kind: str
    p_value: float | None
    test: str
    n_a: int
    n_b: int
    regions_a: int
    regions_b: int
    warning: str | None


@dataclass(frozen=True, eq=False)
class _Side:
    whole: pd.DataFrame
    codes: NDArray[np.intp]
    regions: int

    def __len__(self) -> int:
        return len(self.whole)

    def column(self, name: str) -> Array:
        return self.whole[name].to_numpy(np.float64)

    def region(self) -> list[int]:
        return self.codes.tolist()


def compare(
    a: tuple[pd.DataFrame, pd.DataFrame],
    b: tuple[pd.DataFrame, pd.DataFrame],
    *,
    minimum_void_um: float,
    confidence: float = 0.95,
) -> list[Difference]:
    """Compare two lots.

    Parameters
    ----------
    a, b : (particles, voids)
        Tables as for `summarize`, with the column ``region`` when there are several regions.
    minimum_void_um
        Diameter from which voids count, in both lots.
    confidence
        Of the intervals.

    Returns
    -------
    list of Difference
        Void frequency, diameter, dead volume, and the shares of hollow, cracked and misshapen
        particles (`find_defects`; the last two only where open pores and sphericities from grey
        values were measured).

    Notes
    -----
    Void frequency: difference of shares with Newcombe's interval of two Wilson intervals
    (doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I), trials divided by the
    design effect. Diameter: ratio of typical sizes (Hodges and Lehmann's shift of the logarithms,
    doi:10.1214/aoms/1177704172) with Mann and Whitney's test, its variance multiplied by the design
    effect of the ranks. Dead volume: ratio, Student's t on the logarithm (Welch). With fewer than
    five regions the design effect is mostly what is assumed, and the warning says so.
    """
    check_confidence(confidence)
    sides = [_side(*tables, minimum_void_um) for tables in (a, b)]
    first, second = sides
    found = [
        _share(first, second, confidence, "void_frequency", "with_void"),
        _sizes(first, second, confidence),
        _dead(first, second, confidence),
        _share(first, second, confidence, "share hollow", "hollow"),
    ]
    if all("cracked" in side.whole for side in sides):
        found.append(_share(first, second, confidence, "share cracked", "cracked"))
    if all(SHAPE in side.whole for side in sides):
        found.append(_share(first, second, confidence, "share misshapen", "misshapen"))
    return found


def differing(found: Sequence[Difference], level: float = 0.05) -> list[str]:
    """Return the quantities that differ, at a level that holds for all tests together.

    Holm 1979 (jstor.org/stable/4615733): the smallest p-value must be below the level over the
    number of tests, the next over one less, and so on until one is not.
    """
    tested = sorted((one.p_value, one.quantity) for one in found if one.p_value is not None)
    names: list[str] = []
    for number, (p_value, name) in enumerate(tested):
        if p_value >= level / (len(tested) - number):
            break
        names.append(name)
    return names


def _side(particles: pd.DataFrame, voids: pd.DataFrame, minimum_void_um: float) -> _Side:
    whole = find_defects(particles, voids, minimum_void_um=minimum_void_um)
    whole = whole.assign(with_void=whole[VOID_COUNT].to_numpy() > 0)
    region = whole["region"].tolist() if "region" in whole else [0] * len(whole)
    codes, regions = region_codes(region)
    assert codes is not None
    return _Side(whole, codes, regions)


def _difference(
    quantity: str,
    sides: tuple[_Side, _Side],
    values: Sequence[float | None],
    effect: Sequence[float | None],
    p_value: float | None,
    **words: Any,
) -> Difference:
    a, b = sides
    few = min(a.regions, b.regions) < MINIMUM_REGIONS
    return Difference(
        quantity=quantity,
        value_a=values[0],
        value_b=values[1],
        effect=effect[0],
        low=effect[1],
        high=effect[2],
        p_value=p_value,
        n_a=len(a),
        n_b=len(b),
        regions_a=a.regions,
        regions_b=b.regions,
        warning=f"fewer than {MINIMUM_REGIONS} regions: how much regions differ is assumed"
        if few
        else None,
        **words,
    )


def _freedom(a: _Side, b: _Side) -> float:
    """Degrees of freedom of how much regions differ, what is assumed beforehand included."""
    return a.regions + b.regions - 2 + TYPICAL_CORRELATION_WEIGHT


def _share(a: _Side, b: _Side, confidence: float, quantity: str, column: str) -> Difference:
    words = {
        "unit": "1",
        "effect_kind": "B minus A",
        "test": "two proportions, score, regions as clusters",
    }
    if not (len(a) and len(b)):
        return _difference(quantity, (a, b), (None, None), (None, None, None), None, **words)
    shares, trials, limits = [], [], []
    for side in (a, b):
        hits = side.column(column)
        number = len(side) / design_effect(hits, side.codes)
        shares.append(float(hits.mean()))
        trials.append(number)
        limits.append(proportion_interval(shares[-1] * number, number, confidence))
    (p_a, p_b), ((low_a, high_a), (low_b, high_b)) = shares, limits
    effect = p_b - p_a
    low = effect - math.hypot(p_b - low_b, high_a - p_a)
    high = effect + math.hypot(high_b - p_b, p_a - low_a)
    pooled = (p_a * trials[0] + p_b * trials[1]) / sum(trials)
    error = math.sqrt(pooled * (1 - pooled) * (1 / trials[0] + 1 / trials[1]))
    p_value = 2 * float(stats.t.sf(abs(effect) / error, _freedom(a, b))) if error > 0 else 1.0
    return _difference(quantity, (a, b), shares, (effect, low, high), p_value, **words)


def _sizes(a: _Side, b: _Side, confidence: float) -> Difference:
    words = {
        "unit": "um",
        "effect_kind": "B over A",
        "test": "Mann and Whitney, regions as clusters; ratio by Hodges and Lehmann",
    }
    name = "equivalent_diameter_um"
    if not (len(a) and len(b)):
        return _difference(name, (a, b), (None, None), (None, None, None), None, **words)
    logs = [np.log(side.column(name)) for side in (a, b)]
    ranks = stats.rankdata(np.concatenate(logs))
    effects = [
        design_effect(part, side.codes)
        for part, side in zip(np.split(ranks, [len(a)]), (a, b), strict=True)
    ]
    size = len(a) + len(b)
    statistic = float(ranks[len(a) :].sum()) - len(b) * (len(b) + 1) / 2
    expected = len(a) * len(b) / 2
    # The variance of U is the sum of what either sample brings, each with its own regions.
    variance = len(a) * len(b) * (size + 1) / 12
    variance *= (len(b) * effects[0] + len(a) * effects[1]) / size
    away = max(abs(statistic - expected) - 0.5, 0) / variance**0.5
    p_value = 2 * float(stats.t.sf(away, _freedom(a, b)))
    pairs = np.sort((logs[1][None, :] - logs[0][:, None]).ravel())
    reach = float(stats.t.ppf(0.5 + confidence / 2, _freedom(a, b))) * variance**0.5
    first = max(math.floor(expected - reach), 0)
    last = min(math.ceil(expected + reach), len(pairs) - 1)
    effect = [math.exp(value) for value in (float(np.median(pairs)), pairs[first], pairs[last])]
    medians = [math.exp(float(np.median(part))) for part in logs]
    return _difference(name, (a, b), medians, effect, min(p_value, 1.0), **words)


def _dead(a: _Side, b: _Side, confidence: float) -> Difference:
    words = {"unit": "1", "effect_kind": "B over A", "test": "log ratio, Student's t (Welch)"}
    found = [
        sums_error(side.column(VOID_VOLUME), side.column("volume_um3"), side.region())
        for side in (a, b)
    ]
    values = [one.value if math.isfinite(one.value) else None for one in found]
    if None in values or not all(one.standard_error > 0 for one in found):
        nothing = (None, None, None)
        return _difference("dead_volume_fraction", (a, b), values, nothing, None, **words)
    logs = math.log(found[1].value / found[0].value)
    error, freedom = _welch(found)
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    effect = [math.exp(logs), math.exp(logs - reach), math.exp(logs + reach)]
    p_value = 2 * float(stats.t.sf(abs(logs) / error, freedom))
    return _difference("dead_volume_fraction", (a, b), values, effect, p_value, **words)


def _welch(found: Sequence[LogEstimate]) -> tuple[float, float]:
    variances = [one.standard_error**2 for one in found]
    total = sum(variances)
    share = sum(v**2 / max(one.freedom, 1.0) for v, one in zip(variances, found, strict=True))
    return math.sqrt(total), total**2 / share


def range_loss_km(dead_volume_fraction: float, range_km: float = STUDY_RANGE_KM) -> float:
    """Return the range that a vehicle loses to dead volume, by the study's simple model.

    The model takes the range to be proportional to the volume of active material and nothing else;
    the study says that "the reality is more complex". It is an illustration, not a prediction.

    Parameters
    ----------
    dead_volume_fraction
        Void volume over particle volume.
    range_km
        Of the vehicle without voids: 300 miles in the study.

    Examples
    --------
    >>> round(range_loss_km(0.02) / 1.609, 1)
    6.0
    """
    return dead_volume_fraction * range_km
