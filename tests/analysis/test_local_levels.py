"""Backgrounds with a step in them, noise that is not white, and what intervals then hold."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import grey_volume, sphere
from scipy import ndimage

from zoneplate.analysis.local_levels import local_background
from zoneplate.analysis.particles import measure_particles
from zoneplate.analysis.segmentation import segment
from zoneplate.analysis.uncertainty import standard_uncertainty_with_bias

SHAPE = (44, 48, 46)


def test_particles_on_tape_have_their_volumes():
    places = ((11.2, 12.4, 3.5), (11.6, 33.1, 6.0), (32.3, 11.7, 6.0), (32.4, 33.2, 3.5))
    bodies = [sphere((y, 26.0 + radius, x), radius) for y, x, radius in places]
    volume = grey_volume(SHAPE, bodies, signal_to_noise=40)
    share = np.clip(volume / 0.044, 0, 1)
    tape = np.where(np.arange(SHAPE[1]) < 26, 0.003, 0.0)[None, :, None]
    volume = volume + tape * (1 - share)  # what is not particle is tape below and air above
    found = segment(volume, 1.0, field_radius_um=50, minimum_contrast_per_um=0.02)
    volumes = np.sort(measure_particles(found, 1.0)["volume_grey_um3"])
    expected = sorted(body.volume for body in bodies)
    assert volumes == pytest.approx(expected, rel=0.02)


def test_noise_of_blocks_is_read_from_the_volume():
    white = np.random.default_rng(0).normal(0, 0.1, (48, 50, 52)).astype(np.float32)
    everywhere = np.ones(white.shape, dtype=bool)
    independent = local_background(white, everywhere)
    sizes = np.array([8.0, 64.0])
    assert independent.noise == pytest.approx(0.1, rel=0.02)
    assert independent.factor(sizes) == pytest.approx(1, abs=0.1)
    together = local_background(ndimage.gaussian_filter(white, 0.8), everywhere)
    means = ndimage.uniform_filter(ndimage.gaussian_filter(white, 0.8), 4)[4:-4:4, 4:-4:4, 4:-4:4]
    expected = means.std() * 8 / together.noise
    assert expected > 2
    assert together.factor(sizes)[1] == pytest.approx(expected, rel=0.1)


def test_background_without_empty_voxels_is_the_common_one():
    share = np.ones((6, 7, 8), dtype=np.float32)
    found = local_background(share, np.zeros(share.shape, dtype=bool))
    assert not found.level.any()
    assert not found.layers.any()
    assert found.factor(np.array([1.0, 1e6])).tolist() == [1, 1]


@pytest.mark.parametrize("bias", [0.0, 0.5, 1.0, 3.0, 30.0])
def test_intervals_with_a_known_bias_hold_the_truth_in_95_percent(bias):
    random = np.random.default_rng(1)
    truth, se = 0.0, 1.0
    best = truth + se * random.standard_normal(20_000)
    biased = np.full(best.shape, truth + bias)
    found = standard_uncertainty_with_bias(biased - best, np.full(best.shape, se))
    held = np.abs(biased - truth) < 1.96 * found
    # The bias is not known but measured, with the same error: never less than 95 %.
    assert 0.94 < held.mean() <= 1.0
    known = standard_uncertainty_with_bias(np.full(best.shape, bias), np.full(best.shape, se))
    assert (np.abs(biased + best) < 1.96 * known).mean() == pytest.approx(0.95, abs=0.01)
