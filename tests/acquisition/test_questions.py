"""What adaptive scans are told: from the looks of the live analysis at the ends of passes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from bluesky import RunEngine

from zoneplate.acquisition.questions import Questions
from zoneplate.analysis.stopping import StopRule

START = {
    "uid": "one",
    "acquisition": {"frame_shape": [128, 128]},
    "tomography": {"pass_ends": [36, 71, 106]},
}


def preview(projections: int, voids: int = 11) -> dict[str, Any]:
    return {
        "projections": float(projections),
        "particles": 24.0,
        "with_voids": float(voids),
        "void_frequency": voids / 24,
        "void_frequency_low": voids / 24 - 0.18,
        "void_frequency_high": voids / 24 + 0.18,
        "dead_volume_fraction": 0.02,
        "mean_diameter_um": 6.6,
    }


class Live:
    """Gives the previews there are, as `LiveAnalysis` does once the last has come."""

    def __init__(self, seen: list[dict[str, Any]]) -> None:
        self._seen = seen

    def previews(self, uid: str, projections: int, timeout_s: float) -> list[dict[str, Any]]:
        known = [one for one in self._seen if one["projections"] <= projections]
        return known if any(one["projections"] == projections for one in known) else []


@pytest.fixture
def questions() -> Questions:
    session = SimpleNamespace(
        RE=RunEngine({}, context_managers=[]), live=None, choose_regions=lambda *_: []
    )
    asked = Questions(session)
    asked._note_start("start", START)
    return asked


def ask(questions: Questions, projections: int, seen: list[dict[str, Any]]) -> str:
    questions._session.live = Live(seen)
    return questions.enough(projections, 141)


def test_looks_within_a_pass_do_not_count(questions):
    # The frequency still changed between passes; the look at 89 projections must not hide it.
    seen = [preview(36, 6), preview(71, 9), preview(89, 11), preview(106, 11)]
    assert ask(questions, 106, seen) == ""
    assert ask(questions, 106, [preview(71), preview(89, 9), preview(106)]).startswith("stable")


def test_looks_with_too_few_projections_for_the_field_do_not_count(questions):
    assert ask(questions, 71, [preview(36), preview(71)]) == ""


def test_limit_of_the_session_decides(questions):
    questions.stop_rule = StopRule(limits={"void_frequency": 0.1}, stable=False)
    assert ask(questions, 71, [preview(36), preview(71)]).startswith("decided")


def test_without_an_answer_of_the_live_analysis_the_scan_goes_on(questions):
    assert questions.enough(106, 141) == ""
    assert ask(questions, 106, [preview(71)]) == ""
