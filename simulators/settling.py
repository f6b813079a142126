"""Powders settled on tape: particles of a distribution of sizes, resting in a monolayer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from zoneplate.devices.errors import ConfigurationError

from .defects import (
    CLEARANCE_UM,
    Defects,
    add_satellites,
    choose_bare_fields,
    choose_hosts,
    choose_pairs,
    defect_voids,
    join_pairs,
    meets_bare,
    open_cracks,
)
from .ellipsoids import Ellipsoids, contact_gap
from .parts import Particle, Support, Void
from .random_shapes import (
    as_quaternion,
    as_vector,
    lognormal_diameters,
    orientations,
    semi_axes,
)
from .specimen import Specimen
from .surfaces import SHORTEST_SHARE, Roughness

Floats = NDArray[np.float64]

FIELD_UM = 64.0
"""Side of the field that densities are quoted for."""

TAPE_MARGIN_UM = 28.0
"""How far the tape reaches beyond the powder on each side."""

VOID_WALL_UM = 1.0
"""Solid kept around a void where the particle is large enough: two voxels at binning 8."""

ROUGHNESS_WAVELENGTH_UM = 4.0
"""Shortest wavelength of rough surfaces: the size of bumps seen on NMC811 (assumed)."""

ROUGHNESS_SHARE = 0.3
"""Deepest roughness of a powder as a share of the radius; small particles stay round."""

_SMALL_PARTICLE_VOID = 0.5
"""Largest void of a particle too small for a wall, as a fraction of its diameter."""

_PLACEMENT_TRIALS = 5000
_DEFECT_STREAM = 1
"""Defects draw from their own random stream: without them a seed gives the same powder."""


@dataclass(frozen=True)
class Powder:
    """What a powder is made of.

    Attributes
    ----------
    name, material
        What it is called, and its formula with density.
    median_um, sigma
        Log-normal distribution of the particles' equivalent diameters: the median, and the
        standard deviation of the logarithm.
    smallest_um, largest_um
        Diameters outside are drawn again.
    per_field
        Particles per 64 x 64 um.
    void_fraction
        Fraction of the particles that have a void.
    void_median_um, void_sigma
        Log-normal distribution of the voids' equivalent diameters.
    axis_ratio, void_axis_ratio
        Largest ratio of the longest to the shortest axis.
    roughness_um
        Depth of the surfaces' roughness, see `zoneplate.simulators.surfaces`.
    """

    name: str
    material: str
    median_um: float
    sigma: float
    smallest_um: float
    largest_um: float
    per_field: float
    void_fraction: float = 0.0
    void_median_um: float = 2.315
    void_sigma: float = 0.27
    axis_ratio: float = 1.1
    void_axis_ratio: float = 1.3
    roughness_um: float = 0.0

    def __post_init__(self) -> None:
        positive = ("median_um", "smallest_um", "void_median_um")
        if (
            any(not getattr(self, name) > 0 for name in positive)
            or min(self.per_field, self.roughness_um) < 0
        ):
            raise ConfigurationError(f"powder {self.name}: sizes and densities must be above 0")
        if not self.smallest_um < self.median_um < self.largest_um:
            raise ConfigurationError(
                f"powder {self.name}: median {self.median_um} um must lie between smallest "
                f"{self.smallest_um} and largest {self.largest_um} um"
            )
        if not 0 <= self.void_fraction <= 1:
            raise ConfigurationError(
                f"powder {self.name}: void fraction {self.void_fraction} must be 0 to 1"
            )
        if min(self.axis_ratio, self.void_axis_ratio) < 1 or min(self.sigma, self.void_sigma) < 0:
            raise ConfigurationError(
                f"powder {self.name}: axis ratios must be at least 1 and sigmas at least 0"
            )


def settle(
    powder: Powder,
    seed: int,
    *,
    width_um: float,
    height_um: float,
    defects: Defects | None = None,
    stratified: bool = False,
) -> Specimen:
    """Return a monolayer of a powder on tape.

    Every particle rests on the tape with its lowest point. Places are drawn at random, for the
    largest particles first, until none interpenetrates (random sequential adsorption); round
    particles may reach over smaller ones. Then come the smaller ones of touching pairs, then
    satellites.

    Parameters
    ----------
    powder
        What it is made of.
    seed
        The same seed gives the same specimen.
    width_um, height_um
        Extent along x and y of the particles' centres, centred on 0; a particle that touches
        another may lie a little outside.
    defects
        What is wrong with it; nothing by default.
    stratified
        Draw the sizes class by class (`zoneplate.simulators.random_shapes`).

    Raises
    ------
    ConfigurationError
        If the extent is not possible, so many particles find no place, or too few are large
        enough for the defects wanted.
    """
    if not (0 < width_um < math.inf and 0 < height_um < math.inf):
        raise ConfigurationError(
            f"a layer of {width_um} x {height_um} um is not possible: both must be above 0"
        )
    defects = defects or Defects()
    random = np.random.default_rng(seed)
    fate = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_DEFECT_STREAM,)))
    bare = choose_bare_fields(defects.empty_fields, FIELD_UM, width_um, height_um, fate)
    fields = width_um * height_um / FIELD_UM**2 - len(bare)
    count = round(powder.per_field * fields)
    diameter = lognormal_diameters(
        powder.median_um,
        powder.sigma,
        count,
        random,
        between_um=(powder.smallest_um, powder.largest_um),
        stratified=stratified,
    )
    axes = semi_axes(diameter, powder.axis_ratio, random)
    layer = Ellipsoids(np.zeros((count, 3)), axes, orientations(count, random))
    layer.center[:, 2] = layer.half_extent[:, 2]
    pairs = choose_pairs(defects, diameter, fate)
    order = np.argsort(-diameter)
    order = order[~np.isin(order, [smaller for _, smaller in pairs])]
    placed = _place(
        layer.center,
        layer.packed_shape,
        layer.bounding_radius,
        order,
        width_um,
        height_um,
        bare,
        random,
    )
    if placed == len(order):
        placed += join_pairs(layer, pairs, bare, fate)
    if placed < count:
        raise ConfigurationError(
            f"powder {powder.name}: only {placed} of {count} particles find a place on "
            f"{width_um:g} x {height_um:g} um; lower per_field ({powder.per_field:g})"
        )
    hosts = choose_hosts(defects, layer, fate)
    voids = _voids(powder, layer, hosts.taken, random, stratified) | defect_voids(
        hosts, layer, fate
    )
    cracks = open_cracks(hosts, layer, fate)
    foreign = set(hosts.foreign.tolist())
    particles = [
        Particle(
            str(index + 1),
            as_vector(layer.center[index]),
            as_vector(layer.semi_axes[index]),
            as_quaternion(layer.quaternion[index]),
            defects.foreign_material if index in foreign else powder.material,
            voids.get(index, ()),
            "foreign" if index in foreign else "open crack" if index in cracks else "",
            _roughness(powder, layer.semi_axes[index], index) if index not in foreign else None,
            cracks.get(index, ()),
        )
        for index in range(count)
    ]
    satellites, parents = add_satellites(layer, hosts.satellites, bare, fate)
    particles += [
        Particle(
            f"s{number + 1}",
            as_vector(satellites.center[number]),
            as_vector(satellites.semi_axes[number]),
            as_quaternion(satellites.quaternion[number]),
            particles[parent].material,
            defect="satellite",
        )
        for number, parent in enumerate(parents)
    ]
    support = Support(
        width_um=width_um + 2 * TAPE_MARGIN_UM, height_um=height_um + 2 * TAPE_MARGIN_UM
    )
    return Specimen(tuple(particles), support, powder.name, seed)


def _roughness(powder: Powder, semi_axes_um: Floats, seed: int) -> Roughness | None:
    if powder.roughness_um == 0:
        return None
    radius_um = float(np.cbrt(semi_axes_um.prod()))
    # A fixed share of the radius on large particles, as fine as their tables resolve.
    wavelength_um = max(ROUGHNESS_WAVELENGTH_UM, 1.01 * SHORTEST_SHARE * radius_um)
    depth_um = min(powder.roughness_um, ROUGHNESS_SHARE * radius_um)
    return Roughness(depth_um, wavelength_um, seed)


def _voids(
    powder: Powder,
    layer: Ellipsoids,
    taken: NDArray[np.intp],
    random: np.random.Generator,
    stratified: bool,
) -> dict[int, tuple[Void, ...]]:
    """Return one void for the wanted fraction of the particles not taken, by particle.

    Void sizes are drawn first and keep their distribution. Then each, the largest first, goes to
    any particle that can hold it with a full wall: so the chance of a void rises with size only
    as far as it has to.
    """
    count = round(powder.void_fraction * (len(layer) - len(taken)))
    diameter = lognormal_diameters(
        powder.void_median_um, powder.void_sigma, count, random, stratified=stratified
    )
    diameter = np.sort(diameter)[::-1]
    sizes = semi_axes(diameter, powder.void_axis_ratio, random)
    needed = sizes.max(axis=1)
    orientation = orientations(count, random)
    inner_radius = layer.semi_axes.min(axis=1)
    free = random.permutation(len(layer))
    free = free[~np.isin(free, taken)]
    voids: dict[int, tuple[Void, ...]] = {}
    for k in range(count):
        fits = np.flatnonzero(inner_radius[free] >= needed[k] + VOID_WALL_UM)
        # The order is random already. If none fits, the largest that is left has to do.
        place = int(fits[0]) if fits.size else int(np.argmax(inner_radius[free]))
        host = int(free[place])
        free = np.delete(free, place)
        axes, reach = sizes[k], needed[k]
        if not fits.size:
            shrink = min(1.0, _SMALL_PARTICLE_VOID * inner_radius[host] / reach)
            axes, reach = axes * shrink, reach * shrink
        slack = max(0.0, inner_radius[host] - reach - VOID_WALL_UM)
        direction = random.standard_normal(3)
        direction *= slack * np.cbrt(random.random()) / np.linalg.norm(direction)
        voids[host] = (
            Void(
                f"v{host + 1}",
                as_vector(layer.center[host] + direction),
                as_vector(axes),
                as_quaternion(orientation[k]),
            ),
        )
    return voids


@njit(cache=True, nogil=True)
def _place(
    center: Floats,
    shape: Floats,
    radius: Floats,
    order: NDArray[np.intp],
    width: float,
    height: float,
    bare: Floats,
    random: np.random.Generator,
) -> int:  # pragma: no cover - compiled
    """Fill in x and y of every centre, in this order; return how many found a place."""
    if len(order) == 0:
        return 0
    cell = 2 * radius.max()
    columns, rows = int(width / cell) + 1, int(height / cell) + 1
    first = np.full((columns, rows), -1)
    following = np.full(len(center), -1)
    for placed in range(len(order)):
        i = order[placed]
        free = False
        for _ in range(_PLACEMENT_TRIALS):
            x, y = random.random() * width, random.random() * height
            a, b = int(x / cell), int(y / cell)
            center[i, 0], center[i, 1] = x - width / 2, y - height / 2
            free = not meets_bare(center[i, :2], np.full(2, radius[i]), bare)
            for p in range(max(0, a - 1), min(columns, a + 2)):
                for q in range(max(0, b - 1), min(rows, b + 2)):
                    j = first[p, q]
                    while free and j >= 0:
                        dx = center[j, 0] - center[i, 0]
                        dy = center[j, 1] - center[i, 1]
                        dz = center[j, 2] - center[i, 2]
                        reach = radius[i] + radius[j]
                        if dx * dx + dy * dy + dz * dz < reach * reach:
                            gap = contact_gap(shape[i], shape[j], dx, dy, dz)
                            free = gap >= CLEARANCE_UM
                        j = following[j]
            if free:
                following[i] = first[a, b]
                first[a, b] = i
                break
        if not free:
            return placed
    return len(order)
