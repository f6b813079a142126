"""Volumes, labels and surfaces in formats of other people: OME-Zarr, TIFF, STL.

Volumes are ``[y, z, x]`` here, row 0 at the top. OME-Zarr (NGFF 0.5,
https://ngff.openmicroscopy.org/0.5) wants space axes as ``z, y, x`` and positive scales: the axes
are exchanged and the rows turned over, so that the coordinate transformations of the file give
positions in the sample frame (um) exactly.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from zoneplate.analysis.figures_volume import VolumeView
from zoneplate.analysis.meshes import Mesh, surface_meshes

from .tomogram_file import StoredTomogram

OME_VERSION = "0.5"
SMALLEST_LEVEL = 64
"""Levels are halved until no edge is longer, voxels."""

CHUNK = 64
ALL_TRIANGLES = 50_000_000
"""Surfaces for measuring are never made coarser than the voxels."""


def write_ome_zarr(folder: Path, tomogram: StoredTomogram, provenance: dict[str, Any]) -> None:
    """Write the volume as an OME-Zarr image with particles and voids as its labels.

    Parameters
    ----------
    folder
        The ``.ome.zarr`` folder to make.
    tomogram
        The tomogram.
    provenance
        Kept in the attribute ``zoneplate`` of the image.
    """
    root = zarr.open_group(str(folder), mode="w", zarr_format=3)
    name = str(tomogram.facts.get("uid") or "tomogram")
    _pyramid(root, name, _spatial(tomogram.volume), tomogram, labels=False)
    root.attrs["zoneplate"] = {**provenance, "unit": "1/um", "quantity": "attenuation"}
    labels = root.create_group("labels")
    labels.attrs["ome"] = {"version": OME_VERSION, "labels": ["particles", "voids"]}
    for kind, values in (
        ("particles", tomogram.particle_labels),
        ("voids", tomogram.void_labels),
    ):
        group = labels.create_group(kind)
        _pyramid(group, kind, _spatial(values), tomogram, labels=True)


def write_volume_tiff(path: Path, tomogram: StoredTomogram) -> None:
    """Write the volume as one TIFF stack, a page per slice from the top, voxel size inside."""
    voxel_um = tomogram.voxel_um
    tifffile.imwrite(
        path,
        tomogram.volume,
        imagej=True,
        resolution=(1 / voxel_um, 1 / voxel_um),
        metadata={"axes": "ZYX", "spacing": voxel_um, "unit": "um"},
    )


def write_stl(folder: Path, tomogram: StoredTomogram) -> list[Path]:
    """Write the surfaces of particles and of voids, in um in the sample frame.

    ``particles.stl`` holds closed outer surfaces; ``voids.stl`` closed surfaces of the voids, both
    with normals pointing out of the object. Surfaces are smoothed; they keep the volume of their
    object within some percent (`zoneplate.analysis.meshes`): measure on voxels, not on these.

    Returns
    -------
    list of Path
        What was written: a kind without objects has no file.
    """
    view = VolumeView(
        volume=tomogram.volume,
        particles=tomogram.particle_labels,
        voids=tomogram.void_labels,
        voxel_um=tomogram.voxel_um,
        center_um=tomogram.center_um,
    )
    meshes = surface_meshes(view, triangle_budget=ALL_TRIANGLES)
    written: list[Path] = []
    for kind, name in (("particle", "particles.stl"), ("void", "voids.stl")):
        chosen = [mesh for mesh in meshes if mesh.kind == kind]
        if chosen:
            (folder / name).write_bytes(_stl(chosen))
            written.append(folder / name)
    return written


def _stl(meshes: list[Mesh]) -> bytes:
    """Binary STL: https://www.loc.gov/preservation/digital/formats/fdd/fdd000505.shtml."""
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])
    triangles = np.zeros(len(corners), dtype=record)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    triangles["normal"] = normals / np.where(lengths > 0, lengths, 1)
    triangles["corners"] = corners
    header = b"zoneplate, um, sample frame".ljust(80)
    return header + np.uint32(len(triangles)).tobytes() + triangles.tobytes()


def _spatial(volume: NDArray[Any]) -> NDArray[Any]:
    """[y from the top, z, x] -> [z, y upwards, x]."""
    return volume[::-1].transpose(1, 0, 2)


def _pyramid(
    group: Any, name: str, image: NDArray[Any], tomogram: StoredTomogram, *, labels: bool
) -> None:
    """Write an image at full and at halved resolutions, with its OME metadata."""
    depth, rows, columns = image.shape
    voxel_um = tomogram.voxel_um
    x_um, y_um, z_um = tomogram.center_um
    first_um = [
        middle - (count - 1) / 2 * voxel_um
        for middle, count in ((z_um, depth), (y_um, rows), (x_um, columns))
    ]
    datasets: list[dict[str, Any]] = []
    levels = 1 + max(0, math.ceil(math.log2(max(image.shape) / SMALLEST_LEVEL)))
    for level in range(levels):
        if level:
            image = _halved(image, labels=labels)
        array = group.create_array(
            str(level),
            shape=image.shape,
            dtype=image.dtype,
            chunks=tuple(min(CHUNK, edge) for edge in image.shape),
            dimension_names=["z", "y", "x"],
        )
        array[...] = image
        factor = 2**level
        # Block means sit in the middle of their block; every second label on its first voxel.
        shift = 0.0 if labels else (factor - 1) / 2 * voxel_um
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [voxel_um * factor] * 3},
                    {"type": "translation", "translation": [one + shift for one in first_um]},
                ],
            }
        )
    axes = [{"name": one, "type": "space", "unit": "micrometer"} for one in "zyx"]
    multiscale = {"name": name, "axes": axes, "datasets": datasets}
    multiscale["type"] = "nearest" if labels else "mean"
    attributes: dict[str, Any] = {"version": OME_VERSION, "multiscales": [multiscale]}
    if labels:
        attributes["image-label"] = {"source": {"image": "../../"}}
    group.attrs["ome"] = attributes


def _halved(image: NDArray[Any], *, labels: bool) -> NDArray[Any]:
    """Half resolution: every second label, or means of blocks of 2 x 2 x 2."""
    if labels:
        return image[::2, ::2, ::2]
    padding = [(0, edge % 2) for edge in image.shape]
    padded = np.pad(image, padding, mode="edge")
    z, y, x = (edge // 2 for edge in padded.shape)
    blocks = padded.reshape(z, 2, y, 2, x, 2)
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32).astype(image.dtype)
