"""The probability of detection as a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .detection import fit_detection
from .figures_style import INK, MUTED, SERIES, new_figure, plot_grid, style

CLASSES = 9
"""Size classes whose share of found voids is shown beside the curve."""
POINTS = 200
TICK = 0.02


def detection_figure(diameters_um: ArrayLike, found: ArrayLike) -> Figure:
    """Draw which voids were found, shares of size classes, and the fitted curve.

    Parameters
    ----------
    diameters_um : (n,) array
        True diameters.
    found : (n,) array of bool
        Which were found.
    """
    sizes, hits = np.asarray(diameters_um, dtype=np.float64), np.asarray(found, dtype=bool)
    curve = fit_detection(sizes, hits)
    figure = new_figure(7.0, 4.2)
    axes = figure.add_subplot()
    style(axes, "void diameter (µm)", "share of voids found")
    plot_grid(axes)
    along = np.linspace(sizes.min(), sizes.max(), POINTS)
    axes.plot(along, curve.probability(along), color=SERIES[2], linewidth=2, label="fitted")
    # Every void: found above, missed below.
    axes.plot(sizes[hits], np.full(hits.sum(), 1 + 2 * TICK), "|", color=SERIES[1], label="found")
    axes.plot(sizes[~hits], np.full((~hits).sum(), -2 * TICK), "|", color=SERIES[0], label="missed")
    order = np.argsort(sizes)
    for number, part in enumerate(np.array_split(order, CLASSES)):
        axes.plot(
            sizes[part].mean(),
            hits[part].mean(),
            "o",
            color=INK,
            markersize=5,
            label="size class" if number == 0 else None,
        )
    for share in (0.5, 0.9):
        size = curve.diameter_um(share)
        axes.plot([size.low, size.high], [share, share], color=SERIES[2], linewidth=5, alpha=0.3)
        axes.annotate(
            f"d{share * 100:.0f} = {size.value:.2f} µm",
            (size.high, share),
            xytext=(6, -4),
            textcoords="offset points",
            color=MUTED,
        )
    axes.set_ylim(-0.08, 1.1)
    axes.legend(frameon=False, loc="center right")
    return figure
