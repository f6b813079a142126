"""Wald's sequential test at looks that come in regions, truncated at a budget.

After each region the log likelihood ratio of the rejectable to the acceptable level has grown by
about a normal amount. With `d` the square root of the information that a region brings about the
difference of the two levels, that amount has mean ``-d^2/2`` at the acceptable level, ``+d^2/2`` at
the rejectable one, and variance ``d^2``. All properties of a test follow by integrating this walk
between its limits, region by region.

References
----------
A. Wald 1945, doi:10.1214/aoms/1177731118 (the test). D. Siegmund, Sequential Analysis, Springer
1985, chapter 3 (the overshoot). P. Armitage, C. K. McPherson, B. C. Rowe 1969, doi:10.2307/2343787
(the recursion). ISO 28591:2017 truncates sequential plans for attributes likewise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

OVERSHOOT = 0.5826
"""A normal walk of step `d` overshoots a limit by this times `d` on average (Siegmund)."""
EARLY_SHARE = 0.9
"""Of either risk before the last look; what is left of it is spent there."""
GRID = 161
"""Nodes between the limits; doubling them moves no risk by more than 0.0005."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Boundaries:
    """Limits of the log likelihood ratio.

    Attributes
    ----------
    accept, reject
        At or below, at or above which the lot is decided before the last look.
    last_accept, last_reject
        The same at the last look. Equal when the budget is large enough for the risks; else the
        lot stays undecided between them.
    """

    accept: float
    reject: float
    last_accept: float
    last_reject: float

    def at(self, look: int, looks: int) -> tuple[float, float]:
        """Return the two limits at a look, counted from 1."""
        if look < looks:
            return self.accept, self.reject
        return self.last_accept, self.last_reject


@lru_cache(maxsize=4096)
def boundaries(
    step: float, looks: int, alpha: float, beta: float, first_look: int = 1
) -> Boundaries:
    """Return the limits of a truncated test.

    Before the last look they are Wald's for nine tenths of the risks, moved inwards by the mean
    overshoot. At the last look each is where the rest of its risk is spent; should they cross, the
    budget is more than enough, and any value between them serves: the middle is taken.

    Parameters
    ----------
    step : float
        Standard deviation `d` that a region adds to the log likelihood ratio.
    looks : int
        Regions that the budget pays for.
    alpha, beta : float
        Risks of rejecting at the acceptable and accepting at the rejectable level.
    first_look : int
        Nothing is decided earlier.

    Examples
    --------
    >>> found = boundaries(0.8, 12, 0.05, 0.05)
    >>> round(found.reject, 2), found.last_accept == found.last_reject
    (2.59, False)
    """
    early_alpha, early_beta = EARLY_SHARE * alpha, EARLY_SHARE * beta
    shift = OVERSHOOT * step
    reject = math.log((1 - early_beta) / early_alpha) - shift
    accept = math.log(early_beta / (1 - early_alpha)) + shift
    # Steps so long that one region decides: the limits must not cross.
    reject, accept = max(reject, 0.25), min(accept, -0.25)
    good, bad = -(step**2) / 2, step**2 / 2
    at_good = _walk(good, step, looks, accept, reject, first_look)
    at_bad = _walk(bad, step, looks, accept, reject, first_look)
    last_reject = at_good.upper_quantile(alpha - at_good.rejected.sum())
    last_accept = at_bad.lower_quantile(beta - at_bad.accepted.sum())
    if last_accept >= last_reject:
        last_accept = last_reject = (last_accept + last_reject) / 2
    return Boundaries(accept, reject, float(last_accept), float(last_reject))


@dataclass(frozen=True)
class Course:
    """What becomes of a lot.

    Attributes
    ----------
    accepted, rejected : (looks,) arrays
        Probability of that decision at each look.
    undecided : float
        Probability that the budget ends first.
    """

    accepted: Array
    rejected: Array
    undecided: float

    @property
    def mean_looks(self) -> float:
        """Average number of looks (regions)."""
        ends = self.accepted + self.rejected
        numbers = np.arange(1, len(ends) + 1)
        return float((numbers * ends).sum() + len(ends) * self.undecided)


def course(
    drift: float, step: float, limits: Boundaries, looks: int, first_look: int = 1
) -> Course:
    """Return what becomes of a lot whose log likelihood ratio drifts.

    Parameters
    ----------
    drift, step : float
        Mean and standard deviation that a region adds.
    limits : Boundaries
        Of the test.
    looks, first_look : int
        As for `boundaries`.

    Examples
    --------
    >>> limits = boundaries(0.8, 12, 0.05, 0.05)
    >>> good = course(-0.32, 0.8, limits, 12)
    >>> round(float(good.rejected.sum()), 3), round(good.mean_looks, 1)
    (0.05, 7.6)
    """
    walk = _walk(drift, step, looks, limits.accept, limits.reject, first_look)
    accepted, rejected = walk.accepted.copy(), walk.rejected.copy()
    accepted[-1] = walk.below(limits.last_accept)
    rejected[-1] = walk.above(limits.last_reject)
    return Course(accepted, rejected, max(1.0 - accepted.sum() - rejected.sum(), 0.0))


@dataclass(frozen=True)
class _Walk:
    """A walk up to the last look: decided before, and where it was at the look before."""

    accepted: Array
    rejected: Array
    places: Array
    weights: Array
    """Probability of being at each place before the last step."""
    drift: float
    step: float

    def above(self, level: float) -> float:
        return float((self.weights * ndtr((self.places + self.drift - level) / self.step)).sum())

    def below(self, level: float) -> float:
        return float((self.weights * ndtr((level - self.places - self.drift) / self.step)).sum())

    def upper_quantile(self, risk: float) -> float:
        return self._solve(self.above, risk, falling=True)

    def lower_quantile(self, risk: float) -> float:
        return self._solve(self.below, risk, falling=False)

    def _solve(self, probability: object, risk: float, *, falling: bool) -> float:
        low = float(self.places.min()) + self.drift - 8 * self.step
        high = float(self.places.max()) + self.drift + 8 * self.step
        for _ in range(60):
            middle = (low + high) / 2
            too_high = probability(middle) < risk  # type: ignore[operator]
            if too_high == falling:
                high = middle
            else:
                low = middle
        return (low + high) / 2


def _walk(
    drift: float, step: float, looks: int, accept: float, reject: float, first_look: int
) -> _Walk:
    accepted, rejected = np.zeros(looks), np.zeros(looks)
    places, weights = np.zeros(1), np.ones(1)
    for look in range(1, looks):
        if look < first_look:
            # Nothing is decided yet: the walk is free, and still normal.
            spread = step * math.sqrt(look)
            places = drift * look + np.linspace(-6, 6, GRID) * spread
            density = stats.norm.pdf(places, drift * look, spread)
        else:
            accepted[look - 1] = float((weights * ndtr((accept - places - drift) / step)).sum())
            rejected[look - 1] = float((weights * ndtr((places + drift - reject) / step)).sum())
            following = np.linspace(accept, reject, GRID)
            away = (following[:, None] - places[None, :] - drift) / step
            kernel = np.exp(-0.5 * away**2) / (step * math.sqrt(2 * math.pi))
            density, places = kernel @ weights, following
        weights = density * _trapezoid(places)
    return _Walk(accepted, rejected, places, weights, drift, step)


def _trapezoid(places: Array) -> Array:
    width = places[1] - places[0]
    weights = np.full(len(places), width)
    weights[0] = weights[-1] = width / 2
    return weights
