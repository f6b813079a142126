"""A jump of the sample in the images is told, with its moment; without one nothing is said."""

from __future__ import annotations

import numpy as np
import pytest

from zoneplate.analysis.jumps import likeliest_jump
from zoneplate.plans import ordered, projection_angles

VIEWS, SIZE = 61, 64
NOISE = 0.03


@pytest.fixture(scope="module")
def scene():
    """Projections of round particles in a layer, and a place for each in the volume."""
    rng = np.random.default_rng(4)
    places = rng.uniform(-24, 24, (14, 3)) * (1, 1, 0.15)
    radii = rng.uniform(3, 6, 14)
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2

    def view(angle_deg: float, jump: float) -> np.ndarray:
        theta = np.deg2rad(angle_deg)
        image = np.zeros((SIZE, SIZE))
        for (x, y, z), radius in zip(places, radii, strict=True):
            u = x * np.cos(theta) + z * np.sin(theta) + jump
            inside = radius**2 - (columns - u) ** 2 - (rows + y) ** 2
            image += 0.04 * np.sqrt(np.maximum(inside, 0.0))
        return image

    return view


def scan(scene, order, moment=None, jump=0.0, seed=0):
    rng = np.random.default_rng(seed)
    angles = ordered(projection_angles(VIEWS, -90.0, 90.0), order)
    views = [
        scene(angle, jump if moment is not None and number >= moment else 0.0)
        for number, angle in enumerate(angles)
    ]
    noisy = np.stack(views) + rng.normal(0, NOISE, (VIEWS, SIZE, SIZE))
    return noisy, angles, np.arange(VIEWS)


@pytest.mark.parametrize("order", ["interlaced", "golden"])
def test_jump_of_the_sample_is_told_and_when(scene, order):
    for moment, length in ((20, 4.0), (47, -2.5)):
        found = likeliest_jump(*scan(scene, order, moment, length))
        assert found.certain
        assert abs(found.after - moment) <= 1
        assert found.pixels[0] == pytest.approx(length, abs=0.5)
        assert found.pixels[1] == pytest.approx(0.0, abs=0.3)


def test_single_pair_of_a_sequential_scan_is_not_believed(scene):
    found = likeliest_jump(*scan(scene, "sequential", 30, 8.0))
    assert (found.after, found.pairs) == (30, 1)
    assert not found.certain


@pytest.mark.parametrize("order", ["interlaced", "golden", "sequential"])
def test_no_jump_is_told_where_there_is_none(scene, order):
    assert not any(likeliest_jump(*scan(scene, order, seed=seed)).certain for seed in range(3))


def test_too_few_views_tell_nothing(scene):
    views, angles, times = scan(scene, "interlaced")
    assert likeliest_jump(views[:9], angles[:9], times[:9]) is None
