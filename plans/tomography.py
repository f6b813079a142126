"""A tomogram: projections over half a turn, with references."""

import logging
from typing import Any, Literal

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import CustomPlanMetadata, MsgGenerator

from zoneplate.devices import ConfigurationError
from zoneplate.devices.microscope import Microscope

from .angles import ORDERS, ordered, projection_angles
from .fly import BLUR_WORTH_A_WARNING, FlyMotion, at_rest, fly_motion, take_flying
from .frames import (
    flats_again,
    left_safe,
    move,
    prepare_camera,
    setpoint,
    start_moves,
    take_darks,
    take_flats,
    take_projections,
)
from .metadata import run_metadata
from .references import DEFAULT_OUT_UM, MAXIMUM_REFERENCES, OutPosition, check_out, out_moves
from .stopping import check_adaptive, pass_ends, take_until_enough
from .validation import MAXIMUM_PROJECTIONS, check_axis, check_clearance, check_count, check_frames

logger = logging.getLogger(__name__)

MOTIONS = ("step", "fly")


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
    if motion not in MOTIONS:
        raise ConfigurationError(f"motion {motion!r} is unknown: use one of {', '.join(MOTIONS)}")
    if order not in ORDERS:
        raise ConfigurationError(f"order {order!r} is unknown: use one of {', '.join(ORDERS)}")
    if motion == "fly" and order != "sequential":
        raise ConfigurationError(
            f"motion 'fly' with order {order!r} is not possible: larger steps would smear frames; "
            "use order 'sequential', or motion 'step'"
        )
    check_count("projections", projections, 1, MAXIMUM_PROJECTIONS)
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("dark_frames", references[0], 0, MAXIMUM_REFERENCES)
    check_count("flat_frames", references[1], 1, MAXIMUM_REFERENCES)
    check_axis("theta", microscope.configuration.stage.theta, *range_deg)
    check_out(microscope, out_um)
    if motion == "fly":
        angles_deg = projection_angles(projections, *range_deg)
        fly_motion(microscope.configuration, angles_deg, exposure_s, binning)


