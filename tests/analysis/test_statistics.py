from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zoneplate.analysis.statistics import (
    design_effect,
    frequency_interval,
    mean_and_se,
    proportion_interval,
    ratio_of_sums_interval,
    wilson_interval,
)
from zoneplate.analysis.statistics_correction import (
    correct_for_detection,
    miles_lantuejoul_weights,
)
from zoneplate.analysis.statistics_percentiles import LOGNORMAL, percentile_interval


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


@pytest.mark.parametrize(("k", "n"), [(0, 20), (1, 160), (22, 40), (40, 40)])
def test_clopper_pearson_is_that_of_scipy(k, n):
    oracle = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    found = proportion_interval(k, n, method="clopper-pearson")
    assert found == pytest.approx((oracle.low, oracle.high))


def test_jeffreys_upper_limit_of_none_in_twenty():
    low, high = proportion_interval(0, 20, method="jeffreys")
    assert (low, high) == (0.0, pytest.approx(0.117, abs=5e-4))


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="clopper-pearson"):
        proportion_interval(1, 2, method="wald")  # pyright: ignore[reportArgumentType]


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


@pytest.mark.parametrize("share", [0.02, 0.05, 0.55])
def test_frequency_interval_fails_as_often_as_stated_at_a_correlation_of_a_twentieth(share):
    rng = np.random.default_rng(11)
    naive = clustered = 0
    for _ in range(800):
        local = rng.beta(share * 19, (1 - share) * 19, 8)
        region = np.repeat(np.arange(8), 30)
        hits = rng.random(240) < local[region]
        found = frequency_interval(hits, region=region)
        clustered += not found.low <= share <= found.high
        low, high = wilson_interval(hits.sum(), 240)
        naive += not low <= share <= high
    assert 0.02 * 800 <= clustered <= 0.08 * 800
    assert naive > 0.11 * 800


def test_objects_of_no_weight_do_not_count():
    found = frequency_interval([True, False, True, True], [2.0, 2.0, 0.0, 0.0])
    assert (found.value, found.n) == (0.5, 2)
    assert (found.low, found.high) == pytest.approx(wilson_interval(1, 2))


def test_weights_do_not_change_the_design_effect_when_equal():
    rng = np.random.default_rng(12)
    hits, region = simulated_regions(rng, 8, 40, 0.12)
    plain = design_effect(hits, region)
    assert plain > 1
    assert design_effect(hits, region, np.full(320, 3.0)) == pytest.approx(plain)


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
    for _ in range(150):
        volume = rng.lognormal(0, 1.0, 120)
        void = 0.04 * volume * (rng.random(120) < 0.5)
        found = ratio_of_sums_interval(void, volume)
        covered += found.low < 0.02 < found.high
        assert found.value == pytest.approx(void.sum() / volume.sum())
    assert covered >= 0.88 * 150


@pytest.mark.parametrize("regions", [None, 5])
def test_dead_volume_interval_fails_as_often_as_stated(regions):
    rng = np.random.default_rng(3)
    sizes = rng.lognormal(np.log(5.84), 0.428, (1000, 150)) ** 3
    voids = np.minimum(rng.lognormal(np.log(2.315), 0.27, (1000, 150)) ** 3, 0.5 * sizes)
    voids[rng.random(voids.shape) < 0.45] = 0
    region = None if regions is None else np.arange(150) % regions
    truth = voids.sum() / sizes.sum()
    failed = 0
    for void, volume in zip(voids, sizes, strict=True):
        found = ratio_of_sums_interval(void, volume, region=region)
        failed += not found.low <= truth <= found.high
    assert 0.03 * 1000 <= failed <= 0.08 * 1000


def test_ratio_interval_agrees_with_the_bootstrap_of_scipy_where_that_is_sound():
    rng = np.random.default_rng(4)
    volume = rng.lognormal(0, 0.4, 2000)
    void = volume * rng.uniform(0, 0.1, 2000)
    found = ratio_of_sums_interval(void, volume)
    oracle = stats.bootstrap(
        (void, volume),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=2000,
        batch=200,
        rng=0,
    ).confidence_interval
    width = oracle.high - oracle.low
    assert found.low == pytest.approx(oracle.low, abs=0.07 * width)
    assert found.high == pytest.approx(oracle.high, abs=0.07 * width)


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
    ("n", "percent", "weighting", "method"),
    [
        (5, 50, "number", None),
        (40, 50, "number", "order statistics"),
        (20, 10, "number", None),
        (60, 10, "number", "order statistics"),
        (12, 50, "volume", None),
        (40, 50, "volume", LOGNORMAL),
        (200, 50, "volume", "bootstrap"),
        (200, 90, "volume", LOGNORMAL),
        (1200, 90, "volume", "bootstrap"),
    ],
)
def test_percentile_interval_is_refused_where_dishonest(n, percent, weighting, method):
    data = np.random.default_rng(10).lognormal(np.log(5.84), 0.428, n)
    found = percentile_interval(data, percent, weighting=weighting)
    assert found.value is not None
    assert (found.low is not None) == (method is not None)
    assert (found.warning is None) == (method is not None)
    if method is not None:
        assert found.method == method
        assert found.low <= found.value <= found.high


def test_sizes_that_are_not_lognormal_get_no_model():
    data = np.concatenate([np.linspace(2, 3, 40), np.linspace(20, 30, 40)])
    found = percentile_interval(data, 90, weighting="volume")
    assert found.low is found.high is None
    assert "not lognormal" in found.warning


def test_lognormal_limits_of_volume_d90_cover_where_the_bootstrap_covers_a_fifth():
    rng = np.random.default_rng(13)
    truth = 5.84 * np.exp(3 * 0.428**2 + stats.norm.ppf(0.9) * 0.428)
    given = failed = 0
    for _ in range(500):
        data = rng.lognormal(np.log(5.84), 0.428, 40)
        found = percentile_interval(data, 90, weighting="volume")
        given += found.low is not None
        failed += found.low is not None and not found.low <= truth <= found.high
    assert given > 0.9 * 500
    assert 0.02 * given <= failed <= 0.08 * given


def test_number_percentile_of_alike_regions_covers_and_the_naive_one_does_not():
    rng = np.random.default_rng(14)
    region = np.repeat(np.arange(10), 30)
    naive = clustered = 0
    for _ in range(300):
        local = rng.normal(np.log(5.84), 0.15, 10)
        data = np.exp(rng.normal(local[region], 0.4))
        found = percentile_interval(data, 50, region=region)
        clustered += not found.low <= 5.84 <= found.high
        found = percentile_interval(data, 50)
        naive += not found.low <= 5.84 <= found.high
    assert clustered <= 0.1 * 300
    assert naive > 0.15 * 300


def test_weighted_percentile_counts_like_repeated_objects():
    data = np.random.default_rng(15).lognormal(1, 0.4, 60)
    weights = np.repeat([1.0, 3.0], 30)
    found = percentile_interval(data, 50, weights=weights)
    repeated = np.sort(np.concatenate([data, data[30:], data[30:]]))
    assert found.value == repeated[59]


def test_correction_for_detection_undoes_missed_and_false_voids():
    found = correct_for_detection(
        frequency_interval([True] * 46 + [False] * 54), detected=0.9, false_alarms=0.1
    )
    assert found.value == pytest.approx(0.45)
    assert found.low < 0.45 < found.high


def test_correction_is_refused_where_it_only_amplifies_noise():
    with pytest.raises(ValueError, match="use a larger void size"):
        correct_for_detection(frequency_interval([True]), detected=0.3, false_alarms=0.25)


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
