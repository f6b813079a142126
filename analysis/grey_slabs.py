"""Shapes from grey values in a large volume, slab by slab: bounded memory.

Edges, smoothed values and gradients take a dozen arrays of the volume's size. A volume of more
than `SLAB_VOXELS` is cut into slabs of rows; each holds its objects whole, with room around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calipers import Calipers, no_calipers
from .grey_shape import MARGIN_VOXELS, GreyShapes, measure_grey_shapes
from .moments import Moments
from .morphology import Box

SLAB_VOXELS = 2**23
"""A volume of 200 voxels edge, some 0.4 GB of temporary arrays."""
LEAST_ROWS = 48
"""Lower slabs would be mostly room around their objects."""

Floats = NDArray[np.float64]
Grey = NDArray[np.float32]
Labels = NDArray[np.int32]


def measure_grey_shapes_in_slabs(
    share: Callable[[Box], Grey],
    labels: Labels,
    moments: Moments,
    *,
    noise: float,
    allowed: Callable[[Box], NDArray[np.bool_]],
    volume: Floats | None = None,
    slab_voxels: int = SLAB_VOXELS,
) -> GreyShapes:
    """Measure volumes, surfaces and hulls of all labels (`measure_grey_shapes`).

    Parameters
    ----------
    share, allowed : callable
        Return what `measure_grey_shapes` wants, for a box of the volume.
    labels : (rows, depth, columns) array of int32
        Objects 1..N.
    moments : Moments
        Of the labels.
    noise : float
        Standard deviation of the share away from edges.
    volume : (N + 1,) array, optional
        Volumes in voxels, if they are known better.
    slab_voxels : int
        About how much is looked at together.

    Returns
    -------
    GreyShapes

    Notes
    -----
    Background, blur and the spread of grey levels are then those of each slab.
    """
    parts: list[tuple[NDArray[np.bool_], GreyShapes]] = []
    for box, members in _slabs(moments, labels.shape, slab_voxels):
        corner = np.array([side.start for side in box])
        size = np.array([side.stop - side.start for side in box])
        first, stop = (np.clip(edge - corner, 0, size) for edge in (moments.first, moments.stop))
        seen = (stop > first).all(axis=1) & (moments.voxels > 0)
        local = replace(
            moments,
            voxels=np.where(seen, moments.voxels, 0),
            center=moments.center - corner,
            first=first,
            stop=stop,
        )
        found = measure_grey_shapes(
            share(box), labels[box], noise=noise, volume=volume, allowed=allowed(box), moments=local
        )
        points = found.calipers.points + corner.astype(np.float32)
        parts.append((members, replace(found, calipers=replace(found.calipers, points=points))))
    if not parts:
        count = len(moments.voxels) - 1
        zeros = np.zeros(count + 1)
        return GreyShapes(zeros, zeros, zeros, zeros, 0.0, no_calipers(count), moments)
    return _joined(parts, moments)


def _slabs(
    moments: Moments, shape: tuple[int, ...], slab_voxels: int
) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    """Yield boxes and which objects are measured in each."""
    there = moments.voxels > 0
    height = max(slab_voxels // (shape[1] * shape[2]), LEAST_ROWS)
    number = moments.first[:, 0] // height if np.prod(shape) > slab_voxels else 0 * moments.voxels
    for slab in np.unique(number[there]):
        members = there & (number == slab)
        low = np.maximum(moments.first[members].min(axis=0) - MARGIN_VOXELS, 0)
        high = np.minimum(moments.stop[members].max(axis=0) + MARGIN_VOXELS, shape)
        first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        yield (first, second, third), members


def _joined(parts: list[tuple[NDArray[np.bool_], GreyShapes]], moments: Moments) -> GreyShapes:
    members, shapes = parts[0]
    if len(parts) == 1:
        return replace(shapes, moments=moments)
    calipers = [part.calipers for _, part in parts]
    fields = ("volume", "volume_noise", "area", "area_noise")
    merged = {name: _chosen(parts, [getattr(p, name) for _, p in parts]) for name in fields}
    widths = ("feret_max", "feret_min", "hull_volume", "point_noise", "kept", "shift", "touching")
    hulls = {name: _chosen(parts, [getattr(c, name) for c in calipers]) for name in widths}
    owners: list[NDArray[np.intp]] = []
    points: list[Grey] = []
    for (members, _), part in zip(parts, calipers, strict=True):
        whose = np.repeat(np.arange(len(members)), np.diff(part.first))
        owners.append(whose[members[whose]])
        points.append(part.points[members[whose]])
    whose = np.concatenate(owners)
    order = np.argsort(whose, kind="stable")
    first = np.searchsorted(whose[order], np.arange(len(members) + 1))
    weights = [float(np.count_nonzero(some)) for some, _ in parts]
    blur = float(np.average([part.blur for _, part in parts], weights=weights))
    return GreyShapes(
        **merged,
        blur=blur,
        calipers=Calipers(**hulls, points=np.concatenate(points)[order], first=first),
        moments=moments,
    )


def _chosen(parts: list[tuple[NDArray[np.bool_], GreyShapes]], values: list[Any]) -> Any:
    """Take each object's value from the slab that it was measured in."""
    result = values[0].copy()
    for (members, _), value in zip(parts, values, strict=True):
        result[members] = value[members]
    return result