def tomography(
    microscope: Microscope,
    center_um: tuple[float, float, float] | None = None,
    projections: int = 141,
    start_deg: float = -90.0,
    stop_deg: float = 90.0,
    exposure_s: float = 1.0,
    binning: int = 8,
    order: Literal["interlaced", "sequential", "golden"] = "interlaced",
    motion: Literal["step", "fly"] = "step",
    dark_frames: int = 5,
    flat_frames: int = 10,
    out_um: tuple[float | None, float | None, float | None] = (None, 400.0, None),
    adaptive: bool = False,
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take a tomogram.

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
        and `"golden"` begin at the end that is nearer to where the stage stands.
    motion
        `"step"`: the stage stands during each exposure. `"fly"`: it turns at constant velocity,
        which takes less time and smears the edge of the field; with order `"sequential"`.
    dark_frames, flat_frames
        Reference frames.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
    adaptive
        Ask at the end of each pass whether what was seen is enough, and stop if it is.
    md
        More metadata for the start document.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    ConfigurationError
        If a value is impossible, before anything moves.

    Examples
    --------
    ::

        RE(tomography(microscope, center_um=(0, 0, 5), projections=141))
    """
    check_tomography(
        microscope,
        projections=projections,
        range_deg=(start_deg, stop_deg),
        exposure_s=exposure_s,
        binning=binning,
        order=order,
        motion=motion,
        references=(dark_frames, flat_frames),
        out_um=out_um,
    )
    if adaptive:
        check_adaptive(order, motion)
    all_deg = projection_angles(projections, start_deg, stop_deg)
    if order != "sequential":
        # From the nearer end: the scan before this one ended at the other side.
        here_deg = yield from setpoint(microscope.stage.theta)
        if abs(here_deg - stop_deg) < abs(here_deg - start_deg):
            all_deg.reverse()
    angles_deg = ordered(all_deg, order)
    turn = (
        fly_motion(microscope.configuration, angles_deg, exposure_s, binning)
        if motion == "fly"
        else None
    )
    limits = microscope.configuration.stage
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
    for name, target in zip("xyz", center, strict=True):
        check_axis(name, getattr(limits, name), target)
    check_clearance(microscope, x_um=center[:1], z_um=center[2:], theta_deg=(start_deg, stop_deg))

    arguments: dict[str, Any] = {
        "center_um": center,
        "projections": projections,
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
    }
    frames = {"darks": dark_frames, "flats": flat_frames, "projections": projections}
    metadata = run_metadata(
        microscope,
        "tomography",
        arguments,
        frames,
        md,
        motors=[stage.theta.name],
        hints={"dimensions": [([stage.theta.name], "primary")]},
        tomography={
            "angles_deg": angles_deg,
            "center_um": center,
            "pass_ends": pass_ends(projections) if adaptive else [],
            **_limits(start_deg, stop_deg, projections),
            **_motion_facts(turn),
        },
    )
    sample_in = list(zip(axes, center, strict=True))
    out = out_moves(microscope, out_um)
    targets = [[*sample_in, (stage.theta, angle)] for angle in angles_deg]

    @bpp.stage_decorator([microscope.camera])
    @bpp.run_decorator(md=metadata)
    def flying(motion: FlyMotion) -> MsgGenerator[None]:
        yield from prepare_camera(microscope, exposure_s, binning)
        start = yield from start_moves([(stage.theta, motion.begin_deg(0))])
        yield from take_darks(microscope, dark_frames)
        yield from take_flats(microscope, flat_frames, out_moves=out, next_moves=sample_in)
        yield from bps.wait(start)
        frames = take_flying(microscope, motion, sample_in=sample_in)
        yield from bpp.finalize_wrapper(frames, at_rest(microscope))

    @bpp.stage_decorator([microscope.camera])
    @bpp.run_decorator(md=metadata)
    def inner() -> MsgGenerator[None]:
        yield from prepare_camera(microscope, exposure_s, binning)
        arrival = yield from start_moves(targets[0])
        yield from take_darks(microscope, dark_frames)
        yield from bps.wait(arrival)
        yield from take_projections(microscope, targets[:1])
        next_turn: list[Any] = [(stage.theta, angles_deg[1])] if projections > 1 else []
        turning = yield from start_moves(next_turn)
        yield from take_flats(microscope, flat_frames, out_moves=out, next_moves=sample_in)
        if next_turn:
            yield from bps.wait(turning)
        yield from move(sample_in)

        def refresh() -> MsgGenerator[None]:
            return flats_again(microscope, flat_frames, out_moves=out)

        if adaptive:
            yield from take_until_enough(
                microscope, targets[1:], taken=1, planned=projections, refresh=refresh
            )
        else:
            yield from take_projections(microscope, targets[1:], refresh=refresh)

    return (yield from left_safe(microscope, inner() if turn is None else flying(turn)))


def _limits(start_deg: float, stop_deg: float, projections: int) -> dict[str, Any]:
    """Return what a range below half a turn leaves out, for the metadata; say it too."""
    step_deg = abs(stop_deg - start_deg) / max(projections - 1, 1)
    missing_deg = max(180.0 - abs(stop_deg - start_deg) - step_deg, 0.0)
    if missing_deg > 0 and projections > 1:
        logger.warning(
            "%.0f of 180 degrees are not looked at (a missing wedge): surfaces that face those "
            "directions are not seen, so particles and voids come out drawn out and too faint",
            missing_deg,
        )
    return {"missing_wedge_deg": missing_deg}


def _motion_facts(turn: FlyMotion | None) -> dict[str, Any]:
    """Return velocity and blur of a fly scan for the metadata; warn of much blur."""
    if turn is None:
        return {}
    if turn.blur_voxels > BLUR_WORTH_A_WARNING:
        logger.warning(
            "the edge of the field turns through %.1f voxels during an exposure and is smeared as "
            "much: more projections, a shorter exposure or motion 'step' avoid that",
            turn.blur_voxels,
        )
    return {"velocity_deg_s": turn.velocity_deg_s, "blur_voxels": turn.blur_voxels}
