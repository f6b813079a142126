"""Frames taken while the sample turns at constant velocity: no stop, no settling, some blur."""

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bluesky import plan_stubs as bps
from bluesky.utils import FailedStatus, MsgGenerator

from zoneplate.devices import ConfigurationError, FrameError
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.microscope import Microscope
from zoneplate.devices.states import SHUTTER_OPEN, ImageKey

from .angles import passes_of
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
    """A turn at constant velocity with frames at equal distances.

    Attributes
    ----------
    angles_deg
        Mean angle of each frame, equally spaced.
    step_deg
        Angle from frame to frame; negative where the stage turns back.
    spacing_deg
        Distance of neighbouring angles of the whole scan, of which this may be one pass.
    exposure_s, readout_s
        Of each frame.
    acceleration_s
        Time that the axis takes to its velocity.
    columns
        Of a frame: its edge is half as many voxels from the axis.
    limit_deg_s
        Turn no faster than this; the camera waits for its next angle.

    Examples
    --------
    >>> turn = FlyMotion((0.0, 2.0, 4.0), 2.0, 2.0, 1.0, 0.25, 0.2, 128)
    >>> round(turn.velocity_deg_s, 2), round(turn.blur_voxels, 2)
    (1.6, 1.79)
    >>> round(turn.begin_deg(0), 2), round(turn.end_deg, 2)
    (-0.96, 5.36)
    """

    angles_deg: tuple[float, ...]
    step_deg: float
    spacing_deg: float
    exposure_s: float
    readout_s: float
    acceleration_s: float
    columns: int
    limit_deg_s: float = math.inf

    @property
    def velocity_deg_s(self) -> float:
        """Velocity at which a frame is over when the next is due, or before."""
        return min(abs(self.step_deg) / (self.exposure_s + self.readout_s), self.limit_deg_s)

    @property
    def idle_s(self) -> float:
        """How long the camera waits between two frames."""
        if self.velocity_deg_s < self.limit_deg_s:
            return 0.0
        return abs(self.step_deg) / self.limit_deg_s - self.exposure_s - self.readout_s

    @property
    def blur_voxels(self) -> float:
        """Arc that the edge of the field turns through during an exposure."""
        return blur_voxels(self.velocity_deg_s, self.exposure_s, self.columns)

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


def blur_voxels(velocity_deg_s: float, exposure_s: float, columns: int) -> float:
    """Return the arc, in voxels, that the edge of a field turns through during an exposure."""
    return math.radians(velocity_deg_s * exposure_s) * columns / 2


def fly_motions(
    configuration: InstrumentConfiguration,
    angles_deg: Sequence[float],
    exposure_s: float,
    binning: int,
    *,
    order: str = "sequential",
    most_blur_voxels: float | None = None,
    at_once: int | None = None,
) -> list[FlyMotion]:
    """Return the turns during which to take frames at these equally spaced angles.

    Parameters
    ----------
    configuration
        The instrument.
    angles_deg
        From the first to the last.
    exposure_s, binning
        How each frame is taken.
    order
        `"sequential"`: one turn. `"interlaced"`: a turn there or back per pass.
    most_blur_voxels
        Turn so slowly that the edge of the field is smeared by no more than this; None: as fast
        as the camera can follow.
    at_once
        Frames of a turn at most, because flats are due after them.

    Raises
    ------
    ConfigurationError
        If the stage cannot turn so fast, or so far.
    """
    if len(angles_deg) < 2:
        raise ConfigurationError("motion 'fly' needs at least 2 projections; use motion 'step'")
    theta, camera = configuration.stage.theta, configuration.camera
    columns = camera.detector.shape(binning)[1]
    spacing_deg = (angles_deg[-1] - angles_deg[0]) / (len(angles_deg) - 1)
    limit_deg_s = math.inf
    if most_blur_voxels is not None:
        if not 0 < most_blur_voxels < math.inf:
            raise ConfigurationError(
                f"most_blur_voxels {most_blur_voxels:g} is not possible: choose more than 0, such "
                f"as {BLUR_WORTH_A_WARNING:g}"
            )
        # The blur is proportional to the velocity.
        limit_deg_s = min(most_blur_voxels / blur_voxels(1.0, exposure_s, columns), theta.velocity)
    passes = passes_of(angles_deg) if order == "interlaced" else [list(angles_deg)]
    motions: list[FlyMotion] = []
    for number, one in enumerate(passes):
        step_deg = (len(passes) if order == "interlaced" else 1) * spacing_deg
        for part in _parts(one, at_once):
            motion = FlyMotion(
                tuple(float(angle) for angle in part),
                step_deg if number % 2 == 0 else -step_deg,
                abs(spacing_deg),
                exposure_s,
                camera.readout_s[binning],
                theta.acceleration_s,
                columns,
                limit_deg_s,
            )
            if not 0 < motion.velocity_deg_s <= theta.velocity:
                raise ConfigurationError(
                    f"motion 'fly' would turn the stage at {motion.velocity_deg_s:.2f} "
                    f"{theta.unit}/s, which is not possible: choose more than 0 and at most "
                    f"{theta.velocity:g} by the range, the number of projections, the exposure or "
                    "most_blur_voxels"
                )
            check_axis("theta", theta, motion.begin_deg(0), motion.end_deg)
            motions.append(motion)
    return motions


def _parts(angles_deg: Sequence[float], at_once: int | None) -> list[list[float]]:
    """Return the angles in parts of nearly equal length, none longer than asked for."""
    if at_once is None:
        return [list(angles_deg)]
    count = math.ceil(len(angles_deg) / max(at_once, 1))
    ends = [round(number * len(angles_deg) / count) for number in range(count + 1)]
    return [list(angles_deg[begin:end]) for begin, end in itertools.pairwise(ends)]


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
    yield from bps.mv(camera.angle_tolerance_deg, ALLOWED_SHARE * motion.spacing_deg)
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
                    if motion.idle_s > 0 and taken < count:
                        yield from bps.sleep(motion.idle_s)
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
