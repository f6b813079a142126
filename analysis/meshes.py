"""Surfaces of particles and voids for pictures only: no number is taken from them."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes

from .figures_style import VOID, rows_where
from .figures_volume import VolumeView

PLAIN = "#9aa5b1"
"""Particles without voids: grey."""

DEAD_COLORS = LinearSegmentedColormap.from_list(
    "dead", colormaps["YlGnBu"](np.linspace(0.3, 0.92, 64))
)
"""Particles with voids, by the share of their volume that is void: light to dark blue."""

DEAD_FULL = 0.10
"""Share from which the colour is the darkest; in the study voids are 3.8 % of the volume."""

TRIANGLE_BUDGET = 160_000
"""Triangles per volume, about 2 MB in the page; more are avoided by coarser surfaces."""

SMOOTHING_VOXELS = 0.9
"""Gaussian sigma applied to each label before its surface is drawn, to hide voxel steps."""

MAX_INDEX = 65_535
"""Largest vertex number and coordinate step in the page's 16-bit arrays."""

Kind = Literal["particle", "void"]


@dataclass(frozen=True)
class Mesh:
    """A triangle surface.

    Attributes
    ----------
    kind
        ``"particle"`` or ``"void"``.
    label
        Label of the object in the volume.
    parent
        Label of the particle (its own for a particle).
    vertices : (n, 3) array of float32
        x, y, z in um in the specimen frame.
    faces : (m, 3) array of int32
        Vertex numbers, counter-clockwise seen from outside.
    """

    kind: Kind
    label: int
    parent: int
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]


def surface_meshes(
    view: VolumeView,
    *,
    triangle_budget: int = TRIANGLE_BUDGET,
    particle_ids: Collection[int] | None = None,
) -> list[Mesh]:
    """Return a closed, smoothed surface for every particle and every void.

    Marching cubes (Lewiner et al., doi:10.1080/10867651.2003.10487582) on each smoothed label;
    large objects are sampled more coarsely so that the total stays within the budget.

    Parameters
    ----------
    view
        The tomogram.
    triangle_budget
        About how many triangles there may be.
    particle_ids
        Only these particles, without their voids; all by default.
    """
    surface_voxels = 0.0
    for labels in (view.particles, view.voids):
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        if particle_ids is not None:
            sizes = sizes[list(particle_ids)] if labels is view.particles else sizes[:0]
        surface_voxels += 10 * float(np.sum(sizes ** (2 / 3)))
    # A surface of A voxel faces has about 2 A triangles, and 1/step^2 of them when coarser.
    step = max(1, int(np.ceil(np.sqrt(surface_voxels / max(triangle_budget, 1)))))
    meshes: list[Mesh] = []
    kinds: tuple[tuple[Kind, NDArray[np.integer]], ...] = (
        ("particle", view.particles),
        ("void", view.voids),
    )
    for kind, labels in kinds if particle_ids is None else kinds[:1]:
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            if box is None or (particle_ids is not None and label not in particle_ids):
                continue
            mask = labels[box] == label
            parent = label
            if kind == "void":
                owners = np.bincount(view.particles[box][mask])
                parent = int(owners.argmax())
            mesh = _surface(view, mask, [part.start for part in box], step)
            if mesh is not None:
                meshes.append(Mesh(kind, label, parent, *mesh))
    return meshes


def _surface(
    view: VolumeView, mask: NDArray[np.bool_], start: list[int], step: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
    # A large object stands coarser steps than a small one, which would vanish.
    step = int(min(step, max(1, min(mask.shape) // 4)))
    pad = 2 * step + 2
    smooth = ndimage.gaussian_filter(np.pad(mask, pad).astype(np.float32), SMOOTHING_VOXELS * step)
    # The level that keeps the object's volume, between two voxel values so that none equals it.
    values = np.sort(smooth, axis=None)[::-1]
    count = int(mask.sum())
    level = float(values[count - 1] / 2 + values[count] / 2)
    vertices, faces, _, _ = marching_cubes(smooth, level, step_size=step)
    if not len(faces) or len(vertices) > MAX_INDEX:
        return None
    index = vertices - pad + np.asarray(start)
    middle = (np.asarray(view.volume.shape) - 1) / 2
    y, z, x = ((index - middle) * view.voxel_um).T
    center = view.center_um
    # y runs against the rows, so the winding turns over once.
    points = np.stack([center[0] + x, center[1] - y, center[2] + z], axis=1)
    return points.astype(np.float32), np.ascontiguousarray(faces, dtype=np.int32)


def viewer_payload(
    view: VolumeView, meshes: Sequence[Mesh], particles: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Return the surfaces as plain data for the page's viewer.

    Coordinates are 16-bit fractions of the bounding box, in base64; one caption per particle.
    """
    if not meshes:
        return {"low": [0, 0, 0], "size": [1, 1, 1], "objects": []}
    everything = np.concatenate([mesh.vertices for mesh in meshes])
    low, high = everything.min(axis=0), everything.max(axis=0)
    size = np.maximum(high - low, view.voxel_um)
    with_voids = {mesh.parent for mesh in meshes if mesh.kind == "void"}
    shells = shell_colors(view)
    objects = []
    for mesh in meshes:
        steps = np.rint((mesh.vertices - low) / size * MAX_INDEX).astype("<u2")
        color = to_rgb(VOID) if mesh.kind == "void" else shells[mesh.label]
        objects.append(
            {
                "kind": mesh.kind,
                "color": [round(c, 3) for c in color],
                "text": _describe(mesh, particles, mesh.label in with_voids),
                "vertices": base64.b64encode(steps.tobytes()).decode("ascii"),
                "faces": base64.b64encode(mesh.faces.astype("<u2").tobytes()).decode("ascii"),
            }
        )
    return {
        "low": [round(float(v), 3) for v in low],
        "size": [round(float(v), 3) for v in size],
        "objects": objects,
    }


def shell_colors(view: VolumeView) -> list[tuple[float, float, float]]:
    """Return the colour of each particle by its label: how much of its volume is void.

    Counted in voxels, for the eye; the tables have the number.
    """
    volume = np.bincount(view.particles.ravel()).astype(np.float64)
    inside = (view.voids > 0) & (view.particles > 0)
    void = np.bincount(view.particles[inside], minlength=len(volume))
    share = void / np.maximum(volume, 1)
    painted = DEAD_COLORS(np.minimum(share / DEAD_FULL, 1.0))
    plain = to_rgb(PLAIN)
    return [
        (float(rgba[0]), float(rgba[1]), float(rgba[2])) if some else plain
        for rgba, some in zip(painted, void > 0, strict=True)
    ]


def _describe(mesh: Mesh, particles: pd.DataFrame | None, has_voids: bool) -> str:
    if mesh.kind == "void":
        return ""
    text = f"Particle {mesh.label}"
    if particles is not None and "particle_id" in particles:
        rows = rows_where(particles, particles["particle_id"] == mesh.label).to_dict("records")
        if rows:
            row = rows[0]
            text += f": diameter {row['equivalent_diameter_um']:.1f} µm"
            if has_voids and "dead_volume_fraction" in row:
                text += f", {100 * row['dead_volume_fraction']:.1f} % void"
            if row.get("touches_border"):
                text += ", cut by the border"
    return text if has_voids else f"{text}, no void found"
