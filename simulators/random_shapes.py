"""Random ellipsoids, and plain tuples of their numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def semi_axes(diameter: Floats, largest_ratio: float, random: np.random.Generator) -> Floats:
    """Return axes (n, 3) of the given equivalent diameters (n,), in um.

    The longest is at most `largest_ratio` times the shortest.
    """
    stretch = random.uniform(0.0, math.log(largest_ratio), (len(diameter), 3))
    stretch -= stretch.mean(axis=1, keepdims=True)
    return 0.5 * diameter[:, None] * np.exp(stretch)


def orientations(count: int, random: np.random.Generator) -> Floats:
    """Return quaternions (count, 4) of uniformly random rotations."""
    quaternion = random.standard_normal((count, 4))
    return quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)


def as_vector(values: Floats) -> tuple[float, float, float]:
    """Return three numbers as a tuple of plain floats."""
    x, y, z = values.tolist()
    return x, y, z


def as_quaternion(values: Floats) -> tuple[float, float, float, float]:
    """Return four numbers as a tuple of plain floats."""
    w, x, y, z = values.tolist()
    return w, x, y, z
