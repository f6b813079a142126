"""Control charts: whether lots stay what they were.

Lots differ in how many particles were measured of them, so everything is charted in units of each
lot's own standard error. Lots also differ a little among each other when nothing is wrong; by how
much more than their standard errors say is read off successive lots of the baseline (Laney's
correction), and the limits are widened by it.

References
----------
S. W. Roberts 1959, doi:10.1080/00401706.1959.10489860 (EWMA). J. M. Lucas, M. S. Saccucci 1990,
doi:10.1080/00401706.1990.10484583 (its run lengths). E. S. Page 1954, doi:10.1093/biomet/41.1-2.100
(CUSUM). D. B. Laney 2002, doi:10.1081/QEN-120006708 (p' chart). D. Brook, D. A. Evans 1972,
doi:10.1093/biomet/59.3.539 (run lengths by Markov chain). ISO 7870-4, -6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Kind = Literal["shewhart", "ewma", "cusum"]

EWMA_WEIGHT = 0.2
EWMA_LIMIT = 2.86
"""In standard deviations: a false alarm every 370 lots, as three sigma have."""
CUSUM_SLACK = 0.5
"""Half the shift that is to be found quickly, in standard errors."""
CUSUM_LIMIT = 4.77
"""A false alarm every 370 lots for both sides together."""
SHEWHART_LIMIT = 3.0
MINIMUM_BASELINE = 5
"""Lots of which a baseline can be made."""
RANGE_FACTOR = 1.128
"""Mean range of two standard normal numbers, ``2 / sqrt(pi)``."""
STATES = 201
"""Of the Markov chain; doubling them moves no run length by more than 1 %."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Alarm:
    """One lot out of control.

    Attributes
    ----------
    lot
        Place of the lot, counted from 0.
    chart
        Which chart says so.
    upward
        Whether the values are too large.
    since
        First lot of the drift (the lot itself on the Shewhart chart).
    """

    lot: int
    chart: Kind
    upward: bool
    since: int


@dataclass(frozen=True, eq=False)
class ControlChart:
    """The charts of one quantity.

    Attributes
    ----------
    center
        Baseline value, on the scale of the chart.
    spread
        Scatter among the baseline lots in units of their standard errors, at least 1.
    baseline
        Lots that it was made of, the first ones.
    table : DataFrame
        A row per lot: ``value, standard_error, deviation`` (in widened standard errors), ``low``
        and ``high`` (three of them about the centre), ``ewma, ewma_limit, cusum_up, cusum_down``.
    alarms
        In the order of the lots; lots of the baseline can alarm too.
    """

    center: float
    spread: float
    baseline: int
    table: pd.DataFrame
    alarms: tuple[Alarm, ...]


def control_chart(
    values: ArrayLike,
    standard_errors: ArrayLike,
    *,
    baseline: int | None = None,
    center: float | None = None,
) -> ControlChart:
    """Make the charts of a quantity.

    Parameters
    ----------
    values, standard_errors : (n,) arrays
        Of each lot, in the order of time, on a scale on which they scatter symmetrically.
    baseline : int, optional
        The first lots, that were in control: 5 or more; all of them if None.
    center : float, optional
        A value aimed at instead of the mean of the baseline.

    Returns
    -------
    ControlChart

    Raises
    ------
    ValueError
        With fewer than five lots or an error that is not above 0.

    Examples
    --------
    >>> chart = control_chart([0.50, 0.55, 0.52, 0.49, 0.54, 0.80], [0.06] * 6, baseline=5)
    >>> [(alarm.lot, alarm.chart) for alarm in chart.alarms]
    [(5, 'shewhart'), (5, 'ewma')]
    """
    data = np.asarray(values, dtype=np.float64)
    errors = np.asarray(standard_errors, dtype=np.float64)
    number = len(data) if baseline is None else baseline
    if not MINIMUM_BASELINE <= number <= len(data):
        raise ValueError(
            f"a baseline needs {MINIMUM_BASELINE} lots or more, of {len(data)}, not {number}"
        )
    if not ((errors > 0).all() and np.isfinite(data).all() and np.isfinite(errors).all()):
        raise ValueError("every lot needs a finite value and a standard error above 0")
    if center is None:
        center = float(np.average(data[:number], weights=errors[:number] ** -2.0))
    spread = laney_spread((data[:number] - center) / errors[:number])
    deviation = (data - center) / (errors * spread)
    smooth, limit = ewma(deviation)
    up, down = cusum(deviation)
    table = pd.DataFrame(
        {
            "value": data,
            "standard_error": errors,
            "deviation": deviation,
            "low": center - SHEWHART_LIMIT * errors * spread,
            "high": center + SHEWHART_LIMIT * errors * spread,
            "ewma": smooth,
            "ewma_limit": limit,
            "cusum_up": up,
            "cusum_down": down,
        }
    )
    return ControlChart(center, spread, number, table, tuple(_alarms(table)))


