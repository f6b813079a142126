from __future__ import annotations

import numpy as np
import pytest
from phantoms import Ellipsoid, grey_volume, mask_of, sphere
from scipy import ndimage
from scipy.spatial.transform import Rotation

from zoneplate.analysis.segmentation import segment
from zoneplate.analysis.splitting import split_touching

SHAPE = (44, 48, 64)


def random_pair(rng: np.random.Generator, overlap: float) -> tuple[Ellipsoid, Ellipsoid]:
    first, second = rng.uniform(6, 11, 2)
    direction = rng.normal(size=3) * (0.5, 0.5, 1)
    direction *= (1 - overlap) * (first + second) / 2 / np.linalg.norm(direction)
    middle = np.array(SHAPE) / 2 + rng.uniform(-0.5, 0.5, 3)
    return sphere(tuple(middle - direction), first), sphere(tuple(middle + direction), second)


@pytest.mark.parametrize(("overlap", "least"), [(0.05, 40), (0.15, 38)])
def test_touching_pairs_are_split(overlap, least):
    rng = np.random.default_rng(1)
    right = 0
    for _ in range(40):
        pair = random_pair(rng, overlap)
        labels, split = split_touching(mask_of(SHAPE, pair[0]) | mask_of(SHAPE, pair[1]))
        right += labels.max() == 2
        if labels.max() == 2:
            assert split.tolist() == [False, True, True]
            found = sorted(np.bincount(labels.ravel())[1:])
            expected = sorted(body.volume for body in pair)
            np.testing.assert_allclose(found, expected, rtol=0.15)
    assert right >= least


def test_noisy_touching_pairs_are_split():
    rng = np.random.default_rng(2)
    right = 0
    for seed in range(12):
        pair = random_pair(rng, 0.1)
        volume = grey_volume(SHAPE, list(pair), signal_to_noise=10, seed=seed)
        found = segment(volume, 0.5, field_radius_um=100)
        right += found.particles.max() == 2 and bool(found.split[1:].all())
    assert right >= 11


@pytest.mark.parametrize("elongation", [1.0, 1.3, 1.6])
def test_single_particles_stay_whole(elongation):
    rng = np.random.default_rng(3)
    for rotation in Rotation.random(25, rng=rng):
        radius = rng.uniform(4, 10)
        center = tuple(np.array(SHAPE) / 2 + rng.uniform(-0.5, 0.5, 3))
        axes = (radius * elongation, radius, radius / elongation)
        labels, split = split_touching(mask_of(SHAPE, Ellipsoid(center, axes, rotation)))
        assert labels.max() == 1
        assert not split.any()


def test_rod_without_a_neck_stays_whole():
    waves = [sphere((20.3, 24.1, x), 6.3 + 0.35 * np.sin(x / 2.5)) for x in range(12, 52)]
    labels, _ = split_touching(np.logical_or.reduce([mask_of(SHAPE, body) for body in waves]))
    assert labels.max() == 1


def test_single_particle_with_big_void_is_not_split():
    rng = np.random.default_rng(4)
    for seed in range(10):
        center = np.array(SHAPE) / 2 + rng.uniform(-0.5, 0.5, 3)
        void = sphere(tuple(center + rng.uniform(-1.5, 1.5, 3)), 5.0)
        volume = grey_volume(
            SHAPE, [sphere(tuple(center), 10.5)], [void], signal_to_noise=10, seed=seed
        )
        found = segment(volume, 0.5)
        assert found.particles.max() == 1
        assert found.voids.max() == 1
        assert not found.split.any()


@pytest.mark.parametrize(("large", "small"), [(5.9, 2.55), (8.4, 2.55), (6.9, 2.8)])
def test_small_particles_are_told_from_what_they_touch(large, small):
    """Lobes of 5 voxels across, which the study's settings still show: most of them."""
    rng = np.random.default_rng(6)
    right = 0
    for seed in range(10):
        direction = rng.normal(size=3)
        direction *= (large + small) / np.linalg.norm(direction)
        middle = np.array([22.0, 24.0, 30.0]) + rng.uniform(-0.5, 0.5, 3)
        bodies = [sphere(tuple(middle), large), sphere(tuple(middle + direction), small)]
        volume = grey_volume(SHAPE, bodies, signal_to_noise=10, seed=seed)
        found = segment(volume, 0.5, field_radius_um=100)
        right += found.particles.max() == 2 and bool(found.split[1:].all())
    assert right >= 7


