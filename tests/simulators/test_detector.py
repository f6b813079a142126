"""The camera counts as a camera does."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators import detector as detector_module
from zoneplate.simulators.detector import SimulatedDetector
from zoneplate.simulators.imperfections import Imperfections

CONFIGURATION = InstrumentConfiguration.load()
CAMERA = CONFIGURATION.camera
NONE = Imperfections.none()


def camera(imperfections=None, seed=1, **changes):
    return SimulatedDetector(
        CAMERA.model_copy(update=changes), CONFIGURATION.source, imperfections or NONE, seed
    )


def clear(binning=8):
    return np.ones(CAMERA.detector.shape(binning), dtype=np.float32)


def frames(device, count, binning=8, exposure_s=1.0, **keywords):
    return np.stack(
        [
            device.expose(
                clear(binning), exposure_s=exposure_s, binning=binning, frame_number=n, **keywords
            ).astype(float)
            for n in range(count)
        ]
    )


@pytest.mark.parametrize("binning", [1, 2, 4, 8])
def test_perfect_camera_counts_flux_times_area_times_exposure(binning):
    frame = camera().expose(clear(binning), exposure_s=0.5, binning=binning)
    photons = CONFIGURATION.source.flux_per_um2_s * (0.064 * binning) ** 2 * 0.5
    expected = CAMERA.offset_adu + CAMERA.gain_adu_per_photon * photons
    assert frame.dtype == np.uint16
    assert frame.shape == (1024 // binning, 1024 // binning)
    np.testing.assert_allclose(frame, expected, atol=0.5)


def test_default_camera_detects_about_1660_photons_per_open_bin_8_pixel():
    photons = camera(Imperfections()).open_beam_photons(1.0, 8)
    assert photons.mean() == pytest.approx(6348 * 0.512**2, rel=0.011)


@pytest.mark.parametrize("exposure_s", [0.05, 0.4, 2.0])
def test_variance_of_photon_noise_is_gain_times_signal(exposure_s):
    counts = frames(camera(replace(NONE, photon_noise=True)), 20, exposure_s=exposure_s)
    signal = counts.mean() - CAMERA.offset_adu
    # 328 000 samples know a variance to 0.25 %; rounding adds a twelfth.
    variance = counts.var() - 1 / 12
    assert variance / signal == pytest.approx(CAMERA.gain_adu_per_photon, rel=0.012)


@pytest.mark.parametrize("binning", [1, 2, 8])
def test_read_noise_is_paid_once_at_any_binning(binning):
    device = camera(replace(NONE, read_noise=True))
    counts = frames(device, 2, binning=binning, shutter_open=False)
    assert counts.std() == pytest.approx(CAMERA.read_noise_adu, rel=0.02)
    assert counts.mean() == pytest.approx(CAMERA.offset_adu, abs=0.2)


def test_dark_current_grows_with_exposure_and_binned_area():
    device = camera(replace(NONE, dark_current=True))
    shape = {8: clear(8), 1: clear(1)}
    for binning, exposure_s, expected in ((8, 10.0, 64 * 0.05 * 10), (1, 100.0, 5.0)):
        frame = device.expose(
            shape[binning], exposure_s=exposure_s, binning=binning, shutter_open=False
        )
        assert frame.mean() == pytest.approx(CAMERA.offset_adu + expected, abs=0.5)


def test_closed_shutter_hides_the_sample():
    device = camera(Imperfections())
    keywords = {"exposure_s": 1.0, "binning": 8, "shutter_open": False, "frame_number": 4}
    open_beam = device.expose(clear(), **keywords)
    np.testing.assert_array_equal(open_beam, device.expose(0.2 * clear(), **keywords))


def test_bright_pixels_saturate_at_the_full_well():
    device = camera(Imperfections())
    frame = device.expose(clear(), exposure_s=30.0, binning=8)
    assert (frame == 65535).mean() > 0.99
    small = camera(Imperfections(), full_well_adu=4000.0).expose(clear(), exposure_s=1.0, binning=8)
    assert small.max() == 4000
    # Nothing wraps around below zero either.
    dark = camera(Imperfections(), offset_adu=0.0)
    assert dark.expose(clear(), exposure_s=0.0, binning=8, shutter_open=False).max() < 60


def test_same_seed_and_frame_give_the_same_counts():
    transmission = np.linspace(0.1, 1.0, 128 * 128, dtype=np.float32).reshape(128, 128)
    keywords = {"exposure_s": 1.0, "binning": 8, "time_s": 77.0}
    first = camera(Imperfections(), seed=3).expose(transmission, frame_number=5, **keywords)
    device = camera(Imperfections(), seed=3)
    other_frame = device.expose(transmission, frame_number=6, **keywords)
    again = device.expose(transmission, frame_number=5, **keywords)
    np.testing.assert_array_equal(first, again)
    assert (first != other_frame).mean() > 0.9
    other_seed = camera(Imperfections(), seed=4).expose(transmission, frame_number=5, **keywords)
    assert (first != other_seed).mean() > 0.9


def test_threads_do_not_change_the_frame(monkeypatch):
    device = camera(Imperfections())
    many = device.expose(clear(2), exposure_s=1.0, binning=2)
    monkeypatch.setattr(detector_module, "thread_count", lambda: 1)
    np.testing.assert_array_equal(many, device.expose(clear(2), exposure_s=1.0, binning=2))


def test_bands_of_rows_have_independent_noise():
    counts = frames(camera(replace(NONE, photon_noise=True)), 1, binning=2)[0]
    assert abs(np.corrcoef(counts[:128].ravel(), counts[128:256].ravel())[0, 1]) < 0.02


def test_illumination_is_a_hollow_cone_of_mean_one():
    device = camera(replace(NONE, flat_structure=True))
    photons = device.open_beam_photons(1.0, 8)
    assert photons.mean() == pytest.approx(CONFIGURATION.source.flux_per_um2_s * 0.512**2, rel=1e-3)
    centre, side, corner = photons[64, 64], photons[64, 0], photons[0, 0]
    assert centre / side == pytest.approx(1.15, abs=0.003)
    assert corner < side


def test_flat_drifts_slowly_and_by_the_seed():
    device = camera(replace(NONE, flat_structure=True, flat_drift=True))
    flats = np.stack(
        [device.open_beam_photons(1.0, 8, time_s) for time_s in np.arange(0, 7200, 60.0)]
    )
    change = np.abs(flats[5:] / flats[:-5] - 1)  # over five minutes
    assert change.max() <= 0.0105
    assert change.max() > 0.004
    # Not only brightness: the pattern itself moves, so one scale factor cannot correct it.
    shape = flats / flats.mean(axis=(1, 2), keepdims=True)
    assert np.ptp(shape, axis=0).max() > 0.005
    again = camera(replace(NONE, flat_structure=True, flat_drift=True))
    np.testing.assert_array_equal(again.open_beam_photons(1.0, 8, 600.0), flats[10])
    other = camera(replace(NONE, flat_structure=True, flat_drift=True), seed=9)
    assert (other.open_beam_photons(1.0, 8, 600.0) != flats[10]).any()


def test_fixed_pattern_has_columns_and_divides_out():
    device = camera(replace(NONE, fixed_pattern=True))
    frame = device.expose(clear(1), exposure_s=10.0, binning=1).astype(float) - CAMERA.offset_adu
    relative = frame / frame.mean()
    assert relative.std() == pytest.approx(np.hypot(0.01, 0.003), rel=0.05)
    assert relative.mean(axis=0).std() == pytest.approx(0.003, rel=0.15)  # columns: rings
    assert relative.mean(axis=1).std() < 0.0005
    half = device.expose(0.5 * clear(1), exposure_s=10.0, binning=1) - CAMERA.offset_adu
    np.testing.assert_allclose(half / frame, 0.5, atol=5e-4)


def test_hot_and_dead_pixels_stay_where_they_are():
    device = camera(replace(NONE, hot_pixels=True, dark_current=True))
    dark = device.expose(clear(1), exposure_s=1.0, binning=1, shutter_open=False)
    light = device.expose(clear(1), exposure_s=1.0, binning=1)
    hot = dark > CAMERA.offset_adu + 20
    dead = light <= CAMERA.offset_adu + 1
    assert 45 <= hot.sum() <= 53
    assert 45 <= dead.sum() <= 53
    later = device.expose(clear(1), exposure_s=1.0, binning=1, shutter_open=False, frame_number=9)
    np.testing.assert_array_equal(hot, later > CAMERA.offset_adu + 20)
    # The same pixels seen through binning.
    binned = device.expose(clear(8), exposure_s=1.0, binning=8, shutter_open=False)
    blocks = hot.reshape(128, 8, 128, 8).any(axis=(1, 3))
    np.testing.assert_array_equal(binned > CAMERA.offset_adu + 20, blocks)


@pytest.mark.parametrize(
    ("image", "keywords", "message"),
    [
        (clear(4), {"binning": 8, "exposure_s": 1.0}, "does not fit"),
        (clear(8), {"binning": 8, "exposure_s": -1.0}, "exposure"),
        (clear(8), {"binning": 3, "exposure_s": 1.0}, "binning 3"),
    ],
)
def test_impossible_exposure_is_refused(image, keywords, message):
    with pytest.raises(ConfigurationError, match=message):
        camera().expose(image, **keywords)


def test_frames_cost_little():
    device = camera(Imperfections())
    for binning, limit_s in ((8, 0.01), (1, 0.4)):  # take 0.8 and 90 ms of CPU
        costs = []
        for number in range(4):
            start = time.process_time()
            device.expose(clear(binning), exposure_s=1.0, binning=binning, frame_number=number)
            costs.append(time.process_time() - start)
        assert min(costs) < limit_s
