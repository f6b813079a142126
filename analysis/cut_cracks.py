"""Particles that were cut in two along a crack, put together again.

To a distance map two particles that touch, and the two sides of a deep open crack, look alike:
two wide places with a narrow one between. But the gap around a contact goes all around it, opens
quickly, and is larger than the contact; a crack lies on one side of the solid that is left, is
smaller than that, and what was cut is as convex as any particle once the crack is filled. Cracks of
three voxels that go deeper than 0.6 of the diameter are still taken for contacts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

from .morphology import Box, dilate, erode, grown

GAP_VOXELS = 2
"""Between two pieces is what is empty and at most so far from both: cracks are up to 4 wide."""
LEAST_FACES_SHARE = 0.6
"""Voxel faces of a contact over the two-thirds power of the smaller piece's voxels: what touches
over less was not cut along a crack, and need not be looked at."""
LEAST_ONE_SIDED = 0.1
"""Of `Gap.one_sided`: of 159 pairs of particles that touch, those as solid as below have at most
0.05 and the others 0.11; particles that were cut along a crack 0.12 to 0.43."""
LEAST_SOLIDITY = 0.93
"""Voxels of the pieces and the gaps over the volume of the pieces' convex hull: 0.95 and more for
particles that were cut along a crack. Of two that touch it is below 0.88 where their contact is
large; a small particle beside a large one reaches 1.3, but its gap goes all around."""

Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]


class Gap(NamedTuple):
    """What there is between two pieces.

    Attributes
    ----------
    empty, contact
        Voxels that are empty and near to both; voxels of one that are next to the other.
    aside
        How far apart the middles of the two are, over their radius of gyration.
    """

    empty: int
    contact: int
    aside: float

    @property
    def one_sided(self) -> float:
        """How far the gap lies to one side of the contact, times how large that is beside it."""
        return self.aside * self.contact / self.empty if self.empty else 0.0


def rejoin_cracked(pieces: Labels, empty: Mask) -> Labels:
    """Give pieces that were cut from each other along a crack one label.

    Parameters
    ----------
    pieces : (rows, depth, columns) array of int32
        Labels 1..N of what was one connected solid.
    empty : (rows, depth, columns) array of bool
        Where no solid is.

    Returns
    -------
    (rows, depth, columns) array of int32
        The same with the lowest label for all of them; labels may be missing in between.

    Notes
    -----
    On powders with cracks and with particles that touch: ``benchmarks/open_cracks.py``,
    ``benchmarks/chain_accuracy.py``.
    """
    boxes = cc3d.statistics(np.ascontiguousarray(pieces).view(np.uint32))["bounding_boxes"]
    links: list[tuple[int, int]] = []
    for first, second in _touching_pairs(pieces):
        box = _around([boxes[first], boxes[second]], pieces.shape)
        if gap_between(pieces[box], first, second, empty[box]).one_sided >= LEAST_ONE_SIDED:
            links.append((first, second))
    joined = pieces.copy()
    for group in _groups(links, len(boxes)):
        box = _around([boxes[piece] for piece in group], pieces.shape)
        if solidity_with_gaps(pieces[box], group, empty[box]) >= LEAST_SOLIDITY:
            joined[box][np.isin(pieces[box], group)] = group[0]
    return joined


def gap_between(pieces: Labels, first: int, second: int, empty: Mask) -> Gap:
    """Return what there is between two pieces.

    Parameters
    ----------
    pieces, first, second : (rows, depth, columns) array of int32, and two of its labels
        A cut-out with both pieces and some room around.
    empty : (rows, depth, columns) array of bool
        Where no solid is.
    """
    one, other = pieces == first, pieces == second
    near_one, near_other = dilate(one), dilate(other)
    contact = np.argwhere((one & near_other) | (other & near_one))
    further = GAP_VOXELS - 1
    gap = np.argwhere(empty & dilate(near_one, further) & dilate(near_other, further))
    if not (len(gap) and len(contact)):
        return Gap(len(gap), len(contact), 0.0)
    every = np.concatenate([gap, contact])
    gyration = math.sqrt(((every - every.mean(axis=0)) ** 2).sum(axis=1).mean())
    apart = float(np.linalg.norm(gap.mean(axis=0) - contact.mean(axis=0)))
    return Gap(len(gap), len(contact), apart / gyration)


def solidity_with_gaps(pieces: Labels, group: list[int], empty: Mask) -> float:
    """Return how much of the convex hull of some pieces they fill, with the gaps between them.

    The hull is that of the voxels' centres, half a voxel added all around (Steiner's formula,
    with the mean width of the ball of the same surface).
    """
    near = np.zeros(pieces.shape, dtype=np.uint8)
    for piece in group:
        near += dilate(pieces == piece, GAP_VOXELS)
    solid = np.isin(pieces, group)
    surface = np.argwhere(solid & ~erode(solid))
    try:
        hull = ConvexHull(surface)
    except (QhullError, ValueError):  # flat, or nothing
        return 0.0
    half = 0.5
    volume = (
        hull.volume
        + half * hull.area
        + half**2 * math.sqrt(4 * math.pi * hull.area)
        + half**3 * 4 * math.pi / 3
    )
    return np.count_nonzero(solid | (empty & (near > 1))) / float(volume)


def _groups(links: list[tuple[int, int]], count: int) -> list[list[int]]:
    """Return the pieces that hang together, lowest label first."""
    if not links:
        return []
    ends = np.array(links).T
    graph = coo_array((np.ones(len(links)), ends), shape=(count, count))
    _, number = connected_components(graph, directed=False)
    pieces = np.unique(ends)
    return [pieces[number[pieces] == one].tolist() for one in np.unique(number[pieces])]


def _around(boxes: list[Box], shape: tuple[int, ...]) -> Box:
    """Return the box of pieces with the gaps between them."""
    y, z, x = (
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )
    return grown((y, z, x), GAP_VOXELS, shape)


def _touching_pairs(pieces: Labels) -> list[tuple[int, int]]:
    """Return pairs that share many faces for their size."""
    pairs: list[NDArray[np.int32]] = []
    for axis in range(3):
        along = np.moveaxis(pieces, axis, 0)
        cut = (along[1:] != along[:-1]) & (along[1:] > 0) & (along[:-1] > 0)
        pairs.append(np.sort(np.stack([along[1:][cut], along[:-1][cut]], axis=1), axis=1))
    found, faces = np.unique(np.concatenate(pairs), axis=0, return_counts=True)
    smaller = np.bincount(pieces.ravel())[found].min(axis=1)
    many = faces >= LEAST_FACES_SHARE * smaller ** (2 / 3)
    return [(int(a), int(b)) for a, b in found[many]]
