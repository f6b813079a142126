"""Whether a lot is good enough: the sequential verdict, and what a plan of it can promise.

A verdict is worked out from tables alone. The regions are taken in the order in which they
were measured, the test is made after each, and the first decision stands: that is what the risks
are stated for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from .evidence import Evidence, evidence
from .lot_specification import Limit, LotSpecification
from .sequential import Boundaries, boundaries
from .summary import MINIMUM_VOID_UM

Decision = Literal["accept", "reject", "undecided"]

LINK = "; "
"""Between the reasons of a verdict on several limits."""
STEP_ROUNDING = 0.04
"""The limits of the test are worked out for a step rounded to this: it moves no risk by 0.002."""


@dataclass(frozen=True)
class Look:
    """The test of one limit after one region.

    Attributes
    ----------
    regions, n
        Regions and objects so far.
    value
        Estimate so far, in the unit of the limit.
    log_likelihood_ratio
        Of the rejectable to the acceptable level.
    accept_at, reject_at
        Limits of that ratio at this look; None while there is too little data.
    design_effect
        How many times more objects it takes because they come in regions.
    decision
        What this look decides.
    """

    regions: int
    n: int
    value: float | None
    log_likelihood_ratio: float
    accept_at: float | None
    reject_at: float | None
    design_effect: float
    decision: Decision


@dataclass(frozen=True)
class LimitVerdict:
    """The verdict on one limit.

    Attributes
    ----------
    limit
        The limit.
    decision
        Of the first look that decided.
    regions
        Regions after which it was decided; all when it was not.
    risk
        Of being wrong: the producer's risk that this limit may use when it rejects, the
        consumer's when it accepts; None while undecided.
    risk_if_accepted, risk_if_rejected
        At most this often would a lot at the other level show a ratio like this (Wald's bound),
        whatever the budget: how strong the evidence is.
    path
        Every look, also those after the decision.
    """

    limit: Limit
    decision: Decision
    regions: int
    risk: float | None
    risk_if_accepted: float
    risk_if_rejected: float
    path: tuple[Look, ...]


@dataclass(frozen=True)
class Verdict:
    """The verdict on a lot.

    Attributes
    ----------
    specification
        What was asked.
    decision
        ``reject`` when any limit rejects, ``accept`` when all accept, else ``undecided``.
    final
        Whether no further region can change it: decided, or the budget is spent.
    regions
        Regions that the decision took; all when undecided.
    why
        In words.
    limits
        The verdict on each limit.
    """

    specification: LotSpecification
    decision: Decision
    final: bool
    regions: int
    why: str
    limits: tuple[LimitVerdict, ...]


def judge(
    specification: LotSpecification,
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    *,
    minimum_void_um: float = MINIMUM_VOID_UM,
) -> Verdict:
    """Judge a lot by what was measured of it so far.

    Parameters
    ----------
    specification
        What the lot must fulfil.
    particles, voids : DataFrame
        As for `summarize`; the column ``region`` tells the regions apart, its order of first
        appearance is the order of measurement. Without it all is one region.
    minimum_void_um
        Equivalent diameter from which a void counts.

    Returns
    -------
    Verdict

    Raises
    ------
    SpecificationError
        If a limit names a column that there is not.

    Examples
    --------
    >>> from zoneplate.analysis.lot_specification import LotSpecification
    >>> wanted = LotSpecification.model_validate({"name": "powder", "limits": [
    ...     {"quantity": "percentile", "percent": 50, "acceptable": 6.0, "rejectable": 9.0}]})
    >>> sizes = [5.1, 5.4, 5.6, 5.8, 5.9, 6.0, 6.1, 6.2, 6.4, 6.6, 6.8, 7.1] * 4
    >>> particles = pd.DataFrame({"particle_id": range(48), "equivalent_diameter_um": sizes,
    ...                           "region": [0] * 24 + [1] * 24})
    >>> verdict = judge(wanted, particles, pd.DataFrame())
    >>> verdict.decision, verdict.regions
    ('accept', 2)
    """
    order = particles["region"].drop_duplicates().tolist() if "region" in particles else [None]
    found: list[list[Evidence]] = [[] for _ in specification.limits]
    for number in range(1, len(order) + 1):
        seen = order[:number]
        tables = [
            table.loc[table["region"].isin(seen)] if "region" in table else table
            for table in (particles, voids)
        ]
        for place, limit in enumerate(specification.limits):
            found[place].append(
                evidence(
                    limit,
                    tables[0],
                    tables[1],
                    minimum_void_um=minimum_void_um,
                    correlation=specification.assumed.correlation,
                )
            )
    return conclude(specification, found)


def conclude(specification: LotSpecification, found: Sequence[Sequence[Evidence]]) -> Verdict:
    """Return the verdict that evidence leads to.

    Parameters
    ----------
    specification
        What the lot must fulfil.
    found
        For each limit, the evidence after one region, two, ...
    """
    limits = tuple(
        _judge_limit(specification, limit, looks)
        for limit, looks in zip(specification.limits, found, strict=True)
    )
    measured = max((len(looks) for looks in found), default=0)
    rejecting = [one for one in limits if one.decision == "reject"]
    if rejecting:
        first = min(rejecting, key=lambda one: one.regions)
        return Verdict(specification, "reject", True, first.regions, _words(first), limits)
    if all(one.decision == "accept" for one in limits):
        last = max(one.regions for one in limits)
        why = LINK.join(_words(one) for one in limits)
        return Verdict(specification, "accept", True, last, why, limits)
    open_ones = [one for one in limits if one.decision == "undecided"]
    spent = measured >= specification.most_regions
    more = (
        "the budget is spent"
        if spent
        else f"the budget allows {specification.most_regions - measured} more regions"
    )
    why = LINK.join([*(_words(one) for one in open_ones), more])
    return Verdict(specification, "undecided", spent, measured, why, limits)


def limits_of_test(specification: LotSpecification, step: float, looks: int) -> Boundaries:
    """Return the limits of the log likelihood ratio for one limit of a specification."""
    rounded = max(STEP_ROUNDING, round(step / STEP_ROUNDING) * STEP_ROUNDING)
    return boundaries(
        round(rounded, 6),
        looks,
        specification.alpha_each,
        specification.risks.beta,
        min(specification.budget.minimum_regions, looks),
    )


def _judge_limit(
    specification: LotSpecification, limit: Limit, found: Sequence[Evidence]
) -> LimitVerdict:
    looks = specification.most_regions
    path: list[Look] = []
    for number, seen in enumerate(found, start=1):
        decision: Decision = "undecided"
        low = high = None
        if seen.step > 0:
            test = limits_of_test(specification, seen.step, looks)
            low, high = test.at(min(number, looks), looks)
            # Looks beyond the budget cannot happen in a screening; of old data, the last counts.
            if specification.budget.minimum_regions <= number <= looks:
                if seen.ratio >= high:
                    decision = "reject"
                elif seen.ratio <= low:
                    decision = "accept"
        path.append(Look(number, seen.n, seen.value, seen.ratio, low, high, seen.effect, decision))
    first = next((look for look in path if look.decision != "undecided"), None)
    last = first or (path[-1] if path else Look(0, 0, None, 0.0, None, None, 1.0, "undecided"))
    risk = None
    if first is not None:
        reject = first.decision == "reject"
        risk = specification.alpha_each if reject else specification.risks.beta
    return LimitVerdict(
        limit=limit,
        decision=last.decision,
        regions=last.regions,
        risk=risk,
        risk_if_accepted=min(1.0, math.exp(min(last.log_likelihood_ratio, 0.0))),
        risk_if_rejected=min(1.0, math.exp(min(-last.log_likelihood_ratio, 0.0))),
        path=tuple(path),
    )


def _words(one: LimitVerdict) -> str:
    limit = one.limit
    unit = "" if limit.unit == "1" else f" {limit.unit}"
    last = next((look for look in one.path if look.decision != "undecided"), None)
    last = last or (one.path[-1] if one.path else None)
    value = last.value if last is not None else None
    if value is None or last is None:
        return f"{limit.words}: too little was measured to say anything"
    seen = f"{limit.words} is {_level(limit, value)}{unit} after {_count(one.regions, 'region')}"
    if one.decision == "accept":
        return (
            f"{seen} ({_count(last.n, 'object')}): good (a lot at "
            f"{_level(limit, limit.rejectable)}{unit} would pass in at most {_percent(one.risk)})"
        )
    if one.decision == "reject":
        return (
            f"{seen} ({_count(last.n, 'object')}): bad (a lot at "
            f"{_level(limit, limit.acceptable)}{unit} would fail in at most {_percent(one.risk)})"
        )
    return (
        f"{seen}, between {_level(limit, limit.acceptable)} (good) and "
        f"{_level(limit, limit.rejectable)}{unit} (bad) or too uncertain"
    )


def _percent(risk: float | None) -> str:
    return f"{100 * (risk or 0.0):.3g} % of cases"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _level(limit: Limit, value: float) -> str:
    if limit.quantity in ("void_frequency", "share", "dead_volume_fraction"):
        return f"{100 * value:.3g} %"
    return f"{value:.3g}"


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as `results.json` holds it: plain numbers, never NaN."""
    specification = verdict.specification
    return {
        "decision": verdict.decision,
        "final": verdict.final,
        "regions": verdict.regions,
        "why": verdict.why,
        "lot": specification.name,
        "risks": {
            "alpha": specification.risks.alpha,
            "beta": specification.risks.beta,
            "alpha_each_limit": specification.alpha_each,
        },
        "budget": {
            "regions": specification.most_regions,
            "minimum_regions": specification.budget.minimum_regions,
            "instrument_s": specification.budget.instrument_s,
        },
        "limits": [_limit_document(one) for one in verdict.limits],
        "specification": specification.model_dump(mode="json"),
    }


def _limit_document(one: LimitVerdict) -> dict[str, Any]:
    return {
        "name": one.limit.name,
        "words": one.limit.words,
        "unit": one.limit.unit,
        "acceptable": one.limit.acceptable,
        "rejectable": one.limit.rejectable,
        "decision": one.decision,
        "regions": one.regions,
        "risk": one.risk,
        "risk_if_accepted": one.risk_if_accepted,
        "risk_if_rejected": one.risk_if_rejected,
        "path": [
            {name: _finite(value) for name, value in asdict(look).items()} for look in one.path
        ],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, (np.floating, float)):
        return float(value) if math.isfinite(value) else None
    return value
