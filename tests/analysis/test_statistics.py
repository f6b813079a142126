from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zoneplate.analysis.statistics import (
    frequency_interval,
    mean_and_se,
    miles_lantuejoul_weights,
    percentile_interval,
    ratio_of_sums_interval,
    wilson_interval,
)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_that_of_scipy(trial):
    k, n = trial
    oracle = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(k, n)
    assert low == pytest.approx(oracle.low, abs=1e-12)
    assert high == pytest.approx(oracle.high, abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(22, 40, 0.398, 0.693), (88, 160, 0.473, 0.625), (0, 20, 0.0, 0.161), (0, 0, 0.0, 1.0)],
)
def test_wilson_known_values(k, n, low, high):
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=6e-4)


@pytest.mark.parametrize(("k", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 95)])
def test_wilson_refuses_nonsense(k, n, confidence):
    with pytest.raises(ValueError, match="must lie between"):
        wilson_interval(k, n, confidence)


def test_frequency_of_independent_particles_is_wilsons_and_warns():
    found = frequency_interval([True] * 22 + [False] * 18)
    assert (found.value, found.n) == (0.55, 40)
    assert (found.low, found.high) == pytest.approx(wilson_interval(22, 40))
    assert "5 regions" in found.warning


def simulated_regions(rng, regions, size, spread):
    shares = np.clip(rng.normal(0.55, spread, regions), 0, 1)
    hits = np.concatenate([rng.random(size) < share for share in shares])
    return hits, np.repeat(np.arange(regions), size)


def test_frequency_interval_covers_when_regions_differ():
    rng = np.random.default_rng(0)
    covered = {"naive": 0, "clustered": 0}
    for _ in range(400):
        hits, region = simulated_regions(rng, 8, 40, 0.12)
        naive = frequency_interval(hits)
        clustered = frequency_interval(hits, region=region)
        covered["naive"] += naive.low < 0.55 < naive.high
        covered["clustered"] += clustered.low < 0.55 < clustered.high
    assert covered["clustered"] >= 0.92 * 400
    assert covered["naive"] < 0.85 * 400  # why it takes clusters


def test_four_regions_are_too_few_to_tell():
    hits, region = simulated_regions(np.random.default_rng(1), 4, 40, 0.12)
    assert frequency_interval(hits, region=region).warning is not None


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_unanimous_regions_keep_an_honest_interval(share):
    found = frequency_interval(np.full(60, share), region=np.repeat(np.arange(6), 10))
    assert found.high - found.low > 0.03


def test_ratio_of_sums_is_no_mean_of_ratios_and_covers():
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(150):
        volume = rng.lognormal(0, 1.0, 120)
        void = 0.04 * volume * (rng.random(120) < 0.5)
        found = ratio_of_sums_interval(void, volume, seed=seed, resamples=400)
        covered += found.low < 0.02 < found.high
        assert found.value == pytest.approx(void.sum() / volume.sum())
    assert covered >= 0.88 * 150


def test_ratio_interval_is_the_same_every_time():
    rng = np.random.default_rng(3)
    data = rng.random(50), rng.random(50) + 1
    assert ratio_of_sums_interval(*data) == ratio_of_sums_interval(*data)
    assert ratio_of_sums_interval(*data, seed=1) != ratio_of_sums_interval(*data)


def test_ratio_interval_is_that_of_scipy_bootstrap():
    rng = np.random.default_rng(4)
    volume = rng.lognormal(0, 0.8, 200)
    void = volume * rng.uniform(0, 0.1, 200)
    found = ratio_of_sums_interval(void, volume, resamples=8000)
    oracle = stats.bootstrap(
        (void, volume),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=8000,
        rng=0,
    ).confidence_interval
    width = oracle.high - oracle.low
    assert found.low == pytest.approx(oracle.low, abs=0.05 * width)
    assert found.high == pytest.approx(oracle.high, abs=0.05 * width)


def test_ratio_interval_widens_when_regions_differ():
    rng = np.random.default_rng(5)
    region = np.repeat(np.arange(6), 30)
    volume = rng.lognormal(0, 0.4, 180)
    void = volume * np.repeat(rng.uniform(0.01, 0.07, 6), 30)
    naive = ratio_of_sums_interval(void, volume)
    clustered = ratio_of_sums_interval(void, volume, region=region)
    assert clustered.high - clustered.low > 1.5 * (naive.high - naive.low)
    assert clustered.value == naive.value


@pytest.mark.parametrize(
    ("void", "reason"), [([0.1] * 5, "fewer than 10"), ([0.0] * 40, "none has any")]
)
def test_ratio_interval_is_refused_where_it_would_lie(void, reason):
    found = ratio_of_sums_interval(void, [1.0] * len(void))
    assert found.value is not None
    assert found.low is found.high is None
    assert reason in found.warning


