"""Stubs that take frames: what every plan of ours is made of.

What is done for each frame is sent as messages, not through `bluesky.plan_stubs`: each call of
those formats the whole stack of plans, in case the plan is never used, and that was a third of what
a frame cost the RunEngine (`benchmarks/plan_overhead.py`).
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus, Msg, MsgGenerator

from zoneplate.devices import AcquisitionError, FrameError
from zoneplate.devices.microscope import Microscope
from zoneplate.devices.states import SHUTTER_CLOSED, SHUTTER_OPEN, ImageKey

from .suspension import LONG_ABSENCE_S, spoiler, wait_until_good, watched

logger = logging.getLogger(__name__)

MOST_RETAKES = 1
"""A frame that is spoiled again points to something that taking it again does not mend."""

CLOSING_ATTEMPTS = 3
"""A shutter that sticks often closes when asked again."""

_group_numbers = itertools.count()

Moves = Sequence[tuple[Any, Any]]
"""Pairs of a positioner and its target."""

Refresh = Callable[[], MsgGenerator[None]]
"""Makes the plan that takes flats again and leaves the camera ready for projections."""


def _group(what: str) -> str:
    return f"{what}-{next(_group_numbers)}"


def _wait(group: str) -> Msg:
    return Msg("wait", None, group=group, error_on_timeout=True, timeout=None, watch=())


def start_moves(moves: Moves) -> MsgGenerator[str]:
    """Start moves together; wait for the group that is returned."""
    group = _group("move")
    for positioner, target in moves:
        yield Msg("set", positioner, target, group=group)
    return group


def move(moves: Moves) -> MsgGenerator[None]:
    """Move together and wait for all."""
    group = yield from start_moves(moves)
    if moves:
        yield _wait(group)


def setpoint(axis: Any) -> MsgGenerator[float]:
    """Return where an axis was last told to go; 0 in a dry run, where nobody knows."""
    value = yield from bps.rd(axis.user_setpoint, default_value=0.0)
    return float(value)


def prepare_camera(microscope: Microscope, exposure_s: float, binning: int) -> MsgGenerator[None]:
    """Set exposure and binning."""
    yield from bps.mv(microscope.camera.binning, binning, microscope.camera.exposure_s, exposure_s)


def take_frame(
    microscope: Microscope,
    stream: str,
    *,
    at: Moves = (),
    standing: Moves = (),
    next_moves: Moves = (),
    needs_beam: bool = True,
    refresh: Refresh | None = None,
) -> MsgGenerator[None]:
    """Take one frame into `stream`, and start towards the next position during its readout.

    The stage is read while it still stands; the event is complete when the frame is in the
    file. A checkpoint follows, so a pause repeats nothing. A frame that is lost or spoiled, or
    whose stage did not stand where it should, is taken once more; one during which the conditions
    were not good (`zoneplate.plans.suspension`) is taken again when they are.

    Parameters
    ----------
    microscope
        The microscope.
    stream
        Name of the event stream.
    at
        Where to take it. Asked for again even if the stage is on its way there: a pause may have
        stopped it.
    standing
        Where axes are that stand since the frame before: seen after, but asked for again only
        where a frame is taken again, which saves most of the messages of a scan.
    next_moves
        Moves that may start with the readout.
    needs_beam
        Whether the frame is worth nothing without beam.
    refresh
        Plan that takes the flats again, for when the conditions were away for long.

    Raises
    ------
    FailedStatus
        If the frame is spoiled again, or something else fails.
    AcquisitionError
        If the stage is somewhere else again, or the conditions do not become good.
    """
    retakes, again = 0, False
    while True:
        yield from move([*standing, *at] if again else at)
        moving = _group("move")
        try:
            good = yield from _expose(
                microscope, stream, [*standing, *at], next_moves, moving, needs_beam
            )
        except (FailedStatus, FrameError) as failure:
            cause = failure if isinstance(failure, FrameError) else failure.__cause__
            if retakes == MOST_RETAKES or not isinstance(cause, FrameError):
                raise
            logger.warning("%s; it is taken again", cause)
            retakes += 1
            good = False
        if good:
            yield Msg("checkpoint")
            return
        again = True
        yield _wait(moving)
        if needs_beam:
            # What was spoiled is dropped: a pause while waiting repeats only the waiting.
            yield Msg("checkpoint")
            away_s = yield from wait_until_good(microscope)
            if refresh is not None and away_s >= LONG_ABSENCE_S:
                logger.warning("the beam was away for %.0f s: flats are taken again", away_s)
                yield from refresh()


def expose_moving(microscope: Microscope, *, at: Moves) -> MsgGenerator[bool]:
    """Take one projection while the stage turns; return False if it was dropped.

    Parameters
    ----------
    microscope
        The microscope.
    at
        Where the axes are that stand.
    """
    return (yield from _expose(microscope, "primary", at, (), _group("move"), True))


def _expose(
    microscope: Microscope,
    stream: str,
    at: Moves,
    next_moves: Moves,
    moving: str,
    needs_beam: bool,
) -> MsgGenerator[bool]:
    """Take one frame and save its event; drop it and return False if conditions were not good."""
    camera = microscope.camera
    frame, exposure = _group("frame"), _group("exposure")
    if needs_beam:
        yield Msg("trigger", microscope.source, group=None)
    yield Msg("trigger", camera, group=frame)
    yield Msg("trigger", camera.exposed, group=exposure)
    yield _wait(exposure)
    yield Msg("create", name=stream)
    readings: dict[str, Any] = {}
    try:
        for device in (microscope.stage, microscope.optics, *watched(microscope)):
            readings.update((yield Msg("read", device)) or {})
        wrong = spoiler(microscope, readings) if needs_beam else None
        misplaced = _misplaced(microscope, at, readings)
        good = wrong is None and misplaced is None
        for positioner, target in next_moves if good else ():
            yield Msg("set", positioner, target, group=moving)
        yield _wait(frame)
        if misplaced is not None:
            raise FrameError(misplaced)
        if wrong is not None:
            logger.warning("%s: the frame is taken again", wrong.what)
            yield Msg("drop")
            return False
        yield Msg("read", camera)
    except (FailedStatus, FrameError):
        yield Msg("drop")
        raise
    yield Msg("save")
    return True


def _misplaced(microscope: Microscope, at: Moves, readings: dict[str, Any]) -> str | None:
    """Say which axis was not where it should be at the end of an exposure; None if all were."""
    ours = {id(axis): name for name, axis in microscope.axes.items()}
    for axis, target in at:
        reading = readings.get(axis.name)
        if reading is None or id(axis) not in ours:
            continue
        limit = microscope.configuration.axis(ours[id(axis)])
        if not abs(reading["value"] - target) <= limit.deadband:
            return (
                f"{axis.name} read {reading['value']:g} {limit.unit} instead of {target:g} "
                f"(+- {limit.deadband:g}) during a frame; check the stage and its encoder"
            )
    return None


def take_darks(microscope: Microscope, frames: int) -> MsgGenerator[None]:
    """Take frames with the shutter closed into the stream `dark`."""
    yield from bps.mv(microscope.shutter, SHUTTER_CLOSED)
    yield from bps.mv(microscope.camera.image_key, ImageKey.DARK)
    for _ in range(frames):
        yield from take_frame(microscope, "dark", needs_beam=False)


def take_flats(
    microscope: Microscope, frames: int, *, out_moves: Moves, next_moves: Moves = ()
) -> MsgGenerator[None]:
    """Take frames of the open beam into the stream `flat`.

    Parameters
    ----------
    microscope
        The microscope.
    frames
        How many.
    out_moves
        Where the sample is out of the beam.
    next_moves
        Moves that may start with the readout of the last flat.
    """
    yield from move([(microscope.shutter, SHUTTER_OPEN), *out_moves])
    yield from bps.mv(microscope.camera.image_key, ImageKey.FLAT)
    for number in range(frames):
        following = next_moves if number == frames - 1 else ()
        yield from take_frame(microscope, "flat", at=out_moves, next_moves=following)


def take_projections(
    microscope: Microscope,
    targets: Sequence[Moves],
    *,
    then: Moves = (),
    refresh: Refresh | None = None,
) -> MsgGenerator[None]:
    """Take a frame into the stream `primary` at each target.

    Parameters
    ----------
    microscope
        The microscope.
    targets
        One set of moves per frame.
    then
        Moves that may start with the readout of the last frame.
    refresh
        As `take_frame` takes it; see `flats_again`.
    """
    yield from bps.mv(microscope.shutter, SHUTTER_OPEN)
    yield from bps.mv(microscope.camera.image_key, ImageKey.PROJECTION)
    for target, following in itertools.pairwise([*targets, then]):
        yield from take_frame(
            microscope, "primary", at=target, next_moves=following, refresh=refresh
        )


def flats_again(microscope: Microscope, frames: int, *, out_moves: Moves) -> MsgGenerator[None]:
    """Take flats in the middle of projections, which go on from where the stage then is."""
    yield from take_flats(microscope, frames, out_moves=out_moves)
    yield from bps.mv(microscope.camera.image_key, ImageKey.PROJECTION)
    yield from bps.checkpoint()


def left_safe(microscope: Microscope, plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
    """Wrap a plan so that the shutter is closed and the camera idle, however it ends.

    A shutter that does not close is a failure of a plan that ended well; otherwise it is logged,
    so that it does not hide why the plan ended.
    """

    def close_shutter() -> MsgGenerator[None]:
        for attempt in range(CLOSING_ATTEMPTS):
            try:
                yield from bps.mv(microscope.shutter, SHUTTER_CLOSED)
                return
            except FailedStatus as failure:
                if attempt == CLOSING_ATTEMPTS - 1:
                    raise
                logger.warning("%s; trying again", failure.__cause__)

    def after_failure(failure: Exception) -> MsgGenerator[None]:
        try:
            yield from close_shutter()
        except (FailedStatus, AcquisitionError) as worse:
            logger.error("the shutter could not be closed: %s", worse.__cause__ or worse)

    return (
        yield from bpp.contingency_wrapper(plan, except_plan=after_failure, else_plan=close_shutter)
    )
