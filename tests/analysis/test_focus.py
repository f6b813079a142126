"""The focus of a series: found to a fraction of a step, refused where it is not shown."""

from __future__ import annotations

import numpy as np
import pytest

from zoneplate.analysis.focus import FocusError, find_focus

PLACES = np.arange(-600.0, 601.0, 100.0)


def peak(at: float, width: float = 450.0) -> np.ndarray:
    return 1 / (1 + ((PLACES - at) / width) ** 2)


def test_error_and_its_estimate_agree_over_many_noisy_series():
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(60):
        at = rng.uniform(-250, 250)
        found = find_focus(PLACES, peak(at) + rng.normal(0, 0.02, PLACES.size))
        assert abs(found.position_um - at) < 120
        ratios.append((found.position_um - at) / found.standard_error_um)
    assert 0.6 < np.std(ratios) < 1.8
    assert abs(np.median(ratios)) < 0.5


def test_one_wild_position_does_not_move_the_focus():
    value = peak(120.0)
    clean = find_focus(PLACES, value).position_um
    value[4] += 0.4
    assert find_focus(PLACES, value).position_um == pytest.approx(clean, abs=25)


def test_order_of_the_series_does_not_matter():
    rng = np.random.default_rng(1)
    order = rng.permutation(PLACES.size)
    found = find_focus(PLACES[order], peak(70.0)[order])
    assert found.position_um == pytest.approx(find_focus(PLACES, peak(70.0)).position_um)
    assert np.argmax(found.sharpness) == np.argmax(peak(70.0)[order])


@pytest.mark.parametrize(("at", "side"), [(-580.0, "smaller"), (900.0, "larger")])
def test_peak_at_or_beyond_an_end_is_refused_with_the_side_to_look(at, side):
    with pytest.raises(FocusError, match=f"around {side} positions"):
        find_focus(PLACES, peak(at))


def test_series_of_noise_or_too_few_positions_is_refused():
    rng = np.random.default_rng(2)
    with pytest.raises(FocusError, match="does not depend"):
        find_focus(PLACES, 1 + rng.normal(0, 0.02, PLACES.size))
    with pytest.raises(FocusError, match="5 or more"):
        find_focus(PLACES[:4], peak(0.0)[:4])
    with pytest.raises(FocusError, match="not a number"):
        find_focus(PLACES, np.where(PLACES == 0, np.nan, peak(0.0)))
