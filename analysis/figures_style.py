"""Colours, fonts and small parts shared by every figure.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color), which stay apart in all common
forms of colour blindness and in print.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from PIL import Image, ImageChops

PARTICLE = "#009E73"
"""Particles: bluish green, as the study's green."""
VOID = "#D55E00"
"""Voids: vermilion, as the study's red."""
REGION = "#F0E442"
"""Region boxes: yellow, which shows on grey."""
INK = "#1f2933"
MUTED = "#6b7280"
SERIES = ("#D55E00", "#009E73", "#0072B2", "#E69F00", "#CC79A7", "#56B4E9")
SERIES_NAMES = ("red", "green", "blue", "yellow", "pink", "light blue")
"""What people call these colours."""
MARKERS = ("o", "s", "^", "D", "v", "P")

HALO = [patheffects.withStroke(linewidth=2.5, foreground="black")]
SCREEN_DPI = 130
PALETTE = 256
MARGIN_IN = 0.05
"""White kept around a picture, inches."""

NICE_STEPS = (1, 2, 5)


def rows_where(table: pd.DataFrame, mask: ArrayLike) -> pd.DataFrame:
    """Return the rows of a table for which the mask is true."""
    return table.take(np.flatnonzero(np.asarray(mask, dtype=bool)))


def whole_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of objects that no border cuts."""
    if "touches_border" not in table:
        return table
    return rows_where(table, ~table["touches_border"].to_numpy(dtype=bool))


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure with the house layout, independent of pyplot's state."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    """Label an axes and calm its frame."""
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    if title:
        axes.set_title(title, color=INK, loc="left", fontsize=10, fontweight="bold")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9)


def plot_grid(axes: Axes) -> None:
    """Add faint grid lines behind a plot."""
    axes.grid(True, color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)


def note(figure: Figure, text: str) -> None:
    """Say in the middle of an empty figure why it is empty."""
    figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, fontsize=12, wrap=True)


def nice_length(span: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is at most a quarter of `span`.

    Examples
    --------
    >>> nice_length(65.5), nice_length(524.0)
    (10.0, 100.0)
    """
    power = 10.0 ** np.floor(np.log10(span / 4))
    return float(max(step * power for step in NICE_STEPS if step * power <= span / 4))


def scale_bar(axes: Axes, length_um: float | None = None) -> None:
    """Draw a labelled bar in the lower right corner of an image axes in micrometres."""
    left, right = sorted(axes.get_xlim())
    bottom, top = sorted(axes.get_ylim())
    length = length_um or nice_length(right - left)
    margin, thick = 0.03 * (right - left), 0.012 * (top - bottom)
    x, y = right - margin - length, bottom + 1.5 * margin * (top - bottom) / (right - left)
    axes.add_patch(
        Rectangle((x, y), length, thick, facecolor="white", edgecolor="black", linewidth=0.8)
    )
    axes.text(
        x + length / 2,
        y + 2 * thick,
        f"{length:g} µm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=9,
        fontweight="bold",
        path_effects=HALO,
    )


def data_uri(figure: Figure, dpi: int = SCREEN_DPI) -> str:
    """Return a figure as a ``data:`` address of a PNG, for a self-contained page.

    Colours are reduced to a palette: a third of the size, and no difference to be seen.
    """
    packed = io.BytesIO()
    picture = rendered(figure, dpi)
    picture = picture.quantize(PALETTE, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(packed, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode('ascii')}"


def rendered(figure: Figure, dpi: int) -> Image.Image:
    """Return the pixels of a figure, its white margins cut off.

    Drawn once: `savefig` with a tight box draws everything twice to find the same margins.
    """
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    inked = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    if inked is None:
        return picture
    pad = round(MARGIN_IN * dpi)
    left, top, right, bottom = inked
    return picture.crop(
        (
            max(left - pad, 0),
            max(top - pad, 0),
            min(right + pad, picture.width),
            min(bottom + pad, picture.height),
        )
    )
