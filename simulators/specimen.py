"""What lies under the microscope: particles with voids on a support tape, as plain data.

Sample frame, micrometres: x across the beam, y up along the rotation axis, z along the beam at
theta = 0. The surface of the tape is ``z = 0``; the tape fills ``z < 0`` and particles rest on it.
Everything is checked when it is built, so what takes a `Specimen` need not check again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from . import truth
from .ellipsoids import Ellipsoids, find_interpenetration, interpenetrations, protrusion
from .meshes import MESH_SUFFIXES, Mesh
from .open_cracks import CrackedTruth, cracked_truth, pieces_left
from .parts import Crack, Particle, SpecimenError, Support, Vector, Void
from .surfaces import RoughTruth, rough_truth

Part = Particle | Void | Crack

CONTACT_TOLERANCE_UM = 1e-3
"""Overlap that still counts as touching: coordinates in files are rounded."""

CONTACT_WITHIN_UM = 0.01
"""Particles nearer than this are said to touch: a fiftieth of a voxel at binning 8."""


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
        another void, a crack does not cross the surface of its particle, cuts it in two or meets
        a void or another crack, or a particle reaches below the surface of the tape.

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
        _check_unique(self.cracks)
        self._check_above_tape()
        self._check_voids()
        self._check_cracks()
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
    def cracks(self) -> tuple[Crack, ...]:
        """All open cracks, in the order of their particles."""
        return tuple(crack for particle in self.particles for crack in particle.cracks)

    @cached_property
    def crack_parent(self) -> NDArray[np.intp]:
        """Position in `particles` of every crack's particle, shape (cracks,)."""
        counts = [len(particle.cracks) for particle in self.particles]
        return np.repeat(np.arange(len(counts), dtype=np.intp), counts)

    @cached_property
    def particle_geometry(self) -> Ellipsoids:
        """The particles as arrays, cracks left out; of rough ones and meshes the envelopes."""
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
    def meshed(self) -> dict[int, Mesh]:
        """The particles that are meshes, by position in `particles`."""
        return {k: item.mesh for k, item in enumerate(self.particles) if item.mesh is not None}

    @cached_property
    def rough_truth(self) -> dict[int, RoughTruth]:
        """Exact measures of the rough particles, by position in `particles`."""
        return {
            position: rough_truth(self.rough_table(position), self.envelope(position))
            for position in self.rough
        }

    @cached_property
    def cracked_truth(self) -> dict[int, CrackedTruth]:
        """Measures of the particles with open cracks, by position in `particles`."""
        return {
            position: cracked_truth(
                self.envelope(position),
                self.crack_geometry.subset(np.flatnonzero(self.crack_parent == position)),
                float(truth.surface_area_um2(self.envelope(position).semi_axes)[0]),
            )
            for position in np.unique(self.crack_parent).tolist()
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

    @cached_property
    def crack_geometry(self) -> Ellipsoids:
        """The open cracks as arrays, with what of them is outside their particles."""
        return _arrays(self.cracks)

    @classmethod
    def load(
        cls, path: str | Path, *, support: Support | None = None, name: str | None = None
    ) -> Specimen:
        """Read a specimen from a file, by its ending: HDF5, STL, PLY, else CSV.

        A mesh file (.stl, .ply) is one particle of NMC622; a unit of the file is a micrometre, and
        z is moved so that the particle rests on the tape.

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
        if path.suffix.lower() in MESH_SUFFIXES:
            grain = Particle.of_mesh(path.stem, Mesh.load(path).resting())
            support = support or specimen_file.tape_under((grain,))
            return cls((grain,), support, name or path.stem)
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
        for position, mesh in self.meshed.items():
            bottom[position] = mesh.vertices_um[:, 2].min()
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
        for k in np.flatnonzero(np.isin(self.void_parent, list(self.meshed))):
            void = self.void_geometry.subset(np.array([k]))
            mesh = self.meshed[int(self.void_parent[k])]
            # In the metric of the void, as far as the mesh's surface cuts into it.
            reach = 1 - mesh.nearest_to(void) if mesh.contains(void.center)[0] else 1.0
            out[k] = reach * void.semi_axes.min()
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

    def _check_cracks(self) -> None:
        geometry = self.crack_geometry
        out = protrusion(geometry, self.particle_geometry.subset(self.crack_parent))
        for k, (crack, position) in enumerate(
            zip(self.cracks, self.crack_parent.tolist(), strict=True)
        ):
            particle = self.particles[position]
            both = ((crack.kind, crack.id), (particle.kind, particle.id))
            if out[k] <= CONTACT_TOLERANCE_UM:
                raise SpecimenError(
                    f"crack {crack.id!r} lies wholly inside its particle {particle.id!r}: move it "
                    f"outward, or make it a void",
                    both,
                )
            solid, lens = self.envelope(position), geometry.subset(np.array([k]))
            if not interpenetrations(Ellipsoids.joined(solid, lens), CONTACT_TOLERANCE_UM):
                raise SpecimenError(
                    f"crack {crack.id!r} does not meet its particle {particle.id!r}; move it "
                    f"inward",
                    both,
                )
            pieces = pieces_left(solid, lens)
            if pieces != 1:
                raise SpecimenError(
                    f"crack {crack.id!r} leaves {pieces} pieces of its particle {particle.id!r}, "
                    f"one must stay: make it smaller",
                    both,
                )
        for particle in self.particles:
            if particle.cracks:
                holes = (*particle.cracks, *particle.voids)
                self._check_apart(holes, _arrays(holes))

    def _check_particles_apart(self) -> None:
        """Refuse particles that interpenetrate; of meshes the envelopes may."""
        pairs = interpenetrations(self.particle_geometry, CONTACT_TOLERANCE_UM)
        for i, j, depth in sorted(pairs):
            if not (i in self.meshed or j in self.meshed):
                self._refuse_overlap(self.particles[i], self.particles[j], f" by {depth:.4g} um")
            elif self.gap_um(i, j) < -CONTACT_TOLERANCE_UM:
                self._refuse_overlap(self.particles[i], self.particles[j], "")

    def gap_um(self, first: int, second: int) -> float:
        """Return the distance of two particles of which one at least is a mesh.

        Parameters
        ----------
        first, second
            Positions in `particles`. Of a rough particle the envelope counts.

        Returns
        -------
        float
            Distance of the surfaces; below 0 if they overlap. Measured against an ellipsoid it is
            the shortest semi-axis times the distance in its radii: of the right sign, and at most
            the distance.
        """
        if first not in self.meshed:
            first, second = second, first
        mesh, other = self.meshed[first], self.meshed.get(second)
        if other is not None:
            return mesh.gap_um(other)
        ellipsoid = self.envelope(second)
        if mesh.contains(ellipsoid.center)[0]:
            return -float(ellipsoid.semi_axes.min())
        return (mesh.nearest_to(ellipsoid) - 1) * float(ellipsoid.semi_axes.min())

    def _check_apart(self, items: Sequence[Part], geometry: Ellipsoids) -> None:
        overlap = find_interpenetration(geometry, CONTACT_TOLERANCE_UM)
        if overlap is not None:
            self._refuse_overlap(items[overlap[0]], items[overlap[1]], f" by {overlap[2]:.4g} um")

    @staticmethod
    def _refuse_overlap(first: Part, second: Part, depth: str) -> NoReturn:
        names = f"{first.kind}s {first.id!r} and {second.id!r}"
        if first.kind != second.kind:
            names = f"{first.kind} {first.id!r} and {second.kind} {second.id!r}"
        raise SpecimenError(
            f"{names} interpenetrate{depth}; touching is allowed, overlap is not: move one of them "
            "away",
            ((first.kind, first.id), (second.kind, second.id)),
        )


def _arrays(items: Sequence[Part]) -> Ellipsoids:
    return Ellipsoids.from_rows(
        [item.center_um for item in items],
        [item.semi_axes_um for item in items],
        [item.orientation for item in items],
    )


def _check_unique(items: Sequence[Part]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise SpecimenError(
                f"{item.kind} id {item.id!r} occurs twice; every {item.kind} needs its own id",
                ((item.kind, item.id),),
            )
        seen.add(item.id)
