"""Blur and displacement of the image are those of the zone plate and of the stage."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.errors import ConfigurationError
from zoneplate.devices.optics import ZonePlate
from zoneplate.simulators.imaging import ImagingModel, transfer_function
from zoneplate.simulators.imperfections import Imperfections
from zoneplate.simulators.powders import nmc622
from zoneplate.simulators.specimen import Particle, Specimen, Support

CONFIGURATION = InstrumentConfiguration.load()
PLATE = ZonePlate(123.0, 148.0)
PERFECT = Imperfections.none()
BLURRED = replace(PERFECT, blur=True)


@pytest.fixture(scope="module")
def powder():
    return nmc622(1, width_um=160, height_um=160)


def pupil_transfer(defocus_um, energy_kev=5.4, samples=512):
    """The textbook way: autocorrelation of a defocused pupil through Fourier transforms."""
    x = (np.arange(samples) - samples // 2) / (samples / 4) * 1.0  # pupil radius is samples/4
    radius2 = x[:, None] ** 2 + x[None, :] ** 2
    phase = math.pi * defocus_um / PLATE.depth_of_focus_um(energy_kev) * radius2
    pupil = np.where(radius2 <= 1, np.exp(1j * phase), 0)
    psf = np.abs(np.fft.fft2(pupil)) ** 2
    otf = np.fft.ifft2(psf)
    line = np.real(otf[0] / otf[0, 0])[: samples // 2]
    return np.arange(samples // 2) / (samples / 4) / 2, line  # fraction of the cut-off


@pytest.mark.parametrize("defocus_um", [0.0, 100.0, 264.0, 1000.0])
def test_transfer_function_agrees_with_the_autocorrelated_pupil(defocus_um):
    fraction, expected = pupil_transfer(defocus_um)
    cutoff = 1 / 0.123
    found = transfer_function(fraction * cutoff, PLATE, 5.4, defocus_um)
    assert np.abs(found - expected).max() < 0.01
    assert found[0] == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_array_equal(
        found, transfer_function(fraction * cutoff, PLATE, 5.4, -defocus_um)
    )


def test_transfer_function_in_focus_is_the_closed_form():
    x = np.linspace(0, 1.2, 200)
    closed = np.where(
        x < 1, 2 / np.pi * (np.arccos(np.minimum(x, 1)) - x * np.sqrt(np.clip(1 - x**2, 0, 1))), 0
    )
    assert np.abs(transfer_function(x / 0.123, PLATE, 5.4) - closed).max() < 2e-5


def edge_width(image, pixel):
    """10-90 % width of a profile that rises from left to right."""
    profile = (image - image[0]) / (image[-1] - image[0])
    columns = np.arange(len(profile)) * pixel
    return np.interp(0.9, profile, columns) - np.interp(0.1, profile, columns)


def test_edge_is_as_wide_as_the_resolution_and_wider_out_of_focus():
    # The end of the tape, seen from the front, is a straight edge.
    specimen = Specimen(support=Support(width_um=60.0, thickness_um=100.0))
    model = ImagingModel(specimen, CONFIGURATION, BLURRED)

    def width(defocus_um):
        image = model.transmission(
            (30.0, 0, 0), 0.0, binning=1, defocus_um=defocus_um, oversample=2
        )
        return edge_width(image[500, 400:624].astype(float), 0.064)

    focused = width(0.0)
    # The 10-90 % edge of an Airy pattern, its tails and the camera blur included.
    assert 1.0 < focused / PLATE.resolution_um < 1.5
    assert width(60.0) == pytest.approx(focused, rel=0.1)  # within the depth of focus
    # Far out of focus the blur is geometric: a disc of radius NA times distance.
    radius = PLATE.numerical_aperture(5.4) * 3000.0
    disc_10_90 = 2 * 0.6871 * radius  # of the integrated chord of a disc
    assert width(3000.0) == pytest.approx(disc_10_90, rel=0.1)


def test_stage_out_of_focus_blurs(powder):
    model = ImagingModel(powder, CONFIGURATION, BLURRED)
    sharp = model.transmission((0, 0, 4), 0.0, binning=2)
    soft = model.transmission((0, 0, 1000), 0.0, binning=2)
    assert np.square(np.diff(soft)).mean() < 0.6 * np.square(np.diff(sharp)).mean()
    assert soft.mean() == pytest.approx(sharp.mean(), rel=2e-3)


def test_blur_neither_makes_nor_loses_light(powder):
    sharp = ImagingModel(powder, CONFIGURATION, PERFECT).transmission((0, 0, 4), 20.0, binning=8)
    blurred = ImagingModel(powder, CONFIGURATION, BLURRED).transmission((0, 0, 4), 20.0, binning=8)
    assert blurred.mean() == pytest.approx(sharp.mean(), rel=2e-4)
    assert 0.001 < np.abs(blurred - sharp).max() < 0.05  # at binning 8 the pixel dominates
    assert blurred.dtype == np.float32
    assert blurred.shape == (128, 128)


def test_blur_does_not_wrap_around_the_field():
    right = Particle("a", (33.5, 0, 0), (3.0, 3.0, 3.0))
    model = ImagingModel(Specimen((right,), Support.none()), CONFIGURATION, BLURRED)
    image = model.transmission((0, 0, 0), 0.0, binning=8, defocus_um=600.0)
    assert image[64, -1] < 0.95
    np.testing.assert_allclose(image[:, :64], 1.0, atol=1e-3)


def test_displacement_moves_the_image_right_and_up(powder):
    model = ImagingModel(powder, CONFIGURATION, BLURRED)
    still = model.transmission((0, 0, 4), 25.0, binning=8)
    moved = model.transmission((0, 0, 4), 25.0, binning=8, displacement_um=(2 * 0.512, 3 * 0.512))
    np.testing.assert_allclose(moved[:-3, 2:], still[3:, :-2], atol=1e-3)


def test_stage_moves_the_sample_the_other_way(powder):
    model = ImagingModel(powder, CONFIGURATION, PERFECT)
    still = model.transmission((0, 0, 4), 0.0, binning=8)
    moved = model.transmission((5 * 0.512, -2 * 0.512, 4), 0.0, binning=8)
    # The point at the centre is further right and lower in the sample.
    np.testing.assert_allclose(moved[:-2, :-5], still[2:, 5:], atol=2e-4)


def test_rotation_axis_is_seen_at_its_offset():
    on_axis = Particle("a", (0, 0, 0), (2.0, 2.0, 2.0))
    offset = replace(PERFECT, axis_offset_um=0.7)
    model = ImagingModel(Specimen((on_axis,), Support.none()), CONFIGURATION, offset)
    for theta in (0.0, 90.0, -45.0):
        dark = 1 - model.transmission((0, 0, 0), theta, binning=8)
        column = (dark * np.arange(128)).sum() / dark.sum()
        assert (column - 63.5) * 0.512 == pytest.approx(0.7, abs=2e-3)


def test_binning_only_averages(powder):
    model = ImagingModel(powder, CONFIGURATION, BLURRED)
    fine = model.transmission((0, 0, 4), 40.0, binning=1)
    coarse = model.transmission((0, 0, 4), 40.0, binning=8)
    averaged = fine.reshape(128, 8, 128, 8).mean(axis=(1, 3))
    assert np.abs(averaged - coarse).max() < 6e-3
    assert np.abs(averaged - coarse).mean() < 2e-4


@pytest.mark.parametrize("binning", [4, 8])
def test_rows_that_are_not_transformed_back_are_averaged_all_the_same(powder, binning):
    model = ImagingModel(powder, CONFIGURATION, BLURRED)
    rays = model.transmission((0, 0, 4), 40.0, binning=2)  # one for each of its pixels
    side = binning // 2
    averaged = rays.reshape(512 // side, side, 512 // side, side).mean(axis=(1, 3))
    coarse = model.transmission((0, 0, 4), 40.0, binning=binning)
    np.testing.assert_allclose(coarse, averaged, atol=2e-6)


def test_impossible_binning_is_refused(powder):
    with pytest.raises(ConfigurationError, match="binning 3"):
        ImagingModel(powder, CONFIGURATION).transmission((0, 0, 4), 0.0, binning=3)


def test_view_of_the_whole_map_is_fast():
    model = ImagingModel(nmc622(0), CONFIGURATION)
    for theta in (0.0, 80.0, 90.0):
        costs = []
        for _ in range(4):
            start = time.process_time()
            model.transmission((0, 0, 4), theta, binning=8)
            costs.append(time.process_time() - start)
        assert min(costs) < 0.04  # CPU time: 6 ms over all threads


def test_run_out_is_periodic_and_bounded():
    imperfect = Imperfections(drift_um_per_hour=0.0)
    places = np.array([imperfect.displacement(theta, 0.0) for theta in np.linspace(-180, 180, 361)])
    assert 0.015 < np.abs(places).max() <= 0.025
    np.testing.assert_allclose(places[0], places[-1], atol=1e-12)
    # Not merely a sample in another place: no first harmonic.
    theta = np.radians(np.linspace(-180, 179, 360))
    assert np.abs(np.exp(1j * theta) @ places[:-1]).max() / 360 < 1e-6


def test_drift_starts_at_its_rate_and_settles():
    imperfect = Imperfections(runout_um=0.0, drift_um_per_hour=0.2, drift_settling_hours=2.0)
    assert imperfect.displacement(0.0, 0.0) == (0.0, 0.0)
    minute = math.hypot(*imperfect.displacement(0.0, 60.0))
    assert minute == pytest.approx(0.2 / 60, rel=0.01)
    assert math.hypot(*imperfect.displacement(0.0, 1e6)) == pytest.approx(0.4, rel=1e-3)


def test_displacement_depends_on_the_seed_only():
    one = Imperfections(seed=1)
    assert one.displacement(30.0, 500.0) == Imperfections(seed=1).displacement(30.0, 500.0)
    assert one.displacement(30.0, 500.0) != Imperfections(seed=2).displacement(30.0, 500.0)


@pytest.mark.parametrize(
    ("name", "value"), [("runout_um", -0.1), ("pixel_gain_rms", math.nan), ("flat_drift_s", 0.0)]
)
def test_impossible_imperfection_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=name):
        Imperfections(**{name: value})
