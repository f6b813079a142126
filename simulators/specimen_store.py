"""Specimens as HDF5: everything a `Specimen` holds, readable without this package.

Version 2 of the format, which `docs/specimen-hdf5.md` describes for people::

    /                attributes format, version, name, seed (absent if not generated)
    /support         attributes thickness_um, material, adhesive_um, adhesive_material,
                     width_um, height_um
    /particles       id, material, defect (text); center_um, semi_axes_um (n, 3);
                     orientation (n, 4); roughness_depth_um (0: smooth),
                     roughness_wavelength_um, roughness_seed
    /particles/surfaces   (rough, 65, 65): surface of each rough particle, in their order
    /particles       mesh_corners, mesh_triangles (n): how many of /meshes each has, 0: no mesh
    /meshes          corners_um (all, 3); triangles (all, 3), counted from each particle's corners
    /voids           id, defect (text); parent (row in /particles, from 0); center_um,
                     semi_axes_um (n, 3); orientation (n, 4)
    /cracks          as /voids, without defect

Version 1 had neither cracks nor meshes and is read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zoneplate.devices.errors import ConfigurationError

from .meshes import Mesh
from .parts import Crack, Particle, SpecimenError, Support, Void
from .specimen import Specimen
from .surfaces import NODES, Roughness

FORMAT = "zoneplate-specimen"
VERSION = 2
READABLE = (1, 2)

SUFFIXES = (".h5", ".hdf5")
"""Names of files in this format end so."""

SURFACE_TOLERANCE = 1e-5
"""How far a stored surface may be from the one its seed makes: rounding of other processors."""


def write_store(specimen: Specimen, path: Path) -> None:
    """Write a specimen; it reads back equal.

    Parameters
    ----------
    specimen
        What to write.
    path
        The file, overwritten.
    """
    with h5py.File(path, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, name=specimen.name)
        if specimen.seed is not None:
            file.attrs["seed"] = specimen.seed
        support = file.create_group("support")
        for field in fields(Support):
            support.attrs[field.name] = getattr(specimen.support, field.name)
        particles = file.create_group("particles")
        _write_shapes(particles, specimen.particles)
        _write_texts(particles, "material", [item.material for item in specimen.particles])
        _write_roughness(particles, specimen)
        _write_meshes(file, particles, specimen)
        voids = file.create_group("voids")
        _write_shapes(voids, specimen.voids)
        voids["parent"] = specimen.void_parent.astype(np.int64)
        cracks = file.create_group("cracks")
        _write_shapes(cracks, specimen.cracks)
        cracks["parent"] = specimen.crack_parent.astype(np.int64)
        for group, items in ((particles, specimen.particles), (voids, specimen.voids)):
            _write_texts(group, "defect", [item.defect for item in items])


def _write_shapes(group: h5py.Group, items: Sequence[Particle | Void | Crack]) -> None:
    _write_texts(group, "id", [item.id for item in items])
    for name, columns in (("center_um", 3), ("semi_axes_um", 3), ("orientation", 4)):
        values = [getattr(item, name) for item in items]
        group[name] = np.asarray(values, dtype=np.float64).reshape(-1, columns)


def _write_texts(group: h5py.Group, name: str, values: list[str]) -> None:
    group.create_dataset(name, data=np.asarray(values, dtype=object), dtype=h5py.string_dtype())


def _write_roughness(group: h5py.Group, specimen: Specimen) -> None:
    smooth = Roughness(1.0)
    surfaces = [particle.roughness for particle in specimen.particles]
    group["roughness_depth_um"] = np.array([one.depth_um if one else 0.0 for one in surfaces])
    known = [one or smooth for one in surfaces]
    group["roughness_wavelength_um"] = np.array([one.wavelength_um for one in known], dtype=float)
    group["roughness_seed"] = np.array([one.seed for one in known], dtype=np.int64)
    tables = [specimen.rough_table(position) for position in specimen.rough]
    group.create_dataset(
        "surfaces",
        data=np.asarray(tables, dtype=np.float32).reshape(-1, NODES, NODES),
        maxshape=(None, NODES, NODES),
        chunks=(1, NODES, NODES),
        compression="gzip",
        shuffle=True,
    )


def _write_meshes(file: h5py.File, particles: h5py.Group, specimen: Specimen) -> None:
    meshes = [particle.mesh for particle in specimen.particles]
    known = [mesh for mesh in meshes if mesh is not None]
    particles["mesh_corners"] = np.array(
        [0 if mesh is None else len(mesh.vertices_um) for mesh in meshes], dtype=np.int64
    )
    particles["mesh_triangles"] = np.array(
        [0 if mesh is None else len(mesh.faces) for mesh in meshes], dtype=np.int64
    )
    group = file.create_group("meshes")
    group["corners_um"] = np.concatenate([np.zeros((0, 3)), *(m.vertices_um for m in known)])
    group["triangles"] = np.concatenate([np.zeros((0, 3), np.int64), *(m.faces for m in known)])


def read_store(path: Path, *, support: Support | None = None, name: str | None = None) -> Specimen:
    """Read a specimen.

    Parameters
    ----------
    path
        The file.
    support, name
        Instead of those in the file.

    Raises
    ------
    ConfigurationError
        Naming the file: if it cannot be read, is of another format or version, something in it is
        missing or does not fit, or the specimen cannot exist.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read(file, support, name)
    except OSError as error:
        raise ConfigurationError(
            f"specimen file {path} cannot be read as HDF5: {error}; check the path"
        ) from error
    except SpecimenError as error:
        raise SpecimenError(f"specimen file {path}: {error}", error.objects) from error
    except ConfigurationError as error:
        raise ConfigurationError(f"specimen file {path}: {error}") from error
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"specimen file {path} is not complete: {error}; "
            f"see docs/specimen-hdf5.md for what it needs"
        ) from error


