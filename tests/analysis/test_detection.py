"""The curve of detection: known truth comes back, and so it does from another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from zoneplate.analysis.detection import DetectionError, fit_detection, rate

D50_UM, SLOPE = 1.3, 14.0
D90_UM = D50_UM * math.exp(math.log(9) / SLOPE)


def trial(rng: np.random.Generator, voids: int = 150) -> tuple[np.ndarray, np.ndarray]:
    sizes = np.exp(rng.uniform(np.log(0.7), np.log(2.6), voids))
    return sizes, rng.random(voids) < expit(SLOPE * np.log(sizes / D50_UM))


def test_intervals_hold_the_truth_as_often_as_stated():
    held = np.zeros(2)
    bias = []
    for seed in range(300):
        curve = fit_detection(*trial(np.random.default_rng(seed)))
        for number, (share, truth) in enumerate(((0.5, D50_UM), (0.9, D90_UM))):
            found = curve.diameter_um(share)
            held[number] += found.low < truth < found.high
        bias.append(curve.diameter_um(0.9).value / D90_UM - 1)
    assert np.all(held / 300 > 0.90), held
    assert abs(np.mean(bias)) < 0.02


def test_fit_is_the_maximum_of_the_penalised_likelihood():
    sizes, found = trial(np.random.default_rng(5), 60)
    design = np.column_stack([np.ones(60), np.log(sizes)])

    def loss(beta: np.ndarray) -> float:
        score = design @ beta
        share = expit(score)
        information = design.T @ ((share * (1 - share))[:, None] * design)
        likelihood = np.where(found, log_expit(score), log_expit(-score)).sum()
        return -float(likelihood + 0.5 * np.linalg.slogdet(information)[1])

    other = minimize(
        loss, [0.0, 5.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}
    )
    curve = fit_detection(sizes, found)
    assert [curve.intercept, curve.slope] == pytest.approx(other.x, rel=1e-4)


def test_step_gives_a_steep_curve_at_the_step():
    sizes = np.linspace(0.8, 2.4, 81)
    curve = fit_detection(sizes, sizes > 1.5)
    assert 1.45 < curve.diameter_um(0.5).value < 1.55
    assert curve.diameter_um(0.9).value < 1.62
    assert curve.probability(1.0) < 0.01 < 0.99 < curve.probability(2.2)


@pytest.mark.parametrize("found", [[True] * 4, [False] * 4])
def test_nothing_can_be_said_where_all_are_alike(found):
    with pytest.raises(DetectionError, match="of 4 voids were found"):
        fit_detection([1.0, 1.5, 2.0, 2.5], found)


def test_curve_that_falls_is_refused():
    with pytest.raises(DetectionError, match="not found more often"):
        fit_detection([1.0, 1.5, 2.0, 2.5, 3.0], [True, True, True, False, False])


def test_rate_of_rare_events_is_the_exact_one():
    # Garwood 1936: 3 events have the 95 % interval 0.6187 to 8.7673.
    found = rate(3, 10)
    assert (found.low, found.high) == pytest.approx((0.06187, 0.87673), rel=1e-3)
