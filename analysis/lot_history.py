"""Lots over time: one quantity of many lots, measured alike, and its control charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .control_charts import MINIMUM_BASELINE, ControlChart, alarm_words, control_chart
from .evidence import LogEstimate, percentile_error, sums_error
from .statistics import design_effect, effective_number, region_codes
from .summary import VOID_COUNT, VOID_VOLUME, count_voids

CHARTED = ("void_frequency", "dead_volume_fraction", "d50_number_um")
"""Quantities that have a chart."""
WORDS = {
    "void_frequency": "void frequency",
    "dead_volume_fraction": "dead volume",
    "d50_number_um": "d50 by number",
}
VOID_QUANTITIES = ("void_frequency", "dead_volume_fraction")


@dataclass(frozen=True, eq=False)
class Lot:
    """A lot as it was measured.

    Attributes
    ----------
    name
        Of the lot.
    when
        Time of the measurement in words, sortable.
    particles, voids
        Its tables, with the column ``region`` when there are several.
    visible_void_um
        Diameter from which its scans find voids.
    """

    name: str
    when: str
    particles: pd.DataFrame
    voids: pd.DataFrame
    visible_void_um: float


@dataclass(frozen=True, eq=False)
class QuantityHistory:
    """A quantity of many lots.

    Attributes
    ----------
    quantity
        One of `CHARTED`.
    minimum_void_um
        Diameter from which voids count, in every lot alike; None where it does not matter.
    table : DataFrame
        A row per lot charted: ``lot, when, n, regions, value``.
    logarithmic
        Whether the chart's scale is that of logarithms.
    chart
        None with too few lots.
    alarms
        In words.
    left_out
        Lots that could not be charted, and why, in words.
    """

    quantity: str
    minimum_void_um: float | None
    table: pd.DataFrame
    logarithmic: bool
    chart: ControlChart | None
    alarms: tuple[str, ...]
    left_out: tuple[str, ...]


def common_void_limit(lots: Sequence[Lot], asked_um: float | None, default_um: float) -> float:
    """Return the diameter from which voids count so that lots can be compared.

    Parameters
    ----------
    lots
        All of them.
    asked_um
        What the user wants; lots that cannot see such voids are left out of the charts.
    default_um
        Used where all lots see as much; else what the worst of them sees.
    """
    if asked_um is not None:
        return asked_um
    return max([default_um, *(lot.visible_void_um for lot in lots)])


def history(
    quantity: str,
    lots: Sequence[Lot],
    *,
    minimum_void_um: float,
    baseline: int | None = None,
    target: float | None = None,
) -> QuantityHistory:
    """Chart a quantity over lots.

    Voids are counted from one diameter on in all lots, whatever was counted when they were
    measured; a lot whose scans do not see such voids is left out, not mixed in.

    Parameters
    ----------
    quantity
        One of `CHARTED`.
    lots
        In the order of time.
    minimum_void_um
        See `common_void_limit`.
    baseline, target
        See `control_chart`; `target` in the unit of the quantity.
    """
    if quantity not in CHARTED:
        raise ValueError(f"quantity {quantity!r} has no chart: choose of {', '.join(CHARTED)}")
    of_voids = quantity in VOID_QUANTITIES
    rows: list[dict[str, object]] = []
    left_out: list[str] = []
    for lot in lots:
        if of_voids and lot.visible_void_um > minimum_void_um:
            left_out.append(
                f"{lot.name}: its scans show voids from {lot.visible_void_um:.2g} um on only, "
                f"not from {minimum_void_um:.2g} um"
            )
            continue
        found = _estimate(quantity, lot, minimum_void_um)
        if found is None:
            left_out.append(f"{lot.name}: too few particles for {quantity}")
            continue
        rows.append({"lot": lot.name, "when": lot.when, **found})
    table = pd.DataFrame(rows, columns=["lot", "when", "n", "regions", "value", "trials", "se"])
    logarithmic = quantity != "void_frequency"
    chart = None
    alarms: list[str] = []
    enough = len(table) >= MINIMUM_BASELINE and (baseline is None or len(table) >= baseline)
    if enough:
        chart = _chart(table, logarithmic, baseline, target)
        shown = [value_words(quantity, float(value)) for value in table["value"]]
        names = [str(name) for name in table["lot"]]
        alarms = alarm_words(chart.alarms, names, WORDS[quantity], shown)
    else:
        left_out.append(f"no chart of {quantity}: {len(table)} lots are too few for a baseline")
    return QuantityHistory(
        quantity,
        minimum_void_um if of_voids else None,
        table.drop(columns=["trials", "se"]),
        logarithmic,
        chart,
        tuple(alarms),
        tuple(left_out),
    )


def value_words(quantity: str, value: float) -> str:
    """Return a value with its unit.

    Examples
    --------
    >>> value_words("void_frequency", 0.5512), value_words("d50_number_um", 5.844)
    ('55.1 %', '5.84 um')
    """
    return f"{value:.3g} um" if quantity.endswith("_um") else f"{100 * value:.3g} %"


def _estimate(quantity: str, lot: Lot, minimum_void_um: float) -> dict[str, float] | None:
    whole, _ = count_voids(lot.particles, lot.voids, minimum_void_um=minimum_void_um)
    if whole.empty:
        return None
    region = whole["region"].tolist() if "region" in whole else [0] * len(whole)
    if quantity == "void_frequency":
        hits = whole[VOID_COUNT].to_numpy(np.float64) > 0
        codes, regions = region_codes(region)
        assert codes is not None
        each = np.ones(len(hits))
        trials = effective_number(each) / design_effect(hits, codes, each)
        return {
            "n": len(hits),
            "regions": regions,
            "value": float(hits.mean()),
            "trials": trials,
            "se": math.nan,
        }
    if quantity == "dead_volume_fraction":
        top, bottom = (whole[name].to_numpy(np.float64) for name in (VOID_VOLUME, "volume_um3"))
        found = sums_error(top, bottom, region)
    else:
        found = percentile_error(whole["equivalent_diameter_um"].to_numpy(np.float64), region, 0.5)
    return _row(found)


def _row(found: LogEstimate) -> dict[str, float] | None:
    if not (math.isfinite(found.value) and found.standard_error > 0):
        return None
    return {
        "n": found.n,
        "regions": found.regions,
        "value": found.value,
        "trials": math.nan,
        "se": found.standard_error,
    }


def _chart(
    table: pd.DataFrame, logarithmic: bool, baseline: int | None, target: float | None
) -> ControlChart:
    values = table["value"].to_numpy(np.float64)
    if logarithmic:
        center = None if target is None else math.log(target)
        errors = table["se"].to_numpy(np.float64)
        return control_chart(np.log(values), errors, baseline=baseline, center=center)
    # The p chart: every lot's error is that of the baseline's share and its own number.
    trials = table["trials"].to_numpy(np.float64)
    first = slice(None, baseline)
    share = float(np.average(values[first], weights=trials[first])) if target is None else target
    share = min(max(share, 0.5 / trials[first].sum()), 1 - 0.5 / trials[first].sum())
    errors = np.sqrt(share * (1 - share) / trials)
    return control_chart(values, errors, baseline=baseline, center=share)
