"""What the live analysis shows of a tomogram that grows: small files for the live page.

Each file is replaced in one step, so a reader sees the one before or the one after. They are
written by the analysis, never by the scan, and not more often than somebody can look.
"""

from __future__ import annotations

import io
import logging
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoneplate.analysis.segmentation import Segmentation
from zoneplate.analysis.tomogram import TomogramAnalysis

logger = logging.getLogger(__name__)

SLICES, LABELS = "slices.npz", "labels.npz"

INTERVAL_S = 0.25
"""Wall time between two sets of slices: four a second look continuous."""

MOST_PIXELS, MOST_VOXELS = 512, 192
"""Longest side of a slice and of the labelled volume; larger ones are thinned out."""

GREY_LEVELS = 255


class LivePictures:
    """Writes the slices and the labels of one tomogram.

    Parameters
    ----------
    folder
        Where to; made with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last_s = -float("inf")
        self._complained = False

    def slices(self, analysis: TomogramAnalysis) -> None:
        """Publish three orthogonal slices, if the last ones are old enough or all is in."""
        count = analysis.projections
        whole = count >= analysis.planned
        if not count or (not whole and time.monotonic() - self._last_s < INTERVAL_S):
            return
        views = analysis.shown.slices()
        step = _thinning(max(views.yx.shape), MOST_PIXELS)
        high = max(float(np.percentile(views.zx, 99.8)), 1e-6)
        self._publish(
            SLICES,
            {
                **{name: as_grey(view[::step, ::step], 0.0, high) for name, view in _named(views)},
                "high_per_um": high,
                "pixel_um": analysis.shown_voxel_um * step,
                "projections": count,
                "planned": analysis.planned,
            },
        )
        self._last_s = time.monotonic()

    def labels(self, analysis: TomogramAnalysis, segmentation: Segmentation) -> None:
        """Publish which voxel belongs to which particle and void."""
        step = _thinning(max(segmentation.particles.shape), MOST_VOXELS)
        thin = slice(None, None, step)
        self._publish(
            LABELS,
            {
                "particles": segmentation.particles[thin, thin, thin].astype(np.uint16),
                "voids": segmentation.voids[thin, thin, thin].astype(np.uint16),
                "voxel_um": analysis.shown_voxel_um * step,
                "center_um": analysis.center_um,
                "projections": analysis.projections,
            },
        )

    def remove(self) -> None:
        """Remove the files: the result is there."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _publish(self, name: str, arrays: dict[str, Any]) -> None:
        """Replace a file in one step; a full disk must not end the analysis."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)
            temporary = self._folder / f"{name}.part"
            temporary.write_bytes(buffer.getbuffer())
            temporary.replace(self._folder / name)
        except OSError as error:
            if not self._complained:
                logger.warning("What the live page shows could not be written: %s", error)
            self._complained = True


def read_picture(path: Path) -> dict[str, Any] | None:
    """Return what is in a file of this module; None if it is not there or no such file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def as_grey(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return an image as grey levels, `low` black and `high` white."""
    scaled = (np.asarray(image, dtype=np.float32) - low) * (GREY_LEVELS / max(high - low, 1e-12))
    return np.clip(np.nan_to_num(scaled), 0, GREY_LEVELS).astype(np.uint8)


def _named(views: Any) -> list[tuple[str, NDArray[np.float32]]]:
    return [("zx", views.zx), ("yx", views.yx), ("yz", views.yz)]


def _thinning(longest: int, most: int) -> int:
    return -(-longest // most)
