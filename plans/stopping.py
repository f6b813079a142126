"""Stopping a scan early: at the end of each pass somebody is asked whether it is enough."""

from typing import Any

from bluesky import plan_stubs as bps
from bluesky.utils import Msg, MsgGenerator
from ophyd import Signal

from zoneplate.devices import ConfigurationError

from .angles import PASSES

ENOUGH = "enough"
"""Message: (projections taken, planned) -> why the scan may stop here, in words; "" to go on.
A session answers it from the live analysis; in a dry run nobody does, and the scan is whole."""

DECISIONS = "adaptive_stop"
"""Stream with a row per question: `adaptive_stop_projections`, `adaptive_stop_reason`."""

STOPPABLE = ("interlaced", "golden")
"""Orders of which a part shows the whole sample."""


def check_adaptive(order: str, motion: str) -> None:
    """Refuse an early stop of a scan whose beginning does not show the whole sample.

    Raises
    ------
    ConfigurationError
        If the order is sequential, or the stage does not stop between frames.
    """
    if order not in STOPPABLE:
        raise ConfigurationError(
            f"adaptive with order {order!r} is not possible: half a scan in that order shows half "
            f"of the directions; use {' or '.join(repr(name) for name in STOPPABLE)}"
        )
    if motion != "step":
        raise ConfigurationError(
            f"adaptive with motion {motion!r} is not possible: use motion 'step'"
        )


def pass_ends(projections: int, passes: int = PASSES) -> list[int]:
    """Return after how many projections each pass but the last is complete.

    Passes take every `passes`-th angle; the two ends of the range are taken before all others.

    Examples
    --------
    >>> pass_ends(141)
    [36, 71, 106]
    """
    taken = {0, projections - 1}
    ends: list[int] = []
    bits = max(1, (passes - 1).bit_length())
    for number in range(2**bits):
        offset = int(f"{number:0{bits}b}"[::-1], 2)
        if offset < passes:
            taken.update(range(offset, projections, passes))
            ends.append(len(taken))
    return [end for end in dict.fromkeys(ends) if end < projections]


class StopQuestion:
    """Asks, during one run, whether what was seen is enough; question and answer are recorded."""

    def __init__(self) -> None:
        # Any: the types of ophyd's signals and of Bluesky's protocols do not agree.
        self._count: Any = Signal(name=f"{DECISIONS}_projections", value=0)
        self._reason: Any = Signal(name=f"{DECISIONS}_reason", value="")

    def ask(self, taken: int, planned: int) -> MsgGenerator[bool]:
        """Return whether the scan may stop after `taken` of `planned` projections."""
        answer: Any = yield Msg(ENOUGH, None, taken, planned)
        yield from bps.mv(self._count, taken, self._reason, str(answer or ""))
        yield from bps.trigger_and_read([self._count, self._reason], name=DECISIONS)
        yield from bps.checkpoint()
        return bool(answer)