def laney_spread(deviations: ArrayLike) -> float:
    """Return how much more lots scatter than their standard errors say, at least 1.

    Read off successive lots, so that a slow drift does not hide itself.

    Examples
    --------
    >>> laney_spread([0.0, 2.256, 0.0, 2.256])
    2.0
    """
    ranges = np.abs(np.diff(np.asarray(deviations, dtype=np.float64)))
    return max(1.0, float(ranges.mean()) / RANGE_FACTOR) if len(ranges) else 1.0


def ewma(
    deviations: ArrayLike, weight: float = EWMA_WEIGHT, limit: float = EWMA_LIMIT
) -> tuple[Array, Array]:
    """Return the exponentially weighted mean of deviations, and its limit at each lot.

    Examples
    --------
    >>> smooth, limit = ewma([1.0, 1.0, 1.0])
    >>> smooth.round(3).tolist(), limit.round(3).tolist()
    ([0.2, 0.36, 0.488], [0.572, 0.733, 0.819])
    """
    data = np.asarray(deviations, dtype=np.float64)
    smooth = np.zeros(len(data))
    last = 0.0
    for place, value in enumerate(data):
        last = (1 - weight) * last + weight * float(value)
        smooth[place] = last
    count = np.arange(1, len(data) + 1)
    variance = weight / (2 - weight) * (1 - (1 - weight) ** (2 * count))
    return smooth, limit * np.sqrt(variance)


def cusum(deviations: ArrayLike, slack: float = CUSUM_SLACK) -> tuple[Array, Array]:
    """Return the two cumulative sums of deviations beyond the slack, upwards and downwards.

    Examples
    --------
    >>> up, down = cusum([1.0, 1.5, -2.0])
    >>> up.tolist(), down.tolist()
    ([0.5, 1.5, 0.0], [0.0, 0.0, 1.5])
    """
    data = np.asarray(deviations, dtype=np.float64)
    sums = np.zeros((2, len(data)))
    last = np.zeros(2)
    for place, value in enumerate(data):
        last = np.maximum(0.0, last + np.array([value, -value]) - slack)
        sums[:, place] = last
    return sums[0], sums[1]


def _alarms(table: pd.DataFrame) -> list[Alarm]:
    deviation = table["deviation"].to_numpy()
    smooth, limit = table["ewma"].to_numpy(), table["ewma_limit"].to_numpy()
    sums = {True: table["cusum_up"].to_numpy(), False: table["cusum_down"].to_numpy()}
    found: list[Alarm] = []
    for lot in range(len(table)):
        if abs(deviation[lot]) > SHEWHART_LIMIT:
            found.append(Alarm(lot, "shewhart", bool(deviation[lot] > 0), lot))
        if abs(smooth[lot]) > limit[lot]:
            upward = bool(smooth[lot] > 0)
            found.append(Alarm(lot, "ewma", upward, _since((smooth > 0) == upward, lot)))
        found += [
            Alarm(lot, "cusum", upward, _since(line > 0, lot))
            for upward, line in sums.items()
            if line[lot] > CUSUM_LIMIT
        ]
    return found


