"""Figures of single particles: surfaces, radii, roughness (the study's figures 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from .figures_style import (
    INK,
    MARKERS,
    MUTED,
    SERIES,
    SERIES_NAMES,
    new_figure,
    note,
    plot_grid,
    rows_where,
    style,
    whole_rows,
)
from .figures_surfaces import Drawing, plain_paint
from .figures_volume import VolumeView, label_outlines
from .meshes import surface_meshes
from .radii import PLANES, local_roughness, roughness_proxy

COUNT = 4
"""Particles that are shown one by one, as in the study."""
TRIANGLES = 60_000
"""Of all particles shown one by one; more cannot be seen at this size."""
WELL_KNOWN = 10.0
"""Radius over its standard uncertainty from which a radius says something about a shape."""
SURFACE_MARGIN = 1.12
"""Room about the largest particle."""
OTHERS = "#b6bdc6"
"""Particles that are not shown one by one."""


def radii_figure(
    radii: pd.DataFrame,
    particle_ids: Sequence[int] | None = None,
    *,
    count: int = COUNT,
    view: VolumeView | None = None,
) -> Figure:
    """Draw a few particles and their radii against azimuth in three planes (figure 1).

    Parameters
    ----------
    radii
        Table of `measure_radii`; `radius_um_se` gives the error bars.
    particle_ids
        Which particles; by default `count` whole ones spread over the sizes present.
    count
        How many particles when none are named.
    view
        The tomogram they are in, for their surfaces; without it there are none.
    """
    chosen = list(particle_ids) if particle_ids is not None else spread_over_sizes(radii, count)
    if not chosen:
        figure = new_figure(10.0, 2.0)
        note(figure, "No whole particles to measure radii of.")
        return figure
    figure = new_figure(10.0, 7.0 if view is not None else 4.2)
    plots = figure
    if view is not None:
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.35))[:, 0]
        surfaces, plots = parts.tolist()
        for number, axes in enumerate(surfaces.subplots(1, len(chosen), squeeze=False)[0]):
            _surface(axes, view, chosen, number, radii)
    grid = plots.subplots(1, 3, sharey=True)
    for axes, plane in zip(grid, PLANES, strict=True):
        _plane(axes, radii, plane, chosen)
    handles, labels = grid[0].get_legend_handles_labels()
    plots.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _surface(
    axes: Axes, view: VolumeView, chosen: Sequence[int], number: int, radii: pd.DataFrame
) -> None:
    particle = chosen[number]
    own = rows_where(radii, radii["particle_id"] == particle)
    largest = radii.loc[radii["particle_id"].isin(chosen), "radius_um"].max()
    (mesh,) = surface_meshes(
        view, particle_ids=[particle], triangle_budget=TRIANGLES // len(chosen)
    ) or (None,)
    if mesh is not None:
        middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
        color = SERIES[number % len(SERIES)]
        drawing = Drawing.of([mesh], [float(place) for place in middle], plain_paint(color))
        half_um = float(largest) * SURFACE_MARGIN
        drawing.put(axes, (-half_um, half_um, -half_um, half_um), scale=number == 0)
    name = SERIES_NAMES[number % len(SERIES_NAMES)]
    mean = own["radius_um"].mean()
    axes.set_title(f"{name}: particle {particle}\nmean radius {mean:.1f} µm", fontsize=10)


def _plane(axes: Axes, radii: pd.DataFrame, plane: str, chosen: Sequence[int]) -> None:
    plot_grid(axes)
    for number, particle in enumerate(chosen):
        rows = rows_where(
            radii, (radii["particle_id"] == particle) & (radii["plane"] == plane)
        ).sort_values("azimuth_deg")
        axes.errorbar(
            rows["azimuth_deg"],
            rows["radius_um"],
            yerr=rows.get("radius_um_se"),
            color=SERIES[number % len(SERIES)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=5,
            linewidth=1.2,
            capsize=3,
            label=f"{SERIES_NAMES[number % len(SERIES_NAMES)]}: particle {particle}",
        )
    style(
        axes,
        f"azimuth in {plane} (°)",
        "radius (µm)" if plane == PLANES[0] else "",
        f"{plane} plane",
    )
    axes.set_xticks(range(0, 360, 90))
    axes.set_ylim(bottom=0)


def spread_over_sizes(radii: pd.DataFrame, count: int) -> list[int]:
    """Return whole particles whose mean radii are spread over those present, largest first.

    Where there are enough, only those whose radii are known well.
    """
    whole = whole_rows(radii)
    means = whole.groupby("particle_id").agg(radius_um=("radius_um", "mean"))
    if means.empty:
        return []
    if "radius_um_se" in whole:
        errors = whole.groupby("particle_id").agg(se=("radius_um_se", "mean"))["se"]
        known = rows_where(means, means["radius_um"] >= WELL_KNOWN * errors)
        means = known if len(known) >= count else means
    ids = means.sort_values("radius_um", ascending=False).index.to_numpy()
    places = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int))
    return [int(i) for i in ids[places]]


def roughness_figure(
    radii: pd.DataFrame,
    *,
    noise_floor_um: float | None = None,
    particle_ids: Sequence[int] | None = None,
    view: VolumeView | None = None,
) -> Figure:
    """Draw diameters per plane and the roughness proxies (figure 2).

    Parameters
    ----------
    radii
        Table of `measure_radii`.
    noise_floor_um
        Total proxy of a perfectly smooth sphere (`roughness_floor_um`).
    particle_ids
        Particles shown in colour; by default those of `radii_figure`.
    view
        The tomogram they are in, for a cut that shows what the proxy is; without it none.
    """
    chosen = list(particle_ids) if particle_ids is not None else spread_over_sizes(radii, COUNT)
    if not chosen:
        figure = new_figure(10.0, 2.0)
        note(figure, "No whole particles to measure radii of.")
        return figure
    figure = new_figure(10.0, 7.4)
    (by_plane, cut), (total, nearby) = figure.subplots(2, 2)
    whole = whole_rows(radii)
    planes, local = roughness_proxy(whole), local_roughness(whole)
    diameter = planes.groupby("particle_id").agg(um=("diameter_um", "mean"))["um"]
    _diameters(by_plane, planes, chosen)
    for axes, table, column in (
        (total, planes, "total_proxy_um"),
        (nearby, local, "local_proxy_um"),
    ):
        rest = rows_where(table, ~table["particle_id"].isin(chosen))
        axes.scatter(
            diameter.reindex(rest["particle_id"]),
            rest[column],
            s=12,
            c=OTHERS,
            linewidths=0,
            label="other whole particles",
        )
        for number, particle in enumerate(chosen):
            own = rows_where(table, table["particle_id"] == particle)
            axes.scatter(
                diameter.reindex(own["particle_id"]),
                own[column],
                s=30,
                color=SERIES[number % len(SERIES)],
                marker=MARKERS[number % len(MARKERS)],
                alpha=0.85,
                linewidths=0,
            )
        plot_grid(axes)
    if noise_floor_um is not None:
        total.axhline(
            noise_floor_um,
            color=INK,
            linestyle="--",
            linewidth=1.4,
            label=f"a smooth sphere reads {noise_floor_um:.2f} µm",
        )
    total.legend(frameon=False, fontsize=9, loc="upper right")
    style(by_plane, "", "mean diameter (µm)", "a  Diameter in each plane")
    style(total, "diameter (µm)", "largest − smallest radius (µm)", "c  Roughness proxy, total")
    style(nearby, "diameter (µm)", "change over 45° (µm)", "d  Roughness proxy, local")
    for axes in (by_plane, total, nearby):
        axes.set_ylim(bottom=0)
    total.set_ylim(top=1.2 * total.get_ylim()[1])
    _cut(cut, radii, chosen[0], view)
    return figure


def _diameters(axes: Axes, planes: pd.DataFrame, chosen: Sequence[int]) -> None:
    plot_grid(axes)
    for number, particle in enumerate(chosen):
        color = SERIES[number % len(SERIES)]
        for place, plane in enumerate(PLANES):
            row = rows_where(
                planes, (planes["particle_id"] == particle) & (planes["plane"] == plane)
            )
            x = number + 0.2 * (place - 1)
            axes.errorbar(
                [x],
                row["diameter_um"],
                yerr=row["diameter_um_se"],
                fmt=MARKERS[number % len(MARKERS)],
                color=color,
                capsize=3,
            )
            top = float((row["diameter_um"] + row["diameter_um_se"]).iloc[0])
            axes.annotate(
                plane,
                (x, top),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=MUTED,
            )
    names = [
        f"{SERIES_NAMES[number % len(SERIES_NAMES)]}\nparticle {particle}"
        for number, particle in enumerate(chosen)
    ]
    axes.set_xticks(np.arange(len(chosen)), names)
    axes.set_xlim(-0.5, len(chosen) - 0.5)
    axes.margins(y=0.15)


def _cut(axes: Axes, radii: pd.DataFrame, particle: int, view: VolumeView | None) -> None:
    """Show in the xy plane of one particle what the proxy is made of."""
    own = rows_where(radii, (radii["particle_id"] == particle) & (radii["plane"] == "xy"))
    angle = np.deg2rad(own["azimuth_deg"].to_numpy(float))
    radius = own["radius_um"].to_numpy(float)
    low, high = float(radius.min()), float(radius.max())
    if view is not None:
        _outline(axes, view, particle)
    for length, dashes in ((low, ":"), (high, "--")):
        axes.add_patch(Circle((0, 0), length, fill=False, color=INK, lw=1.0, ls=dashes))
    for a, r in zip(angle, radius, strict=True):
        axes.plot([0, r * np.cos(a)], [0, r * np.sin(a)], color=MUTED, lw=0.9)
        axes.plot([r * np.cos(a)], [r * np.sin(a)], "o", color=SERIES[0], ms=5)
    axes.set_aspect("equal")
    axes.set_xlim(-1.15 * high, 1.15 * high)
    axes.set_ylim(-1.15 * high, 1.15 * high)
    plot_grid(axes)
    style(
        axes,
        "x from the centre (µm)",
        "y from the centre (µm)",
        f"b  What the proxy is: {high:.2f} − {low:.2f} = {high - low:.2f} µm",
    )


def _outline(axes: Axes, view: VolumeView, particle: int) -> None:
    index = np.argwhere(view.particles == particle)
    center = index.mean(axis=0)
    plane = round(float(center[1]))
    labels = (view.particles[:, plane, :] == particle).astype(np.int32)
    for line in label_outlines(labels):
        x = (line[:, 1] - center[2]) * view.voxel_um
        y = (center[0] - line[:, 0]) * view.voxel_um
        axes.fill(x, y, color=SERIES[0], alpha=0.18, lw=0)
        axes.plot(x, y, color=SERIES[0], lw=1.4)
