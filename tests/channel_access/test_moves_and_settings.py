"""Moves, settings and exposures over Channel Access never lie."""

from __future__ import annotations

import time
from threading import Timer

import pytest
from bluesky import plan_stubs as bps
from ophyd.status import StatusBase
from ophyd.utils import LimitError
from rig_over_epics import pass_time

from zoneplate.devices import (
    AcquisitionError,
    ConfigurationError,
    epics_axis,
    epics_camera,
    epics_status,
)
from zoneplate.devices.envelope import CollisionError
from zoneplate.devices.epics_signals import Setting

PREFIX = "ZPM:"


def test_collision_is_refused_before_anything_moves(epics, RE):
    stage = epics.stage
    RE(bps.mv(stage.theta, 90.0, epics.optics.zone_plate_z, -700.0))
    with pytest.raises(CollisionError, match=r"x = 1500 um .* zone plate .* may be"):
        RE(bps.mv(stage.x, 1500.0))
    assert stage.x.position == pytest.approx(0.0, abs=0.2)
    RE(bps.mv(stage.x, 500.0))
    RE(bps.mv(stage.x, 0.0, stage.theta, 0.0, epics.optics.zone_plate_z, 0.0))
    assert epics.optics.zone_plate_z.position == pytest.approx(0.0, abs=0.5)


def test_move_takes_the_time_of_its_profile(epics, RE):
    RE(bps.mv(epics.stage.theta, 0.0, epics.stage.x, 0.0))
    before_s = epics.clock.now()
    RE(bps.mv(epics.stage.theta, 20.0, epics.stage.x, 100.0))
    # 20 deg at 10 deg/s, 0.2 s to accelerate, 0.2 s to settle; x overlaps
    assert epics.clock.now() - before_s == pytest.approx(2.4, abs=1e-3)


def test_zero_length_moves_end_every_time(epics, RE):
    """ophyd's own motor loses one in a few hundred and hangs."""

    def plan():
        for _ in range(300):
            yield from bps.mv(epics.stage.z, 5.0)

    begin = time.monotonic()
    RE(plan())
    assert time.monotonic() - begin < 15


def test_move_outside_the_limits_is_refused_and_nothing_moves(epics):
    before = epics.stage.theta.position
    with pytest.raises(LimitError, match=r"limits are -95 to 95 deg"):
        epics.stage.theta.move(120.0)
    with pytest.raises(LimitError):
        epics.stage.theta.check_value(float("nan"))
    assert epics.stage.theta.position == before


def test_motor_that_is_stopped_on_its_way_fails_its_move(epics):
    epics.stage.x.move(0.0, wait=True)
    status = epics.stage.x.set(500.0)
    pass_time(epics, 0.3)
    epics.stage.x.motor_stop.put(1)
    with pytest.raises(AcquisitionError, match="before it arrived"):
        status.wait(5)
    assert 0 < epics.stage.x.position < 400


def test_stop_that_bluesky_asks_for_is_no_failure(epics):
    epics.stage.x.move(0.0, wait=True)
    status = epics.stage.x.set(500.0)
    pass_time(epics, 0.3)
    epics.stage.x.stop(success=True)
    status.wait(5)
    assert epics.stage.x.position < 400


def test_motor_that_is_paused_by_somebody_fails_its_move(epics):
    import epics as pyepics

    pyepics.caput(f"{PREFIX}Stage:X.SPMG", "Go", wait=True)  # connects
    epics.stage.x.move(0.0, wait=True)
    status = epics.stage.x.set(500.0)
    pass_time(epics, 0.3)
    pyepics.caput(f"{PREFIX}Stage:X.SPMG", "Pause", wait=True)
    try:
        with pytest.raises(AcquisitionError, match="stopped short of its target"):
            status.wait(5)
    finally:
        pyepics.caput(f"{PREFIX}Stage:X.SPMG", "Go", wait=True)


def test_new_target_in_flight_goes_to_the_new_target(epics):
    first = epics.stage.x.set(500.0)
    epics.stage.x.move(-50.0, wait=True)
    assert epics.stage.x.position == pytest.approx(-50.0, abs=0.2)
    assert first.done
    assert not first.success


def test_same_target_in_flight_is_one_move(epics):
    epics.stage.x.move(0.0, wait=True)
    first, second = epics.stage.x.set(200.0), epics.stage.x.set(200.0)
    second.wait(5)
    first.wait(5)
    assert epics.stage.x.position == pytest.approx(200.0, abs=0.2)


def test_stalled_motor_is_given_up_and_named(epics, monkeypatch):
    monkeypatch.setattr(epics_axis, "timeout_s", lambda expected_s: 0.3)
    monkeypatch.setattr(epics_status, "BUSY_S", 0.0)
    epics.clock.hold.put(3.0)  # time stands still, so the axis never arrives
    status = epics.stage.y.set(300.0)
    begin = time.monotonic()
    # Asked for the exception, not waited for: waiting would let time pass.
    error = status.exception(5)
    assert isinstance(error, AcquisitionError)
    assert "stage_y did not arrive within 0.3 s" in str(error)
    assert time.monotonic() - begin < 2
    epics.clock.hold.put(0.0)
    epics.stage.y.move(0.0, wait=True)


