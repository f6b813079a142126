"""The numbers of the study and the laws behind them hold in the simulated microscope.

Study: Heenan et al. 2020 (doi:10.1002/advs.202000362).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from zoneplate.analysis.reconstruction import StreamingReconstruction
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.optics import projections_needed
from zoneplate.plans import TileGrid, estimate, mosaic, tomography
from zoneplate.simulators.detector import SimulatedDetector
from zoneplate.simulators.imaging import ImagingModel
from zoneplate.simulators.imperfections import Imperfections
from zoneplate.simulators.materials import NMC811, attenuation_per_um
from zoneplate.simulators.specimen import Particle, Specimen, Support

CONFIGURATION = InstrumentConfiguration.load()
CAMERA = CONFIGURATION.camera
PLATE = CONFIGURATION.optics.zone_plate
ENERGY_KEV = CONFIGURATION.source.energy_kev
MU = attenuation_per_um(NMC811, ENERGY_KEV)
PERFECT = Imperfections.none()
NOISY = replace(PERFECT, photon_noise=True, read_noise=True)

ROD_RADIUS_UM = 6.0
ROWS = 96

INTERPOLATION = math.sqrt(2 / 3 - 2 / math.pi**2)
"""What linear interpolation leaves of the noise. Neighbours of a ramp-filtered line are
correlated by -6/pi^2, so a mean of two with weights f and 1 - f, averaged over all f, has
2/3 + 1/3 * (-6/pi^2) of the variance."""


def test_forty_two_micrometres_of_nmc811_pass_14_percent_of_the_photons():
    ball = Particle("ball", (0.0, 0.0, 0.0), (21.0, 21.0, 21.0), material=NMC811)
    image = ImagingModel(Specimen((ball,), Support.none()), CONFIGURATION, PERFECT)
    detector = SimulatedDetector(CAMERA, CONFIGURATION.source, PERFECT)
    seen = image.transmission((0.0, 0.0, 0.0), 35.0, binning=8)
    frames = [
        detector.expose(light, exposure_s=1.0, binning=8).astype(float) - CAMERA.offset_adu
        for light in (seen, np.ones_like(seen))
    ]
    middle = np.s_[63:65, 63:65]
    assert frames[0][middle].mean() / frames[1][middle].mean() == pytest.approx(0.14, rel=0.10)


def signal_to_noise(
    *, exposure_s: float = 1.0, binning: int = 8, views: int = 141
) -> tuple[float, float]:
    """SNR on the axis of a rod along y, and what the law says.

    The rod is the same in every slice, so what differs between slices is noise and nothing else.
    """
    rod = Particle("rod", (0, 0, 0), (ROD_RADIUS_UM, 4000.0, ROD_RADIUS_UM), material=NMC811)
    model = ImagingModel(Specimen((rod,), Support.none()), CONFIGURATION, PERFECT)
    detector = SimulatedDetector(CAMERA, CONFIGURATION.source, NOISY, seed=4)
    shape = CAMERA.detector.shape(binning)
    pixel_um = CAMERA.detector.binned_pixel_um(binning)
    transmission = model.transmission((0, 0, 0), 0.0, binning=binning)
    photons_open = detector.open_beam_photons(exposure_s, binning).mean()
    angles = np.linspace(-90, 90, views, endpoint=False)
    live = StreamingReconstruction((ROWS, shape[1]), np.deg2rad(angles), pixel_um=pixel_um)
    for number, angle in enumerate(angles):
        frame = detector.expose(
            transmission, exposure_s=exposure_s, binning=binning, frame_number=number
        )
        photons = (frame[:ROWS].astype(float) - CAMERA.offset_adu) / CAMERA.gain_adu_per_photon
        live.add(-np.log(photons / photons_open), np.deg2rad(angle))
    half = round(1.0 / pixel_um)  # a square of 2 um around the axis
    middle = slice(shape[1] // 2 - half, shape[1] // 2 + half)
    core = live.volume[:, middle, middle]
    counted = photons_open * transmission[shape[0] // 2, shape[1] // 2]
    law = MU * pixel_um * math.sqrt(12 * views * counted) / math.pi
    return float(core.mean() / core.std(axis=0, ddof=1).mean()), law


def test_signal_to_noise_follows_the_law():
    """SNR = mu a sqrt(12 N I) / pi for the ramp filter, times what interpolation smooths."""
    measured, law = signal_to_noise()
    assert measured * INTERPOLATION == pytest.approx(law, rel=0.10)
    # The study's average over resolved particles, artefacts included, is 10.4.
    assert law == pytest.approx(10.4, rel=0.10)


def test_signal_to_noise_grows_with_the_square_root_of_exposure_and_of_views():
    reference, _ = signal_to_noise()
    assert signal_to_noise(exposure_s=4.0)[0] / reference == pytest.approx(2.0, rel=0.06)
    assert signal_to_noise(views=71)[0] / reference == pytest.approx(math.sqrt(71 / 141), rel=0.06)


def test_signal_to_noise_grows_with_the_square_of_binning():
    """At the same exposure: voxels twice as large collect four times the photons."""
    measured, law = signal_to_noise(binning=4)
    assert measured * INTERPOLATION == pytest.approx(law, rel=0.10)
    assert signal_to_noise()[0] / measured == pytest.approx(4.0, rel=0.10)


@pytest.mark.parametrize("exposure_s", [0.01, 1.0])
def test_binning_on_chip_pays_the_read_noise_once(exposure_s):
    detector = SimulatedDetector(CAMERA, CONFIGURATION.source, NOISY, seed=2)
    read_noise = CAMERA.read_noise_adu / CAMERA.gain_adu_per_photon

    def ratio(binning: int, sum_of: int) -> float:
        frame = detector.expose(
            np.ones(CAMERA.detector.shape(binning)), exposure_s=exposure_s, binning=binning
        )
        photons = (frame.astype(float) - CAMERA.offset_adu) / CAMERA.gain_adu_per_photon
        size = photons.shape[0] // sum_of
        summed = photons.reshape(size, sum_of, size, sum_of).sum(axis=(1, 3))
        return float(summed.mean() / summed.std())

    photons = detector.open_beam_photons(exposure_s, 8).mean()
    on_chip = photons / math.sqrt(photons + read_noise**2)
    in_software = photons / math.sqrt(photons + 64 * read_noise**2)
    # 16384 pixels know a standard deviation to 0.6 %.
    assert ratio(8, 1) == pytest.approx(on_chip, rel=0.025)
    assert ratio(1, 8) == pytest.approx(in_software, rel=0.025)
    assert on_chip / in_software == pytest.approx(1.83 if exposure_s < 1 else 1.01, rel=0.02)


def edge_width_um(stage_z_um: float) -> float:
    """10-90 % width of the image of a straight edge, the end of the tape, at this stage z."""
    speck = Particle("speck", (28.0, 28.0, 0.5), (0.5, 0.5, 0.5))  # a specimen has to be in view
    edge = Support(width_um=60.0, thickness_um=40.0, adhesive_um=0.0)
    model = ImagingModel(Specimen((speck,), edge), CONFIGURATION, replace(PERFECT, blur=True))
    image = model.transmission((30.0, 0.0, stage_z_um), 0.0, binning=1, oversample=2)
    profile = image[600:700, 400:624].mean(axis=0, dtype=float)
    rise = (profile - profile[0]) / (profile[-1] - profile[0])
    pixel_um = CAMERA.detector.pixel_um
    return float(np.diff(np.interp([0.1, 0.9], rise, np.arange(len(rise)) * pixel_um))[0])


def test_stage_out_of_focus_blurs_by_twice_the_aperture_times_the_distance():
    focused = edge_width_um(0.5)
    assert 1.0 < focused / PLATE.resolution_um < 1.5  # 150 nm, Airy tails and camera included
    depth_um = PLATE.depth_of_focus_um(ENERGY_KEV)
    assert depth_um == pytest.approx(264, abs=1)
    # The depth of focus reaches half of itself to either side: there the edge starts to widen.
    for side in (-1, 1):
        assert edge_width_um(side * depth_um / 8) < 1.05 * focused
        assert 1.2 < edge_width_um(side * depth_um / 2) / focused < 1.5
    assert edge_width_um(depth_um) > 1.8 * focused
    disc_um = 2 * PLATE.numerical_aperture(ENERGY_KEV) * 1000.0
    assert disc_um == pytest.approx(1.87, abs=0.01)
    # An edge seen through a uniform disc rises from 10 to 90 % over 0.687 of its diameter.
    assert edge_width_um(1000.0) == pytest.approx(0.687 * disc_um, rel=0.12)


def test_projections_of_the_study():
    assert (projections_needed(1000), projections_needed(125)) == (1571, 196)


def test_sizes_of_the_study(microscope):
    microscope.shutter.set("open").wait(5)
    frame = microscope.instrument.frame(1.0, 8, 0)
    assert frame.nbytes == 32_768
    assert frame.shape[0] * frame.shape[1] ** 2 * frame.itemsize == pytest.approx(4.19e6, rel=2e-3)
    assert TileGrid((5, 8)).area_um2 == 163_840  # the study: about 160 000 um2


def test_map_takes_under_a_minute_and_a_tomogram_under_five(microscope):
    # References come before the study's minute: one tile costs the same ones, and 1.15 s.
    mapped, single = (estimate(mosaic(microscope, shape=shape)) for shape in ((5, 8), (1, 1)))
    tiles_s = mapped.time_s - single.time_s + 1.0 + CAMERA.readout_s[8]
    scanned = estimate(tomography(microscope, center_um=(0, 0, 4), projections=141))
    assert 50 < tiles_s < 60
    assert 141 < scanned.time_s < 300
    assert scanned.beam_s / scanned.time_s > 0.47  # the study: 141 s of beam in 300 s
