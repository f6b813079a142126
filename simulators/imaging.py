"""What the optics make of a shadow: the transmission image in the camera plane.

The zone plate is treated as a perfect circular lens in incoherent light, its condenser matched:
the image is the shadow's intensity convolved with the point-spread function, which is applied as
its Fourier transform, the optical transfer function with defocus (H. H. Hopkins,
doi:10.1098/rspa.1955.0158). In front of it stands the camera's own optics, a Gaussian.

One defocus distance holds for the whole image: that of the mean depth of the particles in view.
Over the depth of focus of 264 um blur differs little, so particles of one field do not need their
own; only edge-on do the far ends of a wide layer leave it, and their extra blur is not simulated.
At binning 8 the pixel dominates, at binning 1 the optics do.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import cast

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.optics import ZonePlate, wavelength_um

from .imperfections import Imperfections
from .projection import Image, Position, SpecimenProjector, View, oversampling
from .projection_kernels import box_average
from .specimen import Specimen
from .threads import thread_count

Floats = NDArray[np.float64]

CAMERA_BLUR_PIXELS = 0.5
"""Standard deviation of scintillator and relay optics in unbinned pixels (assumed)."""

TAIL_RESOLUTIONS = 4.0
"""How far beyond the field the specimen is drawn, in resolutions: past this, the Airy pattern
holds 4 % of the light, spread thinly."""

DEFOCUS_STEP = 1 / 32
"""Defocus is rounded to this fraction of the depth of focus, so that transfer functions can be
kept: rounding changes them by less than 0.001 in focus and by less than 0.01 anywhere."""

_QUADRATURE_POINTS = 128
_TABLE_POINTS = 513


def transfer_function(
    frequency_per_um: Floats, zone_plate: ZonePlate, energy_kev: float, defocus_um: float = 0.0
) -> Floats:
    """Return the optical transfer function of a zone plate in incoherent light.

    Parameters
    ----------
    frequency_per_um
        Spatial frequencies in the sample plane, any shape, 1/um.
    zone_plate
        Sets the cut-off, one over the outer zone width, and the depth of focus.
    energy_kev
        Photon energy.
    defocus_um
        Distance from the focal plane; the sign does not matter.

    Returns
    -------
    ndarray
        Same shape; 1 at frequency 0, 0 beyond the cut-off. Negative where defocus reverses
        contrast.

    Notes
    -----
    With the pupil radius as unit, shearing the pupil by s (2 at the cut-off) leaves
    ``4/pi int_0^{sqrt(1-s^2/4)} dy int_0^{sqrt(1-y^2)-s/2} cos(a x) dx`` with
    ``a = 2 pi s defocus / depth of focus``; the inner integral is done by hand, the outer by
    Gauss-Legendre quadrature.

    Examples
    --------
    >>> plate = ZonePlate(123.0, 148.0)
    >>> [round(float(f), 3) for f in transfer_function(np.array([0.0, 0.98, 8.2]), plate, 5.4)]
    [1.0, 0.847, 0.0]
    """
    cutoff = 2 * zone_plate.numerical_aperture(energy_kev) / wavelength_um(energy_kev)
    shear = np.linspace(0.0, 2.0, _TABLE_POINTS)
    phase = 2 * math.pi * shear * defocus_um / zone_plate.depth_of_focus_um(energy_kev)
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE_POINTS)
    # y = h sin(angle) takes away the square-root singularity at the end of the overlap.
    angle = math.pi / 4 * (nodes + 1)
    height = np.sqrt(np.maximum(1 - shear**2 / 4, 0.0))[:, None]
    y = height * np.sin(angle)
    width = np.maximum(np.sqrt(np.maximum(1 - y**2, 0.0)) - shear[:, None] / 2, 0.0)
    inner = width * np.sinc(phase[:, None] * width / math.pi)
    table = (inner * height * np.cos(angle)) @ weights
    return np.interp(2 * np.abs(frequency_per_um) / cutoff, shear, table, right=0.0)


class ImagingModel:
    """From a specimen and the pose of the stage to the image before it is detected.

    Parameters
    ----------
    specimen
        What is on the stage.
    configuration
        Energy, zone plate and camera format.
    imperfections
        `blur` and what concerns the axis matter here.
    """

    def __init__(
        self,
        specimen: Specimen,
        configuration: InstrumentConfiguration,
        imperfections: Imperfections | None = None,
    ) -> None:
        self.projector = SpecimenProjector(specimen)
        self._zone_plate = configuration.optics.zone_plate
        self._energy_kev = configuration.source.energy_kev
        self._detector = configuration.camera.detector
        self._imperfections = imperfections or Imperfections()
        self._transfer = lru_cache(maxsize=8)(self._transfer_grid)

    def transmission(
        self,
        position_um: Position,
        theta_deg: float,
        *,
        binning: int,
        displacement_um: tuple[float, float] = (0.0, 0.0),
        defocus_um: float = 0.0,
        oversample: int | None = None,
    ) -> Image:
        """Return the fraction of the open beam that reaches each binned pixel.

        Parameters
        ----------
        position_um
            Stage position (x, y, z), the sample point on the rotation axis.
        theta_deg
            Rotation about y.
        binning
            1, 2, 4 or 8.
        displacement_um
            (u, v) by which the whole sample is displaced in the image, beyond what the encoders
            say: run-out, drift.
        defocus_um
            Distance of the rotation axis downstream of the plane in focus: 0 unless the zone
            plate has moved.
        oversample
            Rays per pixel and direction; by default what `oversampling` finds necessary.

        Returns
        -------
        ndarray
            Shape of a frame at this binning, float32.

        Raises
        ------
        ConfigurationError
            If the camera cannot bin so.
        """
        pixel_um = self._detector.binned_pixel_um(binning)
        factor = oversample if oversample is not None else oversampling(pixel_um)
        x, y, z = position_um
        view = View(
            position_um=(x, y - displacement_um[1], z),
            theta_deg=theta_deg,
            step_um=pixel_um,
            shape=self._detector.shape(binning),
            axis_offset_um=self._imperfections.axis_offset_um + displacement_um[0],
            axis_tilt_deg=self._imperfections.axis_tilt_deg,
            axis_lean_deg=self._imperfections.axis_lean_deg,
        ).finer(factor)
        if not self._imperfections.blur:
            return box_average(self.projector.sample(view, self._energy_kev), factor)
        return self._blurred(view, factor, defocus_um)

    def _blurred(self, view: View, factor: int, defocus_um: float) -> Image:
        """Return the means of blocks of the blurred image; see `_fold` for those of its rows."""
        step = self._zone_plate.depth_of_focus_um(self._energy_kev) * DEFOCUS_STEP
        distance = abs(defocus_um + self.projector.depth_um(view))
        distance = round(distance / step) * step
        aperture = self._zone_plate.numerical_aperture(self._energy_kev)
        tail = TAIL_RESOLUTIONS * self._zone_plate.resolution_um + aperture * distance
        rows, columns = view.shape
        margin = tail / view.step_um
        shape = _padded(rows, margin, factor), _padded(columns, margin, factor)
        top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
        wide = self.projector.sample(replace(view, shape=shape), self._energy_kev)
        # Shared with a second core, folded transforms are no faster and take 1.3 times the work.
        threads = thread_count() if factor == 1 else 1
        spectrum = np.asarray(scipy.fft.rfft2(wide, workers=threads))
        spectrum *= self._transfer(shape, view.step_um, distance, factor, top)
        lines = scipy.fft.ifft(_fold(spectrum, factor), axis=0, workers=threads, overwrite_x=True)
        lines = np.asarray(lines)[: rows // factor]
        image = np.asarray(scipy.fft.irfft(lines, n=shape[1], workers=threads, overwrite_x=True))
        blocks = image[:, left : left + columns].reshape(rows // factor, columns // factor, factor)
        return blocks.mean(axis=2)

    def _transfer_grid(
        self, shape: tuple[int, int], step_um: float, defocus_um: float, factor: int, top: int
    ) -> NDArray[np.complex64]:
        across = np.fft.rfftfreq(shape[1], step_um)
        up = np.fft.fftfreq(shape[0], step_um)
        frequency = np.hypot(up[:, None], across[None, :])
        camera_blur = CAMERA_BLUR_PIXELS * self._detector.pixel_um
        camera = np.exp(-2 * (math.pi * camera_blur * frequency) ** 2)
        optics = transfer_function(frequency, self._zone_plate, self._energy_kev, defocus_um)
        block = _mean_of_rows(shape[0], factor, top)
        return (camera * optics * block[:, None]).astype(np.complex64)


def _mean_of_rows(rows: int, factor: int, top: int) -> NDArray[np.complex128]:
    """Return what makes each row the mean of itself and the next ones, row `top` the first."""
    turn = 2j * math.pi * np.fft.fftfreq(rows)
    return np.exp(turn[:, None] * (top + np.arange(factor))).mean(axis=1)


def _fold(spectrum: NDArray[np.complex64], factor: int) -> NDArray[np.complex64]:
    """Return the spectrum of every `factor`-th row: what is not computed costs nothing."""
    if factor == 1:
        return spectrum
    rows, columns = spectrum.shape
    return spectrum.reshape(factor, rows // factor, columns).mean(axis=0)


def _padded(size: int, margin: float, factor: int) -> int:
    """Return a fast Fourier length with at least `margin` (at most half the size) on each side.

    The parity stays, so that the padded grid of rays contains the original one, and it can be
    divided by the rays per pixel.
    """
    padded = size + 2 * math.ceil(min(margin, size / 2))
    # The type stubs of SciPy say that it returns nothing.
    while padded % factor or padded != cast("int", scipy.fft.next_fast_len(padded, real=True)):
        padded += 2
    return padded