def _since(same: NDArray[np.bool_], lot: int) -> int:
    """Return the first lot of the unbroken row of lots that ends at one."""
    other = np.flatnonzero(~same[: lot + 1])
    return int(other[-1]) + 1 if len(other) else 0


def ewma_run_length(
    shift: float = 0.0, weight: float = EWMA_WEIGHT, limit: float = EWMA_LIMIT
) -> float:
    """Return after how many lots on average the EWMA chart alarms.

    Parameters
    ----------
    shift
        True deviation of the lots in standard errors.
    weight, limit
        Of the chart; its limit is taken as that of many lots.

    Examples
    --------
    >>> round(ewma_run_length(0.0, 0.2, 2.962)), round(ewma_run_length(1.0, 0.2, 2.962), 1)
    (500, 10.5)
    """
    reach = limit * math.sqrt(weight / (2 - weight))
    edges = np.linspace(-reach, reach, STATES + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    away = (edges[None, :] - (1 - weight) * middles[:, None]) / weight - shift
    return _run_length(np.diff(_normal(away), axis=1), start=STATES // 2)


def cusum_run_length(
    shift: float = 0.0, slack: float = CUSUM_SLACK, limit: float = CUSUM_LIMIT
) -> float:
    """Return after how many lots on average the two-sided CUSUM chart alarms.

    Examples
    --------
    >>> round(cusum_run_length(0.0, 0.5, 5.0)), round(cusum_run_length(1.0, 0.5, 5.0), 1)
    (465, 10.4)
    """
    rates = [1 / _one_sided(side * shift, slack, limit) for side in (1, -1)]
    return 1 / sum(rates)


def _one_sided(shift: float, slack: float, limit: float) -> float:
    width = 2 * limit / (2 * STATES - 1)
    middles = np.arange(STATES) * width
    upper = middles[None, :] + width / 2 - middles[:, None] + slack - shift
    below = _normal(upper)
    steps = np.diff(below, axis=1, prepend=0.0)
    return _run_length(steps, start=0)


def _run_length(steps: Array, start: int) -> float:
    """Mean time until a chain leaves its states, from one of them."""
    size = len(steps)
    return float(np.linalg.solve(np.eye(size) - steps, np.ones(size))[start])


def _normal(values: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(values), dtype=np.float64)


def alarm_words(
    alarms: Sequence[Alarm], names: Sequence[str], quantity: str, shown: Sequence[str]
) -> list[str]:
    """Return alarms in words; successive alarms of one chart and side are one.

    Parameters
    ----------
    alarms
        Of a chart.
    names
        Of the lots.
    quantity
        In words.
    shown
        Value of each lot as text, with its unit.

    Examples
    --------
    >>> alarm_words([Alarm(1, "shewhart", True, 1)], ["A", "B"], "void frequency", ["5 %", "9 %"])
    ['B: void frequency 9 % is far too high for one lot']
    """
    words: list[str] = []
    last: dict[tuple[Kind, bool], int] = {}
    for alarm in alarms:
        key = (alarm.chart, alarm.upward)
        repeated = last.get(key) == alarm.lot - 1
        last[key] = alarm.lot
        if alarm.chart == "shewhart":
            side = "high" if alarm.upward else "low"
            words.append(
                f"{names[alarm.lot]}: {quantity} {shown[alarm.lot]} is far too {side} for one lot"
            )
        elif not repeated:
            side = "upwards" if alarm.upward else "downwards"
            words.append(
                f"{names[alarm.lot]}: {quantity} has drifted {side}, since {names[alarm.since]} "
                f"({alarm.chart.upper()})"
            )
    return words
