"""The rhythm of a time series: from the beginning of one scan to that of the next."""

import logging

from bluesky import plan_stubs as bps
from bluesky.utils import MsgGenerator

from .references import References

logger = logging.getLogger(__name__)


class Pace:
    """Waits until the next scan of a series is to begin.

    Time is that of the instrument, as the camera tells it with its frames: a series keeps its
    rhythm however long the scans take, and a dry run counts the waiting too.

    Parameters
    ----------
    every_s
        From the first frame of one scan to the start of the next, counted from the first scan;
        0: one after the other.
    """

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._first_s: float | None = None
        self._last: References | None = None

    def note(self, references: References) -> None:
        """Note that a scan is over, and who took its references."""
        self._last = references
        if self._first_s is None:
            self._first_s = references.began_s

    def wait(self, number: int) -> MsgGenerator[None]:
        """Wait until scan `number` is to begin; the first begins at once."""
        if not self.every_s or self._last is None or self._first_s is None:
            return
        now_s = yield from self._last.now_s()
        left_s = self._first_s + number * self.every_s - now_s
        if left_s < 0:
            logger.warning(
                "tomogram %d of the series begins %.0f s late: one takes longer than "
                "repeat_every_s %g; choose more",
                number + 1,
                -left_s,
                self.every_s,
            )
            return
        yield from bps.sleep(left_s)
