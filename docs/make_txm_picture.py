"""Draw the map of real tiles with what can be counted on it, and judge it: docs/real-data.md.

    python docs/make_txm_picture.py FOLDER_OF_TILES

The tiles are those of JieChungChen/NanoCT_background_correction_on_DDPM, `demo_imgs` (MIT),
numbered left to right and bottom to top. The labels that judge the count were drawn by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from skimage.draw import ellipse

from zoneplate.analysis.closed_rims import ClosedRims, find_closed_rims
from zoneplate.analysis.mosaic import stitch

PICTURE = Path(__file__).with_name("pictures") / "txm-map.png"
LABELS = Path(__file__).parents[1] / "tests" / "data" / "txm_labels.csv"
COLUMNS_PX = (0, 482, 985, 1473)
ROWS_PX = ((0, 0), (503, -25), (1002, -42), (1493, -46))
"""Where columns and rows of tiles lie (up, right): the overlaps that match, which agree along each
row and column; the others show too little."""
BINNING = 2
SMALLEST_PX = 16.0
DRAWS = 10_000
NAMES = ("found", "missed", "in a declared heap", "false", "undecided")
COUNTED, INSIDE, HEAP = "#4dd2ff", "#ff7ad9", "#ffb000"


def main() -> None:
    """Write the picture; print the counts and how they compare with the labels."""
    tiles = np.stack([tifffile.imread(path) for path in sorted(Path(sys.argv[1]).glob("*.tif"))])
    said = [
        (COLUMNS_PX[n % 4] + ROWS_PX[n // 4][1], ROWS_PX[n // 4][0] + 2 * (n % 4 > 0))
        for n in range(len(tiles))
    ]
    mosaic = stitch(tiles, said, 1.0, register=False, self_flat=True, seamless=True)
    rows, columns = (length // BINNING * BINNING for length in mosaic.image.shape)
    image = mosaic.image[:rows, :columns]
    image = image.reshape(rows // BINNING, BINNING, columns // BINNING, BINNING).mean((1, 3))
    found = find_closed_rims(-np.log(image), min_diameter_px=SMALLEST_PX / BINNING)
    inside = found.table["in_heap"].to_numpy(bool)
    looked = np.isfinite(image).sum()
    print(f"{(~inside).sum()} counted, {inside.sum()} with a rim in heaps, ", end="")
    print(f"heaps cover {found.heap.sum() / looked:.1%} of the map")
    labels = pd.read_csv(LABELS)
    for held_out, part in labels.groupby("held_out"):
        pieces = np.array([compare(found, crop) for _, crop in part.groupby("crop")])
        total = pieces.sum(axis=0).tolist()
        print("held out:" if held_out else "tuned on:", dict(zip(NAMES, total, strict=True)))
        if held_out:
            low, middle, high = persons_count(pieces, int((~inside).sum()))
            print(f"a person would be sure of {middle:.0f} of that size ({low:.0f} to {high:.0f})")
    draw(image, found, inside)


def compare(found: ClosedRims, labels: pd.DataFrame) -> np.ndarray:
    """Count agreements with the labels of one piece of the map."""
    field = labels[labels["kind"] == "crop"].iloc[0]
    left, top = field["x_px"], field["y_px"]
    at = found.table
    x = (at["column_px"].to_numpy() + 0.5) * BINNING - 0.5
    y = (at["row_px"].to_numpy() + 0.5) * BINNING - 0.5
    size = at["diameter_px"].to_numpy() * BINNING
    here = (x >= left) & (x < left + field["width_px"])
    here &= (y >= top) & (y < top + field["height_px"])
    free = here & ~at["in_heap"].to_numpy(bool)
    drawn = labels[labels["kind"].isin(["particle", "unsure"])]
    inside = (
        np.hypot(
            (x[:, None] - drawn["x_px"].to_numpy()) / drawn["width_px"].to_numpy() * 2,
            (y[:, None] - drawn["y_px"].to_numpy()) / drawn["height_px"].to_numpy() * 2,
        )
        < 1
    )
    counts = dict.fromkeys(NAMES, 0)
    used = np.zeros(len(at), dtype=bool)
    own_size = np.sqrt(drawn["width_px"] * drawn["height_px"]).to_numpy()
    sure = (drawn["kind"] == "particle").to_numpy() & (own_size >= SMALLEST_PX)
    sure &= drawn["x_px"].between(left, left + field["width_px"]).to_numpy()
    sure &= drawn["y_px"].between(top, top + field["height_px"]).to_numpy()
    for number in np.flatnonzero(sure):
        fits = inside[:, number] & (np.abs(np.log(size / own_size[number])) < np.log(1.6))
        match = np.flatnonzero(fits & free & ~used)
        one = drawn.iloc[number]
        area = ellipse(
            one["y_px"] / BINNING,
            one["x_px"] / BINNING,
            one["height_px"] / 2 / BINNING,
            one["width_px"] / 2 / BINNING,
            found.heap.shape,
        )
        if len(match):
            used[match[0]] = True
            counts["found"] += 1
        elif (fits & here).any() or found.heap[area].mean() > 0.5:
            counts["in a declared heap"] += 1
        else:
            counts["missed"] += 1
    for number in np.flatnonzero(free & ~used):
        undecided = inside[number, ~sure].any()
        counts["undecided" if undecided else "false"] += 1
    return np.array(list(counts.values()))


def persons_count(pieces: np.ndarray, counted: int) -> tuple[float, float, float]:
    """Return how many particles outside heaps a person would be sure of, with a 95 % interval.

    The count of the map times the ratio of a person's count to ours in the labelled pieces, which
    are drawn again and again (what lies in one piece is alike).
    """
    named = dict(zip(NAMES, pieces.T, strict=True))
    persons = named["found"] + named["missed"]
    ours = named["found"] + named["false"] + named["undecided"]
    drawn = np.random.default_rng(0).integers(len(pieces), size=(DRAWS, len(pieces)))
    ratios = persons[drawn].sum(axis=1) / np.maximum(ours[drawn].sum(axis=1), 1)
    low, high = np.percentile(counted * ratios, (2.5, 97.5))
    return float(low), float(counted * persons.sum() / ours.sum()), float(high)


def draw(image: np.ndarray, found: ClosedRims, inside: np.ndarray) -> None:
    """Write the picture."""
    height = 11 * image.shape[0] / image.shape[1]
    figure = Figure(figsize=(11, height))
    axes: Axes = figure.add_axes((0, 0, 1, 1))
    low, high = np.nanpercentile(image, (0.5, 99.7))
    axes.imshow(image, cmap="gray", vmin=low, vmax=high)
    axes.contourf(found.heap, [0.5, 1.5], colors="none", hatches=["////"])
    for collection in axes.collections:
        collection.set_edgecolor(HEAP)
        collection.set_linewidth(0.0)
    axes.contour(found.heap, [0.5], colors=HEAP, linewidths=0.6)
    for rows, columns, hidden in zip(found.rows_px, found.columns_px, inside, strict=True):
        color = INSIDE if hidden else COUNTED
        axes.plot(np.append(columns, columns[0]), np.append(rows, rows[0]), color=color, lw=1.3)
    axes.set_xlim(0, image.shape[1] - 1)
    axes.set_ylim(image.shape[0] - 1, 0)
    axes.axis("off")
    handles = [
        Line2D([], [], color=COUNTED, label=f"counted ({(~inside).sum()})"),
        Line2D([], [], color=INSIDE, label=f"in a heap, not counted ({inside.sum()})"),
        Patch(facecolor="none", edgecolor=HEAP, hatch="////", label="heap: not countable here"),
    ]
    axes.legend(handles=handles, loc="upper left", fontsize=13, framealpha=0.9)
    figure.savefig(PICTURE, dpi=90)
    print(PICTURE, f"{PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
