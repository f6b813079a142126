"""A tomogram: projections over half a turn, with references."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import CustomPlanMetadata, MsgGenerator

from zoneplate.devices import ConfigurationError
from zoneplate.devices.microscope import Microscope

from .angles import ORDERS, ordered
from .fly import fly_motions
from .frames import Moves, left_safe, prepare_camera, setpoint, start_moves
from .metadata import run_metadata
from .pace import Pace
from .references import (
    DEFAULT_OUT_UM,
    OutPosition,
    References,
    from_below,
    reference_policy,
)
from .stepping import take_views
from .stopping import check_adaptive, pass_ends
from .turning import planned_turns, take_turns, turning_facts
from .validation import check_axis, check_clearance, check_count, check_frames
from .views import View, elongation, missing_wedge_deg, planned_views

logger = logging.getLogger(__name__)

MOTIONS = ("step", "fly")
FLY_ORDERS = ("sequential", "interlaced")

MOST_REPEATS = 10_000


def check_tomography(
    microscope: Microscope,
    *,
    projections: int,
    exposure_s: float,
    binning: int,
    range_deg: tuple[float, float] = (-90.0, 90.0),
    order: str = "interlaced",
    motion: str = "step",
    references: tuple[int, int] = (0, 1),
    out_um: OutPosition = DEFAULT_OUT_UM,
) -> None:
    """Refuse an impossible tomogram before anything moves.

    Raises
    ------
    ConfigurationError
        If a value is impossible.
    """
    check_frames(microscope.configuration, exposure_s, binning)
    _check_way(order, motion)
    views = planned_views(
        microscope.configuration,
        projections=projections,
        range_deg=range_deg,
        exposure_s=exposure_s,
    )
    reference_policy(
        microscope,
        when="before",
        every=None,
        max_age_s=None,
        dark_frames=references[0],
        flat_frames=references[1],
        dark_exposure_s=None,
        flat_exposure_s=None,
        exposures_s=[exposure_s],
        binning=binning,
        out_um=out_um,
    )
    if motion == "fly":
        angles_deg = [view.angle_deg for view in views]
        fly_motions(microscope.configuration, angles_deg, exposure_s, binning)


def _check_way(order: str, motion: str) -> None:
    if motion not in MOTIONS:
        raise ConfigurationError(f"motion {motion!r} is unknown: use one of {', '.join(MOTIONS)}")
    if order not in ORDERS:
        raise ConfigurationError(f"order {order!r} is unknown: use one of {', '.join(ORDERS)}")
    if motion == "fly" and order not in FLY_ORDERS:
        raise ConfigurationError(
            f"motion 'fly' with order {order!r} is not possible: the stage turns evenly; use order "
            f"{' or '.join(repr(name) for name in FLY_ORDERS)}, or motion 'step'"
        )


def tomography(
    microscope: Microscope,
    center_um: tuple[float, float, float] | None = None,
    projections: int = 141,
    start_deg: float = -90.0,
    stop_deg: float = 90.0,
    exposure_s: float = 1.0,
    binning: int = 8,
    order: Literal["interlaced", "sequential", "golden", "list"] = "interlaced",
    motion: Literal["step", "fly"] = "step",
    dark_frames: int = 5,
    flat_frames: int = 10,
    out_um: tuple[float | None, float | None, float | None] = (None, 400.0, None),
    adaptive: bool = False,
    references: Literal["before", "after", "both"] = "before",
    references_every: int | None = None,
    references_max_age_s: float | None = None,
    dark_exposure_s: float | None = None,
    flat_exposure_s: float | None = None,
    angles_deg: list[float] | None = None,
    frames_per_angle: int = 1,
    exposure_rule: Literal["constant", "edge-on"] = "constant",
    exposure_cap: float = 2.0,
    exposures_s: list[float] | None = None,
    most_blur_voxels: float | None = None,
    repeats: int = 1,
    repeat_every_s: float = 0.0,
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take a tomogram, or a time series of them.

    The 0/180 pair that shows the rotation axis comes first; the sample leaves the beam for the
    flats while the stage turns from the one to the other, so neither costs extra time.

    Parameters
    ----------
    microscope
        The microscope.
    center_um
        Point of the sample (x, y, z) to put on the rotation axis; None: where the stage is.
    projections
        Number of angles, equally spaced from `start_deg` to `stop_deg`, both included.
    start_deg, stop_deg
        The range of angles.
    exposure_s, binning
        How each projection is taken.
    order
        Order of the angles: `"interlaced"` lets a part of the scan show the whole sample. It
        and `"golden"` begin at the end that is nearer to where the stage stands. `"list"`: as
        `angles_deg` has them.
    motion
        `"step"`: the stage stands during each exposure. `"fly"`: it turns at constant velocity,
        which takes less time and smears the edge of the field; with order `"sequential"`, or
        `"interlaced"` (a turn per pass, with `most_blur_voxels`).
    dark_frames, flat_frames
        Reference frames, each time they are taken.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
    adaptive
        Ask at the end of each pass whether what was seen is enough, and stop if it is.
    references
        `"before"` the projections, `"after"` them, or `"both"`.
    references_every
        Take flats again after so many projections.
    references_max_age_s
        Take flats again before they are older than this.
    dark_exposure_s, flat_exposure_s
        Exposure of references. None: flats are exposed like the shortest projection, and darks
        like the shortest and the longest frame, from which the dark of every other follows.
    angles_deg
        The angles themselves, instead of `projections`, `start_deg` and `stop_deg`.
    frames_per_angle
        Frames at each angle. All are kept; the analysis adds their counts up.
    exposure_rule
        `"edge-on"`: `exposure_s` at 0 degrees, longer by 1 / cos theta elsewhere, for a flat
        sample that absorbs more when it is seen edge-on.
    exposure_cap
        With that rule, at most so many times `exposure_s`: the open beam beside the sample must
        not saturate the camera.
    exposures_s
        An exposure for each angle, from `start_deg` to `stop_deg` or as in `angles_deg`.
    most_blur_voxels
        In motion, turn so slowly that the edge of the field is smeared by no more than this.
    repeats
        Tomograms to take of the same place, each a run of its own.
    repeat_every_s
        Time from one to the next; 0: one after the other.
    md
        More metadata for the start document.

    Returns
    -------
    str
        Uid of the run; with `repeats`, of the last.

    Raises
    ------
    ConfigurationError
        If a value is impossible, before anything moves.

    Examples
    --------
    ::

        RE(tomography(microscope, center_um=(0, 0, 5), projections=141))
        RE(tomography(microscope, references="both", references_every=40, flat_exposure_s=0.5))
    """
    configuration = microscope.configuration
    check_frames(configuration, exposure_s, binning)
    _check_way(order, motion)
    if (order == "list") != (angles_deg is not None):
        raise ConfigurationError(
            "order 'list' and angles_deg belong together: give both, or neither"
        )
    views = planned_views(
        configuration,
        projections=projections,
        range_deg=(start_deg, stop_deg),
        exposure_s=exposure_s,
        angles_deg=angles_deg,
        exposure_rule=exposure_rule,
        exposure_cap=exposure_cap,
        exposures_s=exposures_s,
        frames_per_angle=frames_per_angle,
    )
    policy = reference_policy(
        microscope,
        when=references,
        every=references_every,
        max_age_s=references_max_age_s,
        dark_frames=dark_frames,
        flat_frames=flat_frames,
        dark_exposure_s=dark_exposure_s,
        flat_exposure_s=flat_exposure_s,
        exposures_s=[view.exposure_s for view in views],
        binning=binning,
        out_um=out_um,
    )
    if adaptive:
        check_adaptive(order, motion)
        if not policy.before:
            raise ConfigurationError(
                f"adaptive with references {references!r} is not possible: without flats nothing "
                "can be seen during the scan; use 'before' or 'both'"
            )
    check_count("repeats", repeats, 1, MOST_REPEATS)
    if not 0 <= repeat_every_s < float("inf"):
        raise ConfigurationError(
            f"repeat_every_s {repeat_every_s:g} is not possible: choose 0 or more"
        )
    if motion == "fly" and frames_per_angle > 1:
        raise ConfigurationError(
            f"motion 'fly' with frames_per_angle {frames_per_angle} is not possible: the stage "
            "does not wait; use 1, or motion 'step'"
        )
    turns = planned_turns(microscope, views, policy, binning, order, motion, most_blur_voxels)
    stage = microscope.stage
    axes = (stage.x, stage.y, stage.z)
    if center_um is None:
        center = [
            (yield from setpoint(stage.x)),
            (yield from setpoint(stage.y)),
            (yield from setpoint(stage.z)),
        ]
    else:
        center = [float(value) for value in center_um]
    for name, axis, target in zip("xyz", axes, center, strict=True):
        limits = getattr(configuration.stage, name)
        check_axis(name, limits, target)
        if from_below(microscope, [(axis, target)], {name: limits.high}):
            check_axis(name, limits, target - limits.backlash)
    check_clearance(
        microscope,
        x_um=[center[0], *([out_um[0]] if out_um[0] is not None else [])],
        z_um=[center[2], *([out_um[2]] if out_um[2] is not None else [])],
        theta_deg=[view.angle_deg for view in views],
    )

    arguments: dict[str, Any] = {
        "center_um": center,
        "projections": len(views),
        "start_deg": start_deg,
        "stop_deg": stop_deg,
        "exposure_s": exposure_s,
        "binning": binning,
        "order": order,
        "motion": motion,
        "dark_frames": dark_frames,
        "flat_frames": flat_frames,
        "out_um": list(out_um),
        "adaptive": adaptive,
        "references": references,
        "references_every": references_every,
        "references_max_age_s": references_max_age_s,
        "dark_exposure_s": dark_exposure_s,
        "flat_exposure_s": flat_exposure_s,
        "angles_deg": angles_deg,
        "frames_per_angle": frames_per_angle,
        "exposure_rule": exposure_rule,
        "exposure_cap": exposure_cap,
        "exposures_s": exposures_s,
        "most_blur_voxels": most_blur_voxels,
        "repeats": repeats,
        "repeat_every_s": repeat_every_s,
    }
    facts: dict[str, Any] = {
        "center_um": center,
        "frames_per_angle": frames_per_angle,
        "pass_ends": pass_ends(len(views)) if adaptive else [],
        **_limits(views),
        **turning_facts(turns),
    }
    sample_in = list(zip(axes, center, strict=True))

    def one(number: int) -> MsgGenerator[str]:
        wanted = [*views]
        if order not in ("sequential", "list") and motion == "step":
            # From the nearer end: the scan before this one ended at the other side.
            here_deg = yield from setpoint(stage.theta)
            if abs(here_deg - stop_deg) < abs(here_deg - start_deg):
                wanted.reverse()
        if turns:
            by_angle = {view.angle_deg: view for view in views}
            in_order = [by_angle[angle] for turn in turns for angle in turn.angles_deg]
        else:
            in_order = ordered(wanted, order)
        varied = len({view.exposure_s for view in views}) > 1
        series = {"index": number, "of": repeats, "every_s": repeat_every_s}
        metadata = run_metadata(
            microscope,
            "tomography",
            arguments,
            {
                "darks": dark_frames,
                "flats": flat_frames,
                "projections": len(views) * frames_per_angle,
            },
            md,
            motors=[stage.theta.name],
            hints={"dimensions": [([stage.theta.name], "primary")]},
            tomography={
                "angles_deg": [view.angle_deg for view in in_order],
                **({"exposures_s": [view.exposure_s for view in in_order]} if varied else {}),
                **facts,
            },
            **({"time_series": series} if repeats > 1 else {}),
        )
        taker = References(microscope, policy, sample_in, binning, timed=pace.every_s > 0)

        @bpp.stage_decorator([microscope.camera])
        @bpp.run_decorator(md=metadata)
        def inner() -> MsgGenerator[None]:
            yield from prepare_camera(microscope, exposure_s, binning)
            first_deg = turns[0].begin_deg(0) if turns else in_order[0].angle_deg
            yield from _arrive(microscope, taker, sample_in, first_deg, waits=not turns)
            if turns:
                yield from take_turns(microscope, turns, taker, sample_in)
            else:
                yield from take_views(
                    microscope,
                    in_order,
                    references=taker,
                    sample_in=sample_in,
                    frames_per_angle=frames_per_angle,
                    ask_after=facts["pass_ends"],
                )
            if policy.after:
                yield from taker.flats()
                yield from taker.darks()

        uid = yield from left_safe(microscope, inner())
        pace.note(taker)
        return uid

    uid = ""
    pace = Pace(repeat_every_s if repeats > 1 else 0.0)
    for number in range(repeats):
        yield from pace.wait(number)
        uid = yield from one(number)
    return uid


