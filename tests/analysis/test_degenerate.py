"""Volumes that no scan should give: a flagged or empty table, or one clear error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from phantoms import coverage as covered
from phantoms import sphere

from zoneplate.analysis.particles import measure_particles, measure_voids
from zoneplate.analysis.radii import measure_radii
from zoneplate.analysis.segmentation import SegmentationError, segment

SIZES = st.tuples(*[st.integers(1, 14)] * 3)
QUIET = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def tables_of(volume: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = segment(volume, 0.5)
    particles, voids = measure_particles(found, 0.5), measure_voids(found, 0.5)
    measure_radii(found, 0.5, mode="subvoxel")
    check(particles)
    check(voids)
    assert set(voids["particle_id"]) <= set(particles["particle_id"])
    return particles, voids


def check(table: pd.DataFrame) -> None:
    """Sizes are positive, uncertainties not negative; nothing is infinite."""
    numbers = table.select_dtypes("number").to_numpy(float)
    assert not np.isinf(numbers).any()
    for name in table.columns:
        values = table[name].to_numpy()
        if name.endswith("_se"):
            assert not (values < 0).any(), name
        elif name in ("volume_um3", "surface_area_um2", "equivalent_diameter_um"):
            assert (values > 0).all(), name
        elif name.endswith(("_grey_um3", "area_grey_um2", "sphericity_grey")):
            assert not (values < 0).any(), name


@QUIET
@given(SIZES, st.sampled_from([0.0, 1.0, -3.0, 0.044]))
def test_constant_volumes_hold_nothing(shape, level):
    particles, voids = tables_of(np.full(shape, level))
    assert particles.empty
    assert voids.empty


@QUIET
@given(SIZES, st.integers(0, 1000), st.floats(1e-6, 10))
@example((1, 1, 4), 0, 1.0)
def test_noise_alone_does_not_fail(shape, seed, scale):
    tables_of(np.random.default_rng(seed).normal(0, scale, shape))


def test_noise_alone_holds_no_particle():
    for seed in range(3):
        particles, _ = tables_of(np.random.default_rng(seed).normal(0, 0.005, (40, 40, 40)))
        assert particles.empty


@QUIET
@given(SIZES, st.data())
def test_one_voxel_is_no_particle(shape, data):
    volume = np.zeros(shape)
    volume[tuple(data.draw(st.integers(0, size - 1)) for size in shape)] = 1.0
    particles, _ = tables_of(volume)
    assert particles.empty


@QUIET
@given(st.integers(0, 2), st.integers(1, 3), st.integers(0, 20))
def test_flat_plates_are_measured_or_left_out(axis, thickness, seed):
    volume = np.random.default_rng(seed).normal(0, 0.05, (16, 18, 20))
    place = [slice(4, 12)] * 3
    place[axis] = slice(6, 6 + thickness)
    volume[tuple(place)] += 1.0
    tables_of(volume)


@QUIET
@given(st.tuples(*[st.sampled_from([0.0, 12.0, 23.0])] * 3), st.floats(2.0, 9.0))
def test_what_lies_at_the_border_is_flagged(center, radius):
    volume = covered((24, 24, 24), sphere(center, radius))
    particles, _ = tables_of(volume)
    if any(place != 12.0 for place in center):
        assert particles["touches_border"].all()


@QUIET
@given(st.integers(0, 100))
def test_what_fills_the_field_is_flagged(seed):
    volume = 1.0 + np.random.default_rng(seed).normal(0, 0.05, (12, 12, 12))
    volume[5:7, 5:7, 5:7] = 0.0
    particles, _ = tables_of(volume)
    assert particles["touches_border"].all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_in_one_sentence(value):
    volume = np.zeros((8, 9, 10))
    volume[4, 4, 5] = value
    with pytest.raises(SegmentationError, match="1 voxels inside the field are not finite"):
        segment(volume, 0.5)


@QUIET
@given(SIZES, st.integers(0, 1000))
@example((1, 1, 1), 0)
def test_random_labels_are_measured(shape, seed):
    labels = np.random.default_rng(seed).integers(0, 4, shape)
    table = measure_particles(labels, 0.5)
    check(table)
    assert table["voxels"].sum() == np.count_nonzero(labels)
