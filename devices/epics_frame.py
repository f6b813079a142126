"""One frame over areaDetector, from the trigger to the file: what became of it.

areaDetector and ophyd together call a dropped frame and a failed file write a success. Here one
trigger is one frame from the driver, one frame in the file, and no write error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .epics_status import EpicsStatus
from .errors import AcquisitionError, FrameError

ACQUIRING = 1
"""`DetectorState_RBV` while light is being collected."""

LATE_AFTER_S = 2.0
"""A frame that is not in the file so long after the camera is idle was dropped."""

SATURATED_SHARE = 0.005
"""Share of saturated pixels above which a frame is spoiled; hot pixels are a fiftieth of that."""


@dataclass
class CameraNews:
    """What the camera said last.

    Attributes
    ----------
    counter, captured
        Frames that the driver has taken, and that are in the file.
    write_status, state, acquiring
        The PVs of these names.
    saturated, dead_rows, angle_deg
        Share of pixels at full well, rows that read nothing and mean angle of the stage during
        the exposure, if the server says.
    """

    counter: int = 0
    captured: int = 0
    write_status: int = 0
    state: int = 0
    acquiring: int = 0
    saturated: float = 0.0
    dead_rows: str = ""
    angle_deg: float = math.nan


class FrameInProgress:
    """A frame that was triggered.

    Parameters
    ----------
    status, exposure
        Done when the frame is in the file, and when its exposure ends.
    news
        What the camera said last; kept up to date by its owner.
    path
        The file; None if the frame is not kept.
    misplaced
        Says what is wrong with where a frame that has ended was taken; None if nothing is.
    """

    def __init__(
        self,
        status: EpicsStatus,
        exposure: EpicsStatus,
        news: CameraNews,
        path: Path | None,
        misplaced: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.status, self.exposure = status, exposure
        self._misplaced = misplaced
        self._news, self._before, self._path = news, replace(news), path
        self._started = self._ended = False

    @property
    def copies(self) -> range:
        """Where the file has this frame once more than it should."""
        if self._path is None:
            return range(0)
        return range(self._before.captured + 1, self._news.captured)

    def follow(self, what: str) -> None:
        """Judge the frame again after news about `what`; conclude when all is there."""
        news = self._news
        if what == "acquiring":
            self._started = self._started or bool(news.acquiring)
            self._ended = self._started and not news.acquiring
        # The state before ours is old news: only what came after the start of the frame counts.
        if self._ended or (self._started and what == "state" and news.state != ACQUIRING):
            self.exposure.succeed()
        if not self._ended:
            return
        complaint = self._complaint()
        if complaint is None:
            self.status.succeed()
        elif not self._may_be_late():
            self._fail(complaint)
        elif what == "acquiring":
            self.status.hurry(LATE_AFTER_S)

    def give_up(self, otherwise: str) -> None:
        """Fail with what is wrong, or with `otherwise` if the frame has not even ended."""
        complaint = self._complaint() if self._ended else None
        self._fail(complaint or AcquisitionError(otherwise))

    def fail(self, message: str) -> None:
        """Fail what is not done yet."""
        self._fail(AcquisitionError(message))

    def let_go(self) -> None:
        """End what is not done yet without a failure: nobody waits for it any more."""
        self.status.succeed()
        self.exposure.succeed()

    def _fail(self, complaint: AcquisitionError) -> None:
        for status in (self.status, self.exposure):
            status.fail(str(complaint), type(complaint))

    def _may_be_late(self) -> bool:
        """Whether waiting may help: plugins have threads of their own, the file may be behind."""
        before, news = self._before, self._news
        behind = news.counter == before.counter or news.captured <= before.captured
        return behind and not news.write_status

    def _complaint(self) -> AcquisitionError | None:
        """Return what is wrong with a frame that has ended; None if nothing is."""
        before, news = self._before, self._news
        number, path = news.counter, self._path
        if number - before.counter != 1:
            return AcquisitionError(
                f"the camera took {number - before.counter} frames instead of one: check that "
                "nobody else uses it, and its driver"
            )
        if news.dead_rows:
            return FrameError(
                f"frame {number}: row {news.dead_rows} of the camera reads nothing; restart the "
                "camera if it stays so"
            )
        if news.saturated > SATURATED_SHARE:
            return FrameError(
                f"frame {number}: {news.saturated:.0%} of the pixels are saturated (allowed: "
                f"{SATURATED_SHARE:.1%}); shorten the exposure"
            )
        misplaced = self._misplaced()
        if misplaced is not None:
            return FrameError(f"frame {number}: {misplaced}")
        if path is not None and news.write_status:
            return AcquisitionError(
                f"frame {number} could not be written to {path}; check the disk of the camera's "
                "server, then repeat the scan"
            )
        if path is not None and news.captured <= before.captured:
            return FrameError(
                f"frame {number} is not in {path.name}: the camera or its file plugin dropped it; "
                "check the link to the camera if it happens again"
            )
        return None
