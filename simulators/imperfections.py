"""What is not ideal about the simulated microscope, and by how much.

Every imperfection but a tilted axis is on by default, has a switch or a magnitude that can be 0,
and a source.
`Imperfections()` is the documented instrument, `Imperfections.none()` a perfect one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zoneplate.devices.errors import ConfigurationError

_RUNOUT_HARMONICS = (2, 3)
"""The first harmonic of a radial run-out is only another place of the sample; these are not."""

_MAGNITUDES = (
    "axis_offset_um",
    "axis_tilt_deg",
    "axis_lean_deg",
    "focus_um",
    "runout_um",
    "drift_um_per_hour",
    "drift_settling_hours",
    "illumination_contrast",
    "flat_drift_fraction",
    "flat_drift_s",
    "pixel_gain_rms",
    "column_gain_rms",
    "bad_pixel_fraction",
    "hot_pixel_adu_per_s",
)

_EITHER_SIDE = ("axis_offset_um", "axis_tilt_deg", "axis_lean_deg", "focus_um")
"""These may be negative."""


@dataclass(frozen=True)
class Imperfections:
    """Switches and magnitudes.

    Attributes
    ----------
    photon_noise
        Poisson statistics of detected photons.
    read_noise
        Gaussian noise of the camera electronics, once per readout; magnitude in the instrument
        file.
    dark_current
        Offset and dark current stay, but without this the dark current is 0.
    blur
        Zone plate and camera optics, see `zoneplate.simulators.imaging`.
    flat_structure
        The condenser's illumination, brighter in the middle.
    flat_drift
        Slow change of its brightness and place.
    fixed_pattern
        Gain of pixels and columns, the cause of rings.
    hot_pixels
        Hot and dead pixels.
    stage_repeatability
        Scatter of arrival; magnitude per axis in the instrument file.
    axis_offset_um
        Rotation axis from the centre of the detector, towards larger columns: 1.4 pixels at
        binning 8 (assumed: a lab instrument after a coarse alignment).
    axis_tilt_deg, axis_lean_deg
        Rotation axis against the columns of the detector, its upper end towards larger columns,
        and against the plane of the detector, its upper end downstream. 0 by default: an
        instrument whose axis was made upright.
    focus_um
        Where the zone plate (`optics.zone_plate_z`) has the rotation axis in focus; 0 by default:
        an instrument that was focused.
    runout_um
        Largest radial and axial run-out of the rotation stage; APS 32-ID measures 25 nm.
    drift_um_per_hour, drift_settling_hours
        Thermal drift at the start, in a direction set by the seed, which dies away with this
        time constant (assumed).
    illumination_contrast
        How much brighter the centre is than a point half a field away, the hollow cone's
        ``1 + 0.15 (1 - r^2/R^2)`` (assumed).
    flat_drift_fraction, flat_drift_s
        The flat field changes by at most this fraction in this time: 1 % in 5 minutes (assumed).
    pixel_gain_rms, column_gain_rms
        Relative spread of the gains of unbinned pixels, and of columns on top (assumed: a 1 %
        pixel gain is usual for scintillator cameras, a column amplifier is better).
    bad_pixel_fraction
        Of unbinned pixels: half of them hot, half dead (assumed).
    hot_pixel_adu_per_s
        Median dark current of a hot pixel, spread by a factor e (assumed).
    seed
        Of run-out phases and drift directions; the camera has its own.

    Raises
    ------
    ConfigurationError
        If a magnitude is negative or not finite.
    """

    photon_noise: bool = True
    read_noise: bool = True
    dark_current: bool = True
    blur: bool = True
    flat_structure: bool = True
    flat_drift: bool = True
    fixed_pattern: bool = True
    hot_pixels: bool = True
    stage_repeatability: bool = True
    axis_offset_um: float = 0.7
    axis_tilt_deg: float = 0.0
    axis_lean_deg: float = 0.0
    focus_um: float = 0.0
    runout_um: float = 0.025
    drift_um_per_hour: float = 0.2
    drift_settling_hours: float = 2.0
    illumination_contrast: float = 0.15
    flat_drift_fraction: float = 0.01
    flat_drift_s: float = 300.0
    pixel_gain_rms: float = 0.01
    column_gain_rms: float = 0.003
    bad_pixel_fraction: float = 1e-4
    hot_pixel_adu_per_s: float = 1000.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _MAGNITUDES:
            value = getattr(self, name)
            if not math.isfinite(value) or (value < 0 and name not in _EITHER_SIDE):
                raise ConfigurationError(f"imperfection {name} {value} must be finite and >= 0")
        for name in ("drift_settling_hours", "flat_drift_s"):
            if getattr(self, name) == 0:
                raise ConfigurationError(f"imperfection {name} must be above 0")

    @classmethod
    def none(cls) -> Imperfections:
        """Return a perfect instrument: no noise, no blur, everything in its place."""
        return cls(
            photon_noise=False,
            read_noise=False,
            dark_current=False,
            blur=False,
            flat_structure=False,
            flat_drift=False,
            fixed_pattern=False,
            hot_pixels=False,
            stage_repeatability=False,
            axis_offset_um=0.0,
            runout_um=0.0,
            drift_um_per_hour=0.0,
        )

    def displacement(self, theta_deg: float, time_s: float) -> tuple[float, float]:
        """Return where the sample is seen, off where the encoders say, along u and v in um.

        Parameters
        ----------
        theta_deg
            Rotation, for the run-out.
        time_s
            Since the instrument was started, for the thermal drift.

        Examples
        --------
        >>> Imperfections.none().displacement(30.0, 60.0)
        (0.0, 0.0)
        """
        phases = np.random.default_rng(self.seed).uniform(0, 2 * math.pi, (3, 2))
        theta = math.radians(theta_deg)
        hours = time_s / 3600.0
        settled = self.drift_settling_hours * -math.expm1(-hours / self.drift_settling_hours)
        drift = self.drift_um_per_hour * settled
        direction = float(phases[2, 0])
        runout_u, runout_v = (
            self.runout_um
            / len(_RUNOUT_HARMONICS)
            * sum(
                math.cos(harmonic * theta + float(phase))
                for harmonic, phase in zip(_RUNOUT_HARMONICS, axis_phases, strict=True)
            )
            for axis_phases in phases[:2]
        )
        return runout_u + drift * math.cos(direction), runout_v + drift * math.sin(direction)
