"""What lies under the microscope: particles with voids on a support tape, as plain data.

Sample frame, micrometres: x across the beam, y up along the rotation axis, z along the beam at
theta = 0. The surface of the tape is ``z = 0``; the tape fills ``z < 0`` and particles rest on it.
Everything is checked when it is built, so what takes a `Specimen` need not check again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoneplate.devices.errors import ConfigurationError

from . import truth
from .ellipsoids import Ellipsoids, find_interpenetration, protrusion
from .materials import ACRYLIC_ADHESIVE, KAPTON, NMC622, parse_material
from .surfaces import Roughness, RoughTruth, rough_truth

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

CONTACT_TOLERANCE_UM = 1e-3
"""Overlap that still counts as touching: coordinates in files are rounded."""

CONTACT_WITHIN_UM = 0.01
"""Particles nearer than this are said to touch: a fiftieth of a voxel at binning 8."""

QUATERNION_TOLERANCE = 0.01
"""Largest accepted deviation of a quaternion's length from 1; it is then normalised."""


_QUATERNION_ROUNDING = 1e-12


class SpecimenError(ConfigurationError):
    """A specimen that cannot exist.

    Attributes
    ----------
    objects
        The (kind, id) of the particles or voids at fault, so that a file reader can name rows.
    """

    def __init__(self, message: str, objects: tuple[tuple[str, str], ...]) -> None:
        super().__init__(message)
        self.objects = objects


