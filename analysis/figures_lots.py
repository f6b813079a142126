"""Pictures of lots: what a test can tell, how a verdict came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .acceptance_plan import LimitPlan
from .figures_style import INK, MUTED, PARTICLE, SERIES, VOID, new_figure, plot_grid, style
from .lot_specification import LotSpecification, words_of
from .report_format import capitalized

FRACTIONS = ("void_frequency", "dead_volume_fraction", "share")


def plan_figure(specification: LotSpecification, plans: Sequence[LimitPlan]) -> Figure:
    """Draw operating characteristic and average number of regions, a row per limit."""
    figure = new_figure(9.0, 3.4 * len(plans))
    grid = figure.subplots(len(plans), 2, squeeze=False)
    for (left, right), plan in zip(grid, plans, strict=True):
        _characteristic(left, specification, plan)
        _average(right, specification, plan)
    return figure


def _scale(limit: Any) -> tuple[float, str]:
    if limit.quantity in FRACTIONS:
        return 100.0, f"true {limit.words} of the lot (%)"
    unit = "" if limit.unit == "1" else f" ({limit.unit.replace('um', 'µm')})"
    return 1.0, f"true {limit.words} of the lot{unit}"


def _characteristic(axes: Axes, specification: LotSpecification, plan: LimitPlan) -> None:
    factor, label = _scale(plan.limit)
    plot_grid(axes)
    axes.plot(factor * plan.levels, 100 * plan.accepted, color=PARTICLE, label="accepted")
    axes.plot(factor * plan.levels, 100 * plan.rejected, color=VOID, ls="--", label="rejected")
    undecided = 1 - plan.accepted - plan.rejected
    if undecided.max() > 0.01:
        axes.plot(factor * plan.levels, 100 * undecided, color=MUTED, ls=":", label="undecided")
    risks = (
        (plan.limit.acceptable, 1 - specification.alpha_each, "good"),
        (plan.limit.rejectable, specification.risks.beta, "bad"),
    )
    for level, share, name in risks:
        axes.axvline(factor * level, color=MUTED, lw=0.8)
        axes.plot([factor * level], [100 * share], "o", color=INK, ms=5)
        axes.annotate(
            name,
            (factor * level, 25),
            xytext=(4, 0),
            textcoords="offset points",
            color=INK,
            fontsize=9,
        )
    axes.legend(frameon=False, fontsize=9, loc="center right")
    axes.set_ylim(-2, 102)
    style(axes, label, "% of lots", "Operating characteristic")


def _average(axes: Axes, specification: LotSpecification, plan: LimitPlan) -> None:
    factor, label = _scale(plan.limit)
    plot_grid(axes)
    axes.plot(factor * plan.levels, plan.mean_regions, color=SERIES[2], label="sequential, average")
    axes.axhline(plan.fixed_regions, color=INK, ls="--", lw=1.2, label="fixed size, same risks")
    axes.axhline(specification.most_regions, color=MUTED, ls=":", lw=1.2, label="budget")
    for level in (plan.limit.acceptable, plan.limit.rejectable):
        axes.axvline(factor * level, color=MUTED, lw=0.8)
    top = max(plan.fixed_regions, specification.most_regions)
    axes.set_ylim(0, 1.35 * top)
    axes.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
    style(axes, label, "regions", "Average number of regions")


def path_figure(verdict: Mapping[str, Any]) -> Figure:
    """Draw the log likelihood ratio after each region with the limits of the test.

    Parameters
    ----------
    verdict
        Block ``verdict`` of the results.
    """
    limits = verdict["limits"]
    figure = new_figure(4.5 * max(2, len(limits)), 3.4)
    grid = figure.subplots(1, max(2, len(limits)), squeeze=False)[0]
    for axes in grid[len(limits) :]:
        axes.set_visible(False)
    for axes, one in zip(grid, limits, strict=False):
        _path(axes, one, int(verdict["budget"]["regions"]))
    return figure


def _path(axes: Axes, one: Mapping[str, Any], looks: int) -> None:
    path = one["path"]
    plot_grid(axes)
    number = [look["regions"] for look in path]
    ratio = np.array([look["log_likelihood_ratio"] for look in path], dtype=float)
    tested = [look for look in path if look["accept_at"] is not None]
    reach = max([3.2, *(1.1 * abs(ratio))]) if len(ratio) else 3.2
    if tested:
        at = [look["regions"] for look in tested]
        low = [look["accept_at"] for look in tested]
        high = [look["reject_at"] for look in tested]
        axes.fill_between(at, -reach, low, color=PARTICLE, alpha=0.15, lw=0)
        axes.fill_between(at, high, reach, color=VOID, alpha=0.15, lw=0)
        axes.plot(at, low, color=PARTICLE, lw=1.2)
        axes.plot(at, high, color=VOID, lw=1.2)
    axes.plot(number, ratio, color=INK, marker="o", ms=5)
    decided = one["decision"] != "undecided"
    if decided:
        place = one["regions"] - 1
        axes.plot(number[place], ratio[place], "o", ms=11, mfc="none", mec=INK, mew=1.6)
    last = max(number[-1] if number else 1, 2)
    axes.set_xlim(0.7, max(last, min(looks, last + 1)) + 0.3)
    axes.set_ylim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.text(0.02, 0.96, "reject", transform=axes.transAxes, color="#8f3d00", va="top")
    axes.text(0.02, 0.04, "accept", transform=axes.transAxes, color="#00573f", va="bottom")
    style(
        axes,
        "regions",
        "log likelihood ratio, bad : good",
        capitalized(str(one.get("words") or words_of(one["name"]))),
    )
