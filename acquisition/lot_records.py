"""Lots that were measured, as the data directory holds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from zoneplate.analysis.budget import smallest_void_um
from zoneplate.analysis.lot_history import Lot
from zoneplate.devices import ConfigurationError
from zoneplate.devices.configuration import InstrumentConfiguration

from .data_directory import DataDirectory
from .journal import journals, read_journal
from .runs import find_journal, is_analysis, read_run
from .screening import tomograms_of
from .tomogram_file import read_facts, with_region

LOT_KEY = "lot"
"""Start documents may name the lot; else a screening is a lot, named by its sample."""


def stored_lots(data: DataDirectory, sample: str | None = None) -> list[Lot]:
    """Return the lots of a data directory, the oldest first.

    Parameters
    ----------
    data
        The data directory.
    sample
        Only lots of samples whose name begins like this.

    Returns
    -------
    list of Lot
        A screening is a lot; so is a tomogram of its own, or all runs whose start documents
        name the same ``lot``. Runs that nobody has analysed are left out.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for path in journals(data.journal) if data.journal.is_dir() else []:
        start = next(read_journal(path), ("", {}))[1]
        if start.get("plan_name") != "tomography":
            continue
        if sample is not None and not str(start.get("sample", "")).startswith(sample):
            continue
        if not (data.result_of(str(start["uid"])) / "particles.csv").exists():
            continue
        screening = (start.get("screening") or {}).get("mosaic")
        key = str(start.get(LOT_KEY) or screening or start["uid"])
        groups.setdefault(key, []).append(start)
    lots = [_lot(data, starts) for starts in groups.values()]
    return sorted(lots, key=lambda lot: lot.when)


def find_lot(source: str, data: DataDirectory) -> Lot:
    """Return the lot of a folder of results, of a run, or of the name of a lot.

    Raises
    ------
    ConfigurationError, RunNotFoundError
        If there is none, or nobody has analysed it.
    """
    folder = Path(source)
    if (folder / "particles.csv").exists():
        return _of_folder(folder)
    named = [lot for lot in stored_lots(data) if lot.name == source]
    if len(named) == 1:
        return named[0]
    path = find_journal(data.journal, source)
    record = read_run(path)
    if is_analysis(path):
        record = read_run(find_journal(data.journal, str(record.start["analysis_of"])))
    uids = [record.uid]
    if record.plan_name == "mosaic":
        uids = tomograms_of(data, record.uid)
    starts = [read_run(find_journal(data.journal, uid)).start for uid in uids]
    measured = [
        start for start in starts if (data.result_of(str(start["uid"])) / "particles.csv").exists()
    ]
    if not measured:
        raise ConfigurationError(
            f"run {source} has no tomogram that was analysed: use `zoneplate analyze` first"
        )
    return _lot(data, measured)


def _lot(data: DataDirectory, starts: Sequence[dict[str, Any]]) -> Lot:
    first = min(starts, key=lambda start: float(start["time"]))
    folders = [data.result_of(str(start["uid"])) for start in starts]
    when = datetime.fromtimestamp(float(first["time"]), UTC).strftime("%Y-%m-%d %H:%M")
    name = str(first.get(LOT_KEY) or f"{first.get('sample', 'sample')} {when}")
    return Lot(
        name,
        when,
        with_region([pd.read_csv(folder / "particles.csv") for folder in folders]),
        with_region([pd.read_csv(folder / "voids.csv") for folder in folders]),
        max(_visible_um(folder) for folder in folders),
    )


def _of_folder(folder: Path) -> Lot:
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return Lot(
        f"{document['sample']} ({folder.name})",
        str(document["created"]),
        pd.read_csv(folder / "particles.csv"),
        pd.read_csv(folder / "voids.csv"),
        max((_from_voxel(float(one["voxel_um"])) for one in document["tomograms"]), default=0.0),
    )


def _visible_um(folder: Path) -> float:
    try:
        facts = read_facts(folder)
    except (OSError, KeyError) as error:
        raise ConfigurationError(
            f"{folder / 'volume.h5'} cannot be read ({error}): analyse the run again"
        ) from None
    return max(_from_voxel(float(one["voxel_um"])) for one in facts)


def _from_voxel(voxel_um: float) -> float:
    """Return the smallest void that a voxel shows, rounded as `MINIMUM_VOID_UM` is."""
    optics_um = InstrumentConfiguration.load().optics.zone_plate.resolution_um
    return round(smallest_void_um(voxel_um, optics_um), 1)
