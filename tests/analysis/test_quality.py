from __future__ import annotations

import json

import numpy as np
import pytest
from phantoms import grey_volume, powder, sphere

from zoneplate.analysis.quality import signal_to_noise, transmission_statistics
from zoneplate.analysis.segmentation import segment

SHAPE = (40, 48, 56)


@pytest.mark.parametrize("true", [6.0, 10.0, 25.0])
def test_signal_to_noise_is_what_was_put_in(true):
    solids, holes = powder(3, count=12, radii=(7, 10), void_radius=2.5)
    volume = grey_volume((96, 80, 96), solids, holes, signal_to_noise=true, background_per_um=0.004)
    found = signal_to_noise(volume, segment(volume, 0.512))
    assert found["snr"] == pytest.approx(true, rel=0.05)
    assert found["snr_pooled"] == pytest.approx(true, rel=0.05)
    contrast = true * (0.044 - 0.004) / 0.044
    assert found["contrast_over_background_noise"] == pytest.approx(contrast, rel=0.05)
    assert found["contrast_to_noise"] == pytest.approx(contrast, rel=0.05)
    assert found["background_mean"] == pytest.approx(0.004, abs=2e-4)
    assert found["solid_mean"] == pytest.approx(0.044, rel=0.02)
    assert 8 <= found["particles"] <= len(solids)
    json.dumps(found, allow_nan=False)


def test_levels_that_differ_between_particles_are_no_noise_within_them():
    bodies = [sphere((20, 24, 16), 8.0), sphere((20, 24, 40), 8.0)]
    volume = grey_volume(SHAPE, bodies, signal_to_noise=20)
    volume[:, :, 28:] *= 1.3
    found = signal_to_noise(volume, segment(volume, 0.512, field_radius_um=50))
    assert found["snr"] > 17
    assert found["snr_pooled"] < 0.7 * found["snr"]


def test_nothing_to_measure_gives_none():
    noise = np.random.default_rng(0).normal(0, 1, SHAPE)
    found = signal_to_noise(noise, segment(noise, 1.0))
    assert found["snr"] is None
    assert found["particles"] == 0
    assert found["background_noise"] == pytest.approx(1, abs=0.02)


def test_noise_free_volume_has_no_ratio():
    volume = grey_volume(SHAPE, [sphere((20, 24, 28), 10.0)], blur=0)
    found = signal_to_noise(volume, segment(volume, 1.0))
    assert found["snr"] is None
    assert found["solid_mean"] == pytest.approx(0.044)


def test_volume_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        signal_to_noise(np.zeros((3, 4, 5)), segment(np.zeros(SHAPE), 1.0))


def radiograph(absorbance: float, tape: float, shape=(60, 80)) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices(shape)
    disc = (rows - 30) ** 2 + (columns - 30) ** 2 < 15**2
    noise = np.random.default_rng(0).normal(1, 0.01, shape)
    return np.exp(-tape - absorbance * disc) * noise, disc


@pytest.mark.parametrize("tape", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("absorbance", [0.3, 1.0, 2.5])
def test_footprint_is_where_the_particles_are_whatever_the_tape(absorbance, tape):
    image, disc = radiograph(absorbance, tape)
    found = transmission_statistics(image[None])
    assert found["mean"] == pytest.approx(image.mean())
    assert found["footprint"] == pytest.approx(image[disc].mean(), rel=0.03)
    assert found["minimum"] == pytest.approx(np.exp(-tape - absorbance), rel=0.03)


def test_every_angle_is_told_apart():
    stack = np.stack([radiograph(0.5, 0.1)[0], radiograph(2.0, 0.1)[0], np.full((60, 80), 0.9)])
    per_angle = transmission_statistics(stack)["per_angle"]
    assert per_angle["minimum"] == pytest.approx(np.exp([-0.6, -2.1, np.log(0.9)]), rel=0.03)
    assert per_angle["footprint"][2] is None
    assert [len(values) for values in per_angle.values()] == [3, 3, 3]
    json.dumps(per_angle, allow_nan=False)


def test_dead_pixel_is_not_the_minimum():
    image, _ = radiograph(0.5, 0.0)
    image[5, 70] = 0.0
    assert transmission_statistics(image)["minimum"] > 0.5


def test_empty_field_has_no_footprint():
    found = transmission_statistics(np.random.default_rng(1).normal(0.95, 0.01, (3, 40, 50)))
    assert found["footprint"] is None
    assert found["mean"] == pytest.approx(0.95, abs=0.001)


@pytest.mark.parametrize("bad", [np.zeros(4), np.zeros((2, 0, 3)), np.full((2, 3, 4), np.nan)])
def test_bad_stacks_are_refused(bad):
    with pytest.raises(ValueError, match=r"stack of projections|finite"):
        transmission_statistics(bad)