def _read(file: Any, support: Support | None, name: str | None) -> Specimen:
    if file.attrs.get("format") != FORMAT:
        raise ConfigurationError(
            f"no specimen: attribute format must be {FORMAT!r} on the root of the file"
        )
    version = int(file.attrs["version"])
    if version not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise ConfigurationError(
            f"format version {version} is not known, only {known}: use a newer zoneplate"
        )
    particles = _group(file, "particles")
    voids = _group(file, "voids")
    count = len(particles["id"])
    inside: dict[int, list[Void]] = {}
    for parent, shape, defect in zip(
        _parents(voids, "void", count), _shapes(voids), voids["defect"], strict=True
    ):
        inside.setdefault(parent, []).append(Void(*shape, defect=defect))
    open_to: dict[int, list[Crack]] = {}
    if version > 1:
        cracks = _group(file, "cracks")
        for parent, shape in zip(_parents(cracks, "crack", count), _shapes(cracks), strict=True):
            open_to.setdefault(parent, []).append(Crack(*shape))
    meshes = _meshes(particles, _group(file, "meshes")) if version > 1 else [None] * count
    solids = tuple(
        Particle(
            *shape,
            material=material,
            voids=tuple(inside.get(row, ())),
            defect=defect,
            roughness=roughness,
            cracks=tuple(open_to.get(row, ())),
            mesh=meshes[row],
        )
        for row, (shape, material, defect, roughness) in enumerate(
            zip(
                _shapes(particles),
                particles["material"],
                particles["defect"],
                _roughness(particles),
                strict=True,
            )
        )
    )
    attributes = file["support"].attrs
    stored = {field.name: _plain(attributes[field.name]) for field in fields(Support)}
    seed = file.attrs.get("seed")
    specimen = Specimen(
        solids,
        support or Support(**stored),
        name or str(file.attrs["name"]),
        None if seed is None else int(seed),
    )
    _check_surfaces(specimen, particles["surfaces"])
    return specimen


def _group(file: Any, name: str) -> dict[str, Any]:
    return {
        key: dataset.asstr()[()].tolist() if dataset.dtype.kind == "O" else dataset[()]
        for key, dataset in file[name].items()
    }


def _parents(group: dict[str, Any], kind: str, count: int) -> list[int]:
    parents = group["parent"].tolist()
    for identity, parent in zip(group["id"], parents, strict=True):
        if not 0 <= parent < count:
            raise ConfigurationError(
                f"{kind} {identity!r} has the parent {parent}, but particles count from 0 to "
                f"{count - 1}"
            )
    return parents


def _shapes(group: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return (id, centre, semi-axes, orientation) of every row."""
    columns = (group["center_um"], group["semi_axes_um"], group["orientation"])
    rows = zip(group["id"], *(values.tolist() for values in columns), strict=True)
    return [(identity, *(tuple(values) for values in shape)) for identity, *shape in rows]


def _roughness(group: dict[str, Any]) -> list[Roughness | None]:
    names = ("roughness_depth_um", "roughness_wavelength_um", "roughness_seed")
    rows = zip(*(group[name].tolist() for name in names), strict=True)
    return [Roughness(*row) if row[0] else None for row in rows]


def _meshes(particles: dict[str, Any], meshes: dict[str, Any]) -> list[Mesh | None]:
    found: list[Mesh | None] = []
    corner = triangle = 0
    counts = zip(particles["mesh_corners"], particles["mesh_triangles"], strict=True)
    for corners, triangles in counts:
        mesh = None
        if triangles:
            mesh = Mesh.of(
                meshes["corners_um"][corner : corner + corners],
                meshes["triangles"][triangle : triangle + triangles],
            )
        found.append(mesh)
        corner, triangle = corner + int(corners), triangle + int(triangles)
    return found


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _check_surfaces(specimen: Specimen, stored: NDArray[np.float32]) -> None:
    if len(stored) != len(specimen.rough):
        raise ConfigurationError(
            f"{len(stored)} surfaces for {len(specimen.rough)} rough particles; store one for each"
        )
    for position, surface in zip(specimen.rough, stored, strict=True):
        if not np.allclose(surface, specimen.rough_table(position), rtol=0, atol=SURFACE_TOLERANCE):
            raise ConfigurationError(
                f"the surface of particle {specimen.particles[position].id!r} is not the one that "
                f"its roughness and seed make; surfaces of other origin cannot be read"
            )
