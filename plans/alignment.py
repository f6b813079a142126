"""Alignment of the rotation axis: where it is, and bringing it to the middle of the field.

Focus and regions: `zoneplate.plans.focus`, `zoneplate.plans.centering`.
"""

from typing import Any

from bluesky import plan_stubs as bps
from bluesky.utils import CustomPlanMetadata, Msg, MsgGenerator

from zoneplate.devices import AcquisitionError
from zoneplate.devices.microscope import Microscope

from .frames import setpoint
from .metadata import run_metadata
from .references import MAXIMUM_REFERENCES, check_out
from .series import take_series
from .validation import check_axis, check_count, check_frames

FIND_AXIS = "find_axis"
"""Message: (uid of a pair) -> offset of the rotation axis from the middle of the field, um. A
session answers it by analysing the pair; in a dry run nobody does."""

MAXIMUM_ATTEMPTS = 20


def find_axis(
    microscope: Microscope,
    carriage: Any = None,
    tolerance_um: float = 0.1,
    attempts: int = 3,
    exposure_s: float = 1.0,
    binning: int = 8,
    dark_frames: int = 3,
    flat_frames: int = 5,
    out_um: tuple[float | None, float | None, float | None] = (None, 400.0, None),
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[float]:
    """Find the rotation axis from views at -90 and +90 degrees, and centre it if something can.

    Parameters
    ----------
    microscope
        The microscope.
    carriage
        What moves the rotation axis across the beam, in um towards larger columns: an axis below
        the rotation stage. None: the offset is measured and reported, every reconstruction
        accounts for it.
    tolerance_um
        With a carriage: how near to the middle is good enough.
    attempts
        With a carriage: how many pairs to take at most.
    exposure_s, binning
        How each frame is taken.
    dark_frames, flat_frames
        Reference frames of each pair.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
    md
        More metadata for the start documents.

    Returns
    -------
    float
        Offset of the axis from the middle of the field in um, towards larger columns, as last
        measured; 0 in a dry run.

    Raises
    ------
    ConfigurationError
        If a value is impossible, before anything moves.
    AcquisitionError
        If the axis is not in the middle after the last attempt.

    Examples
    --------
    ::

        RE(find_axis(microscope))
    """
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("attempts", attempts, 1, MAXIMUM_ATTEMPTS)
    check_count("dark_frames", dark_frames, 0, MAXIMUM_REFERENCES)
    check_count("flat_frames", flat_frames, 1, MAXIMUM_REFERENCES)
    check_axis("theta", microscope.configuration.stage.theta, -90.0, 90.0)
    check_out(microscope, out_um)
    stage = microscope.stage
    center: list[float] = []
    for axis in (stage.x, stage.y, stage.z):
        center.append((yield from setpoint(axis)))  # noqa: PERF401  # no generator may yield from
    arguments: dict[str, Any] = {
        "tolerance_um": tolerance_um,
        "attempts": attempts,
        "exposure_s": exposure_s,
        "binning": binning,
        "dark_frames": dark_frames,
        "flat_frames": flat_frames,
        "out_um": list(out_um),
    }
    frames = {"darks": dark_frames, "flats": flat_frames, "projections": 2}
    sample_in = list(zip((stage.x, stage.y, stage.z), center, strict=True))
    targets = [[*sample_in, (stage.theta, angle)] for angle in (-90.0, 90.0)]

    metadata = run_metadata(
        microscope, "find_axis", arguments, frames, md, motors=[stage.theta.name]
    )

    offset_um = 0.0
    for _ in range(attempts):
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
        answer: Any = yield Msg(FIND_AXIS, None, uid)
        if answer is None:
            return 0.0
        offset_um = float(answer)
        if carriage is None or abs(offset_um) <= tolerance_um:
            return offset_um
        yield from bps.mvr(carriage, -offset_um)
    raise AcquisitionError(
        f"the rotation axis was still {offset_um:.2f} um from the middle after {attempts} pairs "
        f"(allowed: {tolerance_um:g} um); check that the carriage moves it towards larger columns"
    )
