"""Draw the map of real tiles with the particles found on it: docs/real-data.md.

    python docs/make_txm_picture.py FOLDER_OF_TILES

The tiles are those of JieChungChen/NanoCT_background_correction_on_DDPM, `demo_imgs` (MIT),
numbered left to right and bottom to top.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tifffile
from matplotlib.figure import Figure

from zoneplate.analysis.mosaic import stitch
from zoneplate.analysis.radiograph import find_particles_2d, label_particles_2d

PICTURE = Path(__file__).with_name("pictures") / "txm-map.png"
STEPS_PX = (484.0, 490.0)
SEARCH_PX = 40.0
THRESHOLD = 0.055
SMALLEST_PX = 20.0
ALONE, SHARING = "#4dd2ff", "#ffb000"
SHRINK = 2


def main() -> None:
    """Write the picture; print the counts."""
    tiles = np.stack([tifffile.imread(path) for path in sorted(Path(sys.argv[1]).glob("*.tif"))])
    said = [(STEPS_PX[0] * (n % 4), STEPS_PX[1] * (n // 4)) for n in range(len(tiles))]
    mosaic = stitch(tiles, said, 1.0, max_shift_um=SEARCH_PX, self_flat=True)
    settings = {"threshold": THRESHOLD, "min_diameter_um": SMALLEST_PX}
    table = find_particles_2d(mosaic, **settings)
    labels = label_particles_2d(mosaic, **settings)
    overlaps = np.concatenate([[False], table["overlaps"].to_numpy(bool)])
    print("\n".join(mosaic.notes))
    print(f"{len(table)} outlines, {overlaps.sum()} share theirs with a neighbour, ", end="")
    print(f"{int(table['touches_border'].sum())} are cut by the edge")
    figure = Figure(figsize=(11, 11 * mosaic.image.shape[0] / mosaic.image.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    low, high = np.nanpercentile(mosaic.image, (1, 99.5))
    axes.imshow(mosaic.image[::SHRINK, ::SHRINK], cmap="gray", vmin=low, vmax=high)
    small = labels[::SHRINK, ::SHRINK]
    for number in range(1, int(labels.max()) + 1):
        color = SHARING if overlaps[number] else ALONE
        axes.contour(small == number, [0.5], colors=color, linewidths=0.7)
    axes.axis("off")
    figure.savefig(PICTURE, dpi=75)
    print(PICTURE, f"{PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
