"""Orders of angles: every angle once, and an early part that covers the range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoneplate.plans import ordered, projection_angles
from zoneplate.plans.angles import ORDERS


@given(count=st.integers(1, 400), order=st.sampled_from(ORDERS), pair=st.booleans())
def test_every_order_takes_every_angle_once(count, order, pair):
    angles = projection_angles(count, -90.0, 90.0)
    taken = ordered(angles, order, pair_first=pair)
    assert sorted(taken) == sorted(angles)


@pytest.mark.parametrize("order", ["interlaced", "golden"])
def test_pair_that_shows_the_axis_comes_first(order):
    assert ordered(projection_angles(141, -90, 90), order)[:2] == [-90.0, 90.0]


def test_quarter_of_an_interlaced_scan_has_no_wide_gap():
    taken = ordered(projection_angles(141, -90, 90), "interlaced")
    quarter = np.sort(taken[:36])
    assert np.diff(quarter).max() < 5.5  # sequential: 135 degrees are missing


def test_passes_turn_back_where_they_end():
    taken = np.array(ordered(projection_angles(141, -90, 90), "interlaced"))
    # After the pair no move is longer than two steps of a pass.
    assert np.abs(np.diff(taken[1:])).max() < 2 * 4 * 180 / 140 + 1e-9


def test_golden_scan_spreads_from_the_start():
    taken = np.sort(ordered(projection_angles(141, -90, 90), "golden")[:20])
    assert np.diff(taken).max() < 30
