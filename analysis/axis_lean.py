"""How far the rotation axis leans along the beam.

About a leaning axis, what lies far downstream of it is seen lower, and half a turn later higher:
by the depth times the angle. That smears the volume along the axis and turns no image, so two views
do not show it; the particles of the volume, of which the depth is known, do.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .reprojection import reproject
from .rings import ring_pattern
from .view_registration import particles_of, register
from .workers import available_threads

Floats = NDArray[np.float64]

VIEWS: Final = 48
"""So many views, spread over the angles, tell it to 0.02 degrees; all of 141 to 0.01."""

ERROR_SHARE: Final = 0.15
"""Systematic error, as a share of the lean: simulated leans are mostly found too small, by up to so
much (`benchmarks/geometry_correction.py`)."""


@dataclass(frozen=True)
class AxisLean:
    """Angle of the rotation axis against the plane of the detector.

    Attributes
    ----------
    lean_deg, standard_error_deg
        Upper end downstream, with its standard error.
    """

    lean_deg: float
    standard_error_deg: float


def find_axis_lean(
    frames: NDArray[np.float32],
    angles_rad: Floats,
    column: float,
    volume: NDArray[np.float32],
    threads: int | None = None,
) -> AxisLean | None:
    """Lay views over the projected particles, and over how those would change with a lean.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, rows, columns)
        Absorption.
    angles_rad : ndarray of float64, shape (n,)
        Angles in radians.
    column : float
        Column of the rotation axis.
    volume : ndarray of float32, shape (rows, columns, columns)
        [y, z, x], what was reconstructed from them, in any unit.
    threads : int, optional
        Threads, never more than the cores this process may use (the default).

    Returns
    -------
    AxisLean or None
        None without particles to go by.
    """
    particles = particles_of(volume)
    if particles is None:
        return None
    order = np.argsort(angles_rad)
    chosen = order[np.linspace(0, len(order) - 1, min(VIEWS, len(order))).round().astype(np.intp)]
    seen, angles = frames[chosen], angles_rad[chosen]
    images = reproject(particles, angles, column, frames.shape[2], threads)
    changes = _changes(particles, angles, angles_rad, column, frames.shape[2], threads)
    fixed = [ring_pattern(stack.mean(axis=0, dtype=np.float64)) for stack in (seen, images)]

    def work(number: int) -> tuple[float, float]:
        image, projected = seen[number] - fixed[0], images[number] - fixed[1]
        found = register(image, projected, changes[number])
        return found.found[2], found.errors[2]

    with ThreadPoolExecutor(available_threads(threads)) as pool:
        values, errors = np.array(list(pool.map(work, range(len(seen))))).T
    telling = np.isfinite(errors) & (errors > 0)
    if not telling.any():
        return None
    values, weights = values[telling], 1 / errors[telling] ** 2
    lean = float(np.average(values, weights=weights))
    # What errors of single views promise, or how views scatter if that is more.
    scatter = float(np.sum(weights**2 * (values - lean) ** 2)) / float(weights.sum()) ** 2
    error = math.sqrt(max(scatter, 1 / float(weights.sum())))
    error = math.hypot(error, ERROR_SHARE * lean)
    return AxisLean(math.degrees(lean), math.degrees(error))


def _changes(
    particles: NDArray[np.float32],
    angles: Floats,
    all_angles: Floats,
    column: float,
    columns: int,
    threads: int | None,
) -> NDArray[np.float32]:
    """Return how projections of the particles change with the lean, per radian."""
    size = particles.shape[2]
    place = (np.arange(size) - (size - 1) / 2).astype(np.float32)
    upwards = -np.gradient(particles, axis=0).astype(np.float32)  # rows grow downwards
    by_z = reproject(upwards * place[:, None], angles, column, columns, threads)
    by_x = reproject(upwards * place, angles, column, columns, threads)
    # The volume holds each voxel at the mean of the heights at which views saw it.
    cosine = np.cos(angles) - np.cos(all_angles).mean()
    sine = np.sin(angles) - np.sin(all_angles).mean()
    weights = np.stack([cosine, -sine]).astype(np.float32)[:, :, None, None]
    return weights[0] * by_z + weights[1] * by_x
