import pytest

from zoneplate.analysis.stopping import Look, StopRule


def look(projections: int, particles=24, voids=11, dead=0.02, mean=6.6) -> Look:
    frequency = voids / particles
    return Look(
        projections, particles, voids, frequency, frequency - 0.18, frequency + 0.18, dead, mean
    )


def test_one_look_is_never_enough():
    assert StopRule().reason([], 141) == ""
    assert StopRule().reason([look(71)], 141) == ""


def test_statistics_that_no_longer_change_are_enough():
    reason = StopRule().reason([look(71), look(106)], 141)
    assert reason == "stable: 24 particles, 11 with voids after 71 and after 106 projections"


@pytest.mark.parametrize(
    "changed", [{"particles": 25}, {"voids": 12}, {"dead": 0.0215}, {"mean": 6.8}]
)
def test_whatever_still_changes_goes_on(changed):
    assert StopRule().reason([look(71), look(106, **changed)], 141) == ""


def test_looks_with_too_few_projections_are_not_believed():
    assert StopRule(least_projections=70).reason([look(36), look(71)], 141) == ""
    assert StopRule(least_projections=70).reason([look(71), look(106)], 141) != ""


def test_a_decided_limit_is_enough_though_statistics_change():
    rule = StopRule(least_projections=70, limits={"void_frequency": 0.1}, stable=False)
    assert "above 0.1" in rule.reason([look(36, voids=9), look(71, voids=12)], 141)
    assert rule.reason([look(36, voids=9), look(71, voids=6)], 141) == ""
    below = StopRule(limits={"void_frequency": 0.9}, stable=False)
    assert "below 0.9" in below.reason([look(71), look(106)], 141)


def test_a_change_still_foretold_keeps_a_limit_undecided():
    # 0.25 - 0.18 is above 0.05, but the frequency is falling fast.
    rule = StopRule(limits={"void_frequency": 0.05}, stable=False)
    assert rule.reason([look(36, voids=14), look(71, voids=6)], 141) == ""
    assert rule.reason([look(36, voids=6), look(71, voids=6)], 141) != ""


def test_no_particles_are_never_stable():
    empty = Look.of({"projections": 71, "particles": 0, "with_voids": 0})
    later = Look.of({"projections": 106, "particles": 0, "with_voids": 0})
    assert StopRule().reason([empty, later], 141) == ""


def test_a_limit_that_cannot_be_decided_during_a_scan_is_refused():
    with pytest.raises(ValueError, match="void_frequency"):
        StopRule(limits={"mean_diameter_um": 6.0})
