"""Draw the pictures of the documentation from measured volumes.

    zoneplate screen --sample nmc622 --regions 1 --seed 0 --data demo/data --out demo/out
    zoneplate analyze dls_24737_bubbles.h5 --out bubbles
    python docs/make_pictures.py demo/data demo/out bubbles

`bubbles` may be left out. `architecture.svg`, `layers.svg` and `frame.svg` are drawn by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from zoneplate.acquisition.map_analysis import load_map
from zoneplate.acquisition.tomogram_file import StoredTomogram, load_tomograms
from zoneplate.analysis.figures_style import PARTICLE, REGION, VOID, scale_bar, style
from zoneplate.analysis.figures_volume import label_outlines

PICTURES = Path(__file__).with_name("pictures")
DPI = 85

Array = NDArray[np.floating]


def save(figure: Figure, name: str) -> None:
    """Write a PNG and say how large it is."""
    path = PICTURES / name
    figure.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.06)
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


def show_slice(
    axes: Axes, tomogram: StoredTomogram, plane: str, index: int, limits: tuple[float, float]
) -> None:
    """Draw one slice with the outlines of particles and voids, axes in the sample frame."""
    axis = {"xy": 1, "xz": 0}[plane]
    x, up = tomogram.center_um[0], tomogram.center_um[1 if plane == "xy" else 2]
    picture, particles, voids = (
        array.take(index, axis=axis)[:: 1 if plane == "xy" else -1]
        for array in (tomogram.volume, tomogram.particle_labels, tomogram.void_labels)
    )
    voxel = tomogram.voxel_um
    half_height, half_width = (voxel * size / 2 for size in picture.shape)
    left, top = x - half_width, up + half_height
    extent = (left, x + half_width, up - half_height, top)
    axes.imshow(picture, cmap="gray", vmin=limits[0], vmax=limits[1], extent=extent)
    for labels, color in ((particles, PARTICLE), (voids, VOID)):
        lines = [
            np.stack([left + (line[:, 1] + 0.5) * voxel, top - (line[:, 0] + 0.5) * voxel], axis=1)
            for line in label_outlines(labels)
        ]
        axes.add_collection(LineCollection(lines, colors=color, linewidths=1.5))


def screening(data: Path, out: Path) -> None:
    """Map, slice and one particle of a screening."""
    document = json.loads((out / "results.json").read_text())
    found = load_map(data / "results" / document["source"]["mosaic_uid"])
    tomogram = load_tomograms(out)[0]
    assert found is not None
    voids = tomogram.voids[~tomogram.voids["touches_border"].astype(bool)]
    void = voids.sort_values("equivalent_diameter_grey_um").iloc[-1]
    depth = round((void["center_z_um"] - tomogram.center_um[2]) / tomogram.voxel_um)
    index = depth + (tomogram.volume.shape[1] - 1) // 2
    limits = (-0.005, 0.05)

    figure = Figure(figsize=(13.5, 4.6), layout="constrained", facecolor="white")
    axes = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.45, 1, 1]})
    left, right, bottom, top = found.mosaic.extent_um
    axes[0].imshow(found.mosaic.image, cmap="gray", extent=(left, right, bottom, top))
    region = found.regions.iloc[0]
    corner = (
        region["center_x_um"] - region["width_um"] / 2,
        region["center_y_um"] - region["height_um"] / 2,
    )
    box = Rectangle(corner, region["width_um"], region["height_um"], fill=False)
    box.set(edgecolor=REGION, linewidth=2.5)
    axes[0].add_patch(box)
    tiles, seconds = document["mosaic"]["tiles"], document["timing"]["mosaic_s"]
    style(axes[0], "x (µm)", "y (µm)", f"1  Map: {tiles} radiographs in {seconds:.0f} s")
    show_slice(axes[1], tomogram, "xy", index, limits)
    minutes = document["timing"]["tomography_s"][0] / 60
    style(axes[1], "x (µm)", "", f"2  Tomogram of the box: {minutes:.1f} min")
    show_slice(axes[2], tomogram, "xy", index, limits)
    reach = 5.0
    axes[2].set_xlim(void["center_x_um"] - reach, void["center_x_um"] + reach)
    axes[2].set_ylim(void["center_y_um"] - reach, void["center_y_um"] + reach)
    title = f"3  Every particle, every void ({void['equivalent_diameter_grey_um']:.1f} µm)"
    style(axes[2], "x (µm)", "", title)
    for one in axes:
        scale_bar(one)
    save(figure, "screening.png")


def bubbles(out: Path) -> None:
    """Radiograph and slices of the real synchrotron scan, scaled so that the bubbles show."""
    tomogram = load_tomograms(out)[0]
    largest = tomogram.voids.sort_values("voxels").iloc[-1]
    rows, depth, _ = tomogram.volume.shape
    row = round((rows - 1) / 2 - (largest["center_y_um"] - tomogram.center_um[1]))
    across = round((depth - 1) / 2 + largest["center_z_um"] - tomogram.center_um[2])
    # The metal pin absorbs so much that all else would be black.
    limits = (-0.001, 0.006)
    figure = Figure(figsize=(13.5, 4.4), layout="constrained", facecolor="white")
    axes = figure.subplots(1, 3)
    axes[0].imshow(tomogram.radiographs[0], cmap="gray")
    angle = tomogram.radiograph_angles_deg[0]
    style(
        axes[0], "column (pixels)", "row (pixels)", f"Radiograph at {angle:.0f}°".replace("-", "−")
    )
    show_slice(axes[1], tomogram, "xz", row, limits)
    style(axes[1], "x (pixels)", "z (pixels)", f"Slice at row {row}")
    show_slice(axes[2], tomogram, "xy", across, limits)
    style(axes[2], "x (pixels)", "y (pixels)", f"Slice at depth {across}")
    save(figure, "bubbles.png")


if __name__ == "__main__":
    screening(Path(sys.argv[1]), Path(sys.argv[2]))
    if len(sys.argv) > 3:
        bubbles(Path(sys.argv[3]))
