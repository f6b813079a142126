"""Stubs that take frames: what every plan of ours is made of."""

import itertools
from collections.abc import Sequence
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import MsgGenerator

from zoneplate.devices.microscope import SHUTTER_CLOSED, SHUTTER_OPEN, ImageKey, Microscope

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


def prepare_camera(microscope: Microscope, exposure_s: float, binning: int) -> MsgGenerator[None]:
    """Set exposure and binning."""
    yield from bps.mv(microscope.camera.binning, binning, microscope.camera.exposure_s, exposure_s)


def take_frame(
    microscope: Microscope, stream: str, *, next_moves: Moves = ()
) -> MsgGenerator[None]:
    """Take one frame into `stream`, and start towards the next position during its readout.

    The stage is read while it still stands; the event is complete when the frame is in the
    file. A checkpoint follows, so a pause repeats nothing; whoever asked for `next_moves` asks
    again for the same target before the next frame (a pause in between stops the motion).
    """
    camera = microscope.camera
    frame, exposure = _group("frame"), _group("exposure")
    yield from bps.trigger(camera, group=frame)
    yield from bps.trigger(camera.exposed, group=exposure)
    yield from bps.wait(exposure)
    yield from bps.create(stream)
    surroundings: tuple[Any, ...] = (
        microscope.stage,
        microscope.source,
        microscope.shutter,
        microscope.optics,
    )
    for device in surroundings:
        yield from bps.read(device)
    yield from start_moves(next_moves)
    yield from bps.wait(frame)
    yield from bps.read(camera)
    yield from bps.save()
    yield from bps.checkpoint()


def take_darks(microscope: Microscope, frames: int) -> MsgGenerator[None]:
    """Take frames with the shutter closed into the stream `dark`."""
    yield from bps.mv(microscope.shutter, SHUTTER_CLOSED)
    yield from bps.mv(microscope.camera.image_key, ImageKey.DARK)
    for _ in range(frames):
        yield from take_frame(microscope, "dark")


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
        yield from move(out_moves)  # nothing to do, unless a pause stopped the motion
        yield from take_frame(
            microscope, "flat", next_moves=next_moves if number == frames - 1 else ()
        )


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
        yield from move(target)
        yield from take_frame(microscope, "primary", next_moves=following)


def left_safe(microscope: Microscope, plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
    """Wrap a plan so that the shutter is closed and the camera idle, however it ends."""

    def make_safe() -> MsgGenerator[None]:
        yield from bps.mv(microscope.shutter, SHUTTER_CLOSED)

    return (yield from bpp.finalize_wrapper(plan, make_safe()))
