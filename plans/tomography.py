"""A tomogram: projections over half a turn, with references."""

from typing import Any, Literal

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import CustomPlanMetadata, MsgGenerator

from zoneplate.devices import ConfigurationError
from zoneplate.devices.microscope import Microscope

from .angles import ORDERS, ordered, projection_angles
from .frames import (
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
from .validation import MAXIMUM_PROJECTIONS, check_axis, check_count, check_frames


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
    if motion != "step":
        raise ConfigurationError(f"motion {motion!r} is not available: use 'step'")
    if order not in ORDERS:
        raise ConfigurationError(f"order {order!r} is unknown: use one of {', '.join(ORDERS)}")
    check_count("projections", projections, 1, MAXIMUM_PROJECTIONS)
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("dark_frames", references[0], 0, MAXIMUM_REFERENCES)
    check_count("flat_frames", references[1], 1, MAXIMUM_REFERENCES)
    check_axis("theta", microscope.configuration.stage.theta, *range_deg)
    check_out(microscope, out_um)


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
        `"step"`: the stage stands during each exposure.
    dark_frames, flat_frames
        Reference frames.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
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
    all_deg = projection_angles(projections, start_deg, stop_deg)
    if order != "sequential":
        # From the nearer end: the scan before this one ended at the other side.
        here_deg = yield from setpoint(microscope.stage.theta)
        if abs(here_deg - stop_deg) < abs(here_deg - start_deg):
            all_deg.reverse()
    angles_deg = ordered(all_deg, order)
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
        tomography={"angles_deg": angles_deg, "center_um": center},
    )
    sample_in = list(zip(axes, center, strict=True))
    targets = [[*sample_in, (stage.theta, angle)] for angle in angles_deg]

    @bpp.stage_decorator([microscope.camera])
    @bpp.run_decorator(md=metadata)
    def inner() -> MsgGenerator[None]:
        yield from prepare_camera(microscope, exposure_s, binning)
        arrival = yield from start_moves(targets[0])
        yield from take_darks(microscope, dark_frames)
        yield from bps.wait(arrival)
        out = out_moves(microscope, out_um)
        yield from take_projections(microscope, targets[:1])
        turn: list[Any] = [(stage.theta, angles_deg[1])] if projections > 1 else []
        turning = yield from start_moves(turn)
        yield from take_flats(microscope, flat_frames, out_moves=out, next_moves=sample_in)
        if turn:
            yield from bps.wait(turning)
        yield from move(sample_in)
        yield from take_projections(microscope, targets[1:])

    return (yield from left_safe(microscope, inner()))
