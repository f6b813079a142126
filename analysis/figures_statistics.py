"""Figures of numbers: sizes, radii, roughness, and how the answer settled during the scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .figures_style import (
    INK,
    MARKERS,
    MUTED,
    PARTICLE,
    SERIES,
    VOID,
    new_figure,
    note,
    plot_grid,
    rows_where,
    style,
)
from .radii import PLANES, local_roughness, roughness_proxy

QUANTITIES = (
    ("equivalent_diameter_um", "equivalent diameter $d_e$ (µm)"),
    ("surface_to_volume_per_um", "surface to volume, SA:V (1/µm)"),
    ("sphericity", "sphericity $\\psi$ (1 = sphere)"),
)
MIN_BINS, MAX_BINS = 6, 24
SETTLED_SHARE = 0.25
"""Share of the scan after which live values decide the scale of their plot."""
PALE = 0.35
"""Opacity of what is shown but not counted."""


def histograms_figure(
    particles: pd.DataFrame, voids: pd.DataFrame, *, larger_than_um: float | None = None
) -> Figure:
    """Draw the distributions of size and shape of particles and voids (the study's figure 3).

    Parameters
    ----------
    particles, voids
        Tables of `measure_particles` and `measure_voids`. Particles that touch the border, and
        their voids, are left out, as they are from the means.
    larger_than_um
        Detection limit: smaller voids are shown pale and left out of the mean.
    """
    figure = new_figure(10.0, 5.6)
    grid = figure.subplots(2, 3, sharex="col", squeeze=False)
    whole = _whole(particles)
    voids = _voids_of(whole, voids)
    counted = void_diameter_um(voids) > (larger_than_um or 0.0)
    everything = np.ones(len(whole), dtype=bool)
    for row, (name, table, count, color) in enumerate(
        (("Particles", whole, everything, PARTICLE), ("Voids", voids, counted, VOID))
    ):
        for column, (key, label) in enumerate(QUANTITIES):
            axes = grid[row, column]
            if row == 1 and column == 0:
                values = void_diameter_um(table)
            else:
                values = table[key].to_numpy(dtype=float) if key in table else np.empty(0)
            _histogram(axes, values, count[: len(values)], color)
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


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    if "touches_border" not in table:
        return table
    return rows_where(table, ~table["touches_border"].to_numpy(dtype=bool))


def _histogram(
    axes: Axes, values: NDArray[np.float64], counted: NDArray[np.bool_], color: str
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
        f"mean {mean:#.3g}".rstrip("."),
        (mean, 0.985),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if right_half else 4, 0),
        textcoords="offset points",
        ha="right" if right_half else "left",
        va="top",
        fontsize=9,
        color=INK,
    )


def radii_figure(
    radii: pd.DataFrame, particle_ids: Sequence[int] | None = None, *, count: int = 4
) -> Figure:
    """Draw radii against azimuth in three planes for a few particles (the study's figure 1).

    Parameters
    ----------
    radii
        Table of `measure_radii`; `radius_um_se` gives the error bars.
    particle_ids
        Which particles; by default `count` whole ones spread over the sizes present.
    count
        How many particles when none are named.
    """
    figure = new_figure(10.0, 4.2)
    chosen = list(particle_ids) if particle_ids is not None else spread_over_sizes(radii, count)
    if not chosen:
        note(figure, "No whole particles to measure radii of.")
        return figure
    grid = figure.subplots(1, 3, sharey=True)
    for axes, plane in zip(grid, PLANES, strict=True):
        plot_grid(axes)
        for number, particle in enumerate(chosen):
            rows = rows_where(
                radii, (radii["particle_id"] == particle) & (radii["plane"] == plane)
            ).sort_values("azimuth_deg")
            diameter = 2 * radii.loc[radii["particle_id"] == particle, "radius_um"].mean()
            axes.errorbar(
                rows["azimuth_deg"],
                rows["radius_um"],
                yerr=rows.get("radius_um_se"),
                color=SERIES[number % len(SERIES)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=5,
                linewidth=1.2,
                capsize=3,
                label=f"particle {particle} (⌀ {diameter:.1f} µm)",
            )
        style(
            axes,
            f"azimuth in {plane} (°)",
            "radius (µm)" if plane == PLANES[0] else "",
            f"{plane} plane",
        )
        axes.set_xticks(range(0, 360, 90))
        axes.set_ylim(bottom=0)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def spread_over_sizes(radii: pd.DataFrame, count: int) -> list[int]:
    """Return whole particles whose mean radii are spread over those present, largest first."""
    whole = _whole(radii)
    means = whole.groupby("particle_id").agg(radius_um=("radius_um", "mean"))
    if means.empty:
        return []
    ids = means.sort_values("radius_um", ascending=False).index.to_numpy()
    places = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int))
    return [int(i) for i in ids[places]]


def roughness_figure(
    radii: pd.DataFrame,
    *,
    noise_floor_um: float | None = None,
    particle_ids: Sequence[int] | None = None,
) -> Figure:
    """Draw diameters per plane and the roughness proxies (the study's figure 2).

    Parameters
    ----------
    radii
        Table of `measure_radii`.
    noise_floor_um
        Total proxy of a perfectly smooth sphere (`roughness_floor_um`).
    particle_ids
        Particles of the first panel; by default those of `radii_figure`.
    """
    figure = new_figure(10.0, 4.2)
    chosen = list(particle_ids) if particle_ids is not None else spread_over_sizes(radii, 4)
    if not chosen:
        note(figure, "No whole particles to measure radii of.")
        return figure
    whole = _whole(radii)
    planes = roughness_proxy(whole)
    local = local_roughness(whole)
    diameter = planes.groupby("particle_id").agg(diameter_um=("diameter_um", "mean"))["diameter_um"]
    by_plane, total, nearby = figure.subplots(1, 3)
    for number, plane in enumerate(PLANES):
        color, marker = SERIES[number], MARKERS[number]
        of_plane = planes[planes["plane"] == plane].set_index("particle_id")
        shown = of_plane.reindex(chosen)
        by_plane.errorbar(
            np.arange(len(chosen)) + 0.18 * (number - 1),
            shown["diameter_um"],
            yerr=shown["diameter_um_se"],
            fmt=marker,
            color=color,
            capsize=3,
            label=plane,
        )
        total.scatter(
            diameter.reindex(of_plane.index),
            of_plane["total_proxy_um"],
            s=22,
            c=color,
            marker=marker,
        )
        of_local = local[local["plane"] == plane]
        nearby.scatter(
            diameter.reindex(of_local["particle_id"]),
            of_local["local_proxy_um"],
            s=8,
            c=color,
            marker=marker,
            alpha=0.6,
            linewidths=0,
        )
    if noise_floor_um is not None:
        total.axhline(
            noise_floor_um,
            color=INK,
            linestyle="--",
            linewidth=1.4,
            label=f"a smooth sphere reads {noise_floor_um:.2g} µm",
        )
        total.legend(frameon=False, fontsize=9, loc="upper right")
    by_plane.set_xticks(np.arange(len(chosen)), [str(i) for i in chosen])
    style(by_plane, "particle number", "mean diameter (µm)", "Diameter per plane")
    style(total, "diameter (µm)", "largest − smallest radius (µm)", "Roughness proxy, total")
    style(nearby, "diameter (µm)", "change over 45° (µm)", "Roughness proxy, local")
    for axes in (by_plane, total, nearby):
        plot_grid(axes)
        axes.set_ylim(bottom=0)
    handles, labels = by_plane.get_legend_handles_labels()
    figure.legend(
        handles, labels, title="plane", loc="outside lower center", ncols=3, frameon=False
    )
    return figure


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
