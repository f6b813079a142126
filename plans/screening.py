"""Screening a powder: map it, choose regions, take their tomograms."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

from bluesky.utils import CustomPlanMetadata, Msg, MsgGenerator, RequestAbort, RequestStop

from zoneplate.devices import ConfigurationError
from zoneplate.devices.microscope import Microscope

from .grid import TileGrid
from .mosaic import check_mosaic, mosaic
from .stopping import check_adaptive
from .tomography import check_tomography, tomography
from .validation import check_axis, check_clearance, check_count

logger = logging.getLogger(__name__)

MAXIMUM_REGIONS = 100

CHOOSE_REGIONS = "choose_regions"
"""Message: (mosaic uid, number of regions, rule to rank them) -> list of (x, y, z) in um. A session
answers it by analysing the map; in a dry run nobody does, and the plan assumes the centre."""

RANKS = ("count", "diversity", "voids")

SUMMARIZE = "summarize"
"""Message: (mosaic uid, uids of tomograms) -> the results so far, as in `results.json`."""

STOPPED = "stopped_because"
"""Message: (mosaic uid, reason) -> nothing. A session keeps why a screening was ended."""

MEASURED = "measured"
"""Message: (mosaic uid) -> what a screening that was broken off has measured: its regions `at_um`
and `done`, the uid of the whole tomogram of each region that has one. In a dry run nobody answers,
and the plan assumes nothing was."""

StopWhen = Callable[[dict[str, Any]], str | bool | None]
"""Gets the results so far; returns why to stop, or nothing to go on."""


class RegionSkipped(RequestAbort):
    """Thrown into a tomogram of a screening that is to end here; the next region follows."""


class ScreeningStopped(RequestStop):
    """Thrown into a screening that is to end before the next region."""


def screen(
    microscope: Microscope,
    regions: int = 5,
    shape: tuple[int, int] = (5, 8),
    exposure_s: float = 1.0,
    binning: int = 8,
    projections: int = 141,
    order: Literal["interlaced", "sequential", "golden"] = "interlaced",
    at_um: Sequence[tuple[float, float, float]] | None = None,
    stop_when: StopWhen | None = None,
    adaptive: bool = False,
    resume: str | None = None,
    rank: Literal["count", "diversity", "voids"] = "count",
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
        Called with the results so far after each tomogram; what it returns, if anything, is why
        the screening ends. Rules to combine are in `zoneplate.analysis.stop_when`.
    adaptive
        Let each tomogram stop early, at the end of a pass, when its statistics are stable.
    resume
        Uid of the map of a screening that was broken off: its map and its whole tomograms are not
        taken again.
    rank
        Which regions are the most telling: those with the most whole particles, those with
        particles of the most various sizes, or those whose particles are suspected of voids, for
        they absorb less than others of their outline.
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
    if rank not in RANKS:
        raise ConfigurationError(f"rank {rank!r} is unknown: use one of {', '.join(RANKS)}")
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
    wanted: Any = None if at_um is None else [tuple(map(float, point)) for point in at_um]
    done: dict[int, str] = {}
    if resume is None:
        plan = {"regions": regions, "projections": projections, "order": order}
        plan |= {
            "adaptive": adaptive,
            "rank": rank,
            "at_um": wanted,
            "stop_when": str(stop_when or ""),
        }
        mosaic_uid = yield from mosaic(
            microscope,
            shape=shape,
            exposure_s=exposure_s,
            binning=binning,
            md={**more, "screening_plan": plan},
        )
    else:
        mosaic_uid = resume
        measured: Any = yield Msg(MEASURED, None, resume)
        if measured is not None:
            done = {int(number): str(uid) for number, uid in measured["done"].items()}
            wanted = wanted or measured["at_um"]
    if wanted is None:
        wanted = yield Msg(CHOOSE_REGIONS, None, mosaic_uid, regions, rank)
    if wanted is None:
        wanted = [(0.0, 0.0, 0.0)] * regions
    uids = [mosaic_uid]
    for number, center_um in enumerate(wanted[:regions]):
        uid = done.get(number)
        if uid is None:
            try:
                uid = yield from tomography(
                    microscope,
                    center_um=(center_um[0], center_um[1], center_um[2]),
                    projections=projections,
                    exposure_s=exposure_s,
                    binning=binning,
                    order=order,
                    adaptive=adaptive,
                    md={
                        **more,
                        "screening": {"mosaic": mosaic_uid, "region": number, "of": regions},
                    },
                )
            except RegionSkipped as wish:
                logger.warning("region %d of %d was skipped: %s", number + 1, regions, wish)
                continue
            except ScreeningStopped as wish:
                logger.warning("the screening ended before region %d: %s", number + 1, wish)
                break
        uids.append(uid)
        if stop_when is None:
            continue
        so_far = yield Msg(SUMMARIZE, None, mosaic_uid, uids[1:])
        reason = stop_when(so_far) if so_far is not None else None
        if reason:
            yield Msg(STOPPED, None, mosaic_uid, str(reason))
            break
    return uids
