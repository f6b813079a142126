"""Short forms of the campaigns whose long forms stand in docs/lots.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def campaigns(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import coverage_statistics
    import lot_campaign

    yield lot_campaign, coverage_statistics
    for name in ("coverage_statistics", "lot_campaign"):
        sys.modules.pop(name, None)


def test_campaign_holds_the_risks_with_half_the_regions(campaigns):
    campaign, _ = campaigns
    sizes = campaign.CASES[3]
    ((wanted, plan, correlation, good, bad),) = campaign.rows(60, [(0.05, 0.05)], [sizes], 2)
    assert good.rejected + bad.accepted <= 0.16  # 5 % each, and the luck of 60 lots
    assert (good.mean_regions + bad.mean_regions) / 2 < 0.65 * plan.fixed_regions
    assert campaign.show(wanted, plan, correlation, good, bad).startswith("| d50_number_um | 5.8")


def test_our_interval_covers_where_the_textbook_one_does_not(campaigns):
    _, coverage = campaigns
    ours, naive, _ = coverage.coverage(coverage.CASES[0], (1, 40, 0.0), 300)
    assert ours > 0.92
    assert naive < 0.7  # Wald at 2 %: 55 %
