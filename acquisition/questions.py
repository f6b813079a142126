"""What plans ask while they run, answered by analysing what they took.

A plan knows no analysis: it yields a message and gets an answer (`choose_regions`, `summarize`,
`enough`, `find_axis`, `find_focus`, `center_region`). The answers are worked out beside the loop
of the RunEngine, so that documents keep flowing meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoneplate.analysis.lot_specification import LotSpecification
from zoneplate.analysis.stopping import Look, StopRule
from zoneplate.analysis.tomogram_limits import COMFORTABLE_SHARE
from zoneplate.devices import AcquisitionError
from zoneplate.devices.optics import projections_needed
from zoneplate.plans.alignment import FIND_AXIS
from zoneplate.plans.centering import CENTER_REGION
from zoneplate.plans.focus import FIND_FOCUS
from zoneplate.plans.screening import CHOOSE_REGIONS, MEASURED, STOPPED, SUMMARIZE
from zoneplate.plans.stopping import ENOUGH

from .alignment import found_axis, found_center, found_focus
from .screening import keep_stop, measured

logger = logging.getLogger(__name__)

REPORT_LOT = "report_lot"
"""Message: (uids of a screening, folder) -> the folder, once results and report are in it."""

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
    lot
        What the lot on the stage must fulfil; the results so far then hold the verdict.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._start: dict[str, Any] = {}
        self.stop_rule: StopRule | None = None
        self.lot: LotSpecification | None = None
        session.RE.subscribe(self._note_start, "start")
        answers: dict[str, Callable[..., Any]] = {
            CHOOSE_REGIONS: session.choose_regions,
            SUMMARIZE: self.summarize,
            STOPPED: lambda uid, reason: keep_stop(self._session.data, uid, reason),
            MEASURED: lambda uid: measured(self._session.data, uid),
            ENOUGH: self.enough,
            FIND_AXIS: lambda uid: found_axis(self._session, uid),
            FIND_FOCUS: lambda uid: found_focus(self._session, uid),
            CENTER_REGION: lambda uid: found_center(self._session, uid),
            REPORT_LOT: self.report_lot,
        }
        for command, answer in answers.items():
            session.RE.register_command(command, _beside_the_loop(answer))

    def summarize(self, mosaic_uid: str, uids: list[str]) -> dict[str, Any]:
        """Return the results so far of a screening."""
        from .workflow import summary_of

        return summary_of(self._session, mosaic_uid, uids, self.lot)

    def report_lot(self, uids: list[str], folder: str) -> str:
        """Write results and report of a screening that has been taken."""
        from .workflow import report_tomograms

        if len(uids) < 2:
            raise AcquisitionError("every region was skipped: there is nothing to measure")
        report_tomograms(self._session, uids[0], uids[1:], Path(folder))
        return folder

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

    def _note_start(self, name: str, doc: dict[str, Any]) -> None:
        self._start = doc


def _beside_the_loop(answer: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a RunEngine command that works out an answer in a thread."""

    async def command(message: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, answer, *message.args)

    return command
