"""Standard uncertainties of single objects: how far off their volumes and areas may be.

Where there are grey values, volumes and areas from them are nearly free of bias, and what they
may be off by chance is measured on the same volume (`zoneplate.analysis.grey_shape`). Columns
from voxels are then compared with them: their difference is a known bias that is not taken off,
and `standard_uncertainty_with_bias` says how far the truth may lie.

Where there are none, or an object is too small for them, `BoundaryUncertainty` stands in. Three
things move the boundary of a segmented object, and each is measured on the volume itself:

* **resolution**: at half contrast a blurred sphere of radius r is smaller by ``blur**2 / r``; the
  blur follows from how the total volume changes with the threshold. Together with the scatter of
  counting voxels this is the resolution's share. Where there are no grey values (plain labels)
  the boundary is taken to lie anywhere within half a voxel.
* **threshold**: Otsu and half contrast are both defensible; their difference is a full width.
* **noise**: each voxel of the boundary is off by noise over edge slope, on its own.

Noise and the scatter of counting act on each object by chance; blur and threshold shift all
objects the same way and do not average out over a population.

How often 1.96 times the uncertainty holds the truth, through the whole simulated chain:
``benchmarks/uncertainty_coverage.py``, `docs/accuracy.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import chndtrix, erf, ndtri

from .segmentation import Segmentation
from .surface_area import FACES_OVER_TRUE_AREA

VOLUME_SCATTER = 0.24
"""Standard deviation of a digital sphere's voxel count over the root of its area in voxels;
from the scatter of ``particles.volume`` over random centres, radii 1.5 to 10."""
AREA_SCATTER = 0.12
"""The same for its Crofton area, in voxel faces."""
AREA_ROUGHENING = 1.3
"""Relative gain of area per square of the boundary's noise (in voxels): noise of a tenth of the
contrast adds 3 to 5 % to large spheres."""
EDGE_WIDTH = float(np.sqrt(2 * np.pi))
"""Width of a Gaussian edge (contrast over steepest slope) over its standard deviation."""

NORMAL_95 = 1.96
"""Standard deviations on either side that hold 95 % of a normal distribution."""

Array = NDArray[np.float64]


def standard_uncertainty_with_bias(bias: Array, se: Array) -> Array:
    """Return the uncertainty of values that are off by a known bias which is not taken off.

    1.96 times the standard uncertainty is the distance to either side of the value that holds the
    truth in 95 % of cases (S. D. Phillips et al. 1997, doi:10.6028/jres.102.039, made symmetric).

    Parameters
    ----------
    bias, se : arrays
        By how much each value is off, and the standard uncertainty of that.

    Examples
    --------
    >>> found = standard_uncertainty_with_bias(np.array([0.0, -3.0]), np.array([1.0, 1.0]))
    >>> np.round(1.96 * found, 2).tolist()
    [1.96, 4.64]
    """
    ratios, widths = _widths_with_bias()
    ratio = np.abs(bias) / np.maximum(se, np.finfo(np.float64).tiny)
    width = np.interp(ratio, ratios, widths)
    # Far off, all of the chance of being wrong lies on one side.
    width = np.where(ratio > ratios[-1], ratio + ndtri(0.95), width)
    return np.where(se > 0, width * se, np.abs(bias)) / NORMAL_95


@lru_cache(maxsize=1)
def _widths_with_bias() -> tuple[Array, Array]:
    ratios = np.linspace(0, 4, 81)
    return ratios, np.sqrt(chndtrix(0.95, 1, ratios**2))


def blurred_ball(rho: Array, radius: float, blur: float) -> Array:
    """Profile of a ball of this radius, blurred by a Gaussian of this standard deviation.

    At radius rho it is ``(erf(a) + erf(b)) / 2 - s (exp(-a**2) - exp(-b**2)) / (sqrt(2 pi) rho)``
    with ``a = (R - rho) / (s sqrt(2))`` and ``b = (R + rho) / (s sqrt(2))``.

    Examples
    --------
    >>> np.round(blurred_ball(np.array([1.0, 8.0]), 8.0, 0.7), 2).tolist()
    [1.0, 0.47]
    """
    inner, outer = ((radius + sign * rho) / (blur * np.sqrt(2)) for sign in (-1, 1))
    edge = blur * (np.exp(-(inner**2)) - np.exp(-(outer**2))) / (np.sqrt(2 * np.pi) * rho)
    return (erf(inner) + erf(outer)) / 2 - edge


@dataclass(frozen=True)
class BoundaryUncertainty:
    """What moves the boundary of the objects of one volume, all in um.

    Attributes
    ----------
    voxel_um : float
        Voxel edge.
    shift_um : float
        Common shift of all boundaries (threshold, or half a voxel where nothing is known).
    blur_um : float
        Standard deviation of the blur.
    noise_um : float
        Independent displacement of each boundary voxel.
    """

    voxel_um: float
    shift_um: float
    blur_um: float
    noise_um: float

    @classmethod
    def of_labels(cls, voxel_um: float) -> BoundaryUncertainty:
        """Without grey values: a boundary within half a voxel, anywhere with equal chance."""
        return cls(voxel_um, voxel_um / (2 * np.sqrt(3)), 0.0, 0.0)

    @classmethod
    def of_segmentation(cls, segmentation: Segmentation) -> BoundaryUncertainty:
        """From the edges of a segmented volume."""
        phases = segmentation.phases
        voxel_um = segmentation.voxel_um
        faces = segmentation.particle_crossings.area("faces").sum()
        area = faces / FACES_OVER_TRUE_AREA * voxel_um**2
        if phases is None or area == 0 or segmentation.threshold_sensitivity >= 0:
            return cls.of_labels(voxel_um)
        slope = -segmentation.threshold_sensitivity / area  # um per (1/um) of threshold
        disagreement = abs(segmentation.threshold - phases.half_contrast)
        noise = float(np.hypot(phases.background_noise, phases.solid_noise) / np.sqrt(2))
        return cls(
            voxel_um,
            shift_um=slope * disagreement / (2 * np.sqrt(3)),
            blur_um=slope * phases.contrast / EDGE_WIDTH,
            noise_um=slope * noise,
        )

    def volume_se(self, volume_um3: Array, area_um2: Array) -> Array:
        """Estimate the standard uncertainty of volumes."""
        return np.hypot(self._shift(volume_um3, area_um2) * area_um2, self._volume_chance(area_um2))

    def diameter_se(self, volume_um3: Array, area_um2: Array) -> Array:
        """Estimate that of equivalent diameters: a third of the volume's, relatively."""
        diameter = np.cbrt(6 * volume_um3 / np.pi)
        return diameter * self.volume_se(volume_um3, area_um2) / (3 * volume_um3)

    def area_se(self, volume_um3: Array, area_um2: Array) -> Array:
        """Estimate the standard uncertainty of areas."""
        radius = 3 * volume_um3 / area_um2
        shifted = 2 * area_um2 * self._shift(volume_um3, area_um2) / radius
        return np.hypot(shifted, self._area_chance(area_um2))

    def sphericity_se(self, volume_um3: Array, area_um2: Array, sphericity: Array) -> Array:
        """Estimate that of the sphericity, in which a common shift of the boundary cancels."""
        from_volume = 2 / 3 * self._volume_chance(area_um2) / volume_um3
        return sphericity * np.hypot(from_volume, self._area_chance(area_um2) / area_um2)

    def _shift(self, volume_um3: Array, area_um2: Array) -> Array:
        radius = 3 * volume_um3 / area_um2
        return np.hypot(self.shift_um, self.blur_um**2 / radius)

    def _volume_chance(self, area_um2: Array) -> Array:
        each = np.hypot(VOLUME_SCATTER * self.voxel_um, self.noise_um)
        return each * self.voxel_um * np.sqrt(area_um2)

    def _area_chance(self, area_um2: Array) -> Array:
        digital = AREA_SCATTER * self.voxel_um * np.sqrt(area_um2)
        return np.hypot(digital, AREA_ROUGHENING * (self.noise_um / self.voxel_um) ** 2 * area_um2)
