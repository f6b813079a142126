"""What is wrong with a powder: options that make particles a user would want to find.

Every defect is an ordinary particle, void or crack, so its truth is as exact as that of the rest;
the column ``defect`` of the truth tables says what it is.

``hollow``
    A cavity of the particle's own shape in its middle, which leaves a shell.
``crack``
    A closed crack: a lens, an oblate ellipsoid, thin against its width, wholly inside the particle.
``open crack``
    A crack that reaches the surface: a lens that stands on it, half inside the particle and widest
    at its mouth. It belongs to the outside, so the particle loses its volume and gains its walls.
``satellite``
    A small particle that sticks to a large one.
``foreign``
    A particle of another material.

Touching pairs and empty fields are arrangements, not objects: see `truth_contacts` of a specimen
and `empty_fields` below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from zoneplate.devices.errors import ConfigurationError

from .ellipsoids import Ellipsoids, contact_gap
from .materials import parse_material
from .parts import Crack, Void
from .random_shapes import as_quaternion, as_vector, orientations, semi_axes

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

IRON = "Fe@7.87"
"""Wear of mills and sieves, the metal that battery makers fear most."""

SHELL_SHARE = (0.2, 0.45)
"""Range of a hollow particle's wall over its shortest semi-axis (assumed)."""

SHELL_LEAST_UM = 1.0
"""Thinnest wall of a hollow particle: two voxels at binning 8."""

CRACK_OPENING_UM = (0.6, 1.4)
"""Range of a crack's widest opening: from one to almost three voxels at binning 8 (assumed)."""

CRACK_SHARE = (0.5, 0.85)
"""Range of a crack's radius over the particle's shortest semi-axis less the wall (assumed)."""

OPEN_CRACK_SHARE = (0.6, 1.1)
"""Range of an open crack's depth over the particle's shortest semi-axis (assumed)."""

HOLLOW_LEAST_RADIUS_UM = 2.0
CRACKED_LEAST_RADIUS_UM = 3.0
"""Shortest semi-axis of particles that are given a cavity, or a crack: smaller ones would hold
neither."""

SATELLITE_SHARE = (0.12, 0.3)
"""Range of a satellite's diameter over that of its host (assumed)."""

SATELLITES_PER_HOST = (1, 3)
"""Least and most satellites of a particle that has any (assumed)."""

_EXCLUSIVE = ("hollow", "cracked", "open_cracked", "foreign")
"""A particle has one of these at most."""

_AXIS_RATIO = 1.1
_TRIALS = 50
_BISECTIONS = 60
CLEARANCE_UM = 1e-6
"""Kept between neighbours, so that rounding cannot turn a contact into an overlap."""


@dataclass(frozen=True)
class Defects:
    """How much of a powder is not as it should be; nothing by default.

    Attributes
    ----------
    hollow_fraction, cracked_fraction, open_cracked_fraction, foreign_fraction
        Of the particles, satellites not counted; a particle has one of the four at most, and no
        ordinary void beside it.
    satellite_fraction
        Of the particles, those that carry one to three satellites, which come on top.
    touching_fraction
        Of the particles, those that touch another: pairs in contact, a few clusters of three where
        the tape is crowded.
    empty_fields
        How many fields of 64 x 64 um of the map's grid, which is centred on 0, are left bare.
    foreign_material
        Formula and density of foreign particles.

    Raises
    ------
    ConfigurationError
        If a fraction is not between 0 and 1, or more is wanted than there are particles.

    Examples
    --------
    >>> Defects(hollow_fraction=0.1, touching_fraction=0.3).any
    True
    """

    hollow_fraction: float = 0.0
    cracked_fraction: float = 0.0
    foreign_fraction: float = 0.0
    satellite_fraction: float = 0.0
    touching_fraction: float = 0.0
    empty_fields: int = 0
    foreign_material: str = IRON
    open_cracked_fraction: float = 0.0

    def __post_init__(self) -> None:
        for name in (*_EXCLUSIVE, "satellite", "touching"):
            value = getattr(self, f"{name}_fraction")
            if not 0 <= value <= 1:
                raise ConfigurationError(f"{name}_fraction {value} is not possible: choose 0 to 1")
        if sum(getattr(self, f"{name}_fraction") for name in _EXCLUSIVE) > 1:
            raise ConfigurationError(
                f"the fractions {', '.join(_EXCLUSIVE)} together exceed 1; lower one of them"
            )
        if self.empty_fields < 0:
            raise ConfigurationError(f"empty_fields {self.empty_fields} must be at least 0")
        parse_material(self.foreign_material)

    @property
    def any(self) -> bool:
        """Whether anything is wrong at all."""
        return self != Defects(foreign_material=self.foreign_material)


