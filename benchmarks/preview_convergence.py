"""How soon a preview of a real scan looks like the whole: Dice against the full set of views.

    python benchmarks/preview_convergence.py ../shared/data/dls_24737_bubbles.h5 \
        --picture docs/pictures/convergence.png

The stored projections are given to the streaming reconstruction in sequence and interlaced, as a
scan in that order would have given them. After each part the volume is compared with the one of
all projections: everything above Otsu's threshold of the full volume's grey values, twice the
common voxels over the sum of both, with the same threshold rule on each. Nothing is known of what
the specimen really is: the full set is the reference, not the truth. Otsu's threshold finds the
metal pin here, which stands out of any noise; the correlation of all grey values is the stricter
measure and is given beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from skimage.filters import threshold_otsu

mpl.use("Agg")
import matplotlib.pyplot as plt

from zoneplate.acquisition import open_scan
from zoneplate.analysis import StreamingReconstruction, find_center, normalize

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
PASSES = 8
STYLE = {"interlaced": ("#0072b2", "o"), "sequential": ("#d55e00", "s")}


def bit_reversed(passes: int) -> list[int]:
    """Return pass numbers so that each new pass halves the largest gap."""
    bits = passes.bit_length() - 1
    return [int(f"{number:0{bits}b}"[::-1], 2) for number in range(passes)]


def orders(count: int) -> dict[str, np.ndarray]:
    """Return the order in which projections come, by name."""
    interlaced = [np.arange(first, count, PASSES) for first in bit_reversed(PASSES)]
    return {"interlaced": np.concatenate(interlaced), "sequential": np.arange(count)}


def solid(volume: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return what is above Otsu's threshold inside the field."""
    return (volume > threshold_otsu(volume[:, inside])) & inside


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return twice the common voxels over the sum of both."""
    return float(2 * (one & other).sum() / max(int(one.sum() + other.sum()), 1))


def previews(
    frames: np.ndarray, angles: np.ndarray, column: float, order: np.ndarray
) -> list[np.ndarray]:
    """Return the volume after each share of the projections."""
    stream = StreamingReconstruction(frames.shape[1:], angles_hint=angles, center=column)
    volumes, taken = [], 0
    for share in SHARES:
        end = round(len(order) * share)
        some = order[taken:end]
        stream.add(frames[some], angles[some])
        volumes.append(stream.copy())
        taken = end
    return volumes


def draw(
    volumes: dict[str, list[np.ndarray]],
    curves: dict[str, list[float]],
    alike: dict[str, list[float]],
    to: Path,
) -> None:
    """Draw the slices over the curves."""
    columns = len(SHARES)
    figure = plt.figure(figsize=(1.75 * columns, 6.4), layout="constrained")
    grid = figure.add_gridspec(3, columns, height_ratios=(1, 1, 1.35))
    reference = volumes["sequential"][-1]
    row = reference.shape[0] // 3
    low, high = np.percentile(reference[row], (1, 97))
    for line, name in enumerate(STYLE):
        for column, share in enumerate(SHARES):
            axis = figure.add_subplot(grid[line, column])
            axis.imshow(volumes[name][column][row], cmap="gray", vmin=low, vmax=high)
            axis.set(xticks=[], yticks=[])
            if line == 0:
                axis.set_title(f"{100 * share:g} %", fontsize=10)
            if column == 0:
                axis.set_ylabel(name, color=STYLE[name][0], fontsize=10)
    axis = figure.add_subplot(grid[2, :])
    for name, curve in curves.items():
        color, marker = STYLE[name]
        axis.plot(100 * np.array(SHARES), curve, color=color, marker=marker, label=name)
        axis.plot(100 * np.array(SHARES), alike[name], color=color, marker=marker, ls=":", ms=4)
    axis.set(
        xlabel="projections used, %",
        ylabel="Dice (line), correlation (dots)",
        ylim=(0, 1.04),
        xlim=(0, 102),
    )
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(title="order of angles", frameon=False, loc="lower right")
    figure.savefig(to, dpi=120)
    plt.close(figure)


def main() -> None:
    """Print a table, and draw it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[2] / "shared" / "data" / "dls_24737_bubbles.h5"
    parser.add_argument("scan", type=Path, nargs="?", default=default)
    parser.add_argument("--picture", type=Path, help="PNG to write")
    options = parser.parse_args()
    if not options.scan.exists():
        print(f"{options.scan} is not here: nothing measured")
        return
    with open_scan(options.scan) as scan:
        frames = normalize(scan.projections[:], scan.flats[:], scan.darks[:])
        angles = np.deg2rad(scan.angles_deg)
    column = find_center(frames, angles).column
    width = frames.shape[2]
    offset = np.arange(width) - (width - 1) / 2
    inside = np.hypot(offset[:, None], offset[None, :]) < min(column, width - 1 - column)
    volumes = {
        name: previews(frames, angles, column, order) for name, order in orders(len(angles)).items()
    }
    full = solid(volumes["sequential"][-1], inside)
    curves = {
        name: [dice(solid(volume, inside), full) for volume in some]
        for name, some in volumes.items()
    }
    print(f"{options.scan.name}: {len(angles)} projections, rotation axis at column {column:.2f}\n")
    reference = volumes["sequential"][-1][:, inside].ravel()
    alike = {
        name: [float(np.corrcoef(volume[:, inside].ravel(), reference)[0, 1]) for volume in some]
        for name, some in volumes.items()
    }
    print(f"above the threshold: {full.sum() / inside.sum() / len(full):.1%} of the field")
    print("Dice, and correlation of grey values, with the full set\n")
    print("projections  " + "".join(f"{name:>16s}" for name in curves))
    for number, share in enumerate(SHARES):
        cells = (f"{curves[name][number]:.3f}, {alike[name][number]:.3f}" for name in curves)
        print(f"{100 * share:9g} %  " + "".join(f"{cell:>16s}" for cell in cells))
    if options.picture is not None:
        draw(volumes, curves, alike, options.picture)
        print(f"\n{options.picture}")


if __name__ == "__main__":
    main()
