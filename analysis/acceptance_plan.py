"""What a lot specification will cost and how sharply it will tell, before anything is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .acceptance import limits_of_test
from .evidence import student, student_freedom
from .lot_specification import Limit, LotSpecification, SpecificationError
from .sequential import course

SHARES = ("void_frequency", "share")
LEVELS = 41
"""Points of a curve."""
MARGIN = 0.6
"""How far a curve goes beyond the two levels, in units of their distance."""
ROUNDS = 4
"""The loss to an estimated variance depends on the number of regions, and that on the loss."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LimitPlan:
    """What one limit of a specification will cost.

    Attributes
    ----------
    limit
        The limit.
    step
        Standard deviation that a region adds to the log likelihood ratio.
    fixed_regions, fixed_objects
        What a plan of fixed size with the same two risks needs.
    levels, accepted, rejected, mean_regions : (n,) arrays
        True levels of a lot, and what then becomes of it: the operating characteristic, and the
        average number of regions.
    at_acceptable, at_rejectable
        Regions on average at the two levels of the limit.
    undecided
        The larger of the probabilities that the budget ends first at these two levels.
    """

    limit: Limit
    step: float
    fixed_regions: int
    fixed_objects: int
    levels: Array
    accepted: Array
    rejected: Array
    mean_regions: Array
    at_acceptable: float
    at_rejectable: float
    undecided: float


def plan_limit(specification: LotSpecification, limit: Limit) -> LimitPlan:
    """Return what a limit of a specification will cost.

    Raises
    ------
    SpecificationError
        If nobody said how much single particles differ in this quantity.

    Examples
    --------
    >>> wanted = LotSpecification.model_validate({"name": "powder", "limits": [
    ...     {"quantity": "void_frequency", "acceptable": 0.45, "rejectable": 0.65}]})
    >>> plan = plan_limit(wanted, wanted.limits[0])
    >>> plan.fixed_regions, round(plan.at_acceptable, 1)
    (7, 3.9)
    """
    z = float(stats.norm.ppf(specification.alpha_each) + stats.norm.ppf(specification.risks.beta))
    fixed = mean = 4.0
    for _ in range(ROUNDS):
        fixed = max(1.0, (z / _information_step(specification, limit, fixed)) ** 2)
    step = 1.0
    for _ in range(ROUNDS):
        step = _information_step(specification, limit, mean)
        mean = _mean_regions(specification, limit, limit.acceptable, step, mean)
    levels = _levels(limit)
    courses = [_course(specification, limit, level, step, mean) for level in levels]
    good, bad = (
        _course(specification, limit, level, step, mean)
        for level in (limit.acceptable, limit.rejectable)
    )
    regions = math.ceil(fixed)
    return LimitPlan(
        limit=limit,
        step=step,
        fixed_regions=regions,
        fixed_objects=round(regions * specification.assumed.particles_per_region),
        levels=levels,
        accepted=np.array([one.accepted.sum() for one in courses]),
        rejected=np.array([one.rejected.sum() for one in courses]),
        mean_regions=np.array([one.mean_looks for one in courses]),
        at_acceptable=good.mean_looks,
        at_rejectable=bad.mean_looks,
        undecided=max(good.undecided, bad.undecided),
    )


def _mean_regions(
    specification: LotSpecification, limit: Limit, level: float, step: float, mean: float
) -> float:
    return _course(specification, limit, level, step, mean).mean_looks


def _course(specification: LotSpecification, limit: Limit, level: float, step: float, mean: float):
    looks = specification.most_regions
    drift, spread = _per_region(specification, limit, level, mean)
    test = limits_of_test(specification, step, looks)
    first = min(specification.budget.minimum_regions, looks)
    return course(drift, spread, test, looks, first)


def _per_region(
    specification: LotSpecification, limit: Limit, level: float, regions: float
) -> tuple[float, float]:
    """Return mean and standard deviation that a region adds to the log likelihood ratio."""
    assumed = specification.assumed
    effect = 1 + (assumed.particles_per_region - 1) * assumed.correlation
    shorter = student(student_freedom(regions)) if effect > 1 else 1.0
    number = assumed.particles_per_region / effect
    good, bad = limit.acceptable, limit.rejectable
    if limit.quantity in SHARES:
        one, other = math.log(bad / good), math.log((1 - bad) / (1 - good))
        drift = number * (level * one + (1 - level) * other) * shorter
        return drift, math.sqrt(number * level * (1 - level)) * abs(one - other) * shorter
    spread = limit.planning_spread
    if spread is None:
        raise SpecificationError(
            f"{limit.name}: give its `spread`, the relative standard deviation of single particles"
        )
    information = number / spread**2 * shorter
    away = math.log(level) - (math.log(good) + math.log(bad)) / 2
    distance = math.log(bad / good)
    return distance * away * information, abs(distance) * math.sqrt(information)


def _information_step(specification: LotSpecification, limit: Limit, regions: float) -> float:
    """Return the root of what a region tells about the difference of the two levels."""
    drifts = [
        _per_region(specification, limit, level, regions)[0]
        for level in (limit.acceptable, limit.rejectable)
    ]
    return math.sqrt(drifts[1] - drifts[0])


def _levels(limit: Limit) -> Array:
    low, high = sorted((limit.acceptable, limit.rejectable))
    reach = MARGIN * (high - low)
    ends = max(low - reach, low / 4), high + reach
    if limit.quantity in SHARES or limit.quantity == "dead_volume_fraction":
        ends = ends[0], min(ends[1], 1 - (1 - high) / 4)
    return np.unique([*np.linspace(*ends, LEVELS), limit.acceptable, limit.rejectable])