def test_camera_that_does_not_finish_is_given_up_and_named(epics, monkeypatch):
    monkeypatch.setattr(epics_camera, "timeout_s", lambda expected_s: 0.3)
    monkeypatch.setattr(epics_status, "BUSY_S", 0.0)
    epics.clock.hold.put(2.0)
    status = epics.camera.trigger()
    assert isinstance(status.exception(5), AcquisitionError)
    assert "did not finish within 0.3 s" in str(status.exception(0))
    epics.camera.stop()
    epics.clock.hold.put(0.0)


@pytest.mark.parametrize("binning", [0, 3, 16])
def test_impossible_binning_is_refused_with_what_is_possible(epics, binning):
    with pytest.raises(ConfigurationError, match="1, 2, 4, 8"):
        epics.camera.binning.set(binning).wait(1)


def test_impossible_exposure_is_refused(epics):
    with pytest.raises(ConfigurationError, match=r"exposes 0\.01 to 600 s"):
        epics.camera.exposure_s.set(-1.0).wait(1)


def test_setting_that_the_server_does_not_take_fails(epics):
    setting = epics.source.current
    with pytest.raises(AcquisitionError, match="was set to -1"):
        setting.set(-1.0).wait(5)
    assert setting.get() == 1.0


def test_pixel_size_follows_the_binning(epics):
    epics.camera.binning.set(4).wait(2)
    assert epics.optics.pixel_um.get() == pytest.approx(0.256)
    epics.camera.binning.set(8).wait(2)
    assert epics.optics.pixel_um.get() == pytest.approx(0.512)


def test_shutter_knows_two_positions_and_takes_its_time(epics, RE):
    RE(bps.mv(epics.shutter, "closed"))
    before_s = epics.clock.now()
    RE(bps.mv(epics.shutter, "open"))
    assert epics.shutter.state.get() == "open"
    assert epics.clock.now() - before_s == pytest.approx(0.1, abs=1e-3)
    RE(bps.mv(epics.shutter, "open"))
    with pytest.raises(ConfigurationError, match="'open' or 'closed'"):
        epics.shutter.set("ajar")
    RE(bps.mv(epics.shutter, "closed"))


def while_the_stage_moves(epics, RE, position):
    """Return the instrument time the shutter took; the stage moves for seconds meanwhile."""

    def plan():
        yield from bps.abs_set(epics.stage.theta, 45.0, group="on the way")
        yield from bps.mv(epics.shutter, position)
        taken_s.append(epics.clock.now() - before_s)
        yield from bps.wait("on the way")

    taken_s: list[float] = []
    RE(bps.mv(epics.stage.theta, 0.0, epics.shutter, "closed"))
    before_s = epics.clock.now()
    RE(plan())
    return taken_s[0]


def test_time_stands_still_when_the_shutter_has_arrived_though_the_put_is_answered_late(
    epics, RE, monkeypatch
):
    put = Setting._put_everything

    def put_and_hear_late(setting, wanted, completed):
        put(setting, wanted, lambda **values: Timer(0.05, completed, kwargs=values).start())

    monkeypatch.setattr(Setting, "_put_everything", put_and_hear_late)
    travel_s = epics.shutter.travel_s.get()
    assert while_the_stage_moves(epics, RE, "open") == pytest.approx(travel_s, abs=1e-3)


def test_time_stands_still_once_the_wait_is_over_though_its_thread_is_late(epics, RE, monkeypatch):
    settled = StatusBase._settled
    monkeypatch.setattr(StatusBase, "_settled", lambda status: time.sleep(0.05) or settled(status))
    # Closed already: what the server answers ends the wait, in a thread that hears no news.
    assert while_the_stage_moves(epics, RE, "closed") <= epics.shutter.travel_s.get() + 1e-3


def test_second_trigger_during_an_exposure_is_refused(epics):
    epics.clock.hold.put(1.0)
    status = epics.camera.trigger()
    with pytest.raises(AcquisitionError, match="in progress"):
        epics.camera.trigger()
    status.wait(5)


@pytest.mark.parametrize(("wait_for", "stops"), [("frame", 1), ("exposure", 2)])
def test_time_stops_at_the_end_of_an_exposure_only_for_who_waits_for_it(epics, wait_for, stops):
    epics.camera.exposure_s.set(1.0).wait()
    pass_time(epics, 1.0)  # what was told before is heard
    told, began_s = epics.clock.news.get(use_monitor=False), epics.clock.now()
    frame = epics.camera.trigger()
    if wait_for == "exposure":
        epics.camera.exposure_status().wait(5)
        assert epics.clock.now() - began_s == pytest.approx(1.0, abs=1e-3)
    frame.wait(5)
    assert epics.clock.now() - began_s == pytest.approx(1.15, abs=1e-3)
    assert epics.clock.news.get(use_monitor=False) - told == stops


def test_states_of_the_camera_come_in_order_though_time_does_not_stop(epics):
    seen = []
    token = epics.camera.cam.detector_state.subscribe(
        lambda value, **_: seen.append(value), run=False
    )
    for _ in range(5):
        epics.camera.trigger().wait(5)
    pass_time(epics, 0.1)
    epics.camera.cam.detector_state.unsubscribe(token)
    assert seen == [1, 2, 0] * 5