@pytest.mark.parametrize("quality", [10, 5])
def test_bumps_are_no_particles(quality):
    """Small spheres that stick half in a large one are its roughness."""
    rng = np.random.default_rng(8)
    for seed in range(6):
        middle = np.array([22.0, 24.0, 30.0]) + rng.uniform(-0.5, 0.5, 3)
        directions = rng.normal(size=(8, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        bumps = [sphere(tuple(middle + 8.5 * way), 2.6) for way in directions]
        volume = grey_volume(
            SHAPE, [sphere(tuple(middle), 8.0), *bumps], signal_to_noise=quality, seed=seed
        )
        found = segment(volume, 0.5, field_radius_um=100)
        own = found.particles[tuple(np.round(middle).astype(int))]
        assert not found.split[own]


def test_chain_of_three_is_cut_twice():
    bodies = [sphere((20.2, 24.1, x), 8.0) for x in (14.0, 28.5, 43.0)]
    labels, split = split_touching(np.logical_or.reduce([mask_of(SHAPE, b) for b in bodies]))
    assert sorted(labels[20, 24, [14, 28, 43]]) == [1, 2, 3]
    assert split[1:].all()


def test_only_the_touching_particles_are_flagged():
    pair = [sphere((20, 24, 14), 8.0), sphere((20, 24, 29), 8.0)]
    alone = sphere((20, 24, 52), 7.0)
    mask = np.logical_or.reduce([mask_of(SHAPE, body) for body in [*pair, alone]])
    labels, split = split_touching(mask)
    assert not split[labels[20, 24, 52]]
    assert split[labels[20, 24, 14]]
    assert split[labels[20, 24, 29]]


def test_particle_cut_by_the_border_stays_whole():
    labels, _ = split_touching(mask_of(SHAPE, sphere((-3.0, 24.0, 30.0), 10.0)))
    assert labels.max() == 1


@pytest.mark.parametrize("fill", [False, True])
def test_empty_and_full_masks_pass(fill):
    labels, split = split_touching(np.full((5, 6, 7), fill))
    assert labels.max() == int(fill)
    assert len(split) == labels.max() + 1


def open_shell(
    radius: float, wall: float, crack: float, *, seed: int, blur: float = 0.76, noise: float = 0.1
) -> np.ndarray:
    """Hollow ball with a crack from outside into its hollow; half of the seeds: a round hole."""
    rng = np.random.default_rng(seed)
    size, samples = int(2 * radius + 14), 3
    axis = (np.arange(size * samples) + 0.5) / samples - size / 2
    offsets = np.meshgrid(*(axis - shift for shift in rng.uniform(-0.5, 0.5, 3)), indexing="ij")
    turn = Rotation.random(rng=rng).as_matrix()
    outwards, across, along = (
        sum(a * b for a, b in zip(way, offsets, strict=True)) for way in turn
    )
    distance = np.sqrt(sum(offset**2 for offset in offsets))
    solid = (distance <= radius) & (distance > radius - wall)
    if seed % 2:
        solid &= (outwards < 0) | (across**2 + along**2 > (crack / 2) ** 2)
    else:
        squares = (((outwards - radius) ** 2 + along**2) / radius**2, (2 * across / crack) ** 2)
        solid &= sum(squares) > 1
    share = solid.reshape(size, samples, size, samples, size, samples).mean(axis=(1, 3, 5))
    grey = ndimage.gaussian_filter(share, blur) + rng.normal(0, noise, share.shape)
    return (0.044 * grey).astype(np.float32)


@pytest.mark.parametrize("crack", [2.5, 4, 6])
@pytest.mark.parametrize(("radius", "wall"), [(8, 2.5), (12, 3.5), (12, 5), (16, 3)])
def test_open_shell_is_one_particle(radius, wall, crack):
    """Straight between two places of a shell lies its hollow, which is no neck."""
    for seed in range(2):
        found = segment(open_shell(radius, wall, crack, seed=seed), 0.5, field_radius_um=100)
        assert found.particles.max() == 1
        assert not found.split.any()


def test_open_shell_is_cut_from_what_it_touches():
    shell = open_shell(12, 4, 4, seed=2)
    size = len(shell)
    for step in (-1, 1):
        middle = (size / 2 - 0.5, size / 2 - 0.5, size / 2 - 0.5 + step * 20.5)
        other = grey_volume((size, size, size + 60), [sphere((*middle[:2], middle[2] + 30), 9.0)])
        other[:, :, 30:-30] += shell
        found = segment(other, 0.5, field_radius_um=100)
        sizes = np.sort(np.bincount(found.particles.ravel())[1:])
        assert len(sizes) == 2
        assert found.split[1:].all()
        assert sizes[0] == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.1)
