"""From a reconstructed volume to labelled particles with labelled voids.

Three phases, as in the study: solid, internal void, exterior. The exterior is everything empty
that a flood from outside the field can reach through faces (6-connected, so that the solid is
26-connected); what is empty and out of its reach is an internal void.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .moments import Moments, measure_moments
from .morphology import dilate, erode
from .splitting import split_touching
from .surface_area import Crossings, count_crossings
from .thresholds import Phases, ThresholdMethod, find_phases, phases_at

MINIMUM_PARTICLE_VOXELS = 16
"""A sphere of 3.1 voxels. At a signal-to-noise of 10 no speck of noise reaches even 4 voxels (6
simulated scans); smaller particles read less than half of their volume."""
MINIMUM_VOID_VOXELS = 4
"""At a signal-to-noise of 10 no false voids, and 90 % detection from 3.05 voxels diameter."""
WALL_MARGIN_VOXELS = 2.0
"""Particles cut by the wall of the field fade towards it: what comes this close is not whole."""
SMALL_PIECE_VOXELS = 113
"""A ball of 3 voxels radius."""
SENSITIVITY_STEP = 0.05
"""Step of the threshold, as a share of the contrast, for the sensitivity."""

Center = tuple[float, float, float]


class SegmentationError(ValueError):
    """A volume that cannot be segmented: not three-dimensional, or not finite."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Particles and voids of one volume.

    Attributes
    ----------
    particles : (rows, depth, columns) array of int32
        Particle labels 1..N, internal voids filled in; 0 is the exterior.
    voids : (rows, depth, columns) array of int32
        Labels 1..M of internal voids.
    parent : (M + 1,) array of int32
        Particle label of each void label; entry 0 is 0.
    split, touches_border : (N + 1,) arrays of bool
        Whether a particle was cut from a touching one, or leaves `whole_radius_um` or reaches the
        first or last slice; entry 0 is False.
    threshold : float
        Grey value (1/um) above which a voxel is solid; NaN when nothing was found.
    void_threshold : float
        Grey value below which a voxel inside a particle is void: half contrast.
    phases : Phases or None
        Grey levels and noise of background and solid; None when the volume holds one phase only.
    threshold_sensitivity : float
        d(total particle volume)/d(threshold) in um3 per (1/um); negative.
    volume : (rows, depth, columns) array of float32
        The volume that was segmented (1/um), for the estimators that use grey values.
    field : (rows, depth, columns) array of bool
        Voxels inside the reconstruction cylinder.
    field_radius_um : float
        Its radius.
    voxel_um : float
        Voxel edge.
    center_um : (x, y, z)
        Position of the centre of the volume in the specimen frame.
    """

    particles: NDArray[np.int32]
    voids: NDArray[np.int32]
    parent: NDArray[np.int32]
    split: NDArray[np.bool_]
    touches_border: NDArray[np.bool_]
    threshold: float
    void_threshold: float
    phases: Phases | None
    threshold_sensitivity: float
    volume: NDArray[np.float32]
    field: NDArray[np.bool_]
    field_radius_um: float
    voxel_um: float
    center_um: Center

    @cached_property
    def particle_moments(self) -> Moments:
        """Voxels, centres, axes and bounding boxes of the particles."""
        return measure_moments(self.particles, len(self.split) - 1)

    @cached_property
    def void_moments(self) -> Moments:
        """The same of the voids."""
        return measure_moments(self.voids, len(self.parent) - 1)

    @cached_property
    def particle_crossings(self) -> Crossings:
        """What the surface areas of the particles are made of."""
        return count_crossings(self.particles, len(self.split) - 1)

    @cached_property
    def void_crossings(self) -> Crossings:
        """The same of the voids."""
        return count_crossings(self.voids, len(self.parent) - 1)

    @property
    def whole_radius_um(self) -> float:
        """Radius of the cylinder that a particle must lie in to count as whole."""
        return self.field_radius_um - WALL_MARGIN_VOXELS * self.voxel_um

    @property
    def half_contrast_threshold(self) -> float:
        """Cross-check of the threshold: half-way between background and solid; NaN if neither."""
        return self.phases.half_contrast if self.phases else float("nan")

    @property
    def background_level(self) -> float:
        """Grey value of the background (1/um); NaN when the volume holds one phase only."""
        return self.phases.background_level if self.phases else float("nan")

    @property
    def solid_level(self) -> float:
        """Grey value of the solid (1/um); NaN when the volume holds one phase only."""
        return self.phases.solid_level if self.phases else float("nan")


def segment(
    volume: ArrayLike,
    voxel_um: float,
    *,
    threshold: float | None = None,
    method: ThresholdMethod = "otsu",
    field_radius_um: float | None = None,
    minimum_void_voxels: int = MINIMUM_VOID_VOXELS,
    minimum_particle_voxels: int = MINIMUM_PARTICLE_VOXELS,
    split: bool = True,
    seal_voxels: int = 0,
    minimum_contrast_per_um: float = 0.0,
    center_um: Sequence[float] = (0.0, 0.0, 0.0),
) -> Segmentation:
    """Find particles and their internal voids in a reconstructed volume.

    Parameters
    ----------
    volume : (rows, depth, columns) array
        Attenuation in 1/um, indexed ``[y, z, x]``, row 0 at the top. Do not smooth it: every
        filter tried moved the void detection limit the wrong way.
    voxel_um : float
        Voxel edge.
    threshold : float, optional
        Grey value above which a voxel is solid. Chosen by `method` when not given.
    method : {"otsu", "half-contrast"}
        Otsu's criterion searched between the grey levels of the two phases (the default: least
        diameter bias on simulated scans), or half-way between the levels.
    field_radius_um : float, optional
        Radius of the reconstruction cylinder about the rotation axis; voxels outside do not
        count. Half the smaller of depth and width when not given.
    minimum_void_voxels, minimum_particle_voxels : int
        Smaller objects are noise and are dropped.
    split : bool
        Cut particles that touch.
    seal_voxels : int
        Close leaks of up to twice this width in the walls of cavities before the exterior is
        flooded: for volumes so noisy that the noise tears walls open. Cavities that are open
        through a narrow channel are then counted as voids too.
    minimum_contrast_per_um : float
        A contrast below this is no particle. Give about 0.01 to keep an otherwise empty support
        tape (0.003 against 0.044 for NMC) from being taken for one.
    center_um : (x, y, z)
        Where the centre of the volume lies in the specimen frame.

    Returns
    -------
    Segmentation
        Without objects when the volume is flat, empty or only noise.

    Raises
    ------
    SegmentationError
        A ValueError: the volume is not three-dimensional, or not finite inside the field.
    ValueError
        When a size is not positive, or the method is unknown.

    Notes
    -----
    A void counts only inside the particle eroded by one voxel; a cavity whose wall is thinner
    than about two voxels cannot be called closed. On simulated scans of NMC622 (141 views,
    signal-to-noise 10) see ``tests/analysis/test_segmentation.py`` for what is found.

    Examples
    --------
    >>> import numpy as np
    >>> i, j, k = np.mgrid[:30, :40, :40] - np.array([15, 20, 20])[:, None, None, None]
    >>> distance = np.sqrt(i**2 + j**2 + k**2)
    >>> volume = np.where((distance < 11) & (distance > 4), 0.044, 0.0)
    >>> found = segment(volume, 0.512)
    >>> int(found.particles.max()), int(found.voids.max()), found.parent.tolist()
    (1, 1, [0, 1])
    """
    grey, field, radius_um = _checked(volume, voxel_um, field_radius_um)
    for name, size in (
        ("minimum_void_voxels", minimum_void_voxels),
        ("minimum_particle_voxels", minimum_particle_voxels),
    ):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")
    if method not in ("otsu", "half-contrast"):
        raise ValueError(f'method must be "otsu" or "half-contrast", not {method!r}')
    if threshold is None:
        phases = find_phases(grey, field, minimum_contrast=minimum_contrast_per_um)
    else:
        phases = phases_at(grey, field, threshold)
    chosen = _chosen_threshold(phases, threshold, method)

    if phases is None:
        filled = np.zeros(grey.shape, dtype=bool)
        void_threshold = chosen
    else:
        filled = _filled_solid(grey, field, chosen, minimum_particle_voxels, seal_voxels)
        void_threshold = max(chosen, phases.half_contrast) if threshold is None else chosen

    def inside() -> tuple[NDArray[np.int32], float]:
        found = _voids(grey, filled, void_threshold, minimum_void_voxels)
        return found, _sensitivity(grey, field, filled, found, chosen, phases)

    # Neither needs the other, and both are mostly compiled.
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(inside)
        particles, was_split = _particles(filled, split)
        voids, sensitivity = later.result()
    x, y, z = (float(value) for value in center_um)
    return Segmentation(
        particles=particles,
        voids=voids,
        parent=_parents(particles, voids),
        split=was_split,
        touches_border=_touching(particles, was_split, radius_um / voxel_um),
        threshold=chosen,
        void_threshold=void_threshold,
        phases=phases,
        threshold_sensitivity=sensitivity * voxel_um**3,
        volume=grey,
        field=field,
        field_radius_um=radius_um,
        voxel_um=float(voxel_um),
        center_um=(x, y, z),
    )


def cylinder_mask(shape: tuple[int, ...], radius_voxels: float) -> NDArray[np.bool_]:
    """Voxels of a ``[y, z, x]`` volume within a radius of the central vertical axis."""
    depth, width = shape[1:]
    z = np.arange(depth)[:, None] - (depth - 1) / 2
    x = np.arange(width) - (width - 1) / 2
    return np.broadcast_to(z**2 + x**2 <= radius_voxels**2, shape)


def _checked(
    volume: ArrayLike, voxel_um: float, field_radius_um: float | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
    grey = np.ascontiguousarray(volume, dtype=np.float32)
    if grey.ndim != 3 or grey.size == 0:
        raise SegmentationError(
            f"a volume has three axes [y, z, x]; this one has shape {grey.shape}"
        )
    if not voxel_um > 0:
        raise ValueError(f"voxel_um must be positive, not {voxel_um}")
    if field_radius_um is not None and not field_radius_um > 0:
        raise ValueError(f"field_radius_um must be positive, not {field_radius_um}")
    radius = min(grey.shape[1:]) / 2 if field_radius_um is None else field_radius_um / voxel_um
    field = cylinder_mask(grey.shape, radius)
    broken = int(np.count_nonzero(~np.isfinite(grey[field])))
    if broken:
        raise SegmentationError(
            f"{broken} voxels inside the field are not finite numbers; "
            "look for dead pixels or an empty flat field before the reconstruction"
        )
    # Engines differ in what they leave outside their cylinder (0, NaN, garbage).
    return np.where(field, grey, np.float32(0)), field, float(radius * voxel_um)


def _chosen_threshold(
    phases: Phases | None, threshold: float | None, method: Literal["otsu", "half-contrast"]
) -> float:
    if threshold is not None:
        return float(threshold)
    if phases is None:
        return float("nan")
    return phases.otsu if method == "otsu" else phases.half_contrast


def _filled_solid(
    grey: NDArray[np.float32],
    field: NDArray[np.bool_],
    threshold: float,
    minimum_voxels: int,
    seal_voxels: int,
) -> NDArray[np.bool_]:
    """Everything the flood from outside does not reach, without specks."""
    solid = field & (grey > threshold)
    filled = _not_reached(solid)
    if seal_voxels:
        # Room for the closing to act at the border of the array as it does inside.
        room = 2 * seal_voxels
        closed = erode(dilate(np.pad(solid, room), seal_voxels), seal_voxels)
        closed = closed[room:-room, room:-room, room:-room]
        cavities = _not_reached(closed | solid) & ~closed & ~solid
        filled |= cavities | (dilate(cavities, seal_voxels) & closed)
    return cc3d.dust(
        np.ascontiguousarray(filled), threshold=minimum_voxels, connectivity=26, binary_image=True
    ).astype(bool)


def _not_reached(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what a flood through faces, from outside the array, does not reach."""
    empty = np.pad(~solid, 1, constant_values=True)
    regions = cc3d.connected_components(empty, connectivity=6)
    return (regions != regions[0, 0, 0])[1:-1, 1:-1, 1:-1]


