"""Ellipsoids whose line integrals and pixel averages are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Ellipsoid:
    """One ellipsoid of the sample frame: x across the beam, y up, z along the beam."""

    center_um: tuple[float, float, float]
    semi_axes_um: tuple[float, float, float]
    attenuation_per_um: float
    rotation_vector: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def shape_matrix(self) -> NDArray[np.float64]:
        turn = Rotation.from_rotvec(self.rotation_vector).as_matrix()
        return turn @ np.diag(1 / np.square(self.semi_axes_um)) @ turn.T


ASYMMETRIC = (
    Ellipsoid((4.0, 3.0, -6.0), (6.0, 4.0, 5.0), 0.05, (0.3, 0.2, -0.4)),
    Ellipsoid((-7.0, -2.5, 5.0), (3.5, 5.0, 4.0), 0.05, (0.1, -0.5, 0.2)),
    Ellipsoid((-5.0, 5.0, -8.0), (2.5, 2.5, 2.5), 0.08),
)
"""Nothing here survives a flip or a transposition of the volume."""


def project(
    ellipsoids: tuple[Ellipsoid, ...],
    angles_rad: NDArray[np.float64],
    shape: tuple[int, int],
    pixel_um: float,
    center: float,
    supersampling: int = 3,
) -> NDArray[np.float32]:
    """Absorption (n, rows, columns), averaged over `supersampling`^2 rays per pixel."""
    rows, columns = shape
    fine = (np.arange(supersampling) + 0.5) / supersampling - 0.5
    u = ((np.arange(columns)[:, None] + fine).ravel() - center) * pixel_um
    v = ((rows - 1) / 2 - (np.arange(rows)[:, None] + fine).ravel()) * pixel_um
    stack = np.zeros((len(angles_rad), rows, columns), dtype=np.float32)
    for n, theta in enumerate(angles_rad):
        cosine, sine = np.cos(theta), np.sin(theta)
        across = np.array([cosine, 0.0, sine])
        beam = np.array([-sine, 0.0, cosine])
        up = np.array([0.0, 1.0, 0.0])
        total = np.zeros((v.size, u.size))
        for body in ellipsoids:
            matrix = body.shape_matrix()
            place = np.array(body.center_um)
            # Only the rays of its shadow: the extent of an ellipsoid along d is sqrt(d' M^-1 d).
            inverse = np.linalg.inv(matrix)
            ys, xs = (
                np.flatnonzero(np.abs(line - d @ place) <= np.sqrt(d @ inverse @ d))
                for line, d in ((v, up), (u, across))
            )
            offset = u[None, xs, None] * across + v[ys, None, None] * up - place
            a = beam @ matrix @ beam
            b = offset @ (matrix @ beam)
            c = np.sum((offset @ matrix) * offset, axis=-1) - 1
            chord = 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a
            total[np.ix_(ys, xs)] += body.attenuation_per_um * chord
        stack[n] = total.reshape(rows, supersampling, columns, supersampling).mean(axis=(1, 3))
    return stack


@cache
def voxelize(
    ellipsoids: tuple[Ellipsoid, ...],
    shape: tuple[int, int],
    pixel_um: float,
    supersampling: int = 3,
) -> NDArray[np.float32]:
    """Attenuation [y, z, x] in 1/um, averaged over `supersampling`^3 points per voxel."""
    rows, columns = shape
    fine = (np.arange(supersampling) + 0.5) / supersampling - 0.5
    y = ((rows - 1) / 2 - (np.arange(rows)[:, None] + fine).ravel()) * pixel_um
    depth = ((np.arange(columns)[:, None] + fine).ravel() - (columns - 1) / 2) * pixel_um
    values = np.zeros((y.size, depth.size, depth.size), dtype=np.float32)
    for body in ellipsoids:
        extent = np.sqrt(np.diag(np.linalg.inv(body.shape_matrix())))
        box = [
            np.flatnonzero(np.abs(line - body.center_um[axis]) <= extent[axis])
            for axis, line in ((1, y), (2, depth), (0, depth))
        ]
        grid_y, grid_z, grid_x = np.meshgrid(y[box[0]], depth[box[1]], depth[box[2]], indexing="ij")
        offset = np.stack([grid_x, grid_y, grid_z], axis=-1) - np.array(body.center_um)
        inside = np.sum((offset @ body.shape_matrix()) * offset, axis=-1) <= 1
        values[np.ix_(*box)] += body.attenuation_per_um * inside
    s = supersampling
    volume = values.reshape(rows, s, columns, s, columns, s).mean(axis=(1, 3, 5))
    volume.flags.writeable = False
    return volume
