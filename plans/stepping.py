"""Projections with the stage standing at each angle, and references when they are due."""

from collections.abc import Sequence

from bluesky import plan_stubs as bps
from bluesky.utils import MsgGenerator

from zoneplate.devices.microscope import Microscope
from zoneplate.devices.states import SHUTTER_OPEN, ImageKey

from .frames import Moves, take_frame
from .references import References
from .stopping import StopQuestion
from .views import View


def take_views(
    microscope: Microscope,
    views: Sequence[View],
    *,
    references: References,
    sample_in: Moves,
    frames_per_angle: int = 1,
    ask_after: Sequence[int] = (),
) -> MsgGenerator[None]:
    """Take the frames of each view into the stream `primary`, with flats whenever they are due.

    The first flats are due after the first view: while they are taken the stage turns from the
    one end of the range, where the rotation axis shows, to the other, which costs no time.

    Parameters
    ----------
    microscope
        The microscope.
    views
        In the order to take them.
    references
        Take references.
    sample_in
        Where the sample stands.
    frames_per_angle
        Frames of each view.
    ask_after
        Numbers of views after which to ask whether it is enough.
    """
    theta, question = microscope.stage.theta, StopQuestion()
    targets: list[Moves] = [[(theta, view.angle_deg)] for view in views]
    yield from bps.mv(microscope.shutter, SHUTTER_OPEN)
    yield from bps.mv(microscope.camera.image_key, ImageKey.PROJECTION)
    for number, (view, target) in enumerate(zip(views, targets, strict=True)):
        first_flats = number == 1 and references.policy.before
        if first_flats or (yield from references.due(view.exposure_s)):
            yield from references.flats([(theta, view.angle_deg)])
        yield from references.expose(view.exposure_s)
        last = number == len(views) - 1
        following: Moves = () if last else targets[number + 1]

        def refresh(exposure_s: float = view.exposure_s) -> MsgGenerator[None]:
            return references.again(exposure_s)

        for frame in range(frames_per_angle):
            yield from take_frame(
                microscope,
                "primary",
                at=target,
                standing=sample_in,
                next_moves=following if frame == frames_per_angle - 1 else (),
                refresh=refresh,
            )
        yield from references.began()
        references.taken += 1
        if number + 1 in ask_after and not last:
            enough = yield from question.ask(number + 1, len(views))
            if enough:
                return
    if len(views) == 1 and references.policy.before:
        yield from references.flats()
