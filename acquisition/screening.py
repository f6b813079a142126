"""What is known of a screening that was begun: its regions, its tomograms, why it ended.

Everything is read from the data directory, so that a screening that was broken off, however, can
go on in another process: what was measured is not measured again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import orjson

from zoneplate.analysis.stop_when import StopWhen, parse_stop_when
from zoneplate.devices import ConfigurationError

from .data_directory import DataDirectory
from .journal import journals, read_journal
from .map_analysis import load_map
from .results import write_json
from .runs import RunRecord, find_journal, read_run

logger = logging.getLogger(__name__)

SETTINGS = ("regions", "projections", "order", "adaptive", "rank")

STOP_FILE = "screening.json"
"""In the folder of the map's results: why the screening was ended."""


@dataclass(frozen=True)
class Begun:
    """A screening that was begun.

    Attributes
    ----------
    mosaic_uid
        Its map; of a map that is not whole, empty: it is taken again.
    options
        Arguments of `zoneplate.plans.screen` that it was begun with.
    start
        Start document of the map: sample, specimen file, seed.
    """

    mosaic_uid: str
    options: dict[str, Any]
    start: dict[str, Any]


def begun(data: DataDirectory, run: str) -> Begun:
    """Return the screening that a run belongs to.

    Parameters
    ----------
    data
        The data directory.
    run
        Uid of its map or of one of its tomograms, or the beginning of one; -1 for the newest scan.

    Raises
    ------
    RunNotFoundError
        If there is no such run.
    ConfigurationError
        If it belongs to no screening.
    """
    record = read_run(find_journal(data.journal, run))
    mosaic_uid = (record.start.get("screening") or {}).get("mosaic")
    if mosaic_uid is not None:
        record = read_run(find_journal(data.journal, str(mosaic_uid)))
    plan = record.start.get("screening_plan")
    if plan is None:
        raise ConfigurationError(
            f"run {record.uid} is a {record.plan_name!r} of no screening: give the map of one, or "
            "one of its tomograms"
        )
    arguments = record.start["plan_args"]
    options = {name: plan[name] for name in SETTINGS}
    options |= {name: arguments[name] for name in ("exposure_s", "binning")}
    options |= {"shape": tuple(arguments["shape"]), "at_um": plan["at_um"]}
    options["stop_when"] = _rule(str(plan["stop_when"]))
    return Begun(record.uid if is_whole(record) else "", options, record.start)


def _rule(text: str) -> StopWhen | None:
    """Return a stop rule from how it was written into the run."""
    if not text:
        return None
    try:
        return parse_stop_when([part.replace(" and ", "+") for part in text.split(" or ")])
    except ValueError:
        logger.warning("The screening was begun with stop_when=%s: give it again", text)
        return None


def is_whole(record: RunRecord) -> bool:
    """Whether a run was finished; one that was stopped early on purpose was."""
    return record.stop is not None and record.stop.get("exit_status") == "success"


def tomograms_of(data: DataDirectory, mosaic_uid: str) -> list[str]:
    """Return the uids of the tomograms that a screening took after its map.

    Of a region that was taken again, the last whole one; the order is that of the regions.
    """
    regions: dict[int, str] = {}
    broken: dict[int, str] = {}
    for path in journals(data.journal):
        start = next(read_journal(path), ("", {}))[1]
        screening = start.get("screening") or {}
        if screening.get("mosaic") == mosaic_uid:
            whole = is_whole(read_run(path))
            (regions if whole else broken)[int(screening["region"])] = str(start["uid"])
    return [uid for _, uid in sorted({**broken, **regions}.items())]


def measured(data: DataDirectory, mosaic_uid: str) -> dict[str, Any]:
    """Return the regions of a screening and its whole tomograms, for `zoneplate.plans.screen`."""
    found = load_map(data.result_of(mosaic_uid))
    names = ["center_x_um", "center_y_um", "center_z_um"]
    at_um: Any = None
    if found is not None and not found.regions.empty:
        at_um = found.regions[names].to_numpy(float).tolist()
    done: dict[int, str] = {}
    for uid in tomograms_of(data, mosaic_uid):
        record = read_run(find_journal(data.journal, uid))
        if is_whole(record):
            done[int(record.start["screening"]["region"])] = uid
    return {"at_um": at_um, "done": done}


def keep_stop(data: DataDirectory, mosaic_uid: str, reason: str) -> None:
    """Keep why a screening was ended before all its regions were measured."""
    folder = data.result_of(mosaic_uid)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STOP_FILE, {"reason": reason})


def stop_of(data: DataDirectory, mosaic_uid: str) -> str | None:
    """Return why a screening was ended early; None if it was not."""
    try:
        return str(orjson.loads((data.result_of(mosaic_uid) / STOP_FILE).read_bytes())["reason"])
    except FileNotFoundError:
        return None
