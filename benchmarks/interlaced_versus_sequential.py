"""What a part of a scan shows, by the order of its angles: Dice against the truth.

    python benchmarks/interlaced_versus_sequential.py --picture docs/pictures/interlaced.png

The same powder is scanned three times with all imperfections on, at the study's settings, each
time in another order of the angles. After each eighth of the projections the volume is
reconstructed from what is there, segmented, and compared with what the specimen really is, inside
the field that every angle sees.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
from bluesky import RunEngine

mpl.use("Agg")
import matplotlib.pyplot as plt

from zoneplate.acquisition.live import FrameReader, angle_of
from zoneplate.acquisition.runs import RunRecord
from zoneplate.analysis import StreamingReconstruction, normalize, segment
from zoneplate.analysis.rotation_axis import find_center
from zoneplate.analysis.tomogram import MINIMUM_CONTRAST_PER_UM
from zoneplate.plans import tomography
from zoneplate.simulators import Specimen, attach, nmc622, simulated_microscope
from zoneplate.simulators.truth import rasterize

PIXEL_UM = 0.512
CENTER_UM = (0.0, 0.0, 3.0)
PROJECTIONS = 141
STEPS = 8
Order = Literal["interlaced", "sequential", "golden"]
ORDERS: tuple[Order, ...] = ("interlaced", "golden", "sequential")
STYLE = {"interlaced": ("#0072b2", "o"), "golden": ("#009e73", "^"), "sequential": ("#d55e00", "s")}


def scanned(seed: int, order: Order) -> tuple[np.ndarray, np.ndarray]:
    """Return absorption (projections, rows, columns) in the order taken, and angles in radians."""
    record, reader = RunRecord(), FrameReader()
    with tempfile.TemporaryDirectory() as folder:
        microscope = simulated_microscope(nmc622(seed), seed=seed, directory=folder)
        engine = RunEngine({}, context_managers=[])
        attach(engine, microscope.clock)
        engine.subscribe(lambda name, doc: record(name, doc) and None)
        engine(tomography(microscope, center_um=CENTER_UM, projections=PROJECTIONS, order=order))
        stacks = {
            name: np.stack([reader.read(frame) for frame in record.stream(name)])
            for name in ("primary", "flat", "dark")
        }
        reader.close()
        microscope.clock.close()
    angles = np.deg2rad([angle_of(frame) for frame in record.stream("primary")])
    return normalize(stacks["primary"], stacks["flat"], stacks["dark"]), angles


def dice(found: np.ndarray, true: np.ndarray) -> float:
    """Return twice the common voxels over the sum of both."""
    return float(2 * (found & true).sum() / max(int(found.sum() + true.sum()), 1))


def curve(specimen: Specimen, seed: int, order: Order) -> list[tuple[int, float, float]]:
    """Return (projections taken, solid Dice, void Dice) after each part of a scan."""
    frames, angles = scanned(seed, order)
    center = find_center(frames, angles)
    rows, columns = frames.shape[1:]
    truth = rasterize(specimen, (rows, columns, columns), PIXEL_UM, CENTER_UM)
    radius_um = (min(center.column, columns - 1 - center.column) + 0.5) * PIXEL_UM
    places_um = (np.arange(columns) - (columns - 1) / 2) * PIXEL_UM
    inside = np.hypot(places_um[:, None], places_um[None, :])[None] < radius_um
    true_void = (truth.voids > 0) & inside
    true_solid = (truth.particles > 0) & (truth.voids == 0) & inside
    stream = StreamingReconstruction(
        (rows, columns), angles_hint=angles, center=center.column, pixel_um=PIXEL_UM
    )
    points: list[tuple[int, float, float]] = []
    taken = 0
    for step in range(1, STEPS + 1):
        end = round(PROJECTIONS * step / STEPS)
        stream.add(frames[taken:end], angles[taken:end])
        taken = end
        found = segment(
            stream.volume,
            PIXEL_UM,
            minimum_contrast_per_um=MINIMUM_CONTRAST_PER_UM,
            field_radius_um=radius_um,
        )
        void = (found.voids > 0) & inside
        solid = (found.particles > 0) & (found.voids == 0) & inside
        points.append((taken, dice(solid, true_solid), dice(void, true_void)))
    return points


def draw(curves: dict[str, np.ndarray], picture: Path) -> None:
    """Draw both curves of every order; (steps, 3) each."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), sharex=True, layout="constrained")
    for axis, column, title in zip(axes, (1, 2), ("Solid", "Voids"), strict=True):
        for order, points in curves.items():
            color, marker = STYLE[order]
            axis.plot(points[:, 0], points[:, column], color=color, marker=marker, label=order)
        axis.set(title=title, xlabel="projections taken", ylim=(0, 1.02), xlim=(0, PROJECTIONS + 4))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("Dice against the truth")
    axes[0].legend(title="order of angles", frameon=False, loc="lower right")
    figure.savefig(picture, dpi=130)
    plt.close(figure)


def main() -> None:
    """Print a table, and draw it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="powders to average over")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    options = parser.parse_args()
    curves: dict[str, np.ndarray] = {}
    for order in ORDERS:
        runs = [curve(nmc622(seed), seed, order) for seed in range(options.seeds)]
        curves[order] = np.mean(np.array(runs), axis=0)
    print(f"Dice against the truth, mean of {options.seeds} NMC622 powders: solid / voids\n")
    print("projections  " + "".join(f"{order:>16s}" for order in ORDERS))
    for step in range(STEPS):
        cells = (f"{curves[order][step, 1]:.3f} / {curves[order][step, 2]:.3f}" for order in ORDERS)
        print(f"{curves[ORDERS[0]][step, 0]:11.0f}  " + "".join(f"{cell:>16s}" for cell in cells))
    if options.picture is not None:
        draw(curves, options.picture)
        print(f"\n{options.picture}")


if __name__ == "__main__":
    main()
