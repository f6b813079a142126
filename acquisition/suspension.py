"""Plans of others wait for the beam too: what their frames are worth is asked before each event.

Our plans ask after each exposure (`zoneplate.plans.frames`). A plan that was not written for this
microscope does not; so the session asks in its place, before the frame is read
into an event. If the conditions
were not good since the source was last triggered, the RunEngine suspends with its own machinery: it
stops, waits in instrument time, rewinds to the last checkpoint and takes the point again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.preprocessors import plan_mutator
from bluesky.utils import Msg, MsgGenerator

from zoneplate.devices.microscope import Microscope
from zoneplate.plans.suspension import spoiler, wait_until_good, watched

logger = logging.getLogger(__name__)

Plan = MsgGenerator[Any]


async def _at_once() -> None:
    """Be what the RunEngine waits for: the waiting was done before, in instrument time."""


def suspending(RE: RunEngine, microscope: Microscope) -> Callable[[Plan], Plan]:
    """Return a preprocessor that lets no event pass whose conditions were not good.

    Parameters
    ----------
    RE
        The RunEngine it is for.
    microscope
        The microscope whose conditions count. Plans that do not use its camera go on.
    """
    asks_itself = exposed = False

    def wrong_now() -> str | None:
        readings: dict[str, Any] = {}
        for device in watched(microscope):
            readings.update(device.read())
        wrong = spoiler(microscope, readings)
        return None if wrong is None else f"{wrong.what}: {wrong.cure}"

    def mutate(message: Msg) -> tuple[Plan | None, Plan | None]:
        nonlocal asks_itself, exposed
        if message.command in ("checkpoint", "open_run"):
            asks_itself = exposed = False
        elif message.command == "trigger" and message.obj is microscope.source:
            asks_itself = True
        elif message.command == "trigger" and message.obj is microscope.camera:
            if not (asks_itself or exposed):
                exposed = True
                return _watched_from_now(message), None
        elif message.command == "read" and message.obj is microscope.camera and exposed:
            exposed = False
            return _read_if_good(message), None
        return None, None

    def _watched_from_now(message: Msg) -> Plan:
        yield Msg("trigger", microscope.source, group=None)
        return (yield message)

    def _read_if_good(message: Msg) -> Plan:
        while (why := wrong_now()) is not None:
            logger.warning("%s; the scan is suspended", why)
            RE.request_suspend(
                _at_once, pre_plan=lambda: wait_until_good(microscope), justification=why
            )
            # The loop takes the request up before this is over; what follows is the replay.
            yield from bps.sleep(0.0)
        return (yield message)

    def preprocess(plan: Plan) -> Plan:
        nonlocal asks_itself, exposed
        asks_itself = exposed = False
        return (yield from plan_mutator(plan, mutate))

    return preprocess
