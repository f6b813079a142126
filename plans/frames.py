"""Stubs that take frames: what every plan of ours is made of."""

import itertools
import logging
from collections.abc import Sequence
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus, MsgGenerator

from zoneplate.devices import AcquisitionError, FrameError
from zoneplate.devices.microscope import SHUTTER_CLOSED, SHUTTER_OPEN, ImageKey, Microscope

logger = logging.getLogger(__name__)

MOST_RETAKES = 1
"""A frame that is spoiled again points to something that taking it again does not mend."""

CLOSING_ATTEMPTS = 3
"""A shutter that sticks often closes when asked again."""

BEAM_LOST = 0.5
BEAM_BACK = 0.9
"""Relative intensities below which the beam counts as lost, and above which as back."""

BEAM_POLL_S = 2.0
BEAM_PATIENCE_S = 1800.0

_group_numbers = itertools.count()

Moves = Sequence[tuple[Any, Any]]
"""Pairs of a positioner and its target."""


def _group(what: str) -> str:
    return f"{what}-{next(_group_numbers)}"


def start_moves(moves: Moves) -> MsgGenerator[str]:
    """Start moves together; wait for the group that is returned."""
    group = _group("move")
    for positioner, target in moves:
        yield from bps.abs_set(positioner, target, group=group)
    return group


def move(moves: Moves) -> MsgGenerator[None]:
    """Move together and wait for all."""
    group = yield from start_moves(moves)
    if moves:
        yield from bps.wait(group)


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
    next_moves: Moves = (),
    needs_beam: bool = True,
) -> MsgGenerator[None]:
    """Take one frame into `stream`, and start towards the next position during its readout.

    The stage is read while it still stands; the event is complete when the frame is in the
    file. A checkpoint follows, so a pause repeats nothing. A frame that is lost or spoiled is
    taken once more; one without beam is taken again when the beam is back.

    Parameters
    ----------
    microscope
        The microscope.
    stream
        Name of the event stream.
    at
        Where to take it. Asked for again even if the stage is on its way there: a pause may have
        stopped it.
    next_moves
        Moves that may start with the readout.
    needs_beam
        Whether the frame is worth nothing without beam.

    Raises
    ------
    FailedStatus
        If the frame is spoiled again, or something else fails.
    AcquisitionError
        If the beam does not come back.
    """
    retakes = 0
    while True:
        yield from move(at)
        moving = _group("move")
        try:
            good = yield from _expose(microscope, stream, next_moves, moving, needs_beam)
        except FailedStatus as failure:
            if retakes == MOST_RETAKES or not isinstance(failure.__cause__, FrameError):
                raise
            logger.warning("%s; it is taken again", failure.__cause__)
            retakes += 1
            good = False
        if good:
            yield from bps.checkpoint()
            return
        yield from bps.wait(moving)
        if needs_beam:
            yield from wait_for_beam(microscope)


def _expose(
    microscope: Microscope, stream: str, next_moves: Moves, moving: str, needs_beam: bool
) -> MsgGenerator[bool]:
    """Take one frame and save its event; drop it and return False if there was no beam."""
    camera = microscope.camera
    frame, exposure = _group("frame"), _group("exposure")
    yield from bps.trigger(camera, group=frame)
    yield from bps.trigger(camera.exposed, group=exposure)
    yield from bps.wait(exposure)
    yield from bps.create(stream)
    try:
        for device in (microscope.stage, microscope.shutter, microscope.optics):
            yield from bps.read(device)  # type: ignore[arg-type]
        reading = yield from bps.read(microscope.source)
        lit = not needs_beam or _beam(microscope, reading) >= BEAM_LOST
        for positioner, target in next_moves if lit else ():
            yield from bps.abs_set(positioner, target, group=moving)
        yield from bps.wait(frame)
        if not lit:
            logger.warning("the beam was lost during a frame; it is taken again")
            yield from bps.drop()
            return False
        yield from bps.read(camera)
    except FailedStatus:
        yield from bps.drop()
        raise
    yield from bps.save()
    return True


def wait_for_beam(microscope: Microscope) -> MsgGenerator[None]:
    """Wait until there is beam.

    Raises
    ------
    AcquisitionError
        If it does not come back in `BEAM_PATIENCE_S`.
    """
    waited_s = 0.0
    while True:
        current = yield from bps.rd(microscope.source.current, default_value=1.0)
        if current >= BEAM_BACK:
            return
        if waited_s >= BEAM_PATIENCE_S:
            raise AcquisitionError(
                f"there has been no beam for {waited_s:.0f} s (relative intensity {current:.2f}); "
                "start the source, then repeat the scan"
            )
        yield from bps.sleep(BEAM_POLL_S)
        waited_s += BEAM_POLL_S


def _beam(microscope: Microscope, reading: Any) -> float:
    """Return the relative beam intensity of a reading; 1 in a dry run, which reads nothing."""
    if not reading:
        return 1.0
    return float(reading[microscope.source.current.name]["value"])


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
    microscope: Microscope, targets: Sequence[Moves], *, then: Moves = ()
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
    """
    yield from bps.mv(microscope.shutter, SHUTTER_OPEN)
    yield from bps.mv(microscope.camera.image_key, ImageKey.PROJECTION)
    for target, following in itertools.pairwise([*targets, then]):
        yield from take_frame(microscope, "primary", at=target, next_moves=following)


def left_safe(microscope: Microscope, plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
    """Wrap a plan so that the shutter is closed and the camera idle, however it ends."""

    def make_safe() -> MsgGenerator[None]:
        for attempt in range(CLOSING_ATTEMPTS):
            try:
                yield from bps.mv(microscope.shutter, SHUTTER_CLOSED)
                return
            except FailedStatus as failure:
                if attempt == CLOSING_ATTEMPTS - 1:
                    raise
                logger.warning("%s; trying again", failure.__cause__)

    return (yield from bpp.finalize_wrapper(plan, make_safe()))
