"""Where a number comes from: run, plan, frames, software, parameters of the analysis."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from .data_directory import DataDirectory
from .runs import RunNotFoundError, RunRecord, find_journal, read_run
from .versions import software_versions

SCHEMA = "zoneplate-provenance/1"


def trace(data: DataDirectory, uid: str, analysis_uid: str | None = None) -> dict[str, Any]:
    """Return everything that is needed to make the numbers of a run again.

    Parameters
    ----------
    data
        The data directory.
    uid
        Uid of the run, or its beginning.
    analysis_uid
        Uid of the derived run that measured it; None leaves the block ``analysis`` out.

    Returns
    -------
    dict
        ``acquisition`` (run uid, plan and its arguments, sample, versions, frame files) and
        ``analysis`` (uid of the derived run, parameters, versions, how it ended).

    Raises
    ------
    RunNotFoundError
        If there is no such run.
    """
    record = read_run(find_journal(data.journal, uid))
    found: dict[str, Any] = {"schema": SCHEMA, "acquisition": _acquisition(record)}
    if analysis_uid:
        try:
            analysis = read_run(find_journal(data.journal, analysis_uid))
        except RunNotFoundError:
            found["analysis"] = {"uid": analysis_uid, "missing": "its journal is gone"}
        else:
            found["analysis"] = {
                "uid": analysis.uid,
                "parameters": analysis.start.get("parameters", {}),
                "versions": analysis.start.get("versions", {}),
                "exit_status": (analysis.stop or {}).get("exit_status", "unknown"),
            }
    return found


def exported(provenance: dict[str, Any], format_name: str, source: str | Path) -> dict[str, Any]:
    """Return a provenance with what is added when it is written in another format."""
    return {
        "schema": SCHEMA,
        **provenance,
        "export": {
            "format": format_name,
            "source": str(source),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": software_versions(),
        },
    }


def frame_files(record: RunRecord) -> list[Path]:
    """Return the files that hold frames of a run, in the order in which they are referred to."""
    files: dict[Path, None] = {}
    for stream in record.frames.values():
        for frame in stream.values():
            files.setdefault(frame.file)
    return list(files)


def _acquisition(record: RunRecord) -> dict[str, Any]:
    start = record.start
    return {
        "uid": record.uid,
        "plan_name": record.plan_name,
        "plan_args": start.get("plan_args", {}),
        "sample": start.get("sample", ""),
        "instrument": start.get("instrument", ""),
        "acquisition": start.get("acquisition", {}),
        "time": start["time"],
        "exit_status": (record.stop or {}).get("exit_status", "unknown"),
        "versions": start.get("versions", {}),
        "frame_files": [str(path) for path in frame_files(record)],
    }
