"""Focusing: a series of views with the zone plate at several positions along the beam."""

from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import CustomPlanMetadata, Msg, MsgGenerator

from zoneplate.devices import ConfigurationError
from zoneplate.devices.configuration import FOCUS
from zoneplate.devices.microscope import Microscope

from .frames import move, setpoint
from .metadata import run_metadata
from .references import MAXIMUM_REFERENCES, check_out
from .series import take_series
from .validation import check_axis, check_clearance, check_count, check_frames

FIND_FOCUS = "find_focus"
"""Message: (uid of a series) -> zone-plate position of the sharpest image, um. A session answers
it, or refuses with an `AcquisitionError` if the peak is not inside; in a dry run nobody answers."""

MAXIMUM_STEPS = 201
MAXIMUM_FRAMES = 100


def focus(
    microscope: Microscope,
    center_um: float | None = None,
    range_um: float = 1800.0,
    steps: int = 13,
    frames: int = 2,
    exposure_s: float = 1.0,
    binning: int = 2,
    dark_frames: int = 3,
    flat_frames: int = 5,
    out_um: tuple[float | None, float | None, float | None] = (None, 400.0, None),
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[float]:
    """Focus on what is in the field: move the zone plate to where the image is sharpest.

    The series goes in one direction, the last move too, so backlash moves nothing. Where the
    series shows no peak, or not inside, the zone plate goes back and the plan ends with a message.

    Parameters
    ----------
    microscope
        The microscope, with particles in the field.
    center_um
        Zone-plate position in the middle of the series; None: where it is.
    range_um
        From the first position to the last. A tenth of the peak's width is found; take several
        depths of focus.
    steps
        Number of positions.
    frames
        Frames at each; from two on, noise is told from sharpness.
    exposure_s, binning
        How each frame is taken; coarse pixels hide the focus.
    dark_frames, flat_frames
        Reference frames, taken once before.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
    md
        More metadata for the start document.

    Returns
    -------
    float
        Where the zone plate now is; in a dry run, the middle of the series.

    Raises
    ------
    ConfigurationError
        If a value is impossible, before anything moves.
    AcquisitionError
        If the series does not show the focus.

    Examples
    --------
    ::

        RE(focus(microscope))
    """
    zone_plate, stage = microscope.optics.zone_plate_z, microscope.stage
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("steps", steps, 5, MAXIMUM_STEPS)
    check_count("frames", frames, 1, MAXIMUM_FRAMES)
    check_count("dark_frames", dark_frames, 0, MAXIMUM_REFERENCES)
    check_count("flat_frames", flat_frames, 1, MAXIMUM_REFERENCES)
    check_out(microscope, out_um)
    if not range_um > 0:
        raise ConfigurationError(f"range_um {range_um:g} is not possible: choose more than 0")
    before_um = yield from setpoint(zone_plate)
    here = []
    for axis in (stage.x, stage.y, stage.z, stage.theta):
        here.append((yield from setpoint(axis)))  # noqa: PERF401  # no generator may yield from
    middle_um = before_um if center_um is None else float(center_um)
    first_um = middle_um - range_um / 2
    places_um = [first_um + step * range_um / (steps - 1) for step in range(steps)]
    check_axis(FOCUS, microscope.configuration.axis(FOCUS), *places_um)
    check_clearance(
        microscope,
        x_um=here[:1],
        z_um=here[2:3],
        theta_deg=here[3:],
        zone_plate_um=[before_um, *places_um],
    )
    arguments: dict[str, Any] = {
        "center_um": middle_um,
        "range_um": range_um,
        "steps": steps,
        "frames": frames,
        "exposure_s": exposure_s,
        "binning": binning,
        "dark_frames": dark_frames,
        "flat_frames": flat_frames,
        "out_um": list(out_um),
    }
    planned = {"darks": dark_frames, "flats": flat_frames, "projections": steps * frames}
    metadata = run_metadata(
        microscope,
        "focus",
        arguments,
        planned,
        md,
        motors=[zone_plate.name],
        hints={"dimensions": [([zone_plate.name], "primary")]},
        focus={"positions_um": places_um, "frames": frames},
    )
    sample_in = list(zip((stage.x, stage.y, stage.z), here[:3], strict=True))
    targets = [[*sample_in, (zone_plate, place)] for place in places_um for _ in range(frames)]

    def back(_: Exception) -> MsgGenerator[None]:
        yield from bps.mv(zone_plate, before_um)

    def whole() -> MsgGenerator[float]:
        uid = yield from take_series(
            microscope,
            targets,
            exposure_s=exposure_s,
            binning=binning,
            dark_frames=dark_frames,
            flat_frames=flat_frames,
            out_um=out_um,
            metadata=metadata,
        )
        answer: Any = yield Msg(FIND_FOCUS, None, uid)
        found_um = middle_um if answer is None else float(answer)
        # From the side that the series came from.
        yield from move([(zone_plate, places_um[0])])
        yield from move([(zone_plate, found_um)])
        return found_um

    return (yield from bpp.contingency_wrapper(whole(), except_plan=back))