@dataclass(frozen=True, eq=False)
class Hosts:
    """Which particles of a layer have which defect: positions in the layer."""

    hollow: Indices
    cracked: Indices
    open_cracked: Indices
    foreign: Indices
    satellites: Indices

    @property
    def taken(self) -> Indices:
        """Particles that get no ordinary void."""
        return np.concatenate([self.hollow, self.cracked, self.open_cracked, self.foreign])


def choose_hosts(defects: Defects, layer: Ellipsoids, random: np.random.Generator) -> Hosts:
    """Return which particles of a layer get which defect.

    Raises
    ------
    ConfigurationError
        If too few particles are large enough.
    """
    count = len(layer)
    radius = layer.semi_axes.min(axis=1)
    free = random.permutation(count)
    chosen: dict[str, Indices] = {}
    # The most demanding first; foreign particles may be of any size.
    for name, least_um in (
        ("cracked", CRACKED_LEAST_RADIUS_UM),
        ("open_cracked", CRACKED_LEAST_RADIUS_UM),
        ("hollow", HOLLOW_LEAST_RADIUS_UM),
        ("foreign", 0.0),
    ):
        fraction = getattr(defects, f"{name}_fraction")
        wanted = round(fraction * count)
        fits = np.flatnonzero(radius[free] >= least_um)
        if len(fits) < wanted:
            raise ConfigurationError(
                f"{name}_fraction {fraction:g} is not possible: only {len(fits)} of {count} "
                f"particles have a radius of {least_um:g} um and no other defect; choose at most "
                f"{len(fits) / count:.2f}"
            )
        chosen[name] = np.sort(free[fits[:wanted]])
        free = np.delete(free, fits[:wanted])
    # Large particles carry satellites: the smallest quarter of the sizes does not.
    order = random.permutation(count)
    large = order[radius[order] >= np.quantile(radius, 0.25)] if count else order
    wanted = round(defects.satellite_fraction * count)
    hosts = np.concatenate([large, np.setdiff1d(order, large)])[:wanted]
    return Hosts(**chosen, satellites=np.sort(hosts))


def defect_voids(
    hosts: Hosts, layer: Ellipsoids, random: np.random.Generator
) -> dict[int, tuple[Void, ...]]:
    """Return the cavities and closed cracks, by particle."""
    voids: dict[int, tuple[Void, ...]] = {}
    for host in hosts.hollow.tolist():
        axes = layer.semi_axes[host]
        wall = max(SHELL_LEAST_UM, random.uniform(*SHELL_SHARE) * axes.min())
        cavity = axes * (1 - wall / axes.min())
        voids[host] = (_void(host, layer.center[host], cavity, layer.quaternion[host], "hollow"),)
    for host in hosts.cracked.tolist():
        room = layer.semi_axes[host].min() - SHELL_LEAST_UM
        radius = random.uniform(*CRACK_SHARE) * room
        lens = np.array([radius, radius, 0.5 * random.uniform(*CRACK_OPENING_UM)])
        turn = orientations(1, random)[0]
        voids[host] = (_void(host, layer.center[host], lens, turn, "crack"),)
    return voids


def open_cracks(
    hosts: Hosts, layer: Ellipsoids, random: np.random.Generator
) -> dict[int, tuple[Crack, ...]]:
    """Return the open cracks, by particle: upright lenses on random places of the surface."""
    cracks: dict[int, tuple[Crack, ...]] = {}
    for host in hosts.open_cracked.tolist():
        outward = random.standard_normal(3)
        outward = layer.generator[host] @ (outward / np.linalg.norm(outward))
        place = layer.center[host] + outward
        depth = random.uniform(*OPEN_CRACK_SHARE) * layer.semi_axes[host].min()
        lens = np.array([depth, depth, 0.5 * random.uniform(*CRACK_OPENING_UM)])
        normal = np.cross(outward, random.standard_normal(3))
        turn = _turn_z_to(normal / np.linalg.norm(normal))
        cracks[host] = (
            Crack(f"c{host + 1}", as_vector(place), as_vector(lens), as_quaternion(turn)),
        )
    return cracks


