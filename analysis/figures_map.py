"""Figures of radiographs: the map with its regions, and one region as it turns."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import ArrayLike, NDArray

from .figures_style import (
    HALO,
    INK,
    MUTED,
    PARTICLE,
    REGION,
    SERIES,
    new_figure,
    note,
    scale_bar,
    style,
)
from .mosaic import Mosaic

CONTRAST_PERCENTILES = (0.2, 99.8)
PANELS = 7
PANEL_COLUMNS = 4


def mosaic_figure(
    mosaic: Mosaic,
    particles: pd.DataFrame | None = None,
    regions: pd.DataFrame | None = None,
) -> Figure:
    """Draw the map with the particles found and the regions chosen (the study's figure 4).

    Parameters
    ----------
    mosaic
        The map.
    particles
        Table of `find_particles_2d`; drawn as circles of the equivalent diameter.
    regions
        Table of `choose_regions`; drawn as numbered boxes.
    """
    left, right, bottom, top = mosaic.extent_um
    width = 9.0
    height = float(np.clip(width * 0.86 * (top - bottom) / (right - left) + 0.9, 3.0, 12.0))
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    known = mosaic.image[np.isfinite(mosaic.image)]
    if known.size == 0:
        note(figure, "The map is empty.")
        return figure
    low, high = np.percentile(known, CONTRAST_PERCENTILES)
    axes.set_facecolor("#9ca3af")
    image = axes.imshow(
        mosaic.image,
        cmap="gray" if mosaic.transmission else "gray_r",
        vmin=low,
        vmax=high,
        extent=(left, right, bottom, top),
        interpolation="nearest",
    )
    if particles is not None and len(particles):
        circles = [
            Circle((x, y), d / 2)
            for x, y, d in particles[
                ["center_x_um", "center_y_um", "equivalent_diameter_um"]
            ].itertuples(index=False)
        ]
        axes.add_collection(
            PatchCollection(circles, facecolor="none", edgecolor=PARTICLE, linewidth=0.9)
        )
    if regions is not None:
        for row in regions.to_dict("records"):
            center = (float(row["center_x_um"]), float(row["center_y_um"]))
            size = (float(row["width_um"]), float(row["height_um"]))
            _region_box(axes, int(row["region_id"]), center, *size)
    style(axes, "x (µm)", "y (µm)")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    scale_bar(axes)
    label = "X-ray transmission" if mosaic.transmission else "absorption, −ln T"
    figure.colorbar(image, ax=axes, label=label, fraction=0.03, pad=0.01)
    return figure


def _region_box(
    axes: Axes, number: int, center: tuple[float, float], width: float, height: float
) -> None:
    x, y = center[0] - width / 2, center[1] - height / 2
    axes.add_patch(
        Rectangle((x, y), width, height, fill=False, edgecolor="black", linewidth=3.6, zorder=3)
    )
    axes.add_patch(
        Rectangle((x, y), width, height, fill=False, edgecolor=REGION, linewidth=2.0, zorder=4)
    )
    axes.text(
        x + 0.04 * width,
        y + 0.95 * height,
        str(number),
        color=REGION,
        fontsize=15,
        fontweight="bold",
        va="top",
        path_effects=HALO,
        zorder=5,
    )


def radiographs_figure(
    transmission: ArrayLike, angles_deg: ArrayLike, pixel_um: float, *, panels: int = PANELS
) -> Figure:
    """Show one region at angles across the scan on a common scale (the study's figure 5).

    Parameters
    ----------
    transmission : (n, rows, columns) array
        Normalised radiographs, 1 is open beam; any order.
    angles_deg : (n,) array
        Their angles.
    pixel_um
        Pixel size.
    panels
        How many to show, spread evenly from the first to the last angle.

    Raises
    ------
    ValueError
        If there is not one angle per radiograph.
    """
    frames, angles = np.asarray(transmission), np.asarray(angles_deg, dtype=float)
    if frames.ndim != 3 or len(frames) != len(angles):
        raise ValueError(
            f"{frames.shape} radiographs do not go with {angles.shape} angles: one angle each"
        )
    chosen = _evenly(angles, panels)
    columns = min(PANEL_COLUMNS, len(chosen) + 1)
    rows = -(-(len(chosen) + 1) // columns)
    aspect = frames.shape[1] / frames.shape[2]
    figure = new_figure(9.0, rows * (9.0 / columns * aspect * 0.97 + 0.35))
    if not len(chosen):
        note(figure, "No radiographs.")
        return figure
    grid = figure.subplots(rows, columns, squeeze=False)
    low, high = np.nanpercentile(frames[chosen], CONTRAST_PERCENTILES)
    half_width, half_height = frames.shape[2] * pixel_um / 2, frames.shape[1] * pixel_um / 2
    image = None
    for axes, index in zip(grid.flat, chosen, strict=False):
        image = axes.imshow(
            frames[index],
            cmap="gray",
            vmin=low,
            vmax=high,
            extent=(-half_width, half_width, -half_height, half_height),
        )
        axes.set_title(_degrees(float(angles[index])), fontsize=11, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
    first = grid.flat[0]
    scale_bar(first)
    first.set_ylabel("y, along the axis", fontsize=9, color=MUTED)
    first.set_xlabel("across the beam", fontsize=9, color=MUTED)
    for axes in grid.flat[len(chosen) :]:
        axes.axis("off")
    last = grid.flat[len(chosen)]
    holder = last.inset_axes((0.02, 0.08, 0.08, 0.84))
    if image is not None:
        figure.colorbar(image, cax=holder, label="X-ray transmission")
    sketch = last.inset_axes((0.45, 0.02, 0.6, 0.98))
    draw_beam(sketch, "seen from above")
    for angle in (float(angles.min()), 0.0, float(angles.max())):
        draw_tape(sketch, angle, pale=angle != 0.0)
    return figure


def turned_figure(transmission: ArrayLike, angles_deg: ArrayLike, pixel_um: float) -> Figure:
    """Show one region front-on and edge-on, with how it stands in the beam (figure 4).

    Parameters
    ----------
    transmission : (n, rows, columns) array
        Normalised radiographs, 1 is open beam; any order.
    angles_deg : (n,) array
        Their angles; those nearest to 0 deg and to a quarter turn are shown.
    pixel_um
        Pixel size.
    """
    frames, angles = np.asarray(transmission), np.asarray(angles_deg, dtype=float)
    chosen = [int(np.argmin(np.abs(np.abs(angles) - wanted))) for wanted in (0.0, 90.0)]
    figure = new_figure(10.0, 4.4)
    grid = figure.subplots(1, 4, gridspec_kw={"width_ratios": (0.55, 1, 0.55, 1)})
    low, high = np.nanpercentile(frames[chosen], CONTRAST_PERCENTILES)
    half_width, half_height = frames.shape[2] * pixel_um / 2, frames.shape[1] * pixel_um / 2
    for number, (index, name) in enumerate(zip(chosen, ("front-on", "edge-on"), strict=True)):
        angle = float(angles[index])
        draw_beam(grid[2 * number], "seen from above")
        draw_tape(grid[2 * number], angle)
        axes = grid[2 * number + 1]
        axes.imshow(
            frames[index],
            cmap="gray",
            vmin=low,
            vmax=high,
            extent=(-half_width, half_width, -half_height, half_height),
        )
        style(axes, "across the beam (µm)", "y (µm)", f"{_degrees(angle)}, {name}")
        scale_bar(axes)
    shown = grid[1].images[0]
    figure.colorbar(shown, ax=grid, label="X-ray transmission", shrink=0.7, pad=0.01)
    return figure


SKETCH_PARTICLES = ((-0.8, 0.09), (-0.42, 0.13), (-0.05, 0.08), (0.3, 0.12), (0.72, 0.1))
"""Place along the tape and radius of the dots of a sketch; half the tape is 1."""


def draw_beam(axes: Axes, title: str) -> None:
    """Draw the beam from above, from the source below to the camera above."""
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-1.35, 1.35)
    axes.set_ylim(-2.0, 2.0)
    for x in (-0.6, 0.0, 0.6):
        axes.annotate(
            "",
            (x, -1.15),
            xytext=(x, -1.75),
            arrowprops={"arrowstyle": "-|>", "color": SERIES[3], "lw": 1.6},
        )
    axes.text(0, -1.95, "X-rays", ha="center", va="top", fontsize=9, color=INK)
    axes.plot([-1.1, 1.1], [1.4, 1.4], color=INK, lw=4, solid_capstyle="butt")
    axes.text(0, 1.5, "camera", ha="center", va="bottom", fontsize=9, color=INK)
    axes.set_title(title, fontsize=9, color=MUTED)


def draw_tape(axes: Axes, angle_deg: float, *, pale: bool = False) -> None:
    """Draw the tape with its particles at an angle into a `draw_beam`."""
    turn = np.deg2rad(angle_deg)

    def seen(x: float, z: float) -> tuple[float, float]:
        return float(x * np.cos(turn) + z * np.sin(turn)), float(
            z * np.cos(turn) - x * np.sin(turn)
        )

    (left, low), (right, high) = seen(-1.0, -0.05), seen(1.0, -0.05)
    alpha = 0.35 if pale else 1.0
    axes.plot([left, right], [low, high], color=SERIES[2], lw=2.5, alpha=alpha)
    for x, radius in SKETCH_PARTICLES:
        axes.add_patch(Circle(seen(x, radius), radius, color=PARTICLE, alpha=alpha, lw=0))
    if pale:
        place = seen(1.05, 0.0)
        axes.text(*place, _degrees(angle_deg), fontsize=8, color=MUTED, ha="center", va="center")


def _evenly(angles: NDArray[np.float64], panels: int) -> list[int]:
    """Pick the radiographs nearest to evenly spread angles, each once."""
    if not len(angles):
        return []
    wanted = np.linspace(angles.min(), angles.max(), panels)
    nearest = [int(np.argmin(np.abs(angles - angle))) for angle in wanted]
    return list(dict.fromkeys(nearest))


def _degrees(angle: float) -> str:
    """Write an angle with a true minus sign; zero has none."""
    whole = round(angle)
    return f"{whole:+d}°".replace("-", "−") if whole else "0°"
