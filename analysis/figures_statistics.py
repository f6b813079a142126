"""Figures of numbers: sizes and shapes, and how the answer settled during the scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .figures_style import (
    INK,
    MUTED,
    PARTICLE,
    SERIES,
    VOID,
    new_figure,
    note,
    plot_grid,
    rows_where,
    style,
    whole_rows,
)
from .figures_surfaces import Drawing, plain_paint
from .figures_volume import VolumeView
from .meshes import Mesh, surface_meshes

QUANTITIES = (
    ("equivalent_diameter_um", "equivalent diameter $d_e$ (µm)", " µm"),
    ("surface_to_volume_per_um", "surface to volume, SA:V (1/µm)", " / µm"),
    ("sphericity", "sphericity $\\psi$ (1 = sphere)", ""),
)
"""Column, label and unit."""
MIN_BINS, MAX_BINS = 6, 24
SETTLED_SHARE = 0.25
"""Share of the scan after which live values decide the scale of their plot."""
TRIANGLES = 16_000
"""Of the small drawing beside the distributions."""
PALE = 0.35
"""Opacity of what is shown but not counted."""


def histograms_figure(
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    *,
    larger_than_um: float | None = None,
    view: VolumeView | None = None,
) -> Figure:
    """Draw the distributions of size and shape of particles and voids (the study's figure 3).

    Parameters
    ----------
    particles, voids
        Tables of `measure_particles` and `measure_voids`. Particles that touch the border, and
        their voids, are left out, as they are from the means.
    larger_than_um
        Detection limit: smaller voids are shown pale and left out of the mean.
    view
        A tomogram whose particles and voids are drawn beside the distributions.
    """
    meshes = surface_meshes(view, triangle_budget=TRIANGLES) if view is not None else []
    if view is not None and meshes:
        figure = new_figure(12.0, 6.2)
        parts = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 3))[0]
        _surfaces(parts[0], view, meshes)
        grid = parts[1].subplots(2, 3, sharex="col", squeeze=False)
    else:
        figure = new_figure(10.0, 5.6)
        grid = figure.subplots(2, 3, sharex="col", squeeze=False)
    whole = whole_rows(particles)
    voids = _voids_of(whole, voids)
    counted = void_diameter_um(voids) > (larger_than_um or 0.0)
    everything = np.ones(len(whole), dtype=bool)
    for row, (name, table, count, color) in enumerate(
        (("Particles", whole, everything, PARTICLE), ("Voids", voids, counted, VOID))
    ):
        for column, (key, label, unit) in enumerate(QUANTITIES):
            axes = grid[row, column]
            if row == 1 and column == 0:
                values = void_diameter_um(table)
            else:
                values = table[key].to_numpy(dtype=float) if key in table else np.empty(0)
            _histogram(axes, values, count[: len(values)], color, unit)
            style(
                axes,
                label if row == 1 else "",
                f"number of {name.lower()}" if column == 0 else "",
                f"{name}, n = {int(count.sum())}" if column == 0 else "",
            )
    if larger_than_um and not counted.all():
        grid[1, 0].plot(
            [], [], "s", color=VOID, alpha=PALE, label=f"up to {larger_than_um:g} µm, not counted"
        )
        grid[1, 0].legend(frameon=False, fontsize=9, loc="center right")
    return figure


def _surfaces(part: SubFigure, view: VolumeView, meshes: Sequence[Mesh]) -> None:
    """Draw the particles of a tomogram, and below them its voids in their outlines."""
    upper, lower = part.subplots(2, 1)
    shells = [mesh for mesh in meshes if mesh.kind == "particle"]
    drawn = Drawing.of(shells, view.center_um, plain_paint(PARTICLE))
    drawn.put(upper)
    hollow = [mesh for mesh in meshes if mesh.kind == "void"]
    Drawing.of(hollow, view.center_um, plain_paint(VOID)).put(lower, drawn.bounds)
    if not hollow:
        lower.text(0, 0, "no voids", ha="center", va="center", color=MUTED)
    for axes, name in ((upper, "particles"), (lower, "voids alone")):
        axes.set_title(f"{view.title}: {name}", fontsize=10, loc="left")


def void_diameter_um(voids: pd.DataFrame) -> NDArray[np.float64]:
    """Diameter that decides whether a void counts: from grey values where known."""
    if "equivalent_diameter_um" not in voids:
        return np.empty(0)
    by_voxels = voids["equivalent_diameter_um"].to_numpy(dtype=float)
    if "equivalent_diameter_grey_um" not in voids:
        return by_voxels
    by_grey = voids["equivalent_diameter_grey_um"].to_numpy(dtype=float)
    return np.where(np.isfinite(by_grey), by_grey, by_voxels)


def _voids_of(whole: pd.DataFrame, voids: pd.DataFrame) -> pd.DataFrame:
    """Voids whose particle is whole, matched within a region where regions are named."""
    keys = [key for key in ("region", "particle_id") if key in whole and key in voids]
    if "particle_id" not in keys:
        return voids
    parents = pd.MultiIndex.from_frame(whole.filter(keys))
    return rows_where(voids, pd.MultiIndex.from_frame(voids.filter(keys)).isin(parents))


def _histogram(
    axes: Axes, values: NDArray[np.float64], counted: NDArray[np.bool_], color: str, unit: str
) -> None:
    plot_grid(axes)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    finite = np.isfinite(values)
    values, counted = values[finite], counted[finite]
    if not len(values):
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=MUTED)
        return
    edges = np.histogram_bin_edges(values, bins="fd")
    bins = int(np.clip(len(edges) - 1, MIN_BINS, MAX_BINS))
    edges = np.histogram_bin_edges(values, bins=bins)
    axes.hist(values, bins=edges.tolist(), color=color, alpha=PALE, linewidth=0)
    axes.hist(values[counted], bins=edges.tolist(), color=color, edgecolor="white", linewidth=0.8)
    axes.margins(y=0.2)
    if not counted.any():
        return
    mean = float(values[counted].mean())
    axes.axvline(mean, color=INK, linestyle="--", linewidth=1.4)
    right_half = mean > np.mean(axes.get_xlim())
    axes.annotate(
        f"mean {mean:#.3g}".rstrip(".") + unit,
        (mean, 0.985),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if right_half else 4, 0),
        textcoords="offset points",
        ha="right" if right_half else "left",
        va="top",
        fontsize=9,
        color=INK,
    )


def convergence_figure(convergence: pd.DataFrame) -> Figure:
    """Draw how the live numbers settled while projections came in.

    Parameters
    ----------
    convergence
        A row per update: `projections`, and any of `particles`, `void_frequency` with
        `void_frequency_low` and `void_frequency_high`, `dead_volume_fraction`. Fractions are
        between 0 and 1.
    """
    panels = [name for name in _CONVERGENCE if name in convergence]
    figure = new_figure(10.0, 3.6)
    if not panels or convergence.empty:
        note(figure, "No live values were recorded.")
        return figure
    table = convergence.sort_values("projections")
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        title, label, factor, color = _CONVERGENCE[name]
        plot_grid(axes)
        low, high = f"{name}_low", f"{name}_high"
        if low in table and high in table:
            axes.fill_between(
                table["projections"],
                factor * table[low].astype(float),
                factor * table[high].astype(float),
                color=color,
                alpha=0.2,
                linewidth=0,
                label="95 % interval",
            )
            axes.legend(frameon=False, fontsize=9, loc="best")
        axes.plot(
            table["projections"], factor * table[name].astype(float), color=color, marker="o", ms=4
        )
        style(axes, "projections taken", label, title)
        # The first views give anything; they must not flatten the rest of the curve.
        settled = table["projections"] >= SETTLED_SHARE * table["projections"].max()
        columns = [column for column in (name, high) if column in table]
        top = factor * float(np.nanmax(rows_where(table, settled)[columns].to_numpy(float)))
        axes.set_ylim(0, 1.15 * top if top > 0 else 1.0)
        axes.set_xlim(left=0)
    return figure


_CONVERGENCE = {
    "particles": ("Particles found", "number", 1.0, PARTICLE),
    "void_frequency": ("Particles with voids", "% of particles", 100.0, VOID),
    "dead_volume_fraction": ("Dead volume", "% of particle volume", 100.0, SERIES[2]),
}
