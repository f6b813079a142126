"""Tables of a run as CSV or Parquet: particles, voids, maps, and the events of every stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .journal import read_journal

PROVENANCE_KEY = b"zoneplate"
"""Key of the provenance in the metadata of a Parquet file."""


def event_tables(journal: Path) -> dict[str, tuple[pd.DataFrame, dict[str, str]]]:
    """Return the events of a run as tables.

    Parameters
    ----------
    journal
        Its journal.

    Returns
    -------
    dict
        For each stream, a table with ``seq_num``, ``time_s`` (instrument time, seconds since
        1970) and a column per reading, and the units of its columns. A repeated event replaces
        the one before it.
    """
    names: dict[str, str] = {}
    units: dict[str, dict[str, str]] = {}
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for name, doc in read_journal(journal):
        if name == "descriptor":
            stream = names[doc["uid"]] = str(doc["name"])
            known = units.setdefault(stream, {"time_s": "s"})
            known |= {k: v["units"] for k, v in doc["data_keys"].items() if v.get("units")}
            rows.setdefault(stream, {})
        elif name == "event":
            row = {"seq_num": doc["seq_num"], "time_s": doc["time"], **doc["data"]}
            rows[names[doc["descriptor"]]][int(doc["seq_num"])] = row
    return {
        stream: (pd.DataFrame([row for _, row in sorted(found.items())]), units[stream])
        for stream, found in rows.items()
    }


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV table that reads back to the same numbers."""
    table.to_csv(path, index=False)


def write_parquet(
    path: Path, table: pd.DataFrame, units: dict[str, str], provenance: dict[str, Any]
) -> None:
    """Write a Parquet table with units and provenance inside.

    Parameters
    ----------
    path
        The file to make.
    table
        A row per object or event.
    units
        Unit by column, kept in the metadata of the column; others have it in their names.
    provenance
        Kept in the metadata of the file, as JSON.
    """
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    fields = [
        field.with_metadata({"units": units[field.name]}) if field.name in units else field
        for field in arrow.schema
    ]
    known = {PROVENANCE_KEY: orjson.dumps(provenance, option=orjson.OPT_NON_STR_KEYS)}
    schema = pa.schema(fields, metadata={**(arrow.schema.metadata or {}), **known})
    pq.write_table(arrow.cast(schema), path)
