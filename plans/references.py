"""Reference frames: how many, how long, where, when; and the plans that take only them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import CustomPlanMetadata, MsgGenerator

from zoneplate.devices import ConfigurationError
from zoneplate.devices.microscope import Microscope
from zoneplate.devices.states import ImageKey

from .frames import Moves, left_safe, move, prepare_camera, start_moves, take_darks, take_flats
from .metadata import run_metadata
from .validation import check_axis, check_count, check_exposure, check_frames

MAXIMUM_REFERENCES = 1000
MOST_BETWEEN_REFERENCES = 1_000_000

OutPosition = tuple[float | None, float | None, float | None]
"""Stage (x, y, z) with the sample out of the beam, um; None: do not move that axis."""

DEFAULT_OUT_UM: OutPosition = (None, 400.0, None)
"""Along the rotation axis, beyond the largest map: out of the beam at every angle."""


def out_moves(microscope: Microscope, out_um: OutPosition) -> Moves:
    """Return the moves that take the sample out of the beam; 0 is a position, None is not."""
    stage = microscope.stage
    axes = (stage.x, stage.y, stage.z)
    return [(axis, target) for axis, target in zip(axes, out_um, strict=True) if target is not None]


def check_out(microscope: Microscope, out_um: OutPosition) -> None:
    """Refuse a sample-out position outside the stage limits.

    Raises
    ------
    ConfigurationError
        If it is outside.
    """
    limits = microscope.configuration.stage
    for name, target in zip("xyz", out_um, strict=True):
        if target is not None:
            check_axis(name, getattr(limits, name), target)


WHEN = ("before", "after", "both")


@dataclass(frozen=True)
class ReferencePolicy:
    """When references are taken inside a scan, and how.

    Attributes
    ----------
    when
        `"before"` the projections, `"after"` them, or `"both"`.
    every
        Flats again after so many projections.
    max_age_s
        Flats again before a projection that would end later than this after them.
    dark_frames, flat_frames
        How many each time.
    dark_exposures_s
        Darks are taken at each of these: the dark at any other follows, it grows evenly.
    flat_exposure_s
        Exposure of flats.
    out_um
        Where the sample is out of the beam.
    """

    when: str
    every: int | None
    max_age_s: float | None
    dark_frames: int
    flat_frames: int
    dark_exposures_s: tuple[float, ...]
    flat_exposure_s: float
    out_um: OutPosition

    @property
    def before(self) -> bool:
        """Whether references are taken before the projections."""
        return self.when != "after"

    @property
    def after(self) -> bool:
        """Whether references are taken after the projections."""
        return self.when != "before"


def reference_policy(
    microscope: Microscope,
    *,
    when: str,
    every: int | None,
    max_age_s: float | None,
    dark_frames: int,
    flat_frames: int,
    dark_exposure_s: float | None,
    flat_exposure_s: float | None,
    exposures_s: Sequence[float],
    binning: int,
    out_um: OutPosition,
) -> ReferencePolicy:
    """Return when and how a scan takes references, or refuse it.

    Parameters
    ----------
    microscope
        The microscope.
    when, every, max_age_s, dark_frames, flat_frames, out_um
        See `ReferencePolicy`.
    dark_exposure_s, flat_exposure_s
        None: what the projections need.
    exposures_s
        Of the projections.
    binning
        Of all frames.

    Raises
    ------
    ConfigurationError
        If a value is impossible.
    """
    configuration = microscope.configuration
    if when not in WHEN:
        raise ConfigurationError(f"references {when!r} is unknown: use one of {', '.join(WHEN)}")
    check_count("dark_frames", dark_frames, 0, MAXIMUM_REFERENCES)
    check_count("flat_frames", flat_frames, 1, MAXIMUM_REFERENCES)
    check_out(microscope, out_um)
    for name, value in (("flat_exposure_s", flat_exposure_s), ("dark_exposure_s", dark_exposure_s)):
        if value is not None:
            check_exposure(configuration, value, name)
    if every is not None:
        check_count("references_every", every, 1, MOST_BETWEEN_REFERENCES)
    if max_age_s is not None:
        least_s = 2 * max(exposures_s) + configuration.camera.readout_s[binning]
        if not least_s <= max_age_s < math.inf:
            raise ConfigurationError(
                f"references_max_age_s {max_age_s:g} is not possible: a frame must fit in; choose "
                f"{least_s:g} s or more"
            )
    flat_s = flat_exposure_s if flat_exposure_s is not None else min(exposures_s)
    used = {*exposures_s, flat_s}
    dark_s = (dark_exposure_s,) if dark_exposure_s is not None else (min(used), max(used))
    return ReferencePolicy(
        when=when,
        every=every,
        max_age_s=max_age_s,
        dark_frames=dark_frames,
        flat_frames=flat_frames,
        dark_exposures_s=tuple(dict.fromkeys(dark_s)),
        flat_exposure_s=flat_s,
        out_um=out_um,
    )


def from_below(microscope: Microscope, targets: Moves, here: dict[str, float]) -> Moves:
    """Return the moves to make before those to `targets`, so that these arrive from below.

    Parameters
    ----------
    microscope
        The microscope.
    targets
        Where frames will be taken.
    here
        Where each axis is, by its name on the stage; one that is missing will not move.
    """
    limits = microscope.configuration.stage
    found: list[tuple[Any, Any]] = []
    for axis, target in targets:
        lost = getattr(limits, axis.attr_name).backlash
        if lost and here.get(axis.attr_name, target) > target:
            found.append((axis, target - lost))
    return found


class References:
    """Takes the references of one scan, and keeps account of when they are due.

    Parameters
    ----------
    microscope
        The microscope.
    policy
        When and how.
    sample_in
        Where the sample stands for projections.
    binning
        Of all frames.
    timed
        Note when the scan began, for those who repeat it.

    Attributes
    ----------
    taken
        Projections since the last flats.
    began_s
        When the first frame began, on the clock of the instrument; None before it, or if nobody
        asked.
    """

    def __init__(
        self,
        microscope: Microscope,
        policy: ReferencePolicy,
        sample_in: Moves,
        binning: int,
        *,
        timed: bool = False,
    ) -> None:
        self.policy = policy
        self.taken = 0
        self.began_s: float | None = None
        self._timed = timed
        self._microscope = microscope
        self._sample_in = sample_in
        self._out = out_moves(microscope, policy.out_um)
        self._readout_s = microscope.configuration.camera.readout_s[binning]
        self._exposure_s = math.nan
        self._flats_s: float | None = None

    def expose(self, exposure_s: float) -> MsgGenerator[None]:
        """Set the exposure of the frames to come, if it is another than that of the last."""
        if exposure_s != self._exposure_s:
            yield from bps.mv(self._microscope.camera.exposure_s, exposure_s)
            self._exposure_s = exposure_s

    def darks(self) -> MsgGenerator[None]:
        """Take darks at each exposure that is wanted."""
        if not self.policy.dark_frames:
            return
        for exposure_s in self.policy.dark_exposures_s:
            yield from self.expose(exposure_s)
            yield from take_darks(self._microscope, self.policy.dark_frames)
        frames_s = [exposure_s + self._readout_s for exposure_s in self.policy.dark_exposures_s]
        yield from self.began(sum(frames_s) * self.policy.dark_frames - frames_s[-1])

    def flats(self, turn: Moves = ()) -> MsgGenerator[None]:
        """Take flats and put the sample back, ready for projections.

        Parameters
        ----------
        turn
            Moves that do not matter to flats, such as that to the next angle: made meanwhile.
        """
        microscope, policy = self._microscope, self.policy
        turning = yield from start_moves(turn)
        yield from self.expose(policy.flat_exposure_s)
        out = {axis.attr_name: target for axis, target in self._out}
        beyond = from_below(microscope, self._sample_in, out)
        back = beyond or self._sample_in
        yield from take_flats(microscope, policy.flat_frames, out_moves=self._out, next_moves=back)
        if policy.max_age_s is not None:
            self._flats_s = yield from self._last_frame_s()
        frame_s = policy.flat_exposure_s + self._readout_s
        yield from self.began((policy.flat_frames - 1) * frame_s)
        self.taken = 0
        yield from move(beyond)
        yield from move(self._sample_in)
        if turn:
            yield from bps.wait(turning)
        yield from bps.mv(microscope.camera.image_key, ImageKey.PROJECTION)

    def again(self, exposure_s: float) -> MsgGenerator[None]:
        """Take flats before a projection that was waiting for the beam."""
        yield from self.flats()
        yield from self.expose(exposure_s)
        yield from bps.checkpoint()

    def due(self, exposure_s: float, coming: int = 1) -> MsgGenerator[bool]:
        """Return whether flats are wanted before that many projections of this exposure."""
        policy = self.policy
        if policy.every is not None and self.taken and self.taken + coming > policy.every:
            return True
        if policy.max_age_s is None or self._flats_s is None:
            return False
        now_s = yield from self.now_s()
        ends_s = now_s + coming * exposure_s + (coming - 1) * self._readout_s
        return self.taken > 0 and ends_s - self._flats_s > policy.max_age_s

    def began(self, before_last_s: float = 0.0) -> MsgGenerator[None]:
        """Note that the scan began so long before its last frame, unless that is known."""
        if self._timed and self.began_s is None:
            self.began_s = (yield from self._last_frame_s()) - before_last_s

    def now_s(self) -> MsgGenerator[float]:
        """Return when the last frame was read out, on the clock of the instrument."""
        last_s = yield from self._last_frame_s()
        return last_s + self._exposure_s + self._readout_s

    def _last_frame_s(self) -> MsgGenerator[float]:
        """Return when the last frame began, on the clock of the instrument."""
        started_s = yield from bps.rd(self._microscope.camera.exposure_start_s, default_value=0.0)
        return float(started_s)


def darks(
    microscope: Microscope,
    frames: int = 10,
    exposure_s: float = 1.0,
    binning: int = 8,
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take frames with the shutter closed, in a run of their own.

    Parameters
    ----------
    microscope
        The microscope.
    frames
        How many.
    exposure_s, binning
        How each is taken.
    md
        More metadata for the start document.

    Returns
    -------
    str
        Uid of the run.
    """
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("frames", frames, 1, MAXIMUM_REFERENCES)
    arguments: dict[str, Any] = {"frames": frames, "exposure_s": exposure_s, "binning": binning}

    @bpp.stage_decorator([microscope.camera])
    @bpp.run_decorator(md=run_metadata(microscope, "darks", arguments, {"darks": frames}, md))
    def inner() -> MsgGenerator[None]:
        yield from prepare_camera(microscope, exposure_s, binning)
        yield from take_darks(microscope, frames)

    return (yield from left_safe(microscope, inner()))


def flats(
    microscope: Microscope,
    frames: int = 10,
    exposure_s: float = 1.0,
    binning: int = 8,
    out_um: tuple[float | None, float | None, float | None] = (None, 400.0, None),
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take frames of the open beam, in a run of their own.

    Parameters
    ----------
    microscope
        The microscope.
    frames
        How many.
    exposure_s, binning
        How each is taken.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
    md
        More metadata for the start document.

    Returns
    -------
    str
        Uid of the run.
    """
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("frames", frames, 1, MAXIMUM_REFERENCES)
    check_out(microscope, out_um)
    arguments: dict[str, Any] = {
        "frames": frames,
        "exposure_s": exposure_s,
        "binning": binning,
        "out_um": list(out_um),
    }

    @bpp.stage_decorator([microscope.camera])
    @bpp.run_decorator(md=run_metadata(microscope, "flats", arguments, {"flats": frames}, md))
    def inner() -> MsgGenerator[None]:
        yield from prepare_camera(microscope, exposure_s, binning)
        yield from take_flats(microscope, frames, out_moves=out_moves(microscope, out_um))

    return (yield from left_safe(microscope, inner()))
