"""Particles of any shape: closed triangle surfaces, with exact volume and area.

Shadows and labels are in `zoneplate.simulators.mesh_kernels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoneplate.devices.errors import ConfigurationError

from .ellipsoids import Ellipsoids, Floats, rotation_matrices
from .mesh_kernels import Faces, cross_each_other, nearest, winding

MESH_SUFFIXES = (".stl", ".ply")
"""Names of files that hold one surface each."""

_SHRINK_UM = 1e-3
"""Two surfaces that meet no more than this deep touch: coordinates in files are rounded."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface of triangles around one body.

    Attributes
    ----------
    vertices_um
        Shape (n, 3): corners in the sample frame, um.
    faces
        Shape (m, 3): corners of each triangle, counter-clockwise seen from outside. Turned round
        if all are clockwise.

    Raises
    ------
    ConfigurationError
        If the surface is not closed, is not of one piece, or encloses nothing.

    Examples
    --------
    >>> corners = [(0, 0, 0), (6, 0, 0), (0, 6, 0), (0, 0, 6)]
    >>> mesh = Mesh.of(corners, [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)])
    >>> round(mesh.volume_um3, 6)
    36.0
    """

    vertices_um: Floats
    faces: Faces

    @classmethod
    def of(cls, vertices_um: Any, faces: Any) -> Mesh:
        """Return the mesh of these corners and triangles, from anything like arrays."""
        return cls(np.asarray(vertices_um, dtype=np.float64), np.asarray(faces, dtype=np.int64))

    @classmethod
    def load(cls, path: str | Path, scale_um: float = 1.0) -> Mesh:
        """Read a surface from an STL or PLY file, binary or text.

        Parameters
        ----------
        path
            The file.
        scale_um
            Micrometres per unit of the file, which has no units of its own.

        Raises
        ------
        ConfigurationError
            Naming the file, if it cannot be read or the surface is not possible.
        """
        # Imported here: only who brings meshes waits for it.
        import trimesh

        path = Path(path)
        try:
            with path.open("rb") as stream:
                read: Any = trimesh.load_mesh(stream, file_type=path.suffix.lower().lstrip("."))
            vertices, faces = np.asarray(read.vertices), np.asarray(read.faces)
        except OSError as error:
            raise ConfigurationError(
                f"mesh file {path} cannot be read: {error.strerror}; check the path"
            ) from error
        # The readers raise what their parsers meet: any of a dozen kinds.
        except Exception as error:
            raise ConfigurationError(
                f"mesh file {path} cannot be read as {path.suffix}: {error}; allowed are "
                f"{' and '.join(MESH_SUFFIXES)}"
            ) from error
        try:
            return cls.of(vertices * scale_um, faces)
        except ConfigurationError as error:
            raise ConfigurationError(f"mesh file {path}: {error}") from error

    def __post_init__(self) -> None:
        vertices, faces = self.vertices_um, self.faces
        if vertices.ndim != 2 or vertices.shape[1:] != (3,) or not np.isfinite(vertices).all():
            raise ConfigurationError("corners must be three finite numbers in um each")
        if len(faces) < 4 or faces.shape[1:] != (3,):
            raise ConfigurationError(f"{len(faces)} triangles enclose nothing: 4 are needed")
        if faces.min() < 0 or faces.max() >= len(vertices):
            raise ConfigurationError(
                f"a triangle has the corner {faces.max()}, but corners count from 0 to "
                f"{len(vertices) - 1}"
            )
        self._check_closed()
        pieces = _pieces(faces)
        if pieces != 1:
            raise ConfigurationError(
                f"the surface is of {pieces} pieces: give each particle a mesh of its own, and "
                "each void a void"
            )
        if self._signed_volume() < 0:
            object.__setattr__(self, "faces", np.ascontiguousarray(faces[:, ::-1]))
        if self.volume_um3 <= 1e-12 * float(np.prod(np.ptp(vertices, axis=0))):
            raise ConfigurationError("the surface encloses no volume: it is flat")

    def _check_closed(self) -> None:
        """Refuse holes: every edge belongs to two triangles that run along it in opposite ways."""
        edges = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        if (edges[:, 0] == edges[:, 1]).any():
            number = int(np.flatnonzero(edges[:, 0] == edges[:, 1])[0]) // 3
            raise ConfigurationError(f"triangle {number} has the same corner twice; leave it out")
        count = len(self.vertices_um)
        ways, uses = np.unique(edges @ np.array([count, 1]), return_counts=True)
        if (uses > 1).any():
            first, second = divmod(int(ways[uses > 1][0]), count)
            raise ConfigurationError(
                f"the surface is not closed: {uses.max()} triangles run along the edge from "
                f"{self._place(first)} to {self._place(second)} in the same direction; let a mesh "
                "program make it watertight"
            )
        back = (ways % count) * count + ways // count
        alone = ways[~np.isin(back, ways)]
        if alone.size:
            first, second = divmod(int(alone[0]), count)
            raise ConfigurationError(
                f"the surface is not closed: {alone.size} edges have a triangle on one side only, "
                f"the first from {self._place(first)} to {self._place(second)}; let a mesh "
                "program make it watertight"
            )

    def _place(self, vertex: int) -> str:
        x, y, z = self.vertices_um[vertex]
        return f"({x:.4g}, {y:.4g}, {z:.4g}) um"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Mesh)
            and np.array_equal(self.vertices_um, other.vertices_um)
            and np.array_equal(self.faces, other.faces)
        )

    def __hash__(self) -> int:
        return hash((self.vertices_um.tobytes(), self.faces.tobytes()))

    def _signed_volume(self) -> float:
        a, b, c = self._corners(self.vertices_um - self.vertices_um.mean(axis=0))
        return float(np.einsum("ni,ni->", a, np.cross(b, c))) / 6

    def _corners(self, vertices: Floats) -> tuple[Floats, Floats, Floats]:
        return vertices[self.faces[:, 0]], vertices[self.faces[:, 1]], vertices[self.faces[:, 2]]

    @cached_property
    def volume_um3(self) -> float:
        """Enclosed volume, by the divergence theorem."""
        return self._signed_volume()

    @cached_property
    def surface_area_um2(self) -> float:
        """Area of the triangles."""
        a, b, c = self._corners(self.vertices_um)
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2

    @cached_property
    def centroid_um(self) -> Floats:
        """Centre of mass of the enclosed volume, shape (3,)."""
        middle = self.vertices_um.mean(axis=0)
        a, b, c = self._corners(self.vertices_um - middle)
        parts = np.einsum("ni,ni->n", a, np.cross(b, c)) / 6
        return middle + (parts[:, None] * (a + b + c) / 4).sum(axis=0) / parts.sum()

    @cached_property
    def extent_um(self) -> Floats:
        """Sides of the bounding box, shape (3,)."""
        return np.ptp(self.vertices_um, axis=0)

    @cached_property
    def triangles_um(self) -> Floats:
        """Corners of the triangles, shape (m, 3, 3)."""
        return self.vertices_um[self.faces]

    def envelope(self) -> tuple[Floats, Floats, Floats]:
        """Return an ellipsoid around all corners: centre, semi-axes, quaternion.

        Its axes are those of the corners' second moments, so a meshed ellipsoid is met closely.
        """
        from scipy.spatial.transform import Rotation

        center = (self.vertices_um.min(axis=0) + self.vertices_um.max(axis=0)) / 2
        offset = self.vertices_um - center
        _, axes = np.linalg.eigh(offset.T @ offset)
        if np.linalg.det(axes) < 0:
            axes[:, 0] = -axes[:, 0]
        inside = offset @ axes
        sides = np.abs(inside).max(axis=0)
        reach = np.sqrt(((inside / sides) ** 2).sum(axis=1).max())
        x, y, z, w = Rotation.from_matrix(axes).as_quat()
        # A billionth more: the farthest corner lies inside, not on it.
        return center, sides * reach * (1 + 1e-9), np.array([w, x, y, z])

    def moved(
        self,
        by_um: tuple[float, float, float] = (0.0, 0.0, 0.0),
        orientation: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0),
        scale: float = 1.0,
    ) -> Mesh:
        """Return the mesh scaled about the origin, turned about it, and moved, in this order."""
        turn = rotation_matrices(np.asarray([orientation], dtype=np.float64))[0]
        return Mesh(scale * self.vertices_um @ turn.T + np.asarray(by_um), self.faces)

    def resting(self) -> Mesh:
        """Return the mesh with its lowest corner on the tape, z = 0."""
        return self.moved((0.0, 0.0, -float(self.vertices_um[:, 2].min())))

    def contains(self, points_um: Floats) -> NDArray[np.bool_]:
        """Return which of the points (n, 3) lie inside."""
        return np.array([winding(self.triangles_um, point) > 0.5 for point in points_um])

    def nearest_to(self, ellipsoid: Ellipsoids) -> float:
        """Return how far the surface stays from the centre of an ellipsoid, in its radii.

        Below 1 the surface cuts into the ellipsoid.
        """
        inside = (self.triangles_um - ellipsoid.center[0]) @ ellipsoid.whitening[0].T
        return float(nearest(np.ascontiguousarray(inside)))

    def distance_um(self, point: Floats) -> float:
        """Return the distance of a point (3,) from the surface."""
        return float(nearest(self.triangles_um - point))

    def gap_um(self, other: Mesh) -> float:
        """Return the distance of two bodies, from corners to triangles; -inf if they overlap.

        Bodies that meet no deeper than a nanometre touch: one is shrunk by that before they are
        compared.
        """
        low = np.maximum(self.vertices_um.min(axis=0), other.vertices_um.min(axis=0))
        high = np.minimum(self.vertices_um.max(axis=0), other.vertices_um.max(axis=0))
        apart = float(np.linalg.norm(np.maximum(low - high, 0)))
        if (high - low > _SHRINK_UM).all() and self._overlaps(other, low, high):
            return -math.inf
        reach = apart + float(min(self.extent_um.min(), other.extent_um.min())) / 2
        gaps = [
            float(nearest(near - corner))
            for mine, theirs in ((self, other), (other, self))
            for corner in mine.vertices_um[
                ((mine.vertices_um >= low - reach) & (mine.vertices_um <= high + reach)).all(axis=1)
            ]
            if len(near := _near(theirs.triangles_um, corner - reach, corner + reach))
        ]
        return min(gaps, default=reach)

    def _overlaps(self, other: Mesh, low: Floats, high: Floats) -> bool:
        share = max(0.0, 1 - 2 * _SHRINK_UM / float(self.extent_um.min()))
        smaller = self.centroid_um + share * (self.vertices_um - self.centroid_um)
        here = _near(smaller[self.faces], low, high)
        there = _near(other.triangles_um, low, high)
        if cross_each_other(here, there) or cross_each_other(there, here):
            return True
        return bool(other.contains(smaller[:1])[0] or self.contains(other.vertices_um[:1])[0])


def _near(triangles: Floats, low: Floats, high: Floats) -> Floats:
    """Return the triangles whose boxes meet a box."""
    meets = (triangles.min(axis=1) <= high) & (triangles.max(axis=1) >= low)
    return np.ascontiguousarray(triangles[meets.all(axis=1)])


def _pieces(faces: Faces) -> int:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    used, corner = np.unique(faces, return_inverse=True)
    corner = corner.reshape(faces.shape)
    links = np.concatenate([corner[:, :2], corner[:, 1:]])
    graph = coo_array((np.ones(len(links)), links.T), shape=(len(used), len(used)))
    return int(connected_components(graph, directed=False, return_labels=False))
