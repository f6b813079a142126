"""Frames taken while the sample turns at constant velocity: no stop, no settling, some blur."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bluesky import plan_stubs as bps
from bluesky.utils import FailedStatus, MsgGenerator

from zoneplate.devices import ConfigurationError, FrameError
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.microscope import SHUTTER_OPEN, ImageKey, Microscope

from .frames import MOST_RETAKES, Moves, expose_moving, move
from .suspension import wait_until_good
from .validation import check_axis

logger = logging.getLogger(__name__)

ALLOWED_SHARE = 0.25
"""How far from its planned angle a frame may be taken, in steps: the reconstruction weighs a frame
by its plan, and takes its angle as measured."""

BLUR_WORTH_A_WARNING = 1.0
"""Voxels that the edge of the field may turn through during an exposure."""


@dataclass(frozen=True)
class FlyMotion:
    """A turn at constant velocity with frames back to back.

    Attributes
    ----------
    angles_deg
        Mean angle of each frame, equally spaced.
    exposure_s, readout_s
        Of each frame.
    acceleration_s
        Time that the axis takes to its velocity.
    columns
        Of a frame: its edge is half as many voxels from the axis.

    Examples
    --------
    >>> turn = FlyMotion((0.0, 2.0, 4.0), 1.0, 0.25, 0.2, 128)
    >>> round(turn.velocity_deg_s, 2), round(turn.blur_voxels, 2)
    (1.6, 1.79)
    >>> round(turn.begin_deg(0), 2), round(turn.end_deg, 2)
    (-0.96, 5.36)
    """

    angles_deg: tuple[float, ...]
    exposure_s: float
    readout_s: float
    acceleration_s: float
    columns: int

    @property
    def step_deg(self) -> float:
        """Angle from frame to frame; negative where the stage turns back."""
        return (self.angles_deg[-1] - self.angles_deg[0]) / (len(self.angles_deg) - 1)

    @property
    def velocity_deg_s(self) -> float:
        """Velocity at which a frame is over when the next is due."""
        return abs(self.step_deg) / (self.exposure_s + self.readout_s)

    @property
    def blur_voxels(self) -> float:
        """Arc that the edge of the field turns through during an exposure."""
        return math.radians(self.velocity_deg_s * self.exposure_s) * self.columns / 2

    def begin_deg(self, number: int) -> float:
        """Return where to start so that the velocity is reached when frame `number` begins."""
        before_s = self.exposure_s / 2 + self.acceleration_s / 2
        return self.angles_deg[number] - math.copysign(
            self.velocity_deg_s * before_s, self.step_deg
        )

    @property
    def end_deg(self) -> float:
        """Where the turn ends; the last frame is over before the stage slows down."""
        after_s = self.exposure_s / 2 + self.readout_s + self.acceleration_s / 2
        return self.angles_deg[-1] + math.copysign(self.velocity_deg_s * after_s, self.step_deg)


def fly_motion(
    configuration: InstrumentConfiguration,
    angles_deg: Sequence[float],
    exposure_s: float,
    binning: int,
) -> FlyMotion:
    """Return the turn during which to take frames at these equally spaced angles.

    Raises
    ------
    ConfigurationError
        If the stage cannot turn so fast, or so far.
    """
    if len(angles_deg) < 2:
        raise ConfigurationError("motion 'fly' needs at least 2 projections; use motion 'step'")
    theta, camera = configuration.stage.theta, configuration.camera
    motion = FlyMotion(
        tuple(float(angle) for angle in angles_deg),
        exposure_s,
        camera.readout_s[binning],
        theta.acceleration_s,
        camera.detector.shape(binning)[1],
    )
    if not 0 < motion.velocity_deg_s <= theta.velocity:
        raise ConfigurationError(
            f"motion 'fly' would turn the stage at {motion.velocity_deg_s:.2f} {theta.unit}/s, "
            f"which is not possible: choose more than 0 and at most {theta.velocity:g} by the "
            "range, the number of projections or the exposure"
        )
    check_axis("theta", theta, motion.begin_deg(0), motion.end_deg)
    return motion


def take_flying(
    microscope: Microscope, motion: FlyMotion, *, sample_in: Moves
) -> MsgGenerator[None]:
    """Take a frame into the stream `primary` at each angle of a turn.

    A frame that was spoiled, or taken elsewhere than planned because the stage was stopped (a
    pause) or the camera was late, is dropped; the stage runs up to that frame again.

    Parameters
    ----------
    microscope
        The microscope.
    motion
        The turn.
    sample_in
        Where the sample stands meanwhile.

    Raises
    ------
    FailedStatus
        If a frame is spoiled again, or something else fails.
    """
    camera, theta = microscope.camera, microscope.stage.theta
    sweep: Any = microscope.sweep
    yield from bps.mv(microscope.shutter, SHUTTER_OPEN)
    yield from bps.mv(camera.image_key, ImageKey.PROJECTION)
    yield from bps.mv(camera.angle_tolerance_deg, ALLOWED_SHARE * abs(motion.step_deg))
    count, taken, failures = len(motion.angles_deg), 0, 0
    while taken < count:
        begin_deg = motion.begin_deg(taken)
        yield from move([*sample_in, (theta, begin_deg)])
        turn: list[Any] = [sweep.start_deg, begin_deg, sweep.stop_deg, motion.end_deg]
        yield from bps.mv(*turn, sweep.velocity_deg_s, motion.velocity_deg_s)
        good = True
        try:
            yield from bps.kickoff(sweep, wait=True)
            yield from bps.sleep(motion.acceleration_s)
            while taken < count and good:
                yield from bps.mv(camera.planned_angle_deg, motion.angles_deg[taken])
                good = yield from expose_moving(microscope, at=sample_in)
                if good:
                    yield from bps.checkpoint()
                    taken, failures = taken + 1, 0
        except (FailedStatus, FrameError) as failure:
            cause = failure if isinstance(failure, FrameError) else failure.__cause__
            if failures == MOST_RETAKES or not isinstance(cause, FrameError):
                raise
            logger.warning("%s; the stage runs up to it again", cause)
            failures, good = failures + 1, False
        if not good:
            yield from bps.stop(sweep)
        yield from bps.complete(sweep, wait=True)
        yield from bps.collect(sweep)
        yield from bps.checkpoint()
        if not good:
            yield from wait_until_good(microscope)
    yield from bps.mv(camera.planned_angle_deg, math.nan)


def at_rest(microscope: Microscope) -> MsgGenerator[None]:
    """Stop a turn that was interrupted and let frames be taken anywhere again."""
    yield from bps.mv(microscope.camera.planned_angle_deg, math.nan)
    sweep: Any = microscope.sweep
    yield from bps.stop(sweep)
    yield from bps.complete(sweep, wait=True)
