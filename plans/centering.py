"""Centring a region: what was chosen on a map stays in the field over the whole rotation."""

from collections.abc import Sequence
from typing import Any

from bluesky.utils import CustomPlanMetadata, Msg, MsgGenerator

from zoneplate.devices.microscope import Microscope

from .frames import move, setpoint
from .metadata import run_metadata
from .references import MAXIMUM_REFERENCES, check_out
from .series import take_series
from .validation import check_axis, check_clearance, check_count, check_frames

CENTER_REGION = "center_region"
"""Message: (uid of three views) -> stage (x, y, z) that centres what was chosen, um. A session
answers it, or refuses with an `AcquisitionError`; in a dry run nobody answers."""

ANGLES_DEG = (-90.0, 0.0, 90.0)


def center_region(
    microscope: Microscope,
    center_um: tuple[float, float, float] | None = None,
    particles_um: Sequence[tuple[float, float]] | None = None,
    exposure_s: float = 1.0,
    binning: int = 8,
    dark_frames: int = 3,
    flat_frames: int = 5,
    out_um: tuple[float | None, float | None, float | None] = (None, 400.0, None),
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[tuple[float, float, float]]:
    """Centre a region from views at 0 and 90 degrees, and go there.

    Parameters
    ----------
    microscope
        The microscope.
    center_um
        Point of the sample (x, y, z) to begin with; None: where the stage is.
    particles_um
        (x, y) of the particles that are to stay in the field, as on a map; None: as many whole
        particles as stay in it.
    exposure_s, binning
        How each view is taken.
    dark_frames, flat_frames
        Reference frames.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
    md
        More metadata for the start document.

    Returns
    -------
    tuple of float
        Stage (x, y, z), where it now is: what to give to `tomography`. In a dry run, `center_um`.

    Raises
    ------
    ConfigurationError
        If a value is impossible, before anything moves.
    AcquisitionError
        If the particles are not there, or do not all stay in the field from any centre.

    Examples
    --------
    ::

        RE(center_region(microscope, (120, -40, 4)))
        RE(tomography(microscope))  # of where the stage now is
    """
    stage, limits = microscope.stage, microscope.configuration.stage
    axes = (stage.x, stage.y, stage.z)
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("dark_frames", dark_frames, 0, MAXIMUM_REFERENCES)
    check_count("flat_frames", flat_frames, 1, MAXIMUM_REFERENCES)
    check_out(microscope, out_um)
    begin: list[float] = []
    if center_um is None:
        for axis in axes:
            begin.append((yield from setpoint(axis)))  # noqa: PERF401  # no generator may do so
    else:
        begin = [float(value) for value in center_um]
    for name, target in zip("xyz", begin, strict=True):
        check_axis(name, getattr(limits, name), target)
    check_axis("theta", limits.theta, *ANGLES_DEG)
    check_clearance(microscope, x_um=begin[:1], z_um=begin[2:], theta_deg=ANGLES_DEG)
    chosen = None if particles_um is None else [[float(x), float(y)] for x, y in particles_um]
    arguments: dict[str, Any] = {
        "center_um": begin,
        "particles_um": chosen,
        "exposure_s": exposure_s,
        "binning": binning,
        "dark_frames": dark_frames,
        "flat_frames": flat_frames,
        "out_um": list(out_um),
    }
    frames = {"darks": dark_frames, "flats": flat_frames, "projections": len(ANGLES_DEG)}
    metadata = run_metadata(
        microscope, "center_region", arguments, frames, md, motors=[stage.theta.name]
    )
    sample_in = list(zip(axes, begin, strict=True))
    targets = [[*sample_in, (stage.theta, angle)] for angle in ANGLES_DEG]

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
    answer: Any = yield Msg(CENTER_REGION, None, uid)
    x_um, y_um, z_um = begin if answer is None else (float(value) for value in answer)
    check_clearance(microscope, x_um=[x_um], z_um=[z_um], theta_deg=ANGLES_DEG)
    yield from move(list(zip(axes, (x_um, y_um, z_um), strict=True)))
    return x_um, y_um, z_um
