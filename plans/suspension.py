"""The conditions under which a frame is worth something, and waiting for them.

A frame counts only if the conditions held from its trigger to the end of its exposure. Our plans
ask after each exposure; what they ask for and how they wait is defined here, once, and the session
asks the same for the plans of others (`zoneplate.acquisition.suspension`). Bluesky's own suspenders
are not used: they interrupt from another thread, and a trip is dropped when the RunEngine is busy
for more than 0.1 s (bluesky#2065), which nobody would notice.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bluesky import plan_stubs as bps
from bluesky.utils import FailedStatus, MsgGenerator

from zoneplate.devices import AcquisitionError
from zoneplate.devices.microscope import Microscope
from zoneplate.devices.states import SHUTTER_OPEN

logger = logging.getLogger(__name__)

BEAM_LOST = 0.5
BEAM_BACK = 0.9
"""Relative intensities below which the beam counts as lost, and above which as back."""

POLL_S = 2.0
PATIENCE_S = 1800.0
"""How often, and how long, a condition is asked for before the scan is given up."""

LONG_ABSENCE_S = 300.0
"""After so long without good conditions flats are taken again: the illumination has drifted by
about a percent (`flat_drift_s` of the simulated microscope)."""

SETTLED = 0.5
"""Share of the allowed deviation of the temperature at which it counts as back."""


@dataclass(frozen=True)
class Spoiler:
    """Why frames are worth nothing now.

    Attributes
    ----------
    what
        What is wrong, with the value.
    cure
        What somebody can do about it.
    """

    what: str
    cure: str


def _value(readings: Mapping[str, Any], signal: Any, otherwise: Any) -> Any:
    """Return the value of a signal in readings; `otherwise` in a dry run, which reads nothing."""
    entry = readings.get(signal.name)
    return otherwise if entry is None else entry["value"]


def watched(microscope: Microscope) -> tuple[Any, ...]:
    """Return the devices whose readings `spoiler` wants."""
    return (microscope.source, microscope.shutter, microscope.environment)


def spoiler(
    microscope: Microscope, readings: Mapping[str, Any], *, back: bool = False
) -> Spoiler | None:
    """Say why an exposure is worth nothing; None if it is good.

    Parameters
    ----------
    microscope
        The microscope.
    readings
        Of the devices of `watched`, at the end of the exposure.
    back
        Ask for more, so that conditions at their limit do not come and go: is all well again?
    """
    source, environment = microscope.source, microscope.configuration.environment
    current = float(_value(readings, source.current, 1.0))
    lowest = current if back else min(current, float(_value(readings, source.lowest, 1.0)))
    if lowest < (BEAM_BACK if back else BEAM_LOST):
        return Spoiler(f"there is no beam (relative intensity {lowest:.2f})", "start the source")
    state = _value(readings, microscope.shutter.state, microscope.shutter.told)
    if microscope.shutter.told == SHUTTER_OPEN and state != SHUTTER_OPEN:
        return Spoiler(
            "the shutter has closed by itself", "check the interlock of the shutter, such as a door"
        )
    if environment is not None:
        usual_c = environment.temperature_c
        now_c = float(_value(readings, microscope.environment.temperature_c, usual_c))
        allowed_c = environment.tolerance_c * (SETTLED if back else 1.0)
        if abs(now_c - usual_c) > allowed_c:
            return Spoiler(
                f"the air is at {now_c:.1f} degC instead of {usual_c:g} +- "
                f"{environment.tolerance_c:g}",
                "check the air conditioning and the doors",
            )
    return None


def read_conditions(microscope: Microscope) -> MsgGenerator[dict[str, Any]]:
    """Return the readings that `spoiler` wants, without an event."""
    readings: dict[str, Any] = {}
    signals = (
        microscope.source.current,
        microscope.shutter.state,
        microscope.environment.temperature_c,
    )
    for signal in signals:
        reading = yield from bps.read(signal)
        readings.update(reading or {})
    return readings


def wait_until_good(
    microscope: Microscope, *, patience_s: float = PATIENCE_S
) -> MsgGenerator[float]:
    """Wait until frames are worth something again; a shutter that an interlock closed is opened.

    Parameters
    ----------
    microscope
        The microscope.
    patience_s
        When to give up.

    Returns
    -------
    float
        How long it waited, in seconds of instrument time (0: nothing was wrong).

    Raises
    ------
    AcquisitionError
        If it takes longer than `patience_s`.
    """
    waited_s = 0.0
    while True:
        readings = yield from read_conditions(microscope)
        wrong = spoiler(microscope, readings, back=waited_s > 0)
        if wrong is None:
            if waited_s:
                logger.warning("all is well again after %.0f s; the scan goes on", waited_s)
            return waited_s
        if waited_s >= patience_s:
            raise AcquisitionError(
                f"{wrong.what}, for {waited_s:.0f} s now; {wrong.cure}, then repeat the scan"
            )
        if not waited_s:
            logger.warning("%s; the scan waits: %s", wrong.what, wrong.cure)
        yield from bps.sleep(POLL_S)
        waited_s += POLL_S
        if microscope.shutter.told == SHUTTER_OPEN:
            waited_s += yield from _open_again(microscope)


def _open_again(microscope: Microscope) -> MsgGenerator[float]:
    """Try to open a shutter that should be open; return how long a failure took."""
    state = yield from bps.rd(microscope.shutter.state, default_value=SHUTTER_OPEN)
    if state == SHUTTER_OPEN:
        return 0.0
    try:
        yield from bps.mv(microscope.shutter, SHUTTER_OPEN)
    except FailedStatus:
        return POLL_S
    return 0.0
