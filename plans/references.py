"""Reference frames: how many, how long, where; and the plans that take only them."""

from typing import Any

from bluesky import preprocessors as bpp
from bluesky.utils import CustomPlanMetadata, MsgGenerator

from zoneplate.devices.microscope import Microscope

from .frames import Moves, left_safe, prepare_camera, take_darks, take_flats
from .metadata import run_metadata
from .validation import check_axis, check_count, check_frames

MAXIMUM_REFERENCES = 1000

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
