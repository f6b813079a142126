"""A short run that an alignment is found from: darks, flats, then one frame at each place."""

from collections.abc import Sequence
from typing import Any

from bluesky import preprocessors as bpp
from bluesky.utils import MsgGenerator

from zoneplate.devices.microscope import Microscope

from .frames import (
    Moves,
    left_safe,
    prepare_camera,
    take_darks,
    take_flats,
    take_projections,
)
from .references import OutPosition, out_moves


def take_series(
    microscope: Microscope,
    targets: Sequence[Moves],
    *,
    exposure_s: float,
    binning: int,
    dark_frames: int,
    flat_frames: int,
    out_um: OutPosition,
    metadata: dict[str, Any],
) -> MsgGenerator[str]:
    """Take a run of one frame at each place, after its references; leaves the microscope safe.

    Parameters
    ----------
    microscope
        The microscope.
    targets
        Where the axes are for each frame, in the order to take them.
    exposure_s, binning
        How each frame is taken.
    dark_frames, flat_frames
        Reference frames.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
    metadata
        Of the start document.

    Returns
    -------
    str
        The uid of the run.
    """

    @bpp.stage_decorator([microscope.camera])
    @bpp.run_decorator(md=metadata)
    def inner() -> MsgGenerator[None]:
        yield from prepare_camera(microscope, exposure_s, binning)
        yield from take_darks(microscope, dark_frames)
        yield from take_flats(
            microscope,
            flat_frames,
            out_moves=out_moves(microscope, out_um),
            next_moves=targets[0],
        )
        yield from take_projections(microscope, targets)

    return (yield from left_safe(microscope, inner()))
