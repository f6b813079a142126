"""How small a void may be and still be found: a curve fitted to hits and misses.

The probability of detection is a logistic function of the logarithm of the diameter, as is usual
where flaws are looked for (MIL-HDBK-1823A). It is fitted by Firth's penalised likelihood (1993,
doi:10.1093/biomet/80.1.27), which stays finite where all voids above some size are found and none
below, as in a good scan; ordinary maximum likelihood does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, gammaincinv, logit, ndtri

MOST_STEPS = 100
CONVERGED = 1e-9
LONGEST_STEP = 2.0
"""Longest step of either parameter: Newton's method overshoots where the curve is steep."""

Array = NDArray[np.float64]


class DetectionError(ValueError):
    """Hits and misses do not allow a curve; the message says what is missing."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes
    ----------
    value, low, high
        The estimate, and the ends of its interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DetectionCurve:
    """Probability of detection against diameter.

    Attributes
    ----------
    intercept, slope
        Of the logit against the logarithm of the diameter in um.
    covariance : (2, 2) array
        Of intercept and slope.
    voids
        How many the curve was fitted to.
    """

    intercept: float
    slope: float
    covariance: Array
    voids: int

    def probability(self, diameter_um: ArrayLike) -> Array:
        """Return the probability that a void of this diameter is found."""
        logs = np.log(np.asarray(diameter_um, dtype=np.float64))
        return np.asarray(expit(self.intercept + self.slope * logs))

    def diameter_um(self, probability: float, confidence: float = 0.95) -> Estimate:
        """Return the diameter that is found with a probability, such as 0.9 for d90.

        The interval is that of the delta method on the logarithm of the diameter.
        """
        place = (float(logit(probability)) - self.intercept) / self.slope
        gradient = np.array([-1.0, -place]) / self.slope
        se = math.sqrt(float(gradient @ self.covariance @ gradient))
        reach = float(ndtri(0.5 + confidence / 2)) * se
        return Estimate(math.exp(place), math.exp(place - reach), math.exp(place + reach))


def fit_detection(diameters_um: ArrayLike, found: ArrayLike) -> DetectionCurve:
    """Fit the probability of detection.

    Parameters
    ----------
    diameters_um : (n,) array
        True diameters of voids.
    found : (n,) array of bool
        Which of them were found.

    Returns
    -------
    DetectionCurve

    Raises
    ------
    DetectionError
        If all or none were found, or larger voids are not found more often.

    Examples
    --------
    >>> sizes = np.linspace(0.5, 2.5, 41)
    >>> curve = fit_detection(sizes, sizes > 1.5)
    >>> round(curve.diameter_um(0.5).value, 2)
    1.52
    """
    logs = np.log(np.asarray(diameters_um, dtype=np.float64))
    hits = np.asarray(found, dtype=bool)
    if hits.all() or not hits.any():
        raise DetectionError(
            f"{int(hits.sum())} of {hits.size} voids were found: a curve needs some that were and "
            "some that were not; take smaller and larger ones"
        )
    # Centred and scaled, so that steps of both parameters are alike.
    middle, scale = float(logs.mean()), max(float(logs.std()), 1e-9)
    design = np.column_stack([np.ones_like(logs), (logs - middle) / scale])
    beta, inverse = np.zeros(2), np.zeros((2, 2))
    for _ in range(MOST_STEPS):
        share = expit(design @ beta)
        weight = share * (1 - share)
        information = design.T @ (weight[:, None] * design)
        inverse = np.linalg.inv(information)
        leverage = weight * np.einsum("ij,jk,ik->i", design, inverse, design)
        step = inverse @ (design.T @ (hits - share + leverage * (0.5 - share)))
        step *= min(1.0, LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        beta = beta + step
        if float(np.abs(step).max()) < CONVERGED:
            break
    if beta[1] <= 0:
        raise DetectionError(
            f"larger voids are not found more often (n = {hits.size}): take more voids, or look "
            "at what is taken for a void"
        )
    back = np.array([[1.0, -middle / scale], [0.0, 1.0 / scale]])
    intercept, slope = back @ beta
    return DetectionCurve(float(intercept), float(slope), back @ inverse @ back.T, hits.size)


def rate(events: int, objects: int, confidence: float = 0.95) -> Estimate:
    """Return events per object, with the exact interval of a Poisson count.

    Examples
    --------
    >>> never = rate(0, 100)
    >>> never.value, round(never.high, 4)
    (0.0, 0.0369)
    """
    tail = (1 - confidence) / 2
    low = float(gammaincinv(events, tail)) if events else 0.0
    high = float(gammaincinv(events + 1, 1 - tail))
    return Estimate(events / objects, low / objects, high / objects)
