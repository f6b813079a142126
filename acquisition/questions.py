"""What plans ask while they run, answered by analysing what they took.

A plan knows no analysis: it yields a message and gets an answer (`choose_regions`, `summarize`,
`enough`, `find_axis`). The answers are worked out beside the loop of the RunEngine, so that
documents keep flowing meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from zoneplate.analysis.alignment import axis_offset
from zoneplate.analysis.normalization import normalize
from zoneplate.analysis.stopping import Look, StopRule
from zoneplate.analysis.tomogram import COMFORTABLE_SHARE
from zoneplate.devices.optics import projections_needed
from zoneplate.plans.alignment import FIND_AXIS
from zoneplate.plans.screening import CHOOSE_REGIONS, SUMMARIZE
from zoneplate.plans.stopping import ENOUGH

from .derived_run import DerivedRun
from .journal import DocumentJournal
from .live import FrameReader

logger = logging.getLogger(__name__)

PREVIEW_TIMEOUT_S = 30.0
"""How long a scan waits at the end of a pass for its live analysis; then it goes on."""


class Questions:
    """Answers the plans of one session.

    Parameters
    ----------
    session
        An open session.

    Attributes
    ----------
    stop_rule
        When an adaptive tomogram may stop; None: when its statistics are stable.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._start: dict[str, Any] = {}
        self.stop_rule: StopRule | None = None
        session.RE.subscribe(self._note_start, "start")
        answers: dict[str, Callable[..., Any]] = {
            CHOOSE_REGIONS: session.choose_regions,
            SUMMARIZE: self.summarize,
            ENOUGH: self.enough,
            FIND_AXIS: self.find_axis,
        }
        for command, answer in answers.items():
            session.RE.register_command(command, _beside_the_loop(answer))

    def summarize(self, uids: list[str]) -> dict[str, Any]:
        """Return the results so far of tomograms that have been taken."""
        from .workflow import summary_of

        return summary_of(self._session, uids)

    def enough(self, projections: int, planned: int) -> str:
        """Return why the tomogram that is being taken may stop now; empty to go on."""
        live, uid = self._session.live, str(self._start.get("uid", ""))
        if live is None:
            logger.warning("Run %s is adaptive, but there is no live analysis: it goes on", uid)
            return ""
        ends = {int(end) for end in self._start["tomography"]["pass_ends"]}
        seen = live.previews(uid, projections, PREVIEW_TIMEOUT_S)
        looks = [Look.of(preview) for preview in seen if preview["projections"] in ends]
        columns = int(self._start["acquisition"]["frame_shape"][1])
        least = round(COMFORTABLE_SHARE * projections_needed(columns))
        rule = self.stop_rule or StopRule()
        return StopRule(max(least, rule.least_projections), rule.limits, rule.stable).reason(
            looks, planned
        )

    def find_axis(self, uid: str) -> float:
        """Return the offset of the rotation axis in um that a pair of views shows.

        What was found is kept as an analysis of the run.
        """
        record = self._session.run(uid)
        reader = FrameReader()
        try:
            stacks = {
                name: np.stack([reader.read(frame) for frame in record.stream(name)])
                for name in ("primary", "flat", "dark")
                if record.stream(name)
            }
        finally:
            reader.close()
        views = normalize(stacks["primary"], stacks["flat"], stacks.get("dark"))
        pixel_um = float(record.start["acquisition"]["pixel_um"])
        found = axis_offset(views[0], views[1], pixel_um)
        sample, time_s = str(record.start.get("sample", "")), float(record.stop["time"])
        derived = DerivedRun(
            DocumentJournal(self._session.data.journal), record.uid, sample, {}, time_s
        )
        derived.row(
            "rotation_axis",
            {
                "axis_offset_um": found.offset_um,
                "axis_offset_um_se": found.standard_error_um,
                "axis_column": found.column,
            },
            {"axis_offset_um": "um", "axis_offset_um_se": "um"},
        )
        derived.close()
        return found.offset_um

    def _note_start(self, name: str, doc: dict[str, Any]) -> None:
        self._start = doc


def _beside_the_loop(answer: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a RunEngine command that works out an answer in a thread."""

    async def command(message: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, answer, *message.args)

    return command
