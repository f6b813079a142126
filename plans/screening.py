"""Screening a powder: map it, choose regions, take their tomograms."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from bluesky.utils import CustomPlanMetadata, Msg, MsgGenerator

from zoneplate.devices.microscope import Microscope

from .grid import TileGrid
from .mosaic import check_mosaic, mosaic
from .stopping import check_adaptive
from .tomography import check_tomography, tomography
from .validation import check_axis, check_clearance, check_count

MAXIMUM_REGIONS = 100

CHOOSE_REGIONS = "choose_regions"
"""Message: (mosaic uid, number of regions) -> list of (x, y, z) in um. A session answers it
by analysing the map; in a dry run nobody does, and the plan assumes the centre."""

SUMMARIZE = "summarize"
"""Message: (uids of tomograms) -> the results so far, as in `results.json`."""


def screen(
    microscope: Microscope,
    regions: int = 5,
    shape: tuple[int, int] = (5, 8),
    exposure_s: float = 1.0,
    binning: int = 8,
    projections: int = 141,
    order: Literal["interlaced", "sequential", "golden"] = "interlaced",
    at_um: Sequence[tuple[float, float, float]] | None = None,
    stop_when: Callable[[dict[str, Any]], bool] | None = None,
    adaptive: bool = False,
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[list[str]]:
    """Map the powder, then take tomograms of the most telling regions.

    Parameters
    ----------
    microscope
        The microscope.
    regions
        How many tomograms to take at most.
    shape
        (rows, columns) of the map.
    exposure_s, binning
        How each frame is taken.
    projections, order
        Of each tomogram.
    at_um
        Points (x, y, z) to take tomograms of; None: the session chooses from the map.
    stop_when
        Called with the results so far after each tomogram; True ends the screening.
    adaptive
        Let each tomogram stop early, at the end of a pass, when its statistics are stable.
    md
        More metadata for the start documents.

    Returns
    -------
    list of str
        Uids: the map first, then the tomograms.

    Raises
    ------
    ConfigurationError
        If a value is impossible, before anything moves.

    Examples
    --------
    ::

        RE(screen(microscope, regions=5))
    """
    check_count("regions", regions, 1, MAXIMUM_REGIONS)
    positions_um = TileGrid((shape[0], shape[1])).positions_um()
    check_mosaic(microscope, positions_um, exposure_s=exposure_s, binning=binning)
    check_tomography(
        microscope, projections=projections, exposure_s=exposure_s, binning=binning, order=order
    )
    if adaptive:
        check_adaptive(order, "step")
    limits = microscope.configuration.stage
    for center_um in at_um or ():
        for name, target in zip("xyz", center_um, strict=True):
            check_axis(name, getattr(limits, name), target)
        check_clearance(microscope, x_um=center_um[:1], z_um=center_um[2:], theta_deg=(-90.0, 90.0))
    more = dict(md or {})
    uids = [
        (
            yield from mosaic(
                microscope, shape=shape, exposure_s=exposure_s, binning=binning, md=more
            )
        )
    ]
    centers_um = (
        list(at_um) if at_um is not None else (yield Msg(CHOOSE_REGIONS, None, uids[0], regions))
    )
    if centers_um is None:
        centers_um = [(0.0, 0.0, 0.0)] * regions
    for number, center_um in enumerate(centers_um[:regions]):
        uid = yield from tomography(
            microscope,
            center_um=(center_um[0], center_um[1], center_um[2]),
            projections=projections,
            exposure_s=exposure_s,
            binning=binning,
            order=order,
            adaptive=adaptive,
            md={**more, "screening": {"mosaic": uids[0], "region": number, "of": regions}},
        )
        uids.append(uid)
        if stop_when is not None:
            so_far = yield Msg(SUMMARIZE, None, uids[1:])
            if so_far is not None and stop_when(so_far):
                break
    return uids