def _particles(
    filled: NDArray[np.bool_], split: bool
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    if split:
        return split_touching(filled)
    labels = cc3d.connected_components(filled, connectivity=26).astype(np.int32)
    return labels, np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)


def _voids(
    grey: NDArray[np.float32], filled: NDArray[np.bool_], threshold: float, minimum_voxels: int
) -> NDArray[np.int32]:
    inner = erode(filled)
    labels = cc3d.connected_components(inner & (grey < threshold), connectivity=6)
    sizes = np.bincount(labels.ravel())
    keep = sizes >= minimum_voxels
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def _parents(particles: NDArray[np.int32], voids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Particle that holds most of each void (a cut between particles may cross one)."""
    inside = voids > 0
    count = int(voids.max(initial=0))
    parent = np.zeros(count + 1, dtype=np.int32)
    pairs, shared = np.unique(
        np.stack([voids[inside], particles[inside]]), axis=1, return_counts=True
    )
    for index in np.argsort(shared, kind="stable"):  # the largest share is written last
        parent[pairs[0, index]] = pairs[1, index]
    return parent


def _touching(
    particles: NDArray[np.int32], split: NDArray[np.bool_], radius_voxels: float
) -> NDArray[np.bool_]:
    """Which labels reach the wall of the field, the first or the last slice.

    So does a small piece that was cut from one that does: it may be a bit of the shell of a
    hollow particle that the field has opened.
    """
    wall = ~cylinder_mask(particles.shape, radius_voxels - WALL_MARGIN_VOXELS)[0]

    def reached(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
        ends = np.concatenate([labels[0].ravel(), labels[-1].ravel(), labels[:, wall].ravel()])
        flags = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
        flags[ends] = True
        flags[0] = False
        return flags

    flags = reached(particles)
    small = split & (np.bincount(particles.ravel(), minlength=len(split)) < SMALL_PIECE_VOXELS)
    if (small & ~flags).any():
        whole = cc3d.connected_components(particles > 0, connectivity=26).astype(np.int32)
        cut = reached(whole)[whole]
        flags[np.unique(particles[cut & small[particles]])] = True
        flags[0] = False
    return flags


def _sensitivity(
    grey: NDArray[np.float32],
    field: NDArray[np.bool_],
    filled: NDArray[np.bool_],
    voids: NDArray[np.int32],
    threshold: float,
    phases: Phases | None,
) -> float:
    """Change of the filled volume (voxels) with the threshold, by central difference."""
    if phases is None or not filled.any():
        return 0.0
    # Only the outer surfaces move the filled volume: walls of voids do not count.
    near = field & dilate(filled) & ~dilate(voids > 0)
    values = grey[near]
    step = SENSITIVITY_STEP * phases.contrast
    change = np.count_nonzero(values > threshold + step) - np.count_nonzero(
        values > threshold - step
    )
    return change / (2 * step)
