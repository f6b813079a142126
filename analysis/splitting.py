"""Splitting of particles that touch.

Watershed on the Euclidean distance map, from peaks that survive two geometric tests in the spirit
of the SNOW algorithm (Gostick 2017, doi:10.1103/PhysRevE.96.023307): the peaks must be further
apart than the larger inscribed sphere reaches, and there must be a neck between them. Internal
voids have to be filled first: with a void inside, a quarter of the single particles survive.

A hollow that is open to the outside through a crack is no internal void, and the distance map of
a shell is a ridge with many peaks. So a piece of solid that would be cut is looked at again: its
hollow is filled where a ball of half the crack's width cannot leave it, and where the straight
way between two peaks leaves the solid, the neck is looked for on the widest way around. What was
cut along an open crack is put together again (`zoneplate.analysis.cut_cracks`).
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from .cut_cracks import rejoin_cracked
from .morphology import grown
from .workers import available_threads

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
NECK_SHARE_AROUND = 0.92
"""The same for the widest way around, which finds wider necks than the straight one. Chosen on
four clusters of four and five touching balls, of which 0.88 takes two for one."""
LEAST_HOLLOW_SHARE = 0.4
"""Inscribed radius of a hollow over that of the solid around it. Of the pore between four equal
spheres that touch each other it is 0.22: that stays empty."""
CRACK_RADII_VOXELS = (1.0, 2.0, 3.0, 4.0)
"""Half widths of cracks behind which a hollow is looked for, one after the other."""


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
    distance, smooth = _distances(inside)
    owners = labels[material]
    peaks = _peaks(smooth, distance)
    peak_owner = owners[tuple(peaks.T)] if len(peaks) else np.zeros(0, dtype=np.int32)
    crowded = np.flatnonzero(np.bincount(peak_owner, minlength=count + 1) > 1)
    boxes = cc3d.statistics(owners)["bounding_boxes"] if crowded.size else []
    for owner in crowded:
        box = grown(boxes[owner], 1, owners.shape)
        part = owners[box]
        own = part == owner
        inner = np.where(own, distance[box], np.float32(0))
        kept = _prune(peaks[peak_owner == owner] - [side.start for side in box], inner)
        if len(kept) > 1:
            kept, surface = _without_hollow(own, kept, inner, smooth[box])
            flooded = np.where(own, _flood(surface, surface > 0, kept), np.int32(0))
            pieces = rejoin_cracked(flooded, part == 0)[own]
            # One that lies in the hollow alone is none.
            found = np.flatnonzero(np.bincount(pieces)[1:]) + 1
            numbers = np.full(len(kept) + 1, owner)
            for piece in found[1:]:
                split.append(True)
                numbers[piece] = len(split) - 1
            part[own] = numbers[pieces]
            split[owner] = len(found) > 1
    return labels, np.array(split)


def _distances(solid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Distance of each voxel of the solid to its surface, and the same smoothed."""
    distance = edt.edt(solid, black_border=False, parallel=available_threads())
    smooth = np.asarray(
        ndimage.gaussian_filter(distance, DISTANCE_SMOOTHING_VOXELS), dtype=np.float32
    )
    smooth[~solid] = 0
    return distance, smooth


