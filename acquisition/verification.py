"""Are the stored numbers of a run still what its frames give? Computed again and compared.

Nothing is written: the stored result, its derived run and the software versions are compared with
a fresh analysis of the frames, with the parameters of the stored one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from zoneplate.analysis.summary import MINIMUM_VOID_UM

from .data_directory import DataDirectory
from .export_tables import event_tables
from .journal import read_journal
from .live import LiveTomogram
from .map_analysis import analyze_map, load_map
from .provenance import trace
from .results import load_tomogram_result
from .runs import RunNotFoundError, find_journal, read_run
from .tomogram_file import StoredTomogram, keep
from .versions import software_versions

RELATIVE_TOLERANCE = 1e-9
"""Of numbers in tables; text and back costs the last digit."""

VOLUME_TOLERANCE_PER_UM = 1e-6
"""Of voxels, 1/um: a live analysis adds the projections in another order (float32)."""


@dataclass
class Check:
    """One comparison.

    Attributes
    ----------
    name
        What was compared.
    good
        Whether it agrees; None if it could not be compared.
    detail
        The largest difference, or why.
    """

    name: str
    good: bool | None
    detail: str


@dataclass
class Verification:
    """The comparisons of a run, and where its numbers come from.

    Attributes
    ----------
    uid
        The run that was measured.
    provenance
        Run, plan, frames, derived run, parameters, versions (`zoneplate.acquisition.provenance`).
    checks
        What was compared.
    """

    uid: str
    provenance: dict[str, Any]
    checks: list[Check] = field(default_factory=list[Check])

    @property
    def good(self) -> bool:
        """Whether nothing disagrees."""
        return all(check.good is not False for check in self.checks)


def verify(
    data: DataDirectory, uid: str, progress: Callable[[str], None] = lambda _: None
) -> Verification:
    """Compute the numbers of a run again from its frames and compare.

    Parameters
    ----------
    data
        The data directory.
    uid
        Uid of a tomography, of a mosaic or of an analysis; ``-1`` is the newest scan.
    progress
        Told in words what is being done.

    Returns
    -------
    Verification

    Raises
    ------
    RunNotFoundError
        There is no such run.
    ValueError
        It has no result that could be verified.
    """
    journal = find_journal(data.journal, uid)
    start = next(read_journal(journal))[1]
    if "analysis_of" in start:
        return verify(data, str(start["analysis_of"]), progress)
    uid = str(start["uid"])
    if start.get("plan_name") == "mosaic":
        return _verify_map(data, uid)
    stored = load_tomogram_result(data.result_of(uid))
    if stored is None:
        raise ValueError(
            f"run {uid} has no stored result: `zoneplate reanalyze uid={uid[:8]}` makes one"
        )
    analysis_uid = str(stored.facts.get("analysis_uid", ""))
    found = Verification(uid, trace(data, uid, analysis_uid))
    told = found.provenance.get("analysis", {}).get("parameters", {})
    live = LiveTomogram(
        previews=False,
        minimum_void_um=float(told.get("minimum_void_um", MINIMUM_VOID_UM)),
        correct_geometry=bool(told.get("correct_geometry", True)),
    )
    live.record.root = data.root
    progress("reading frames")
    for name, doc in read_journal(journal):
        live(name, doc)
    fresh = keep(live.finish(progress), uid)
    _compare_versions(found)
    _compare_tomograms(found, stored, fresh)
    _compare_with_derived_run(found, data, analysis_uid, stored)
    return found


def compare_tables(name: str, stored: pd.DataFrame, fresh: pd.DataFrame) -> Check:
    """Compare two tables, column by column.

    Parameters
    ----------
    name
        What they are, for the check.
    stored, fresh
        The tables; columns that only the fresh one has are new and not compared.

    Returns
    -------
    Check
    """
    if len(stored) != len(fresh):
        return Check(name, False, f"{len(stored)} rows stored, {len(fresh)} computed")
    if absent := sorted(set(stored.columns) - set(fresh.columns)):
        return Check(name, False, f"columns {', '.join(absent)} are not computed any more")
    worst, where = 0.0, ""
    for column in stored.columns:
        ours, theirs = pd.Series(stored[column]), pd.Series(fresh[column])
        if not (_is_number(ours) and _is_number(theirs)):
            if ours.astype(str).tolist() != theirs.astype(str).tolist():
                return Check(name, False, f"column {column} differs")
            continue
        difference = _relative(ours.to_numpy(float), theirs.to_numpy(float))
        if difference > worst:
            worst, where = difference, f" ({column})"
    return Check(
        name,
        worst <= RELATIVE_TOLERANCE,
        f"{len(stored)} rows, largest relative difference {worst:.1e}{where}",
    )


def _compare_tomograms(found: Verification, stored: StoredTomogram, fresh: StoredTomogram) -> None:
    if stored.volume.shape != fresh.volume.shape:
        shapes = f"{stored.volume.shape} stored, {fresh.volume.shape} computed"
        found.checks.append(Check("volume", False, shapes))
    else:
        difference = float(np.abs(stored.volume - fresh.volume).max(initial=0.0))
        found.checks.append(
            Check(
                "volume",
                difference <= VOLUME_TOLERANCE_PER_UM,
                f"largest difference {difference:.1e} per um",
            )
        )
        for name, ours, theirs in (
            ("particle labels", stored.particle_labels, fresh.particle_labels),
            ("void labels", stored.void_labels, fresh.void_labels),
        ):
            count = int(np.count_nonzero(ours != theirs))
            found.checks.append(Check(name, count == 0, f"{count} of {ours.size} voxels differ"))
    for name, ours, theirs in (
        ("particles", stored.particles, fresh.particles),
        ("voids", stored.voids, fresh.voids),
    ):
        found.checks.append(compare_tables(name, ours, theirs))
    for name in ("snr", "threshold_per_um", "rotation_center_column", "dead_volume_fraction"):
        known, computed = (_value(one.facts.get(name)) for one in (stored, fresh))
        found.checks.append(Check(name, _same(known, computed), f"{known} stored, {computed} now"))


def _compare_with_derived_run(
    found: Verification, data: DataDirectory, analysis_uid: str, stored: StoredTomogram
) -> None:
    """Compare the tables in the result with those in the documents of the analysis."""
    try:
        tables = event_tables(find_journal(data.journal, analysis_uid)) if analysis_uid else {}
    except RunNotFoundError as error:
        found.checks.append(Check("documents", None, str(error)))
        return
    for name, table in (("particles", stored.particles), ("voids", stored.voids)):
        if not len(table):
            continue
        if name not in tables:
            found.checks.append(Check(f"{name} in documents", False, "the stream is missing"))
            continue
        events = tables[name][0].drop(columns=["seq_num", "time_s"])
        found.checks.append(compare_tables(f"{name} in documents", events, table))


def _compare_versions(found: Verification) -> None:
    then, now = found.provenance.get("analysis", {}).get("versions", {}), software_versions()
    changed = [
        f"{name} {version} then, {now[name]} now"
        for name, version in then.items()
        if name in now and now[name] != version
    ]
    # Another version is no fault: what it changes, the other checks say.
    found.checks.append(
        Check("software", None if changed or not then else True, "; ".join(changed) or "the same")
    )


def _verify_map(data: DataDirectory, uid: str) -> Verification:
    stored = load_map(data.result_of(uid))
    if stored is None:
        raise ValueError(f"run {uid} is a map without a stored result: nothing to verify")
    found = Verification(uid, trace(data, uid))
    fresh = analyze_map(read_run(find_journal(data.journal, uid)))
    difference = float(np.nanmax(np.abs(stored.mosaic.image - fresh.mosaic.image), initial=0.0))
    found.checks.append(
        Check("map", difference <= VOLUME_TOLERANCE_PER_UM, f"largest difference {difference:.1e}")
    )
    found.checks.append(compare_tables("map particles", stored.particles, fresh.particles))
    return found


def _relative(ours: Any, theirs: Any) -> float:
    """Largest relative difference; not-a-number equals only itself."""
    if np.any(np.isnan(ours) != np.isnan(theirs)):
        return float("inf")
    scale = np.maximum(np.abs(ours), np.abs(theirs))
    different = (ours != theirs) & ~np.isnan(ours)
    return float(np.max(np.abs(ours - theirs)[different] / scale[different], initial=0.0))


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return _relative(np.array([float(ours)]), np.array([float(theirs)])) <= RELATIVE_TOLERANCE
    return ours == theirs


def _value(fact: Any) -> Any:
    """Return the number of a fact, which may come in a block with its interval."""
    if isinstance(fact, dict):
        fact = fact.get("value")
    return fact.item() if isinstance(fact, np.generic) else fact


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column)