def _turn_z_to(direction: Floats) -> Floats:
    """Return a quaternion that turns the z axis into a unit vector."""
    x, y, z = direction
    if z < -1 + 1e-9:
        return np.array([0.0, 1.0, 0.0, 0.0])
    half_way = np.array([1 + z, -y, x, 0.0])
    return half_way / np.linalg.norm(half_way)


def _void(host: int, center: Floats, axes: Floats, quaternion: Floats, defect: str) -> Void:
    return Void(
        f"v{host + 1}", as_vector(center), as_vector(axes), as_quaternion(quaternion), defect
    )


def choose_pairs(
    defects: Defects, diameter: Floats, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Return (larger, smaller) of every pair that is to touch."""
    pairs = round(defects.touching_fraction * len(diameter) / 2)
    members = random.permutation(len(diameter))[: 2 * pairs].reshape(-1, 2)
    ordered = np.take_along_axis(members, np.argsort(-diameter[members], axis=1), axis=1)
    return [(int(larger), int(smaller)) for larger, smaller in ordered]


def join_pairs(
    layer: Ellipsoids,
    pairs: Sequence[tuple[int, int]],
    bare: Floats,
    random: np.random.Generator,
) -> int:
    """Put the smaller particle of every pair on the tape beside the larger one, in contact.

    Parameters
    ----------
    layer
        Particles that rest on tape; the smaller ones of the pairs have no place yet, which is
        filled in.
    pairs
        (larger, smaller).
    bare
        Rectangles (n, 4) that stay empty: lowest and highest x, lowest and highest y, um.

    Returns
    -------
    int
        How many pairs found a place.
    """
    placed = np.ones(len(layer), dtype=np.bool_)
    placed[[smaller for _, smaller in pairs]] = False
    single = np.setdiff1d(np.arange(len(layer)), np.asarray(pairs, dtype=np.intp))
    spare = random.permutation(single).tolist()
    for joined, (larger, smaller) in enumerate(pairs):
        # Where the neighbours leave no room, a particle without a partner takes the place; if
        # there is none, one that has, and three touch.
        others = random.permutation(np.flatnonzero(placed)).tolist()
        for host in (larger, *spare, *others):
            if _rests_beside(layer, host, smaller, placed, bare, random):
                break
        else:
            return joined
        placed[smaller] = True
        if host in spare:
            spare.remove(host)
            spare.append(larger)
    return len(pairs)


def _rests_beside(
    layer: Ellipsoids,
    host: int,
    guest: int,
    placed: NDArray[np.bool_],
    bare: Floats,
    random: np.random.Generator,
) -> bool:
    """Try to put the guest on the tape beside the host, in contact."""
    start = np.array([0.0, 0.0, layer.half_extent[guest, 2] - layer.center[host, 2]])
    for _ in range(_TRIALS):
        azimuth = random.uniform(0.0, 2 * math.pi)
        way = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
        if _settle_beside(layer, host, guest, start, way, placed, bare):
            return True
    return False


def add_satellites(
    layer: Ellipsoids, hosts: Indices, bare: Floats, random: np.random.Generator
) -> tuple[Ellipsoids, list[int]]:
    """Stick satellites to particles.

    Returns
    -------
    Ellipsoids
        The satellites. One that found no place in `_TRIALS` attempts is left out.
    list of int
        Their hosts.
    """
    least, most = SATELLITES_PER_HOST
    wanted = np.repeat(hosts, random.integers(least, most + 1, len(hosts)))
    diameter = 2 * np.cbrt(layer.semi_axes[wanted].prod(axis=1))
    diameter *= random.uniform(*SATELLITE_SHARE, len(wanted))
    small = semi_axes(diameter, _AXIS_RATIO, random)
    turned = orientations(len(wanted), random)
    both = Ellipsoids(
        np.concatenate([layer.center, np.zeros((len(wanted), 3))]),
        np.concatenate([layer.semi_axes, small]),
        np.concatenate([layer.quaternion, turned]),
    )
    placed = np.arange(len(both)) < len(layer)
    for number, host in enumerate(wanted.tolist(), start=len(layer)):
        for _ in range(_TRIALS):
            way = random.standard_normal(3)
            way /= np.linalg.norm(way)
            if _settle_beside(both, host, number, np.zeros(3), way, placed, bare):
                placed[number] = True
                break
    found = np.flatnonzero(placed[len(layer) :])
    return both.subset(found + len(layer)), wanted[found].tolist()


def _settle_beside(
    layer: Ellipsoids,
    host: int,
    guest: int,
    start: Floats,
    way: Floats,
    placed: NDArray[np.bool_],
    bare: Floats,
) -> bool:
    """Move the guest from the host's centre plus `start` along `way` until it just touches it.

    The place is kept in `layer.center`; return whether it is free and above the tape.
    """
    shape = layer.packed_shape
    distance = _distance_of_contact(shape[host], shape[guest], start, way)
    if distance < 0:
        return False
    center = layer.center[host] + start + distance * way
    layer.center[guest] = center
    reach = layer.half_extent[guest]
    if center[2] < reach[2] - CLEARANCE_UM or meets_bare(center[:2], reach[:2], bare):
        return False
    offset = layer.center - center
    radius = layer.bounding_radius
    near = (offset**2).sum(axis=1) < (radius + radius[guest]) ** 2
    near &= placed
    near[[host, guest]] = False
    return all(
        contact_gap(shape[guest], shape[other], *offset[other]) >= CLEARANCE_UM
        for other in np.flatnonzero(near)
    )


@njit(cache=True, nogil=True)
def _distance_of_contact(
    host: Floats, guest: Floats, start: Floats, way: Floats
) -> float:  # pragma: no cover - compiled
    """Return the distance at which two ellipsoids part; -1 if they are apart at the start.

    They are convex, so along a line they overlap in one interval: bisection cannot miss its end.
    """
    if contact_gap(host, guest, start[0], start[1], start[2]) >= CLEARANCE_UM:
        return -1.0
    low = 0.0
    high = 2.0 * (math.sqrt(host[:3].sum()) + math.sqrt(guest[:3].sum()))
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        x, y, z = start + middle * way
        if contact_gap(host, guest, x, y, z) >= CLEARANCE_UM:
            high = middle
        else:
            low = middle
    return high


def choose_bare_fields(
    count: int, field_um: float, width_um: float, height_um: float, random: np.random.Generator
) -> Floats:
    """Return `count` fields of the map's grid that lie in the layer.

    Returns
    -------
    ndarray
        Shape (count, 4): lowest and highest x, lowest and highest y, um.

    Raises
    ------
    ConfigurationError
        If the layer has no more fields than that.
    """
    columns, rows = int(width_um / field_um), int(height_um / field_um)
    if count > 0 and count >= columns * rows:
        raise ConfigurationError(
            f"empty_fields {count} is not possible: the layer of {width_um:g} x {height_um:g} um "
            f"has {columns * rows} fields and one must stay; choose fewer"
        )
    chosen = random.choice(columns * rows, size=count, replace=False) if count else []
    corners = [
        ((field % columns - columns / 2) * field_um, (field // columns - rows / 2) * field_um)
        for field in np.asarray(chosen, dtype=int).tolist()
    ]
    rectangles = [(x, x + field_um, y, y + field_um) for x, y in corners]
    return np.asarray(rectangles, dtype=np.float64).reshape(-1, 4)


@njit(cache=True, nogil=True)
def meets_bare(center: Floats, reach: Floats, bare: Floats) -> bool:  # pragma: no cover - compiled
    """Return whether a box with centre (x, y) and half sides `reach` meets a rectangle."""
    for k in range(len(bare)):
        if (
            center[0] + reach[0] > bare[k, 0]
            and center[0] - reach[0] < bare[k, 1]
            and center[1] + reach[1] > bare[k, 2]
            and center[1] - reach[1] < bare[k, 3]
        ):
            return True
    return False
