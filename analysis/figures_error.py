"""The error of a single particle, shown on one: half a voxel, and the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from .figures_style import INK, MUTED, PARTICLE, SERIES, new_figure, plot_grid, rows_where, style
from .figures_volume import VolumeView

SHIFT_VOXELS = 0.5
"""The study takes its errors from the resolution of the image: half a voxel at either end."""
SHELL_VOXELS = 3
"""How far from the surface the threshold may move it."""
THRESHOLD_RANGE = (0.6, 1.4)
THRESHOLDS = 25


def error_figure(
    view: VolumeView, particles: pd.DataFrame, particle_id: int, tomogram: Mapping[str, Any]
) -> Figure:
    """Show on one particle what resolution and threshold do to its volume (the study's S8).

    Parameters
    ----------
    view
        The tomogram.
    particles
        Table of `measure_particles` of that tomogram.
    particle_id
        Which particle.
    tomogram
        Facts of the tomogram (`results.json`): the thresholds.
    """
    row = rows_where(particles, particles["particle_id"] == particle_id).to_dict("records")[0]
    box = _box(view, particle_id)
    own = view.particles[box] == particle_id
    # Distance to the surface, positive outside, in voxels: it lies between the voxels.
    outside = np.asarray(ndimage.distance_transform_edt(~own), dtype=np.float64) - 0.5
    inside = np.asarray(ndimage.distance_transform_edt(own), dtype=np.float64) - 0.5
    distance = np.where(own, -inside, outside)
    figure = new_figure(11.0, 3.9)
    cut, shift, threshold = figure.subplots(1, 3)
    _cut(cut, view.volume[box], distance, view.voxel_um, particle_id)
    _shifted(shift, row, view.voxel_um)
    free = own | (view.particles[box] == 0)
    grey = np.where(view.voids[box] > 0, np.inf, view.volume[box])  # voids are part of it
    _thresholds(threshold, grey, distance, free, row, view.voxel_um, tomogram)
    return figure


def _box(view: VolumeView, particle_id: int) -> tuple[slice, ...]:
    (found,) = ndimage.find_objects((view.particles == particle_id).astype(np.uint8))
    return tuple(
        slice(max(part.start - SHELL_VOXELS - 1, 0), part.stop + SHELL_VOXELS + 1) for part in found
    )


def _cut(
    axes: Axes,
    grey: NDArray[np.floating],
    distance: NDArray[np.float64],
    voxel_um: float,
    particle_id: int,
) -> None:
    middle = distance.shape[1] // 2
    rows, columns = distance.shape[0], distance.shape[2]
    half_width, half_height = columns * voxel_um / 2, rows * voxel_um / 2
    axes.imshow(
        grey[:, middle, :],
        cmap="gray",
        extent=(-half_width, half_width, -half_height, half_height),
        interpolation="nearest",
    )
    for level, color, dashes, label in (
        (SHIFT_VOXELS, SERIES[3], "--", "half a voxel out"),
        (0.0, PARTICLE, "-", "as measured"),
        (-SHIFT_VOXELS, SERIES[5], "--", "half a voxel in"),
    ):
        for line in find_contours(distance[:, middle, :], level):
            x = (line[:, 1] + 0.5) * voxel_um - half_width
            y = half_height - (line[:, 0] + 0.5) * voxel_um
            axes.plot(x, y, color=color, ls=dashes, lw=1.6)
        axes.plot([], [], color=color, ls=dashes, lw=1.6, label=label)
    axes.legend(fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    style(axes, "x (µm)", "y (µm)", f"a  Surface of particle {particle_id}")


def _shifted(axes: Axes, row: Mapping[str, Any], voxel_um: float) -> None:
    """Draw volume against the place of the surface, with the error that is stated."""
    volume, area = float(row["volume_um3"]), float(row["surface_area_um2"])
    along = np.linspace(-SHIFT_VOXELS, SHIFT_VOXELS, 50) * voxel_um
    plot_grid(axes)
    axes.plot(1000 * along, volume + area * along, color=SERIES[2], lw=1.8, label="V + SA × shift")
    reach = SHIFT_VOXELS * voxel_um
    axes.plot(
        [-1000 * reach, 1000 * reach],
        [volume - area * reach, volume + area * reach],
        "s",
        color=SERIES[3],
        label=f"half a voxel: ± {100 * area * reach / volume:.0f} % (the study's way)",
    )
    error = row.get("volume_um3_se")
    if error is not None and np.isfinite(error):
        axes.errorbar(
            [0],
            [volume],
            yerr=[error],
            fmt="o",
            color=SERIES[0],
            capsize=5,
            label=f"stated here: {volume:.0f} ± {error:.0f} µm³ ({100 * error / volume:.0f} %)",
        )
    axes.set_ylim(0, 1.55 * (volume + area * reach))
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    style(axes, "surface moved outwards (nm)", "volume (µm³)", "b  Resolution")


def _thresholds(
    axes: Axes,
    grey: NDArray[np.floating],
    distance: NDArray[np.float64],
    free: NDArray[np.bool_],
    row: Mapping[str, Any],
    voxel_um: float,
    tomogram: Mapping[str, Any],
) -> None:
    """Draw volume against the threshold that separates solid from empty."""
    plot_grid(axes)
    style(axes, "threshold (1/µm)", "volume (µm³)", "c  Threshold")
    used = tomogram.get("threshold_per_um")
    if not used:
        axes.text(0.5, 0.5, "no threshold", transform=axes.transAxes, ha="center", color=MUTED)
        return
    core = float(np.count_nonzero(distance <= -SHELL_VOXELS))
    shell = grey[(np.abs(distance) < SHELL_VOXELS) & free]
    levels = np.unique([*np.linspace(*THRESHOLD_RANGE, THRESHOLDS) * float(used), float(used)])
    volumes = voxel_um**3 * np.array([core + np.count_nonzero(shell > one) for one in levels])
    axes.plot(levels, volumes, color=SERIES[2], lw=1.8)
    axes.plot([used], [row["volume_um3"]], "o", color=SERIES[0], label=f"used: {used:.4f} / µm")
    half = tomogram.get("half_contrast_threshold_per_um")
    if half:
        axes.axvline(half, color=INK, ls=":", lw=1.3, label=f"half contrast: {half:.4f} / µm")
    axes.set_ylim(0, 1.5 * volumes.max())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.legend(frameon=False, fontsize=9, loc="upper right")
