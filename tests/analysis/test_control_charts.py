"""Control charts against run lengths from the literature and from simulation."""

from __future__ import annotations

import numpy as np
import pytest

from zoneplate.analysis.control_charts import (
    CUSUM_LIMIT,
    control_chart,
    cusum,
    cusum_run_length,
    ewma,
    ewma_run_length,
    laney_spread,
)


@pytest.mark.parametrize(
    ("shift", "length"), [(0.0, 500), (0.25, 150), (0.5, 41.8), (0.75, 18.2), (1.0, 10.5)]
)
def test_ewma_runs_as_long_as_lucas_and_saccucci_say(shift, length):
    assert ewma_run_length(shift, 0.2, 2.962) == pytest.approx(length, rel=0.01)


@pytest.mark.parametrize(
    ("limit", "shift", "length"),
    [(4.0, 0.0, 168), (4.0, 1.0, 8.38), (5.0, 0.0, 465), (5.0, 0.5, 38.0), (5.0, 1.0, 10.4)],
)
def test_cusum_runs_as_long_as_the_tables_say(limit, shift, length):
    assert cusum_run_length(shift, 0.5, limit) == pytest.approx(length, rel=0.01)


def test_both_charts_as_they_are_set_have_a_false_alarm_every_370_lots():
    assert ewma_run_length() == pytest.approx(370, rel=0.01)
    assert cusum_run_length() == pytest.approx(370, rel=0.01)


def test_simulated_lots_alarm_as_soon_as_reckoned():
    rng = np.random.default_rng(0)
    first = {"ewma": [], "cusum": []}
    for _ in range(400):
        deviations = rng.normal(1.0, 1.0, 100)
        smooth, limit = ewma(deviations)
        up, down = cusum(deviations)
        first["ewma"].append(1 + np.argmax(np.abs(smooth) > limit[-1]))
        first["cusum"].append(1 + np.argmax(np.maximum(up, down) > CUSUM_LIMIT))
    assert np.mean(first["ewma"]) == pytest.approx(ewma_run_length(1.0), rel=0.08)
    assert np.mean(first["cusum"]) == pytest.approx(cusum_run_length(1.0), rel=0.08)


def test_a_large_lot_is_held_to_narrower_limits():
    values, errors = np.full(8, 0.5), np.full(8, 0.08)
    errors[7] = 0.02
    table = control_chart(values, errors).table
    assert table["high"][7] - 0.5 == pytest.approx((table["high"][0] - 0.5) / 4)


def test_lots_that_differ_by_nature_widen_the_limits():
    rng = np.random.default_rng(1)
    deviations = rng.normal(0, 3.0, 4000)
    assert laney_spread(deviations) == pytest.approx(3.0, rel=0.05)
    assert laney_spread([0.0, 0.1, 0.0]) == 1.0
    quiet = control_chart(rng.normal(0.5, 0.03, 30), np.full(30, 0.01))
    assert quiet.spread == pytest.approx(3.0, rel=0.4)
    assert not [alarm for alarm in quiet.alarms if alarm.chart == "shewhart"]


def test_slow_drift_alarms_where_single_lots_do_not():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0.5, 0.02, 12), rng.normal(0.53, 0.02, 12)])
    chart = control_chart(values, np.full(24, 0.02), baseline=12)
    kinds = {alarm.chart for alarm in chart.alarms}
    assert {"ewma", "cusum"} <= kinds
    drift = next(alarm for alarm in chart.alarms if alarm.chart == "cusum")
    assert drift.upward
    assert 9 <= drift.since <= 16


@pytest.mark.parametrize(("values", "errors"), [([1, 2, 3], [1, 1, 1]), ([1] * 6, [0] * 6)])
def test_nothing_is_charted_without_a_baseline(values, errors):
    with pytest.raises(ValueError, match="lot"):
        control_chart(values, errors)
