"""What the queue server loads: `start-re-manager --startup-module zoneplate.acquisition.startup`.

It opens one session, configured by the environment, and offers its RunEngine, its microscope, the
plans of zoneplate and those of Bluesky that people use by hand. Annotations are read by the server,
so they stay objects here: no `from __future__ import annotations`.
"""

import atexit
import os
from pathlib import Path
from typing import Literal

from bluesky.plans import count, grid_scan, list_scan, rel_scan, scan
from bluesky.utils import Msg, MsgGenerator

from zoneplate.plans import darks, find_axis, flats, mosaic, screen, tomography

from .campaign_lots import check_name
from .opening import SIMULATED, open_session
from .questions import REPORT_LOT

INSTRUMENT_VARIABLE = "ZONEPLATE_INSTRUMENT"
SAMPLE_VARIABLE = "ZONEPLATE_SAMPLE"
SPECIMEN_VARIABLE = "ZONEPLATE_SPECIMEN"

REPORTS = "reports"
"""Folder of the data directory with a folder of results for each lot."""

__all__ = [
    "RE",
    "count",
    "darks",
    "find_axis",
    "flats",
    "grid_scan",
    "list_scan",
    "microscope",
    "mosaic",
    "rel_scan",
    "scan",
    "screen_lot",
    "tomography",
]

session = open_session(
    os.environ.get(INSTRUMENT_VARIABLE, SIMULATED),
    sample=os.environ.get(SAMPLE_VARIABLE),
    specimen=os.environ.get(SPECIMEN_VARIABLE) or None,
)
atexit.register(session.close)

RE = session.RE
microscope = session.microscope


def screen_lot(
    lot: str,
    regions: int = 1,
    rows: int = 5,
    columns: int = 8,
    exposure_s: float = 1.0,
    binning: int = 8,
    projections: int = 141,
    order: Literal["interlaced", "sequential", "golden"] = "interlaced",
    adaptive: bool = False,
    campaign: str = "",
) -> MsgGenerator[str]:
    """Screen the lot on the stage and leave its results and report in the data directory.

    Parameters
    ----------
    lot
        Name of the lot: letters, digits, ``. _ -`` and spaces.
    regions
        How many tomograms to take.
    rows, columns
        Tiles of the map.
    exposure_s, binning, projections, order, adaptive
        How each tomogram is taken.
    campaign
        Name of the campaign that the lot belongs to.

    Returns
    -------
    str
        Folder with the results.
    """
    check_name(lot)
    uids = yield from screen(
        microscope,
        regions=regions,
        shape=(rows, columns),
        exposure_s=exposure_s,
        binning=binning,
        projections=projections,
        order=order,
        adaptive=adaptive,
        md={"sample": lot, "campaign": campaign},
    )
    folder = session.data.root / REPORTS / lot
    return (yield Msg(REPORT_LOT, None, uids, str(Path(folder))))
