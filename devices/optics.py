"""Geometry of a zone-plate microscope: the one home of pixels, fields and focal lengths.

Everything is a pure function or a frozen dataclass; lengths of the sample side are in
micrometres, photon energies in keV. Formulas after Attwood, *Soft X-Rays and Extreme
Ultraviolet Radiation* (Cambridge 1999), chapter 9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import ConfigurationError

HC_KEV_UM = 1.239841984e-3
"""Planck constant times speed of light, keV um (CODATA 2018)."""

BINNINGS = (1, 2, 4, 8)
"""On-chip binning factors of the camera."""


def wavelength_um(energy_kev: float) -> float:
    """Return the wavelength of photons of the given energy.

    Examples
    --------
    >>> round(wavelength_um(5.4) * 1e4, 3)  # in angstrom
    2.296
    """
    return HC_KEV_UM / energy_kev


def check_binning(binning: int) -> int:
    """Return `binning` if the camera can do it.

    Raises
    ------
    ConfigurationError
        If it is not 1, 2, 4 or 8.
    """
    if binning not in BINNINGS:
        allowed = ", ".join(str(value) for value in BINNINGS)
        raise ConfigurationError(
            f"binning {binning!r} is not possible: the camera bins by {allowed}; choose one"
        )
    return int(binning)


def projections_needed(columns: float) -> int:
    """Return the number of projections over 180 degrees for an object `columns` pixels wide.

    The Crowther criterion, pi/2 times the diameter in pixels (doi:10.1098/rspa.1970.0119).

    Examples
    --------
    >>> projections_needed(1000), projections_needed(125)
    (1571, 196)
    """
    return round(math.pi / 2 * columns)


@dataclass(frozen=True)
class ZonePlate:
    """A Fresnel zone plate used in its first order.

    Attributes
    ----------
    outer_zone_width_nm
        Width of the outermost zone, which sets the resolution.
    diameter_um
        Diameter of the plate.
    """

    outer_zone_width_nm: float
    diameter_um: float

    @property
    def resolution_um(self) -> float:
        """Rayleigh resolution, 1.22 outer zone widths."""
        return 1.22 * self.outer_zone_width_nm * 1e-3

    def numerical_aperture(self, energy_kev: float) -> float:
        """Return the numerical aperture, wavelength over twice the outer zone width."""
        return wavelength_um(energy_kev) / (2 * self.outer_zone_width_nm * 1e-3)

    def focal_length_um(self, energy_kev: float) -> float:
        """Return the first-order focal length, diameter times zone width over wavelength."""
        return self.diameter_um * self.outer_zone_width_nm * 1e-3 / wavelength_um(energy_kev)

    def depth_of_focus_um(self, energy_kev: float) -> float:
        """Return the full depth of focus, wavelength over the squared numerical aperture.

        Examples
        --------
        >>> round(ZonePlate(123.0, 148.0).depth_of_focus_um(5.4))
        264
        """
        return wavelength_um(energy_kev) / self.numerical_aperture(energy_kev) ** 2


@dataclass(frozen=True)
class Detector:
    """The camera as seen from the sample plane.

    Attributes
    ----------
    rows, columns
        Unbinned pixels.
    pixel_um
        Size of one unbinned pixel in the sample plane.
    """

    rows: int
    columns: int
    pixel_um: float

    def binned_pixel_um(self, binning: int) -> float:
        """Return the pixel size in the sample plane at this binning.

        Examples
        --------
        >>> Detector(1024, 1024, 0.064).binned_pixel_um(8)
        0.512
        """
        return self.pixel_um * check_binning(binning)

    def shape(self, binning: int) -> tuple[int, int]:
        """Return (rows, columns) of a frame at this binning."""
        check_binning(binning)
        return self.rows // binning, self.columns // binning

    def field_um(self) -> tuple[float, float]:
        """Return the height and width of the field of view."""
        return self.rows * self.pixel_um, self.columns * self.pixel_um
