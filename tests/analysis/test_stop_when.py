"""Rules that end a screening: what they say, how they combine, how they are written."""

from __future__ import annotations

import pytest

from zoneplate.analysis.stop_when import (
    AllOf,
    AnyOf,
    Budget,
    IntervalWidth,
    Particles,
    Verdict,
    parse_stop_when,
)

RESULTS = {
    "timing": {"mosaic_with_references_s": 60.0, "tomography_s": [300.0, 290.0]},
    "particles": {"count": 47},
    "void_frequency": {"low": 0.4, "high": 0.66},
}


def test_each_rule_stops_at_its_limit_and_not_before():
    assert Budget(950)(RESULTS) is None
    assert "650 of 949 s" in Budget(949)(RESULTS)
    assert Particles(48)(RESULTS) is None
    assert "47 of 47" in Particles(47)(RESULTS)
    assert IntervalWidth(0.25)(RESULTS) is None
    assert "0.26 wide" in IntervalWidth(0.27)(RESULTS)
    assert Verdict(lambda results: None)(RESULTS) is None
    assert Verdict(lambda results: "rejected")(RESULTS) == "verdict: rejected"


def test_rules_combine_as_alternatives_and_as_conditions():
    yes, no = Particles(10), Particles(100)
    assert (yes | no)(RESULTS) == (no | yes)(RESULTS) == yes(RESULTS)
    assert (yes & no)(RESULTS) is None
    assert (yes & IntervalWidth(0.5))(RESULTS).count(";") == 1
    assert (no | no)(RESULTS) is None


def test_results_without_an_interval_do_not_stop():
    assert IntervalWidth(0.5)({"void_frequency": {"low": None, "high": None}}) is None


def test_command_line_writes_the_same_rules():
    assert parse_stop_when([]) is None
    assert parse_stop_when(["particles=47"]) == Particles(47)
    rule = parse_stop_when(["budget=949", "particles=50 + width=0.3"])
    assert rule == AnyOf((Budget(949), AllOf((Particles(50), IntervalWidth(0.3)))))
    hook = parse_stop_when(["verdict=operator:not_"])
    assert isinstance(hook, Verdict)
    assert hook({}) == "verdict: True"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("luck=3", "budget=SECONDS"),
        ("budget=-1", "not possible"),
        ("particles=many", "particles=many"),
        ("width=2", "0 to 1"),
        ("verdict=nowhere:nothing", "package.module:function"),
    ],
)
def test_nonsense_is_refused_with_what_is_possible(text, told):
    with pytest.raises(ValueError, match=told):
        parse_stop_when([text])
