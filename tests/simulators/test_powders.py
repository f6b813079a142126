"""Generated powders have the truth of the study."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.spatial import cKDTree

from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators.powders import nmc622, nmc811
from zoneplate.simulators.random_shapes import lognormal_diameters
from zoneplate.simulators.settling import VOID_WALL_UM, Powder, settle


@pytest.fixture(scope="module")
def large():
    return nmc622(11, width_um=1600, height_um=1024)  # 12000 particles


@pytest.fixture(scope="module")
def map_sized():
    return nmc622(0)


def within(values, expected, standard_errors=3.0):
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) < standard_errors * error
    return error / expected


def test_nmc622_has_the_truth_of_table_1(large):
    particles, voids = large.truth_particles(), large.truth_voids()
    assert len(particles) == 12000
    # Volumes of a log-normal powder scatter by twice their mean, so 12000 particles know it to
    # 2 %; tolerances are three standard errors around the study's numbers.
    assert within(particles["volume_um3"], 238) < 0.025
    assert within(particles["equivalent_diameter_um"], 6.4) < 0.005
    assert within(voids["volume_um3"], 9.0) < 0.015
    assert within(voids["equivalent_diameter_um"], 2.4) < 0.005
    assert (particles["void_count"] > 0).mean() == pytest.approx(0.55, abs=1e-3)
    # The study's dead volume, mean void over mean particle, 3.8 %; its error is the volumes'.
    mean_ratio = voids["volume_um3"].mean() / particles["volume_um3"].mean()
    assert mean_ratio == pytest.approx(0.038, rel=0.07)
    # Of the whole powder, sum over sum, it is 0.55 of that.
    assert voids["volume_um3"].sum() / particles["volume_um3"].sum() == pytest.approx(
        0.55 * mean_ratio
    )
    assert particles["sphericity"].min() > 0.998


def test_sizes_are_log_normal(large):
    logarithm = np.log(large.truth_particles()["equivalent_diameter_um"])
    count = len(logarithm)
    assert logarithm.median() == pytest.approx(np.log(5.84), abs=4 * 1.2533 * 0.428 / count**0.5)
    assert logarithm.std() == pytest.approx(0.428, abs=4 * 0.428 / (2 * count) ** 0.5)


def test_voids_keep_a_wall(large):
    voids = large.truth_voids()
    wall = voids["depth_um"] - large.void_geometry.semi_axes.max(axis=1)
    assert wall.min() > VOID_WALL_UM - 1e-9
    # Off centre as well: not all voids sit in the middle.
    offset = large.void_geometry.center - large.particle_geometry.center[large.void_parent]
    assert np.linalg.norm(offset, axis=1).max() > 2
    assert np.abs(offset.mean(axis=0)).max() < 0.05


def test_void_frequency_rises_with_size_only_where_it_must(large):
    particles = large.truth_particles()
    has_void = particles["void_count"] > 0
    diameter = particles["equivalent_diameter_um"]
    assert not has_void[diameter < 3.0].any()  # no room for a void and two walls
    middle, big = has_void[diameter.between(6, 8)].mean(), has_void[diameter > 10].mean()
    assert middle == pytest.approx(big, abs=0.06)


def test_every_particle_rests_on_the_tape(map_sized):
    geometry = map_sized.particle_geometry
    bottom = geometry.center[:, 2] - geometry.half_extent[:, 2]
    np.testing.assert_allclose(bottom, 0.0, atol=1e-9)


def test_no_particles_interpenetrate(map_sized):
    """Independent of the generator's contact test: surface points of one inside the other."""
    geometry = map_sized.particle_geometry
    reach = 2 * geometry.bounding_radius.max()
    pairs = cKDTree(geometry.center).query_pairs(reach, output_type="ndarray")
    distance = np.linalg.norm(geometry.center[pairs[:, 0]] - geometry.center[pairs[:, 1]], axis=1)
    pairs = pairs[distance < geometry.bounding_radius[pairs].sum(axis=1) + 0.01]
    assert len(pairs) > 10  # neighbours do come close
    unit = np.random.default_rng(0).standard_normal((3, 3000))
    unit /= np.linalg.norm(unit, axis=0)
    for i, j in np.concatenate([pairs, pairs[:, ::-1]]):
        surface = geometry.center[i] + (geometry.generator[i] @ unit).T
        body = (surface - geometry.center[j]) @ geometry.rotation[j] / geometry.semi_axes[j]
        assert np.linalg.norm(body, axis=1).min() > 1 - 1e-6, (i, j)


