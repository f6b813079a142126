"""Random ellipsoids, and plain tuples of their numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

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


def lognormal_diameters(
    median_um: float,
    sigma: float,
    count: int,
    random: np.random.Generator,
    *,
    between_um: tuple[float, float] = (0.0, np.inf),
    stratified: bool = False,
) -> Floats:
    """Return diameters of a log-normal distribution, those outside the range drawn again.

    Parameters
    ----------
    median_um, sigma
        Median, and standard deviation of the logarithm.
    count
        How many.
    random
        Where they come from.
    between_um
        Smallest and largest.
    stratified
        One diameter from each of `count` equally probable classes, in random order. Each is
        distributed as before, but the whole follows the distribution far more closely than
        independent draws do: means of a finite powder are then those of an endless one.
    """
    if stratified:
        with np.errstate(divide="ignore"):
            low, high = ndtr(np.log(np.array(between_um) / median_um) / max(sigma, 1e-12))
        place = (random.permutation(count) + random.random(count)) / max(count, 1)
        return median_um * np.exp(sigma * ndtri(low + (high - low) * place))
    diameter = median_um * np.exp(sigma * random.standard_normal(count))
    while True:
        outside = (diameter < between_um[0]) | (diameter > between_um[1])
        again = int(outside.sum())
        if again == 0:
            return diameter
        diameter[outside] = median_um * np.exp(sigma * random.standard_normal(again))
