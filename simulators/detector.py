"""The camera's physics: from a transmission image to counts.

Per binned pixel, with charge summed on the chip before it is read out once::

    counts = clip(round(offset + gain * Poisson(photons) + dark + read noise), 0, full well)
    photons = flux * pixel area * exposure * illumination * sensitivity * transmission
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoneplate.devices.configuration import CameraConfiguration, SourceConfiguration
from zoneplate.devices.errors import ConfigurationError
from zoneplate.devices.optics import check_binning

from .imperfections import Imperfections
from .threads import thread_count

Floats = NDArray[np.float64]

COUNTS_MAX = np.iinfo(np.uint16).max

HOT_PIXEL_SPREAD = 1.0
"""Standard deviation of the logarithm of hot pixels' dark currents (assumed)."""

_PATTERN_STREAM, _DRIFT_STREAM, _FRAME_STREAM = range(3)

_ROWS_PER_STREAM = 128
"""Rows that share a random stream. Fixed, so that the threads used do not change the frame."""


@dataclass(frozen=True, eq=False)
class _Pattern:
    """Fixed properties of the pixels at one binning, shape (rows, columns)."""

    sensitivity: Floats
    dark_adu_per_s: Floats


class SimulatedDetector:
    """A camera that turns transmission into 16-bit counts, the same for the same seed and frame.

    Parameters
    ----------
    camera
        Format, gain, offset, dark current, read noise, full well.
    source
        Flux of the open beam, averaged over the field.
    imperfections
        Which noises and patterns are on.
    seed
        Of the pixels' fixed properties and of all noise.
    """

    def __init__(
        self,
        camera: CameraConfiguration,
        source: SourceConfiguration,
        imperfections: Imperfections | None = None,
        seed: int = 0,
    ) -> None:
        self._camera = camera
        self._source = source
        self._imperfections = imperfections or Imperfections()
        self._seed = seed
        self._patterns: dict[int, _Pattern] = {}
        phases = self._stream(_DRIFT_STREAM).uniform(0, 2 * math.pi, 3)
        self._drift_phases = tuple(float(phase) for phase in phases)

    def expose(
        self,
        transmission: NDArray[np.floating],
        *,
        exposure_s: float,
        binning: int,
        time_s: float = 0.0,
        shutter_open: bool = True,
        frame_number: int = 0,
    ) -> NDArray[np.uint16]:
        """Return one frame.

        Parameters
        ----------
        transmission
            Fraction of the open beam at each binned pixel, shape of a frame at this binning.
            Above 1 if the source is brighter than its nominal flux.
        exposure_s
            Exposure time.
        binning
            1, 2, 4 or 8.
        time_s
            Instrument time since start, for the drift of the flat field.
        shutter_open
            No photon arrives if it is closed; dark current does.
        frame_number
            Chooses the random stream: the same number gives the same noise.

        Raises
        ------
        ConfigurationError
            If binning, exposure or the shape of `transmission` is not possible.
        """
        shape = self._camera.detector.shape(binning)
        if transmission.shape != shape:
            raise ConfigurationError(
                f"image of {transmission.shape} pixels does not fit the camera, which has {shape} "
                f"at binning {binning}"
            )
        if not (math.isfinite(exposure_s) and exposure_s >= 0):
            raise ConfigurationError(f"exposure of {exposure_s} s is not possible: it must be >= 0")
        pattern = self._pattern(binning)
        dark = pattern.dark_adu_per_s * exposure_s
        photons = None
        if shutter_open:
            photons = self.open_beam_photons(exposure_s, binning, time_s) * pattern.sensitivity
            photons *= transmission
        frame = np.empty(shape, dtype=np.uint16)

        def read_band(number: int) -> None:
            rows = slice(number * _ROWS_PER_STREAM, (number + 1) * _ROWS_PER_STREAM)
            light = None if photons is None else photons[rows]
            stream = self._stream(_FRAME_STREAM, frame_number, number)
            frame[rows] = self._read_out(light, dark[rows], stream)

        bands = math.ceil(shape[0] / _ROWS_PER_STREAM)
        if bands == 1:
            read_band(0)
        else:
            with ThreadPoolExecutor(thread_count()) as threads:
                # The list makes an exception of a thread come out here.
                list(threads.map(read_band, range(bands)))
        return frame

    def _read_out(
        self, photons: Floats | None, dark: Floats, stream: np.random.Generator
    ) -> NDArray[np.uint16]:
        """Return the counts of some rows from the photons (None: no light) and dark charge."""
        camera, switches = self._camera, self._imperfections
        counts = dark + camera.offset_adu
        if photons is not None:
            detected = stream.poisson(photons) if switches.photon_noise else photons
            counts += camera.gain_adu_per_photon * detected
        # Dark charge is a few electrons of about one count each beside a larger read noise, so a
        # Gaussian of its variance is enough and saves a second Poisson draw.
        variance = dark if switches.photon_noise else np.zeros_like(dark)
        if switches.read_noise:
            variance = variance + camera.read_noise_adu**2
        counts += np.sqrt(variance) * stream.standard_normal(dark.shape, dtype=np.float32)
        np.rint(counts, out=counts)
        full = min(camera.full_well_adu, COUNTS_MAX)
        return np.clip(counts, 0, full, out=counts).astype(np.uint16)

    def open_beam_photons(self, exposure_s: float, binning: int, time_s: float = 0.0) -> Floats:
        """Return the photons expected in each binned pixel of mean sensitivity without a sample.

        Returns
        -------
        ndarray
            Shape of a frame at this binning.
        """
        pixel_um = self._camera.detector.binned_pixel_um(binning)
        mean = self._source.flux_per_um2_s * pixel_um**2 * exposure_s
        return mean * self._illumination(binning, time_s)

    def _illumination(self, binning: int, time_s: float) -> Floats:
        """Return the relative brightness of the beam, 1 on average over the field and time."""
        detector = self._camera.detector
        rows, columns = detector.shape(binning)
        pixel = detector.binned_pixel_um(binning)
        u = (np.arange(columns) - (columns - 1) / 2) * pixel
        v = ((rows - 1) / 2 - np.arange(rows)) * pixel
        switches = self._imperfections
        contrast = switches.illumination_contrast if switches.flat_structure else 0.0
        height, width = detector.field_um()
        radius = max(height, width) / 2
        brightness = 1.0
        if switches.flat_drift:
            brightness, shift_u, shift_v = self._drift(time_s, contrast, radius)
            u, v = u - shift_u, v - shift_v
        mean_square = (height**2 + width**2) / 12
        cone = 1 + contrast * (1 - (u[None, :] ** 2 + v[:, None] ** 2) / radius**2)
        return brightness * cone / (1 + contrast * (1 - mean_square / radius**2))

    def _drift(self, time_s: float, contrast: float, radius: float) -> tuple[float, float, float]:
        """Return brightness and shift of the illumination; all swing with one slow period.

        The period and the swings are such that brightness and place each change the flat by at
        most half the allowed fraction in the allowed time, the place at the field's corners.
        """
        fraction = self._imperfections.flat_drift_fraction
        period = 4 * math.pi * self._imperfections.flat_drift_s
        swing = fraction * radius / (2 * math.sqrt(2) * contrast) if contrast > 0 else 0.0
        swing /= math.sqrt(2)  # both directions may swing together
        angle = 2 * math.pi * time_s / period
        waves = [math.sin(angle + phase) for phase in self._drift_phases]
        return 1 + fraction * waves[0], swing * waves[1], swing * waves[2]

    def _pattern(self, binning: int) -> _Pattern:
        check_binning(binning)
        if binning not in self._patterns:
            self._patterns[binning] = self._make_pattern(binning)
        return self._patterns[binning]

    def _make_pattern(self, binning: int) -> _Pattern:
        """Draw the properties of the unbinned pixels, the same at any binning, and bin them."""
        camera, switches = self._camera, self._imperfections
        shape = camera.rows, camera.columns
        draw = self._stream(_PATTERN_STREAM)
        sensitivity = 1 + switches.pixel_gain_rms * draw.standard_normal(shape)
        sensitivity += switches.column_gain_rms * draw.standard_normal(camera.columns)
        if not switches.fixed_pattern:
            sensitivity = np.ones(shape)
        dark = np.full(shape, camera.dark_adu_per_s)
        if switches.hot_pixels:
            count = round(switches.bad_pixel_fraction * camera.rows * camera.columns)
            bad = draw.choice(camera.rows * camera.columns, size=count, replace=False)
            hot, dead = np.array_split(bad, 2)
            spread = draw.lognormal(0.0, HOT_PIXEL_SPREAD, size=len(hot))
            dark.ravel()[hot] += switches.hot_pixel_adu_per_s * spread
            sensitivity.ravel()[dead] = 0.0
        if not switches.dark_current:
            dark = np.zeros(shape)
        blocks = (shape[0] // binning, binning, shape[1] // binning, binning)
        rows, columns = blocks[0] * binning, blocks[2] * binning
        return _Pattern(
            np.maximum(sensitivity, 0.0)[:rows, :columns].reshape(blocks).mean(axis=(1, 3)),
            dark[:rows, :columns].reshape(blocks).sum(axis=(1, 3)),
        )

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))