def _without_hollow(
    own: NDArray[np.bool_],
    kept: NDArray[np.intp],
    distance: NDArray[np.float32],
    smooth: NDArray[np.float32],
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Look again at a piece of solid that would be cut: it may be a shell that is open.

    Returns the peaks that are left and the smoothed distance map to flood from them.
    """
    pocket = _pocket(own, distance)
    if pocket is not None:
        solid = own | pocket
        distance, smooth = _distances(solid)
        kept = _prune(_peaks(smooth, distance), distance)
    if len(kept) > 1:
        kept = _prune(kept, distance, around=True)
    return kept, smooth


def _pocket(own: NDArray[np.bool_], distance: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return the hollow of a piece of solid that opens to the outside through a crack only.

    That is where a ball of half the crack's width cannot come from outside. None without one.
    """
    empty = edt.edt(~own, black_border=False, parallel=available_threads())
    least = LEAST_HOLLOW_SHARE * float(distance.max())
    for radius in CRACK_RADII_VOXELS:
        wide = empty > radius
        regions = cc3d.connected_components(np.pad(wide, 1, constant_values=True), connectivity=6)
        enclosed = wide & (regions != regions[0, 0, 0])[1:-1, 1:-1, 1:-1]
        if not (enclosed & (empty >= max(least, radius + 1))).any():
            continue
        near = edt.edt(~enclosed, black_border=False, parallel=available_threads())
        closed = edt.edt(~wide, black_border=False, parallel=available_threads()) > radius
        return ~own & ((near <= radius) | (closed & (near <= 2 * radius + 2)))
    return None


def _peaks(smooth: NDArray[np.float32], distance: NDArray[np.float32]) -> NDArray[np.intp]:
    """Local maxima of the distance map, one voxel each, as an (n, 3) array of indices."""
    flat = smooth == ndimage.maximum_filter(smooth, PEAK_WINDOW_VOXELS)
    flat &= distance >= MINIMUM_PEAK_RADIUS_VOXELS
    plateaus = cc3d.connected_components(flat, connectivity=26)
    where = np.argwhere(plateaus)
    _, first = np.unique(plateaus[tuple(where.T)], return_index=True)
    return where[first]


def _prune(
    peaks: NDArray[np.intp], distance: NDArray[np.float32], *, around: bool = False
) -> NDArray[np.intp]:
    """Keep the peaks that are centres of particles of their own, largest first.

    `distance` is that of the piece of solid that they lie in, and 0 elsewhere. With `around` the
    widest way around a hollow counts.
    """
    radius = distance[tuple(peaks.T)]
    order = np.argsort(-radius, kind="stable")
    limits = (
        MINIMUM_PEAK_SEPARATION,
        MAXIMUM_NECK_SHARE,
        SMALL_PEAK_RADIUS_VOXELS,
        NECK_SHARE_AROUND,
    )
    tree = _flood_tree(distance if around else distance[:0])
    return peaks[_distinct_peaks(peaks, radius, order, distance, *limits, *tree)]


@njit(cache=True, nogil=True)
def _distinct_peaks(
    peaks: NDArray[np.intp],
    radius: NDArray[np.float32],
    order: NDArray[np.intp],
    distance: NDArray[np.float32],
    separation: float,
    neck_share: float,
    small: float,
    around_share: float,
    parent: NDArray[np.int32],
    joined: NDArray[np.float32],
    number_of: NDArray[np.int32],
) -> NDArray[np.int64]:  # pragma: no cover - compiled
    """Return which peaks lie apart from every larger one that was kept, behind a narrow neck.

    The neck is looked for on the straight way. Where that leaves the solid it may cross the
    hollow of an open shell: then the widest way around it counts, if there is a flood tree.
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
            neck = np.float32(np.inf)
            for step in range(steps + 1):
                way = step / steps
                y = int(np.rint(peaks[candidate, 0] + way * step_y))
                z = int(np.rint(peaks[candidate, 1] + way * step_z))
                x = int(np.rint(peaks[candidate, 2] + way * step_x))
                neck = min(neck, distance[y, z, x])
            if neck == 0 and len(parent) > 0:
                neck = _saddle(
                    int(number_of[peaks[candidate, 0], peaks[candidate, 1], peaks[candidate, 2]]),
                    int(number_of[peaks[other, 0], peaks[other, 1], peaks[other, 2]]),
                    parent,
                    joined,
                )
                widest_neck *= around_share / neck_share
            if neck > widest_neck:
                own = False
                break
        if own:
            kept[count] = candidate
            count += 1
    return kept[:count]


@njit(cache=True, nogil=True)
def _saddle(
    first: int, second: int, parent: NDArray[np.int32], joined: NDArray[np.float32]
) -> np.float32:  # pragma: no cover - compiled
    """Distance to the surface at the narrowest place of the widest way between two voxels."""
    level = np.float32(np.inf)
    while first != second:
        # Up from whichever was joined to its parent earlier, at the larger distance.
        if joined[first] >= joined[second]:
            level, first = joined[first], parent[first]
        else:
            level, second = joined[second], parent[second]
        if level < 0:
            return np.float32(0)
    return level


def _flood_tree(
    distance: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Join the voxels of a solid from its innermost outwards.

    Returns the parent of each voxel, the distance at which they were joined (-1 for roots), and
    the numbers of the voxels in the box.
    """
    where = np.flatnonzero(distance)
    order = where[np.argsort(-distance.ravel()[where], kind="stable")]
    number_of = np.full(distance.shape, -1, dtype=np.int32)
    number_of.ravel()[order] = np.arange(len(order), dtype=np.int32)
    places = np.stack(np.unravel_index(order, distance.shape), axis=1).astype(np.int32)
    return *_joined(places, number_of, distance.ravel()[order]), number_of


@njit(cache=True, nogil=True)
def _joined(
    places: NDArray[np.int32], number_of: NDArray[np.int32], level: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:  # pragma: no cover - compiled
    count = len(places)
    parent = np.arange(count).astype(np.int32)
    joined = np.full(count, np.float32(-1))
    size = np.ones(count, dtype=np.int32)
    rows, depth, columns = number_of.shape
    for n in range(count):
        y, z, x = places[n]
        for p in range(max(y - 1, 0), min(y + 2, rows)):
            for q in range(max(z - 1, 0), min(z + 2, depth)):
                for r in range(max(x - 1, 0), min(x + 2, columns)):
                    m = number_of[p, q, r]
                    if m < 0 or m >= n:
                        continue
                    # The smaller tree goes below the larger one, so that ways up stay short.
                    a, b = n, m
                    while parent[a] != a:
                        a = parent[a]
                    while parent[b] != b:
                        b = parent[b]
                    if a == b:
                        continue
                    if size[a] > size[b]:
                        a, b = b, a
                    parent[a], joined[a] = b, level[n]
                    size[b] += size[a]
    return parent, joined


def _flood(
    smooth: NDArray[np.float32], mask: NDArray[np.bool_], seeds: NDArray[np.intp]
) -> NDArray[np.int32]:
    markers = np.zeros(mask.shape, dtype=np.int32)
    markers[tuple(seeds.T)] = np.arange(1, len(seeds) + 1)
    return watershed(-smooth, markers, mask=mask, connectivity=3)
