import numpy as np
import pytest
from scipy import stats
from volume_scene import radii_table, tables

from zoneplate.analysis.roughness import describe_roughness, rank_correlation


def test_rank_correlation_has_limits_that_hold():
    """Of 400 samples of a known correlation, 95 % of the intervals hold it."""
    rng = np.random.default_rng(3)
    pearson = 0.6
    spearman = 6 / np.pi * np.arcsin(pearson / 2)  # of a normal pair
    held = 0
    for _ in range(400):
        x, y = rng.multivariate_normal((0, 0), ((1, pearson), (pearson, 1)), 30).T
        found = rank_correlation(x, y)
        assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
        held += found.low <= spearman <= found.high
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize(("x", "y"), [(range(9), range(9)), (range(20), [1.0] * 20)])
def test_no_rank_correlation_where_nothing_can_be_said(x, y):
    found = rank_correlation(list(x), list(y))
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "rank correlation" in found.warning


def test_roughness_of_known_radii():
    particles, _ = tables()
    found = describe_roughness(radii_table(), particles, 0.5)
    assert (found["particles"], found["azimuths"]) == (2, 8)
    # r + 0.1 cos(2 azimuth) every 45 degrees: 0.2 between the largest and the smallest.
    assert found["total_proxy_um"]["mean"] == pytest.approx(0.2)
    assert found["local_proxy_um"]["mean"] == pytest.approx(0.1)
    assert found["volume_to_sphere"]["mean"] == pytest.approx(1.0)
    assert found["area_to_sphere"]["mean"] == pytest.approx(1.0)
    assert found["size_correlation"]["value"] is None
