"""When the time of the server passes: its clients are waited for."""

from zoneplate.simulators.ioc.pacing import ClientPacing


def test_time_stands_still_for_a_grace_after_a_write_and_a_hold():
    pacing = ClientPacing()
    assert pacing.delay_s() == 0.0
    pacing.written()
    assert 0 < pacing.delay_s() <= 0.01
    pacing.hold(5.0)
    assert 4 < pacing.delay_s() <= 5.0


def test_time_passes_at_once_for_a_leader_that_has_heard_all_news():
    woken: list[bool] = []
    pacing = ClientPacing(lambda: woken.append(True))
    pacing.hold(5.0)
    number = pacing.begin_news()
    assert pacing.delay_s() is None
    pacing.end_news()
    pacing.go(number - 1)
    assert pacing.delay_s() > 0.1
    pacing.go(number)
    assert pacing.delay_s() == 0.0
    assert woken
