"""Volume of voids from the grey values they are missing.

A void of two or three voxels is mostly partial volume: counting voxels below the threshold reads
half of a 2 um void and 0.8 of a 3 um one. The missing attenuation is still all there: the sum of
``(solid - grey) / (solid - background)`` over the void and its blurred surroundings is its volume
whatever the blur. Measured on simulated scans (141 views, signal-to-noise 10, 512 nm voxels):

====================  ====  ====  ====  ====  ====  ====
true diameter, um     1.8   2.0   2.3   2.6   3.0   4.0
====================  ====  ====  ====  ====  ====  ====
voxels over truth     0.44  0.53  0.64  0.72  0.79  0.89
grey sum over truth   0.94  0.94  0.98  0.99  1.01  1.03
scatter of grey sum   0.07  0.06  0.05  0.05  0.04  0.03
====================  ====  ====  ====  ====  ====  ====
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .morphology import grown
from .segmentation import Segmentation
from .thresholds import Phases

REACH_VOXELS = 2
"""Shells around the void that are summed; a third one adds more noise than volume."""
SHALLOW_VOXELS = 2.0
"""Voxels nearer to the particle's surface are darkened by it and stand for no void."""
REFERENCE_GAP_VOXELS = 3.0
"""The solid's grey level is read further away from the void than this ..."""
REFERENCE_REACH_VOXELS = 7
"""... and nearer than this."""
LEVEL_SPREAD = 0.02
"""Share of the contrast by which particles of one scan differ in grey level (streaks, cupping)."""
GREY_BIAS = 0.05
"""Relative bias left over between 1.8 and 4 um, from the table above."""


@dataclass(frozen=True, eq=False)
class GreyVoids:
    """Grey volumes of the voids 1..M, and where they lie in their particles.

    Attributes
    ----------
    volume, volume_se : (M,) arrays
        Volume and its standard uncertainty, in voxels.
    center_depth, wall : (M,) arrays
        Distance to the particle's surface from the void's centre, and the thinnest wall left
        around it, in voxels.
    """

    volume: NDArray[np.float64]
    volume_se: NDArray[np.float64]
    center_depth: NDArray[np.float64]
    wall: NDArray[np.float64]


def measure_grey_voids(segmentation: Segmentation) -> GreyVoids:
    """Grey volumes of all voids of a segmentation.

    Each void is measured in a small window. Shells around it that reach too near to the surface
    of the particle, or to another void, are completed from the rest of the same shell.

    Parameters
    ----------
    segmentation : Segmentation
        With its volume.

    Returns
    -------
    GreyVoids
        One entry per void.
    """
    known = _MEASURED.get(segmentation)
    if known is not None:
        return known
    count = len(segmentation.parent) - 1
    result = np.zeros((4, count))
    phases = segmentation.phases
    if count and phases is not None:
        depth = edt.edt(segmentation.particles, black_border=False)
        boxes = cc3d.statistics(segmentation.voids)["bounding_boxes"]
        for void in range(1, count + 1):
            box = grown(boxes[void], REFERENCE_REACH_VOXELS, depth.shape)
            result[:, void - 1] = _one(
                segmentation.volume[box],
                segmentation.voids[box],
                segmentation.particles[box] == segmentation.parent[void],
                depth[box],
                void,
                phases,
            )
    _MEASURED[segmentation] = GreyVoids(*result)
    return _MEASURED[segmentation]


# The tables of particles and of voids both need them; kept as long as the segmentation lives.
_MEASURED: WeakKeyDictionary[Segmentation, GreyVoids] = WeakKeyDictionary()


def _one(
    grey: NDArray[np.float32],
    voids: NDArray[np.int32],
    own: NDArray[np.bool_],
    depth: NDArray[np.float32],
    void: int,
    phases: Phases,
) -> tuple[float, float, float, float]:
    this = voids == void
    others = (voids > 0) & ~this
    distance = np.asarray(ndimage.distance_transform_edt(~this))
    nearest = away = own
    if others.any():
        to_others = np.asarray(ndimage.distance_transform_edt(~others))
        nearest = own & (distance < to_others)
        away = own & (to_others > REFERENCE_GAP_VOXELS)

    solid, solid_se = _solid_level(
        grey[away & (distance > REFERENCE_GAP_VOXELS) & (depth > SHALLOW_VOXELS + 0.5)], phases
    )
    contrast = solid - phases.background_level
    missing = (solid - grey) / contrast
    noise = phases.solid_noise / contrast
    total = float(missing[this].sum())
    variance = noise**2 * np.count_nonzero(this)
    voxels = int(np.count_nonzero(this))
    for shell in range(1, REACH_VOXELS + 1):
        whole = (distance > shell - 1) & (distance <= shell)
        seen = missing[whole & nearest & (depth >= SHALLOW_VOXELS)]
        if seen.size:
            size = int(np.count_nonzero(whole))
            total += float(seen.mean()) * size
            variance += (noise * size) ** 2 / seen.size
            voxels += size
    common = (solid_se / contrast * voxels) ** 2 + (GREY_BIAS * total) ** 2
    middle = tuple(round(float(index.mean())) for index in np.nonzero(this))
    wall = float(depth[this].min()) - 1.0  # from the void's outermost voxel to its own face
    return max(total, 0.0), float(np.sqrt(variance + common)), float(depth[middle]) - 0.5, wall


def _solid_level(values: NDArray[np.float32], phases: Phases) -> tuple[float, float]:
    """Grey level of the solid near a void, and its standard uncertainty.

    The mean of the surrounding solid, drawn towards the level of all particles as far as the
    surrounding is small and noisy.
    """
    spread = LEVEL_SPREAD * phases.contrast
    noise = max(phases.solid_noise, float(np.finfo(np.float32).eps) * phases.contrast)
    local_weight = values.size / noise**2
    common_weight = 1 / spread**2
    local = float(values.mean()) if values.size else 0.0
    total_weight = local_weight + common_weight
    level = (local_weight * local + common_weight * phases.solid_level) / total_weight
    return level, float(1 / np.sqrt(total_weight))
