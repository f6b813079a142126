"""Sample holder, zone plate and condenser keep their distance, however they are asked to move."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky.simulators import check_limits
from ophyd.utils import LimitError

from zoneplate.devices import ConfigurationError, InstrumentConfiguration
from zoneplate.devices.envelope import CollisionError, Envelope
from zoneplate.plans import check_plan, mosaic, screen, tomography

CONFIGURATION = InstrumentConfiguration.load()
SIZES = CONFIGURATION.envelope
HERE = {"x": (0.0, 0.0), "z": (0.0, 0.0), "theta": (0.0, 0.0), "zone_plate_z": (0.0, 0.0)}


def by_hand(x, z, theta_deg):
    """Reach of the holder down- and upstream, from many points of its outline."""
    width, depth = (
        np.linspace(-SIZES.holder_half_width_um, SIZES.holder_half_width_um, 41),
        np.linspace(-SIZES.holder_back_um, SIZES.holder_front_um, 41),
    )
    px, pz = np.meshgrid(width, depth)
    angle = math.radians(theta_deg)
    along = (pz - z) * math.cos(angle) - (px - x) * math.sin(angle)
    return along.max(), -along.min()


def test_gaps_are_those_of_the_turned_box():
    rng = np.random.default_rng(1)
    envelope = Envelope(CONFIGURATION)
    for x, z, theta in rng.uniform(-1, 1, (50, 3)) * (2000, 1000, 95):
        spans = {**HERE, "x": (x, x), "z": (z, z), "theta": (theta, theta)}
        down, up = by_hand(x, z, theta)
        gaps = envelope.gaps(spans)
        assert gaps.zone_plate_um == pytest.approx(SIZES.zone_plate_distance_um - down, abs=1e-3)
        assert gaps.condenser_um == pytest.approx(SIZES.condenser_distance_um - up, abs=1e-3)


def test_a_turn_is_judged_by_its_worst_angle_not_by_its_ends():
    envelope = Envelope(CONFIGURATION)
    turn = {**HERE, "x": (1500.0, 1500.0), "z": (-900.0, -900.0), "theta": (-30.0, 90.0)}
    worst = min(
        SIZES.zone_plate_distance_um - by_hand(1500, -900, theta)[0]
        for theta in np.arange(-30, 90.1, 0.25)
    )
    assert envelope.gaps(turn).zone_plate_um == pytest.approx(worst, abs=1)
    ends = [SIZES.zone_plate_distance_um - by_hand(1500, -900, t)[0] for t in (-30, 90)]
    assert envelope.gaps(turn).zone_plate_um < min(ends) - 50


def assert_said(message: str, *parts: str) -> None:
    for part in ("zone plate", "allowed: 200 um", "may be", "first", *parts):
        assert part in message, message


def test_axis_refuses_a_collision_before_it_moves(RE, microscope):
    stage = microscope.stage
    RE(bps.mv(stage.theta, 90.0))
    before_s = microscope.clock.now()
    with pytest.raises(CollisionError) as refused:
        RE(bps.mv(stage.x, 1950.0))
    assert_said(str(refused.value), "x = 1950 um", "-2000 to 17")
    assert (stage.x.position, microscope.clock.now()) == (0.0, before_s)
    with pytest.raises(LimitError):
        check_limits(bps.mv(stage.x, 1950.0))
    RE(bps.mv(stage.theta, 0.0))
    RE(bps.mv(stage.x, 1950.0))
    with pytest.raises(CollisionError, match="theta = 90 deg"):
        RE(bps.mv(stage.theta, 90.0))


def test_zone_plate_does_not_run_into_the_holder(RE, microscope):
    RE(bps.mv(microscope.stage.x, 1000.0))
    RE(bps.mv(microscope.stage.theta, 90.0))
    with pytest.raises(CollisionError, match=r"zone_plate_z = -1000 um .* turn theta towards 0"):
        RE(bps.mv(microscope.optics.zone_plate_z, -1000.0))
    assert microscope.optics.zone_plate_z.position == 0.0


def test_what_stands_too_near_may_leave(RE, microscope):
    microscope.instrument.axes["x"]._arrived = microscope.instrument.axes["x"]._target = 1990.0
    microscope.instrument.axes["theta"]._arrived = 90.0
    microscope.instrument.axes["theta"]._target = 90.0
    with pytest.raises(CollisionError):
        RE(bps.mv(microscope.stage.x, 2000.0))
    RE(bps.mv(microscope.stage.x, 1000.0))
    assert microscope.stage.x.position == pytest.approx(1000.0, abs=0.2)


@pytest.mark.parametrize(
    "plan",
    [
        lambda m: tomography(m, center_um=(1950.0, 0.0, 0.0)),
        lambda m: mosaic(m, shape=(1, 3), center_um=(1900.0, 0.0), theta_deg=90.0),
        lambda m: screen(m, at_um=[(0.0, 0.0, 0.0), (1950.0, 0.0, 0.0)]),
    ],
    ids=["tomography", "mosaic", "screen"],
)
def test_plan_on_whose_way_parts_collide_is_refused_before_anything_moves(RE, microscope, plan):
    before_s = microscope.clock.now()
    with pytest.raises(CollisionError) as refused:
        RE(plan(microscope))
    assert_said(str(refused.value))
    assert microscope.clock.now() == before_s


def test_whole_plan_of_others_is_checked_with_all_axes_where_they_will_be(microscope):
    stage, camera = microscope.stage, microscope.camera
    grid = (stage.theta, -90, 90, 3, stage.x, -1950, 1950, 3)
    check_limits(bp.grid_scan([camera], *grid))  # each target alone is fine
    with pytest.raises(CollisionError, match=r"x = -?1950 um"):
        check_plan(microscope, bp.grid_scan([camera], *grid))
    assert check_plan(microscope, bp.scan([camera], stage.theta, -90, 90, 5)) == 5
    with pytest.raises(ConfigurationError, match="limits -95 to 95"):
        check_plan(microscope, bp.scan([camera], stage.theta, 0, 120, 5))
    moves = check_plan(
        microscope,
        tomography(microscope, projections=41, motion="fly", order="sequential", exposure_s=1.0),
    )
    assert moves > 3
    assert stage.theta.position == 0.0


def test_instrument_file_without_an_envelope_refuses_nothing():
    envelope = Envelope(CONFIGURATION.model_copy(update={"envelope": None}))
    envelope.check({**HERE, "x": (1e5, 1e5)}, axis="x", target=1e5)