def test_no_data_gives_none():
    assert ratio_of_sums_interval([], []).value is None
    assert frequency_interval([]).value is None
    assert percentile_interval([], 50).value is None
    assert np.isnan(mean_and_se([])).all()
    assert np.isnan(mean_and_se([3.0])[1])


def test_mean_and_se_is_that_of_scipy():
    data = np.random.default_rng(6).lognormal(0, 1, 30)
    assert mean_and_se(data) == pytest.approx((data.mean(), stats.sem(data)))
    assert mean_and_se(data, np.full(30, 4.0)) == pytest.approx(mean_and_se(data))


def test_weights_count_like_repeated_objects():
    mean, _ = mean_and_se([1.0, 5.0], [3.0, 1.0])
    assert mean == 2.0


def test_standard_error_grows_when_regions_differ():
    rng = np.random.default_rng(7)
    region = np.repeat(np.arange(10), 20)
    data = rng.normal(0, 1, 200) + np.repeat(rng.normal(0, 1, 10), 20)
    assert mean_and_se(data, region=region)[1] > 2 * mean_and_se(data)[1]


@pytest.mark.parametrize("plane_um", [0.0, 10.0])
def test_miles_lantuejoul_weights_undo_the_border_bias(plane_um):
    rng = np.random.default_rng(8)
    height, radius = 65.5, 32.75
    d = rng.lognormal(np.log(5.84), 0.428, 60_000)
    x, y = rng.uniform(-60, 60, d.size), rng.uniform(-60, 60, d.size)
    z = plane_um + d / 2  # settled on a plane
    whole = (np.hypot(x, z) + d / 2 < radius) & (np.abs(y) + d / 2 < height / 2)
    table = pd.DataFrame(
        {
            "center_z_um": z,
            "extent_x_um": d,
            "extent_y_um": d,
            "extent_z_um": d,
            "touches_border": ~whole,
        }
    )
    weights = miles_lantuejoul_weights(table, field_height_um=height, field_radius_um=radius)
    assert (weights[~whole] == 0).all()
    assert (weights[whole] >= 1).all()
    plain = d[whole].mean() / d.mean()
    weighted = mean_and_se(d, weights)[0] / d.mean()
    assert plain < 0.97
    assert weighted == pytest.approx(1, abs=0.012)
    cubes = mean_and_se(d**3, weights)[0] / (d**3).mean()
    assert (d[whole] ** 3).mean() / (d**3).mean() < 0.9
    assert cubes == pytest.approx(1, abs=0.06)


def test_particle_as_large_as_the_field_has_no_weight():
    table = pd.DataFrame(
        {
            "center_z_um": [0.0],
            "extent_x_um": [70.0],
            "extent_y_um": [10.0],
            "extent_z_um": [70.0],
            "touches_border": [False],
        }
    )
    weights = miles_lantuejoul_weights(table, field_height_um=60, field_radius_um=32)
    assert weights.tolist() == [0.0]


def test_number_percentile_covers_what_it_claims():
    rng = np.random.default_rng(9)
    covered = 0
    for _ in range(300):
        found = percentile_interval(rng.lognormal(np.log(5.84), 0.428, 40), 50)
        covered += found.low <= 5.84 <= found.high
    assert covered >= 0.93 * 300


@pytest.mark.parametrize(
    ("n", "percent", "weighting", "given"),
    [
        (5, 50, "number", False),
        (40, 50, "number", True),
        (20, 10, "number", False),
        (60, 10, "number", True),
        (40, 50, "volume", False),
        (200, 50, "volume", True),
        (200, 90, "volume", False),
        (1200, 90, "volume", True),
    ],
)
def test_percentile_interval_is_refused_where_dishonest(n, percent, weighting, given):
    data = np.random.default_rng(10).lognormal(np.log(5.84), 0.428, n)
    found = percentile_interval(data, percent, weighting=weighting)
    assert found.value is not None
    assert (found.low is not None) == given
    assert (found.warning is None) == given
    if given:
        assert found.low <= found.value <= found.high


def test_volume_median_is_that_of_the_lognormal():
    data = np.exp(stats.norm.ppf((np.arange(3000) + 0.5) / 3000) * 0.428) * 5.84
    found = percentile_interval(data, 50, weighting="volume")
    assert found.value == pytest.approx(5.84 * np.exp(3 * 0.428**2), rel=0.005)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"percent": 0}, "percent must lie"),
        ({"percent": 50, "weighting": "area"}, "weighting must be"),
        ({"percent": 50, "confidence": 1}, "confidence must lie"),
    ],
)
def test_percentile_refuses_nonsense(arguments, message):
    with pytest.raises(ValueError, match=message):
        percentile_interval([1.0, 2.0], **arguments)
