"""Tilt, lean, drift and run-out of the simulated microscope come back from its frames."""

from __future__ import annotations

import numpy as np
import pytest

from zoneplate.analysis import find_center, normalize
from zoneplate.analysis.geometry import find_geometry
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.plans import ordered, projection_angles
from zoneplate.simulators import Imperfections, nmc622
from zoneplate.simulators.detector import SimulatedDetector
from zoneplate.simulators.imaging import ImagingModel

VIEWS, BINNING, SECONDS_PER_VIEW = 101, 8, 1.7
CENTER_UM = (0.0, 0.0, 4.0)
OVER_POWDER_DEG = 70.0
"""Further towards edge-on, powder beyond the field hides that inside it."""


def scan(imperfections: Imperfections):
    """Absorption, angles, and how far the sample really moved, in pixels."""
    configuration = InstrumentConfiguration.load()
    imaging = ImagingModel(nmc622(2, width_um=200), configuration, imperfections)
    detector = SimulatedDetector(configuration.camera, configuration.source, imperfections, 2)
    pixel_um = configuration.camera.detector.binned_pixel_um(BINNING)
    angles_deg = np.array(ordered(projection_angles(VIEWS, -90.0, 90.0), "interlaced"))
    moved_um = [
        imperfections.displacement(angle, number * SECONDS_PER_VIEW)
        for number, angle in enumerate(angles_deg)
    ]

    def expose(image, number, light=True):
        return detector.expose(
            image, exposure_s=1.0, binning=BINNING, shutter_open=light, frame_number=number
        )

    images = [
        imaging.transmission(
            CENTER_UM, angle, binning=BINNING, displacement_um=(float(u_um), float(v_um))
        )
        for angle, (u_um, v_um) in zip(angles_deg, moved_um, strict=True)
    ]
    clear = np.ones_like(images[0])
    counts = np.stack([expose(image, number) for number, image in enumerate(images)])
    flats = np.stack([expose(clear, VIEWS + number) for number in range(10)])
    darks = np.stack([expose(clear, 2 * VIEWS + number, light=False) for number in range(5)])
    return normalize(counts, flats, darks), np.deg2rad(angles_deg), np.array(moved_um) / pixel_um


def test_tilt_drift_and_run_out_come_back_with_all_else_on():
    imperfections = Imperfections(
        seed=2, runout_um=0.4, drift_um_per_hour=8.0, axis_tilt_deg=-0.45, axis_lean_deg=0.1
    )
    frames, angles, true = scan(imperfections)
    found = find_geometry(frames, angles, find_center(frames, angles), np.arange(VIEWS))
    assert found.tilt is not None
    assert found.tilt_corrected
    assert found.tilt.tilt_deg == pytest.approx(-0.45, abs=4 * found.tilt.standard_error_deg)
    motion = found.motion
    assert motion is not None
    assert found.motion_corrected
    # The axis is where it is, on average over what a rigid sample elsewhere would show as well.
    axis = 127 / 2 + imperfections.axis_offset_um / 0.512
    seen = np.abs(np.rad2deg(angles)) < OVER_POWDER_DEG
    rigid = np.stack([np.cos(angles), np.sin(angles)], axis=1)[seen]
    error = (motion.shifts - true)[seen]
    error[:, 0] += motion.column - axis
    error[:, 0] -= rigid @ np.linalg.lstsq(rigid, error[:, 0], rcond=None)[0]
    error[:, 1] -= error[:, 1].mean()
    assert true[seen].std(axis=0).min() > 0.3
    assert error.std(axis=0).max() < 0.08
    hours = VIEWS * SECONDS_PER_VIEW / 3600
    settled = imperfections.drift_settling_hours * -np.expm1(
        -hours / imperfections.drift_settling_hours
    )
    drift = imperfections.drift_um_per_hour * settled / 0.512
    assert motion.drift == pytest.approx(drift, abs=4 * motion.drift_error)


def test_lean_along_the_beam_comes_back():
    frames, angles, _ = scan(Imperfections(seed=2, axis_lean_deg=1.0))
    found = find_geometry(frames, angles, find_center(frames, angles), np.arange(VIEWS))
    assert found.lean is not None
    assert found.lean_shows
    assert found.lean.lean_deg == pytest.approx(1.0, abs=3 * found.lean.standard_error_deg)
    assert not found.corrected


def test_default_microscope_needs_no_correction():
    frames, angles, _ = scan(Imperfections(seed=2))
    found = find_geometry(frames, angles, find_center(frames, angles), np.arange(VIEWS))
    assert not found.corrected
    assert found.tilt is not None
    assert abs(found.tilt.tilt_deg) < 4 * found.tilt.standard_error_deg
    assert found.motion is not None
    assert found.motion.rms < 0.12
    assert found.lean is not None
    assert abs(found.lean.lean_deg) < 4 * found.lean.standard_error_deg
