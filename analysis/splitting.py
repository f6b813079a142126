"""Splitting of particles that touch.

Watershed on the Euclidean distance map, from peaks that survive two geometric tests in the spirit
of the SNOW algorithm (Gostick 2017, doi:10.1103/PhysRevE.96.023307): the peaks must be further
apart than the larger inscribed sphere reaches, and there must be a neck between them. Internal
voids have to be filled first: with a void inside, a quarter of the single particles survive.
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from .morphology import grown

DISTANCE_SMOOTHING_VOXELS = 0.4
"""Takes out the staircase of the distance map, keeps necks (SNOW's own default)."""
PEAK_WINDOW_VOXELS = 3
"""No wider: on the far side of the neck the distance rises again within two voxels of a small
particle's centre."""
MINIMUM_PEAK_RADIUS_VOXELS = 1.7
"""A lobe thinner than this has no peak of its own. Particles of 2.3 voxels radius read 1.73."""
SMALL_PEAK_RADIUS_VOXELS = 3.0
"""A lobe thinner than this may be surface roughness. It is a particle only if its inscribed
sphere lies wholly outside of that of the other one."""
MINIMUM_PEAK_SEPARATION = 0.95
"""Distance between two centres over the larger of their inscribed radii."""
MAXIMUM_NECK_SHARE = 0.85
"""Radius of the neck over the smaller of the two inscribed radii.

Two equal spheres overlapping by 15 % of their diameters have 0.53, spheres of 1:2 have 0.73; the
bumps of one rough or elongated particle have more than 0.9.
"""


def split_touching(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Label the particles of a mask, cutting those that touch.

    Parameters
    ----------
    mask : (rows, depth, columns) array of bool
        Solid with its internal voids filled in.

    Returns
    -------
    labels : (rows, depth, columns) array of int32
        Particles 1..N; voxels that touch by a corner belong together (26-connected).
    split : (N + 1,) array of bool
        True for a particle that was cut from another one; entry 0 is the background.

    Notes
    -----
    On pairs of spheres (radii 6 to 12 voxels) overlapping by 5 and 15 % of their diameters, and
    on single spheres and ellipsoids with noise, see ``tests/analysis/test_splitting.py``.

    Examples
    --------
    >>> import numpy as np
    >>> j, k = np.mgrid[:24, :40]
    >>> i = np.arange(24)[:, None, None]
    >>> ball = lambda x: (i - 12) ** 2 + (j - 12) ** 2 + (k - x) ** 2 <= 64
    >>> labels, split = split_touching(ball(10) | ball(25))
    >>> int(labels.max()), split.tolist()
    (2, [False, True, True])
    """
    labels = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32).view(np.int32)
    count = int(labels.max(initial=0))
    split = [False] * (count + 1)
    if count == 0:
        return labels, np.array(split)
    material = grown(ndimage.find_objects(mask.astype(np.uint8))[0], 1, mask.shape)
    inside = np.ascontiguousarray(mask[material])
    distance = edt.edt(inside, black_border=False)
    smooth = np.asarray(
        ndimage.gaussian_filter(distance, DISTANCE_SMOOTHING_VOXELS), dtype=np.float32
    )
    smooth[~inside] = 0
    owners = labels[material]
    peaks = _peaks(smooth, distance)
    peak_owner = owners[tuple(peaks.T)] if len(peaks) else np.zeros(0, dtype=np.int32)
    crowded = np.flatnonzero(np.bincount(peak_owner, minlength=count + 1) > 1)
    boxes = cc3d.statistics(owners)["bounding_boxes"] if crowded.size else []
    for owner in crowded:
        kept = _prune(peaks[peak_owner == owner], distance)
        if len(kept) < 2:
            continue
        box = boxes[owner]
        pieces = _flood(smooth[box], owners[box] == owner, kept - [side.start for side in box])
        part = owners[box]
        for piece in range(2, len(kept) + 1):
            split.append(True)
            part[pieces == piece] = len(split) - 1
        split[owner] = True
    return labels, np.array(split)


def _peaks(smooth: NDArray[np.float32], distance: NDArray[np.float32]) -> NDArray[np.intp]:
    """Local maxima of the distance map, one voxel each, as an (n, 3) array of indices."""
    flat = smooth == ndimage.maximum_filter(smooth, PEAK_WINDOW_VOXELS)
    flat &= distance >= MINIMUM_PEAK_RADIUS_VOXELS
    plateaus = cc3d.connected_components(flat, connectivity=26)
    where = np.argwhere(plateaus)
    _, first = np.unique(plateaus[tuple(where.T)], return_index=True)
    return where[first]


def _prune(peaks: NDArray[np.intp], distance: NDArray[np.float32]) -> NDArray[np.intp]:
    """Keep the peaks that are centres of particles of their own, largest first."""
    radius = distance[tuple(peaks.T)]
    order = np.argsort(-radius, kind="stable")
    return peaks[
        _distinct_peaks(
            peaks,
            radius,
            order,
            distance,
            MINIMUM_PEAK_SEPARATION,
            MAXIMUM_NECK_SHARE,
            SMALL_PEAK_RADIUS_VOXELS,
        )
    ]


@njit(cache=True, nogil=True)
def _distinct_peaks(
    peaks: NDArray[np.intp],
    radius: NDArray[np.float32],
    order: NDArray[np.intp],
    distance: NDArray[np.float32],
    separation: float,
    neck_share: float,
    small: float,
) -> NDArray[np.int64]:  # pragma: no cover - compiled
    """Return which peaks lie apart from every larger one that was kept, behind a narrow neck.

    Compiled, because a noisy volume has thousands of peaks in one connected piece.
    """
    kept = np.empty(len(peaks), dtype=np.int64)
    count = 0
    for candidate in order:
        own = True
        for number in range(count):
            other = kept[number]
            step_y = float(peaks[other, 0] - peaks[candidate, 0])
            step_z = float(peaks[other, 1] - peaks[candidate, 1])
            step_x = float(peaks[other, 2] - peaks[candidate, 2])
            apart = np.sqrt(step_y**2 + step_z**2 + step_x**2)
            least = separation * max(radius[candidate], radius[other])
            if radius[candidate] < small:
                least = radius[candidate] + radius[other]
            if apart < least:
                own = False
                break
            widest_neck = neck_share * min(radius[candidate], radius[other])
            steps = 2 * int(np.ceil(apart))
            narrow = False
            for step in range(steps + 1):
                way = step / steps
                y = int(np.rint(peaks[candidate, 0] + way * step_y))
                z = int(np.rint(peaks[candidate, 1] + way * step_z))
                x = int(np.rint(peaks[candidate, 2] + way * step_x))
                if distance[y, z, x] <= widest_neck:
                    narrow = True
                    break
            if not narrow:
                own = False
                break
        if own:
            kept[count] = candidate
            count += 1
    return kept[:count]


def _flood(
    smooth: NDArray[np.float32], mask: NDArray[np.bool_], seeds: NDArray[np.intp]
) -> NDArray[np.int32]:
    markers = np.zeros(mask.shape, dtype=np.int32)
    markers[tuple(seeds.T)] = np.arange(1, len(seeds) + 1)
    return watershed(-smooth, markers, mask=mask, connectivity=3)
