"""Compiled morphology does what scipy does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from zoneplate.analysis.grey_kernels import fill_voids
from zoneplate.analysis.morphology import dilate_by_ball


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    radius=st.floats(0.3, 6.0),
    share=st.sampled_from([0.0, 0.01, 0.2, 1.0]),
    seed=st.integers(0, 9),
)
def test_ball_reaches_as_far_as_the_distance_map_says(shape, radius, share, seed):
    mask = np.random.default_rng(seed).random(shape) < share
    far = np.full(shape, np.inf) if not mask.any() else ndimage.distance_transform_edt(~mask)
    assert np.array_equal(dilate_by_ball(mask, radius), far <= radius)


@pytest.mark.parametrize("reach", [1, 2])
def test_voids_are_filled_inside_their_particles_only(reach):
    random = np.random.default_rng(3)
    particles = np.zeros((20, 22, 24), dtype=np.int32)
    particles[4:16, 5:18, :14] = 1
    particles[4:16, 5:18, 14:20] = 2
    voids = np.where(random.random(particles.shape) < 0.01, particles, 0).astype(np.int32)
    share = random.random(particles.shape).astype(np.float32)
    inside = ndimage.binary_erosion(particles > 0, np.ones((3, 3, 3)), border_value=1)
    cube = np.ones((2 * reach + 1,) * 3)
    expected = np.where(ndimage.binary_dilation(voids > 0, cube) & inside, np.float32(1), share)
    fill_voids(share, particles, voids, reach)
    assert np.array_equal(share, expected)
