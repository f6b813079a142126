"""How often the 95 % intervals hold the truth, ours and the usual ones, on simulated lots.

Run ``python benchmarks/coverage_statistics.py`` (half a minute of CPU time). Lots are those of
`lot_campaign.py`. Usual ("naive"): Wald's interval of a share, the bootstrap of a median and of a
ratio, each over particles as if they were independent.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
from lot_campaign import SIGMA, sizes, trials, volumes

from zoneplate.analysis.statistics import frequency_interval, ratio_of_sums_interval
from zoneplate.analysis.statistics_percentiles import percentile_interval

DESIGNS = ((1, 40, 0.0), (6, 25, 0.0), (6, 25, 0.05), (12, 25, 0.05))
"""Regions, particles per region, correlation within a region."""
RESAMPLES = 200
FREQUENCIES = (0.02, 0.05, 0.55)
MEDIAN_UM, DEAD_VOLUME = 5.84, 0.04

Limits = tuple[float | None, float | None]


def naive_share(hits: np.ndarray) -> Limits:
    """Wald's interval, that of the textbooks."""
    share = hits.mean()
    half = 1.96 * math.sqrt(share * (1 - share) / len(hits))
    return share - half, share + half


def bootstrap(rng, statistic: Callable[[np.ndarray], np.ndarray], size: int) -> Limits:
    """Percentile bootstrap over particles; `statistic` takes rows of indices."""
    draws = statistic(rng.integers(0, size, (RESAMPLES, size)))
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def frequency(rng, level, regions, size, correlation):
    hits = np.concatenate([trials(rng, level, size, correlation)[0] for _ in range(regions)])
    ours = frequency_interval(hits, region=np.repeat(np.arange(regions), size))
    return (ours.low, ours.high), naive_share(hits), level


def median(rng, level, regions, size, correlation):
    data = np.concatenate([sizes(rng, level, size, correlation)[0] for _ in range(regions)])
    ours = percentile_interval(data, 50, region=np.repeat(np.arange(regions), size))
    naive = bootstrap(rng, lambda rows: np.median(data[rows], axis=1), len(data))
    return (ours.low, ours.high), naive, level


def dead_volume(rng, level, regions, size, correlation):
    parts = [volumes(rng, level, size, correlation) for _ in range(regions)]
    top, bottom = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    ours = ratio_of_sums_interval(top, bottom, region=np.repeat(np.arange(regions), size))
    naive = bootstrap(rng, lambda rows: top[rows].sum(axis=1) / bottom[rows].sum(axis=1), len(top))
    return (ours.low, ours.high), naive, level


CASES = (
    *((f"frequency {level:.0%}", frequency, level) for level in FREQUENCIES),
    ("number d50", median, MEDIAN_UM),
    ("dead volume", dead_volume, DEAD_VOLUME),
)


def coverage(case, design: tuple[int, int, float], lots: int, seed: int = 0):
    """Return the share of lots whose interval holds the truth: ours, naive; and none given."""
    _, make, level = case
    rng = np.random.default_rng(seed)
    held, none = np.zeros(2), 0
    for _ in range(lots):
        ours, naive, truth = make(rng, level, *design)
        if ours[0] is None:
            none += 1
            ours = (-math.inf, math.inf)  # a refusal claims nothing
        held += [low <= truth <= high for low, high in (ours, naive)]
    return held[0] / lots, held[1] / lots, none / lots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lots", type=int, default=1000, help="per row")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    print(f"lognormal diameters (sigma {SIGMA}), {options.lots} lots per row")
    print("| quantity | regions x particles | correlation | ours | refused | naive |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        for design in DESIGNS:
            ours, naive, none = coverage(case, design, options.lots, options.seed)
            regions, size, correlation = design
            print(
                f"| {case[0]} | {regions} x {size} | {correlation:g} | {ours:.1%} | {none:.1%} | "
                f"{naive:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
