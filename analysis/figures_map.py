"""Figures of radiographs: the map with its regions, and one region over the angles."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import ArrayLike, NDArray

from .figures_style import HALO, INK, MUTED, PARTICLE, REGION, new_figure, note, scale_bar, style
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
    holder = grid.flat[len(chosen)].inset_axes((0.12, 0.08, 0.12, 0.84))
    if image is not None:
        figure.colorbar(image, cax=holder, label="X-ray transmission")
    return figure


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
