"""Control charts, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .control_charts import CUSUM_LIMIT, ControlChart
from .figures_style import INK, MUTED, SERIES, VOID, new_figure, plot_grid, style
from .lot_history import QuantityHistory

LABELS = {
    "void_frequency": "particles with voids (%)",
    "dead_volume_fraction": "dead volume (%)",
    "d50_number_um": "d50 by number (µm)",
}
MAX_LABELS = 12


def history_figure(charts: Sequence[QuantityHistory]) -> Figure:
    """Draw each quantity over the lots: values, smoothed deviation (EWMA), summed (CUSUM)."""
    drawn = [one for one in charts if one.chart is not None]
    figure = new_figure(12.0, 3.3 * max(1, len(drawn)))
    grid = figure.subplots(max(1, len(drawn)), 3, squeeze=False)
    for row, one in zip(grid, drawn, strict=True):
        chart = one.chart
        assert chart is not None
        places = np.arange(1, len(one.table) + 1)
        _values(row[0], one, chart, places)
        _ewma(row[1], chart, places)
        _cusum(row[2], chart, places)
        for axes in row:
            plot_grid(axes)
            axes.set_xticks(places[:: max(1, len(places) // MAX_LABELS)])
            axes.axvspan(0.5, chart.baseline + 0.5, color=MUTED, alpha=0.08, lw=0)
            axes.set_xlim(0.5, len(places) + 0.5)
    return figure


def _values(axes: Axes, one: QuantityHistory, chart: ControlChart, places: np.ndarray) -> None:
    factor = 1.0 if one.quantity.endswith("_um") else 100.0
    back = np.exp if one.logarithmic else np.asarray
    low, high, value = (factor * back(chart.table[name]) for name in ("low", "high", "value"))
    axes.fill_between(places, np.maximum(low, 0), high, step="mid", color=SERIES[2], alpha=0.12)
    axes.axhline(factor * float(back(chart.center)), color=SERIES[2], lw=1.2)
    axes.plot(places, value, color=INK, marker="o", ms=4, lw=1)
    _mark(axes, chart, "shewhart", places, value)
    style(axes, "lot", LABELS[one.quantity], "Each lot, limits by its own size")
    axes.set_ylim(bottom=0)


def _ewma(axes: Axes, chart: ControlChart, places: np.ndarray) -> None:
    limit, smooth = chart.table["ewma_limit"], chart.table["ewma"].to_numpy()
    axes.fill_between(places, -limit, limit, step="mid", color=SERIES[2], alpha=0.12)
    axes.axhline(0, color=SERIES[2], lw=1.2)
    axes.plot(places, smooth, color=INK, marker="o", ms=4, lw=1)
    _mark(axes, chart, "ewma", places, smooth)
    style(axes, "lot", "standard errors", "Slow drift: EWMA")


def _cusum(axes: Axes, chart: ControlChart, places: np.ndarray) -> None:
    up, down = (chart.table[name].to_numpy() for name in ("cusum_up", "cusum_down"))
    axes.plot(places, up, color=SERIES[0], marker="^", ms=4, lw=1, label="upwards")
    axes.plot(places, -down, color=SERIES[2], marker="v", ms=4, lw=1, label="downwards")
    for limit in (CUSUM_LIMIT, -CUSUM_LIMIT):
        axes.axhline(limit, color=INK, ls="--", lw=1)
    reach = max(1.25 * CUSUM_LIMIT, 1.1 * float(max(up.max(), down.max())))
    axes.set_ylim(-reach, reach)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    style(axes, "lot", "standard errors, summed", "Small steady shift: CUSUM")


def _mark(
    axes: Axes, chart: ControlChart, kind: str, places: np.ndarray, values: np.ndarray
) -> None:
    bad = [alarm.lot for alarm in chart.alarms if alarm.chart == kind]
    axes.plot(places[bad], values[bad], "o", ms=10, mfc="none", mec=VOID, mew=1.8)