def _arrive(
    microscope: Microscope, taker: References, sample_in: Moves, first_deg: float, *, waits: bool
) -> MsgGenerator[None]:
    """Go where the first projection is taken, and take darks on the way."""
    stage = microscope.stage
    here = yield from _positions(microscope)
    beyond = dict(from_below(microscope, sample_in, here))
    on_the_way = [(axis, beyond.get(axis, target)) for axis, target in sample_in]
    arrival = yield from start_moves([*on_the_way, (stage.theta, first_deg)])
    if taker.policy.before:
        yield from taker.darks()
    if beyond:
        yield from bps.wait(arrival)
        arrival = yield from start_moves([*sample_in, (stage.theta, first_deg)])
    if waits:
        yield from bps.wait(arrival)


def _positions(microscope: Microscope) -> MsgGenerator[dict[str, float]]:
    """Return where the axes with backlash were told to go; no others, nobody asks for them."""
    found: dict[str, float] = {}
    for name in "xyz":
        if getattr(microscope.configuration.stage, name).backlash:
            found[name] = yield from setpoint(getattr(microscope.stage, name))
    return found


def _limits(views: Sequence[View]) -> dict[str, Any]:
    """Return what the angles leave out of half a turn, for the metadata; say it too."""
    wedge_deg = missing_wedge_deg([view.angle_deg for view in views])
    if wedge_deg:
        logger.warning(
            "%.0f of 180 degrees are not looked at (a missing wedge): surfaces that face those "
            "directions are not seen, so particles and voids come out about %.1f times too long "
            "along them and too faint; sizes across them are right",
            wedge_deg,
            elongation(wedge_deg),
        )
    return {"missing_wedge_deg": wedge_deg}