def test_default_specimen_covers_the_map(map_sized):
    x, y = map_sized.particle_geometry.center[:, :2].T
    assert (x.min() < -256, x.max() > 256, y.min() < -160, y.max() > 160) == (True,) * 4
    per_field = 64**2 * len(x) / (np.ptp(x) * np.ptp(y))
    assert per_field == pytest.approx(30, rel=0.02)
    counts, _, _ = np.histogram2d(x, y, bins=(8, 5), range=((-256, 256), (-160, 160)))
    assert counts.min() > 12
    assert map_sized.support.width_um / 2 > x.max()


def test_default_specimen_is_made_in_under_two_seconds(map_sized):
    start = time.process_time()
    nmc622(1)
    assert time.process_time() - start < 2  # takes 0.03 s once compiled


def test_seed_decides_everything(map_sized):
    assert nmc622(0) == map_sized
    assert nmc622(1) != map_sized
    assert (map_sized.name, map_sized.seed) == ("nmc622", 0)


def test_nmc811_is_dense_near_spherical_and_5_to_30_um():
    specimen = nmc811(0)
    table = specimen.truth_particles()
    diameter = table["equivalent_diameter_um"]
    assert len(specimen.voids) == 0
    assert diameter.between(5, 30).all()
    assert 9 < diameter.median() < 12
    assert table["sphericity"].min() > 0.998
    assert specimen.particles[0].material.startswith("LiNi0.8Mn0.1Co0.1O2@")


def test_all_particles_can_have_voids():
    specimen = nmc622(0, width_um=256, height_um=256, void_fraction=1.0)
    assert (specimen.truth_particles()["void_count"] == 1).all()
    assert len(nmc622(0, width_um=64, height_um=64, void_fraction=0.0).voids) == 0


def test_empty_tape_is_a_powder_too():
    assert nmc622(0, per_field=0).particles == ()


def test_overfull_tape_is_refused():
    with pytest.raises(ConfigurationError, match=r"only \d+ of 400 particles find a place"):
        nmc622(0, width_um=64, height_um=64, per_field=400)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width_um": 0.0}, "must be above 0"),
        ({"height_um": float("nan")}, "must be above 0"),
        ({"void_fraction": 1.5}, "void fraction"),
        ({"per_field": -1.0}, "above 0"),
    ],
)
def test_impossible_powder_is_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        nmc622(0, **changes)


def test_powder_with_its_median_out_of_range_is_refused():
    with pytest.raises(ConfigurationError, match="median"):
        settle(
            Powder("odd", "Fe@7.8", 50.0, 0.4, 5.0, 30.0, per_field=3.0),
            0,
            width_um=64.0,
            height_um=64.0,
        )


def test_stratified_sizes_follow_the_distribution_more_closely():
    def mean_volume(seed: int, stratified: bool) -> float:
        random = np.random.default_rng(seed)
        drawn = lognormal_diameters(
            5.84, 0.428, 1000, random, between_um=(1.0, 40.0), stratified=stratified
        )
        assert 1 <= drawn.min() < drawn.max() <= 40
        return float(np.mean(drawn**3))

    endless = 5.84**3 * np.exp(4.5 * 0.428**2)
    apart = [
        np.array([mean_volume(seed, kind) / endless - 1 for seed in range(30)])
        for kind in (False, True)
    ]
    assert np.abs(apart[1]).mean() < 0.02
    assert 3 * apart[1].std() < apart[0].std()