@dataclass(frozen=True)
class _Ellipsoid:
    """A closed ellipsoid, the common part of `Particle` and `Void`."""

    kind: ClassVar[str] = "ellipsoid"

    id: str
    center_um: Vector
    semi_axes_um: Vector
    orientation: Quaternion = (1.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not self.id:
            raise self._error("id is empty; give every row its own")
        if len(self.center_um) != 3 or not all(map(math.isfinite, self.center_um)):
            raise self._error(f"centre {self.center_um} must be three finite numbers in um")
        axes = self.semi_axes_um
        if len(axes) != 3 or not all(math.isfinite(axis) and axis > 0 for axis in axes):
            raise self._error(f"semi-axes {axes} must be three finite numbers above 0 um")
        length = math.hypot(*self.orientation) if len(self.orientation) == 4 else math.nan
        # Written so that NaN fails too.
        if not abs(length - 1) <= QUATERNION_TOLERANCE:
            raise self._error(
                f"orientation {self.orientation} must be a unit quaternion (w, x, y, z); its "
                f"length is {length:.4g}, allowed is 1 within {QUATERNION_TOLERANCE:.0%}"
            )
        # Not the last digit: what was written to a file must read back unchanged.
        if abs(length - 1) > _QUATERNION_ROUNDING:
            w, x, y, z = self.orientation
            object.__setattr__(
                self, "orientation", (w / length, x / length, y / length, z / length)
            )

    def _error(self, reason: str) -> SpecimenError:
        return SpecimenError(f"{self.kind} {self.id!r}: {reason}", ((self.kind, self.id),))


@dataclass(frozen=True)
class Void(_Ellipsoid):
    """A closed hole inside a particle.

    Attributes
    ----------
    id
        Any text, unique among the voids of a specimen.
    center_um
        (x, y, z) in the sample frame.
    semi_axes_um
        (a, b, c).
    orientation
        Unit quaternion (w, x, y, z) that turns the axes a, b, c from x, y, z to where they are.
    defect
        What it is, if not an ordinary void: see `zoneplate.simulators.defects`.
    """

    kind: ClassVar[str] = "void"

    defect: str = ""


@dataclass(frozen=True)
class Particle(_Ellipsoid):
    """A solid ellipsoid, smooth or rough, with voids in it.

    Attributes
    ----------
    id
        Any text, unique among the particles of a specimen.
    center_um
        (x, y, z) in the sample frame.
    semi_axes_um
        (a, b, c).
    orientation
        Unit quaternion (w, x, y, z) that turns the axes a, b, c from x, y, z to where they are.
    material
        Formula and density, see `zoneplate.simulators.materials`.
    voids
        Closed holes, inside the particle and not overlapping each other.
    defect
        What it is, if not an ordinary particle: see `zoneplate.simulators.defects`.
    roughness
        None for a smooth surface; else the ellipsoid is the envelope of a rough one, see
        `zoneplate.simulators.surfaces`. Voids keep below its deepest point.

    Examples
    --------
    >>> Particle("grain", (0.0, 0.0, 3.0), (3.0, 3.0, 3.0)).material
    'LiNi0.6Mn0.2Co0.2O2@4.77'
    """

    kind: ClassVar[str] = "particle"

    material: str = NMC622
    voids: tuple[Void, ...] = ()
    defect: str = ""
    roughness: Roughness | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            parse_material(self.material)
            if self.roughness is not None:
                self.roughness.relative_depth(self.semi_axes_um)
        except ConfigurationError as error:
            raise self._error(str(error)) from error


@dataclass(frozen=True)
class Support:
    """The tape that carries the particles: a film under a layer of adhesive, a finite box.

    The adhesive's upper side is ``z = 0``; the box is centred on ``x = y = 0``.

    Attributes
    ----------
    thickness_um, material
        The film. 25 um Kapton is assumed: the study names the material only.
    adhesive_um, adhesive_material
        The adhesive on it. 10 um of acrylic is assumed. At 5.4 keV a silicone adhesive would
        absorb about four times as much.
    width_um, height_um
        Size along x and y. Seen edge-on, the beam crosses the whole width: 600 um of Kapton
        transmit 18 %.

    Examples
    --------
    >>> Support(thickness_um=50.0, adhesive_um=0.0).layers
    (('C22H10N2O5@1.42', -50.0, -0.0),)
    """

    thickness_um: float = 25.0
    material: str = KAPTON
    adhesive_um: float = 10.0
    adhesive_material: str = ACRYLIC_ADHESIVE
    width_um: float = 600.0
    height_um: float = 400.0

    def __post_init__(self) -> None:
        for name in ("thickness_um", "adhesive_um", "width_um", "height_um"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigurationError(f"support {name} {value} must be a finite number >= 0 um")
        parse_material(self.material)
        parse_material(self.adhesive_material)

    @classmethod
    def none(cls) -> Support:
        """Return no support at all: particles float."""
        return cls(thickness_um=0.0, adhesive_um=0.0)

    @property
    def layers(self) -> tuple[tuple[str, float, float], ...]:
        """The (material, lowest z, highest z) of every layer that has a thickness."""
        stack = (
            (self.adhesive_material, -self.adhesive_um, 0.0),
            (self.material, -self.adhesive_um - self.thickness_um, -self.adhesive_um),
        )
        return tuple(layer for layer in stack if layer[1] < layer[2])

    def enlarged(self, width_um: float, height_um: float) -> Support:
        """Return a support at least this large."""
        return replace(
            self,
            width_um=max(self.width_um, width_um),
            height_um=max(self.height_um, height_um),
        )


@dataclass(frozen=True)
class Specimen:
    """Particles with voids on a support.

    Attributes
    ----------
    particles
        None of them may reach below the tape's surface or into another; touching is allowed.
    support
        The tape.
    name
        What the sample is called in metadata.
    seed
        Of the generator that made it, None if it was not generated.

    Raises
    ------
    ConfigurationError
        If an id occurs twice, two particles interpenetrate, a void leaves its particle or meets
        another void, or a particle reaches below the surface of the tape.

    Examples
    --------
    >>> grain = Particle("grain", (0, 0, 3), (3, 3, 3), voids=(Void("hole", (0, 0, 3), (1, 1, 1)),))
    >>> table = Specimen((grain,)).truth_particles()
    >>> [round(float(table[name][0]), 3) for name in ("volume_um3", "dead_volume_fraction")]
    [113.097, 0.037]
    """

    particles: tuple[Particle, ...] = ()
    support: Support = field(default_factory=Support)
    name: str = "specimen"
    seed: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "particles", tuple(self.particles))
        _check_unique(self.particles)
        _check_unique(self.voids)
        self._check_above_tape()
        self._check_voids()
        self._check_particles_apart()

    @cached_property
    def voids(self) -> tuple[Void, ...]:
        """All voids, in the order of their particles."""
        return tuple(void for particle in self.particles for void in particle.voids)

    @cached_property
    def void_parent(self) -> NDArray[np.intp]:
        """Position in `particles` of every void's particle, shape (voids,)."""
        counts = [len(particle.voids) for particle in self.particles]
        return np.repeat(np.arange(len(counts), dtype=np.intp), counts)

    @cached_property
    def particle_geometry(self) -> Ellipsoids:
        """The particles as arrays; of rough ones the envelopes."""
        return _arrays(self.particles)

    @cached_property
    def core_geometry(self) -> Ellipsoids:
        """The ellipsoids that are solid throughout: the particles, rough ones less their depth."""
        whole = self.particle_geometry
        share = np.ones(len(whole))
        for index in self.rough:
            particle = self.particles[index]
            assert particle.roughness is not None
            share[index] = 1 - particle.roughness.relative_depth(particle.semi_axes_um)
        return Ellipsoids(whole.center, whole.semi_axes * share[:, None], whole.quaternion)

    @cached_property
    def rough(self) -> tuple[int, ...]:
        """Positions in `particles` of those with a rough surface."""
        return tuple(k for k, particle in enumerate(self.particles) if particle.roughness)

    @cached_property
    def rough_truth(self) -> dict[int, RoughTruth]:
        """Exact measures of the rough particles, by position in `particles`."""
        return {
            position: rough_truth(self.rough_table(position), self.envelope(position))
            for position in self.rough
        }

    def envelope(self, position: int) -> Ellipsoids:
        """Return the ellipsoid of the particle at this position, alone."""
        return self.particle_geometry.subset(np.array([position]))

    def rough_table(self, position: int) -> NDArray[np.float32]:
        """Return the surface of the rough particle at this position in `particles`."""
        particle = self.particles[position]
        assert particle.roughness is not None
        return particle.roughness.table(particle.semi_axes_um)

    @cached_property
    def void_geometry(self) -> Ellipsoids:
        """The voids as arrays."""
        return _arrays(self.voids)

    @classmethod
    def load(
        cls, path: str | Path, *, support: Support | None = None, name: str | None = None
    ) -> Specimen:
        """Read a specimen from a file: HDF5 if it ends in .h5 or .hdf5, else CSV.

        Parameters
        ----------
        path
            The file; see `zoneplate.simulators.specimen_file` and
            `zoneplate.simulators.specimen_store`.
        support
            What carries the particles. By default what an HDF5 file says; for CSV a tape large
            enough for all of them.
        name
            By default what an HDF5 file says; for CSV the name of the file without its suffix.

        Raises
        ------
        ConfigurationError
            Naming the file, if it or the specimen in it is not possible.
        """
        # The file modules build specimens, so they cannot be imported before this class exists.
        from . import specimen_file, specimen_store

        path = Path(path)
        if path.suffix.lower() in specimen_store.SUFFIXES:
            return specimen_store.read_store(path, support=support, name=name)
        return specimen_file.read_specimen(path, support=support, name=name)

    def save(self, path: str | Path) -> None:
        """Write a specimen to a file: HDF5 if it ends in .h5 or .hdf5, else CSV.

        Numbers read back exactly. HDF5 keeps everything; CSV holds neither support, name and seed
        nor what is a defect, and refuses rough particles.

        Raises
        ------
        ConfigurationError
            If a particle is rough and the file is not HDF5.
        """
        from . import specimen_file, specimen_store

        path = Path(path)
        if path.suffix.lower() in specimen_store.SUFFIXES:
            specimen_store.write_store(self, path)
        else:
            specimen_file.write_specimen(self, path)

    def truth_particles(self) -> pd.DataFrame:
        """Return the exact table of the particles, see `zoneplate.simulators.truth`."""
        return truth.particle_table(self)

    def truth_voids(self) -> pd.DataFrame:
        """Return the exact table of the voids, see `zoneplate.simulators.truth`."""
        return truth.void_table(self)

    def truth_contacts(self, within_um: float = CONTACT_WITHIN_UM) -> pd.DataFrame:
        """Return the table of touching particles, see `zoneplate.simulators.truth`."""
        return truth.contact_table(self, within_um)

    def whole_in_field(
        self, center_um: Vector, radius_um: float, half_height_um: float
    ) -> NDArray[np.bool_]:
        """Return which particles lie wholly in a reconstruction cylinder around `center_um`.

        The order is that of `truth_particles`; see `zoneplate.simulators.truth.whole_in_field`.
        """
        return truth.whole_in_field(self, center_um, radius_um, half_height_um)

    def _check_above_tape(self) -> None:
        if not self.support.layers:
            return
        bottom = self.particle_geometry.center[:, 2] - self.particle_geometry.half_extent[:, 2]
        below = np.flatnonzero(bottom < -CONTACT_TOLERANCE_UM)
        if below.size:
            particle = self.particles[int(below[0])]
            raise SpecimenError(
                f"particle {particle.id!r} reaches {-bottom[below[0]]:.4g} um below the tape, "
                f"whose surface is z = 0; raise it or use a specimen without support",
                ((particle.kind, particle.id),),
            )

    def _check_voids(self) -> None:
        if not self.voids:
            return
        out = protrusion(self.void_geometry, self.core_geometry.subset(self.void_parent))
        leaving = np.flatnonzero(out > CONTACT_TOLERANCE_UM)
        if leaving.size:
            void = self.voids[int(leaving[0])]
            parent = self.particles[int(self.void_parent[leaving[0]])]
            raise SpecimenError(
                f"void {void.id!r} leaves its particle {parent.id!r} by at least "
                f"{out[leaving[0]]:.4g} um; move it inward or shrink it",
                ((void.kind, void.id), (parent.kind, parent.id)),
            )
        # Voids inside their own particles cannot meet those of other particles.
        self._check_apart(self.voids, self.void_geometry)

    def _check_particles_apart(self) -> None:
        self._check_apart(self.particles, self.particle_geometry)

    @staticmethod
    def _check_apart(items: tuple[Particle, ...] | tuple[Void, ...], geometry: Ellipsoids) -> None:
        overlap = find_interpenetration(geometry, CONTACT_TOLERANCE_UM)
        if overlap is not None:
            first, second, depth = items[overlap[0]], items[overlap[1]], overlap[2]
            raise SpecimenError(
                f"{first.kind}s {first.id!r} and {second.id!r} interpenetrate by {depth:.4g} um; "
                f"touching is allowed, overlap is not: move one of them away",
                ((first.kind, first.id), (second.kind, second.id)),
            )


def _arrays(items: tuple[Particle, ...] | tuple[Void, ...]) -> Ellipsoids:
    return Ellipsoids.from_rows(
        [item.center_um for item in items],
        [item.semi_axes_um for item in items],
        [item.orientation for item in items],
    )


def _check_unique(items: tuple[Particle, ...] | tuple[Void, ...]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise SpecimenError(
                f"{item.kind} id {item.id!r} occurs twice; every {item.kind} needs its own id",
                ((item.kind, item.id),),
            )
        seen.add(item.id)
