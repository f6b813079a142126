"""Geometry against the numbers of the study."""

from __future__ import annotations

import itertools

import pytest

from zoneplate.devices import Detector, ZonePlate, projections_needed
from zoneplate.devices.timing import move_fraction, move_time_s


def test_crowther_numbers_of_the_study():
    assert projections_needed(1000) == 1571
    assert projections_needed(1000 / 8) == 196


def test_large_field_zone_plate():
    zone_plate = ZonePlate(outer_zone_width_nm=123.0, diameter_um=148.0)
    assert zone_plate.resolution_um == pytest.approx(0.150, abs=0.001)
    assert zone_plate.depth_of_focus_um(5.4) == pytest.approx(264, abs=1)
    assert zone_plate.focal_length_um(5.4) == pytest.approx(79_300, rel=0.01)


def test_frame_of_the_study_is_32_kilobytes_of_512_nm_pixels():
    detector = Detector(1024, 1024, 0.064)
    rows, columns = detector.shape(8)
    assert rows * columns * 2 == 32_768
    assert detector.binned_pixel_um(8) == pytest.approx(0.512)


@pytest.mark.parametrize("distance", [0.5, 1.9, 2.0, 30.0])
def test_move_covers_its_distance_with_the_right_speed(distance):
    total_s = move_time_s(distance, 10.0, 0.2)
    steps = 2000
    covered = [move_fraction(total_s * i / steps, distance, 10.0, 0.2) for i in range(steps + 1)]
    assert covered[0] == 0
    assert covered[-1] == 1
    speeds = [(b - a) * distance / (total_s / steps) for a, b in itertools.pairwise(covered)]
    assert min(speeds) >= 0
    assert max(speeds) <= 10.0 + 1e-6
    assert covered[steps // 2] == pytest.approx(0.5)
