"""Simulated lots around a limit: how often the verdict is wrong, and what it costs.

Run ``python benchmarks/lot_campaign.py`` (3 minutes of CPU time; ``--lots 100`` is quicker). Lots
are tables of particles whose regions differ (intraclass correlation 0.05, which is what the
specification assumes, and 0.1 and 0, which it does not); the verdict is that of
`zoneplate.analysis.acceptance`, region by region, as in a screening. ``--seed`` makes other lots:
the test was shaped with seeds 77, 1234 and 4321.
``--picture FILE`` draws what it found over the curves of the plan.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zoneplate.analysis.acceptance import conclude
from zoneplate.analysis.acceptance_plan import LimitPlan, plan_limit
from zoneplate.analysis.evidence import Evidence, of_percentile, of_ratio, of_share
from zoneplate.analysis.lot_specification import Limit, LotSpecification

CORRELATION = 0.05
DESIGNS = ((CORRELATION, CORRELATION), (0.1, CORRELATION), (0.1, 0.1), (0.0, CORRELATION))
"""Correlation of the lots, and what the specification assumes."""
PARTICLES = 25
SIGMA = 0.428
"""Of the logarithms of the study's diameters."""

Sampler = Callable[[np.random.Generator, float, int, float], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Case:
    """A limit, and how to make lots at a level of it."""

    limit: dict[str, object]
    regions: int
    sample: Sampler
    judge: Callable[[Limit, tuple[np.ndarray, ...], np.ndarray, float], Evidence]


@dataclass(frozen=True)
class Outcome:
    """What became of the lots at one level."""

    accepted: float
    rejected: float
    undecided: float
    mean_regions: float


def trials(rng, level, size, correlation):
    """Particles of one region with or without a void; regions differ as beta-binomial trials do."""
    if correlation > 0:
        weight = (1 - correlation) / correlation
        level = rng.beta(level * weight, (1 - level) * weight)
    return (rng.random(size) < level,)


def sizes(rng, level, size, correlation):
    """Lognormal diameters of one region about a median, part of their scatter between regions."""
    shift = rng.normal(0, SIGMA * correlation**0.5)
    return (level * np.exp(shift + rng.normal(0, SIGMA * (1 - correlation) ** 0.5, size)),)


def mean_sizes(rng, level, size, correlation):
    """Lognormal diameters of one region about a mean."""
    return sizes(rng, level * np.exp(-(SIGMA**2) / 2), size, correlation)


def volumes(rng, level, size, correlation):
    """Void and particle volumes of one region: the study's sizes, a void in 55 % of particles."""
    (diameters,) = sizes(rng, 5.84, size, 0.0)
    (voids,) = 2.315 * np.exp(rng.normal(0, 0.27, (1, size)))
    (has,) = trials(rng, 0.55, size, correlation)
    expected = 0.55 * (2.315 / 5.84) ** 3 * np.exp(4.5 * (0.27**2 - SIGMA**2))
    return level / expected * voids**3 * has, diameters**3


CASES = (
    Case(
        {"quantity": "void_frequency", "acceptable": 0.45, "rejectable": 0.65},
        16,
        trials,
        lambda limit, data, region, assumed: of_share(limit, data[0], region, correlation=assumed),
    ),
    Case(
        {"quantity": "void_frequency", "acceptable": 0.05, "rejectable": 0.15},
        20,
        trials,
        lambda limit, data, region, assumed: of_share(limit, data[0], region, correlation=assumed),
    ),
    Case(
        {"quantity": "void_frequency", "acceptable": 0.02, "rejectable": 0.05},
        60,
        trials,
        lambda limit, data, region, assumed: of_share(limit, data[0], region, correlation=assumed),
    ),
    Case(
        {"quantity": "percentile", "percent": 50, "acceptable": 5.8, "rejectable": 7.0},
        20,
        sizes,
        lambda limit, data, region, assumed: of_percentile(
            limit, data[0], region, correlation=assumed
        ),
    ),
    Case(
        {"quantity": "dead_volume_fraction", "acceptable": 0.03, "rejectable": 0.06},
        20,
        volumes,
        lambda limit, data, region, _: of_ratio(limit, data[0], data[1], region),
    ),
    Case(
        {
            "quantity": "mean",
            "column": "equivalent_diameter_um",
            "acceptable": 6.3,
            "rejectable": 7.6,
        },
        20,
        mean_sizes,
        lambda limit, data, region, assumed: of_ratio(
            limit, data[0], np.ones_like(data[0]), region, assumed
        ),
    ),
)


def specification(case: Case, assumed: float = CORRELATION) -> LotSpecification:
    """Return the specification of a case, 5 % for both risks."""
    return LotSpecification.model_validate(
        {
            "name": "campaign",
            "limits": [case.limit],
            "budget": {"regions": case.regions},
            "assumed": {"particles_per_region": PARTICLES, "correlation": assumed},
        }
    )


def judge_lot(rng, case: Case, wanted: LotSpecification, level: float, correlation: float):
    """Measure one lot until it is decided; return the verdict."""
    (limit,) = wanted.limits
    parts: list[tuple[np.ndarray, ...]] = []
    looks: list[Evidence] = []
    while True:
        parts.append(case.sample(rng, level, max(int(rng.poisson(PARTICLES)), 5), correlation))
        data = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
        region = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        looks.append(case.judge(limit, data, region, wanted.assumed.correlation))
        verdict = conclude(wanted, [looks])
        if verdict.final:
            return verdict


def outcome(
    rng, case: Case, wanted: LotSpecification, level: float, lots: int, correlation: float
) -> Outcome:
    """Judge many lots at one level."""
    verdicts = [judge_lot(rng, case, wanted, level, correlation) for _ in range(lots)]
    shares = [
        float(np.mean([one.decision == decision for one in verdicts]))
        for decision in ("accept", "reject", "undecided")
    ]
    return Outcome(*shares, float(np.mean([one.regions for one in verdicts])))


def rows(lots: int, designs: Sequence[tuple[float, float]], cases: Sequence[Case], seed: int):
    """Yield a line of results per case and design."""
    for case in cases:
        for correlation, assumed in designs:
            wanted = specification(case, assumed)
            plan = plan_limit(wanted, wanted.limits[0])
            rng = np.random.default_rng(seed)
            good, bad = (
                outcome(rng, case, wanted, level, lots, correlation)
                for level in (wanted.limits[0].acceptable, wanted.limits[0].rejectable)
            )
            yield wanted, plan, correlation, good, bad


def show(wanted: LotSpecification, plan: LimitPlan, correlation: float, good, bad) -> str:
    """Return a row of the table in docs/lots.md."""
    limit = wanted.limits[0]
    mean = (good.mean_regions + bad.mean_regions) / 2
    hours = [wanted.instrument_s(number) / 3600 for number in (mean, plan.fixed_regions)]
    return (
        f"| {limit.name} | {limit.acceptable:g} / {limit.rejectable:g} | {correlation:g} | "
        f"{wanted.assumed.correlation:g} | "
        f"{good.rejected:.1%} | {bad.accepted:.1%} | {max(good.undecided, bad.undecided):.1%} | "
        f"{good.mean_regions:.1f} / {bad.mean_regions:.1f} | {plan.fixed_regions} | "
        f"{hours[0]:.2f} / {hours[1]:.2f} | {mean / plan.fixed_regions:.0%} |"
    )


def draw(path: str, lots: int) -> None:
    """Draw simulated lots over the curves of the plan, for the first case."""
    from zoneplate.analysis.figures_lots import plan_figure

    case, wanted = CASES[0], specification(CASES[0])
    plan = plan_limit(wanted, wanted.limits[0])
    figure = plan_figure(wanted, [plan])
    left, right = figure.axes
    levels = np.linspace(0.35, 0.75, 9)
    rng = np.random.default_rng(1)
    found = [outcome(rng, case, wanted, level, lots, CORRELATION) for level in levels]
    style = {"ls": "none", "ms": 5, "mfc": "none"}
    left.plot(100 * levels, [100 * one.accepted for one in found], "s", color="#009E73", **style)
    left.plot(100 * levels, [100 * one.rejected for one in found], "o", color="#D55E00", **style)
    right.plot(100 * levels, [one.mean_regions for one in found], "s", color="#0072B2", **style)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lots", type=int, default=1000, help="per level")
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)))
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--picture", help="file to draw to")
    options = parser.parse_args()
    print(
        "| limit | good / bad | correlation | assumed | good rejected | bad accepted | undecided | "
        "regions, good / bad | fixed | hours, sequential / fixed | share |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    chosen = [CASES[number] for number in options.cases]
    for row in rows(options.lots, DESIGNS, chosen, options.seed):
        print(show(*row), flush=True)
    if options.picture:
        draw(options.picture, max(options.lots // 4, 50))


if __name__ == "__main__":
    main()
