"""A run, or a file of anybody's, in other people's formats.

Frames go to NXtomo, DXchange or TIFF (with the volume, where there is one); volumes to OME-Zarr;
surfaces to STL; tables to CSV or Parquet. Every export has a ``provenance.json`` beside it that
leads back to run, software and parameters.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd

from .data_directory import DataDirectory, check_writable
from .formats import Scan, open_scan
from .map_analysis import analyze_map, load_map
from .provenance import exported, frame_files, trace
from .results import load_tomogram_result, write_json
from .runs import RunNotFoundError, RunRecord, find_journal, read_run
from .stored_analysis import analyze_file, analyze_run
from .tomogram_file import StoredTomogram
from .versions import software_versions

PROVENANCE = "provenance.json"

Tick = Callable[[int, int], None]


class ExportFormat(StrEnum):
    """Formats that an export can have."""

    nxtomo = "nxtomo"
    dxchange = "dxchange"
    tiff = "tiff"
    ome_zarr = "ome-zarr"
    stl = "stl"
    csv = "csv"
    parquet = "parquet"


OF_FRAMES = frozenset({ExportFormat.nxtomo, ExportFormat.dxchange, ExportFormat.tiff})


def export(
    source: str | Path,
    to: ExportFormat,
    out: Path,
    *,
    data_dir: str | Path | None = None,
    tick: Tick = lambda *_: None,
) -> list[Path]:
    """Write a run or a scan file in another format.

    Parameters
    ----------
    source
        Uid of a run or its beginning, ``-1`` for the newest scan, or a scan file.
    to
        The format.
    out
        Folder to write into, made if needed. What it holds already is kept, files of the same
        names are replaced.
    data_dir
        Where to look for a uid.
    tick
        Called with (frames written, frames in all).

    Returns
    -------
    list of Path
        What was written; ``provenance.json`` is last.

    Raises
    ------
    RunNotFoundError, ScanFormatError, ValueError
        There is no such source, or it has nothing that the format can hold.
    ConfigurationError
        The folder cannot be written.
    """
    check_writable(out)
    item = _Item(source, DataDirectory.choose(data_dir))
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as folder:
        fresh = Path(folder)
        if to in OF_FRAMES:
            _export_frames(item, to, fresh, tick)
        elif to in (ExportFormat.csv, ExportFormat.parquet):
            _export_tables(item, to, fresh)
        else:
            _export_volume(item, to, fresh)
        write_json(fresh / PROVENANCE, exported(item.provenance(), to.value, source))
        names = sorted(path.name for path in fresh.iterdir() if path.name != PROVENANCE)
        return [_put(fresh / name, out / name) for name in [*names, PROVENANCE]]


class _Item:
    """What is exported: a run of the data directory, or a file."""

    def __init__(self, source: str | Path, data: DataDirectory) -> None:
        self.data = data
        self.file: Path | None = Path(source) if Path(source).exists() else None
        self.record: RunRecord | None = None
        self._tomogram: StoredTomogram | None = None
        if self.file is None:
            try:
                self.journal = find_journal(data.journal, str(source))
            except RunNotFoundError as error:
                raise RunNotFoundError(f"{source} is neither a file nor a run: {error}") from None
            self.record = read_run(self.journal)

    @property
    def name(self) -> str:
        """Name for files."""
        if self.file is not None:
            return self.file.stem
        assert self.record is not None
        return f"{self.record.plan_name or 'run'}_{self.record.uid[:8]}"

    @contextmanager
    def scan(self) -> Generator[Scan]:
        """Open the frames.

        Raises
        ------
        ValueError
            If a run has none, or has them in several files.
        """
        path = self.file
        if self.record is not None:
            files = frame_files(self.record)
            if len(files) != 1:
                raise ValueError(
                    f"run {self.record.uid} has frames in {len(files)} files: formats of frames "
                    "need one; export its tables with --to csv"
                )
            path = files[0]
        assert path is not None  # a file or a run
        with open_scan(path) as scan:
            yield scan

    def tomogram(self) -> StoredTomogram:
        """Return the tomogram as it was measured; measure it if nobody has."""
        if self._tomogram is None:
            if self.record is None:
                assert self.file is not None
                self._tomogram, _ = analyze_file(self.file)
            else:
                self._tomogram = analyze_run(self.data, self.measured_uid)
        return self._tomogram

    @property
    def measured_uid(self) -> str:
        """Uid of the scan: of an analysis, the run it is about."""
        assert self.record is not None
        return str(self.record.start.get("analysis_of", self.record.uid))

    def provenance(self) -> dict[str, Any]:
        """Return where its numbers come from."""
        if self.record is None:
            return {"file": str(self.file), "versions": software_versions()}
        known = self._tomogram or load_tomogram_result(self.data.result_of(self.measured_uid))
        analysis_uid = str(known.facts.get("analysis_uid", "")) if known is not None else None
        return trace(self.data, self.measured_uid, analysis_uid)


def _export_frames(item: _Item, to: ExportFormat, folder: Path, tick: Tick) -> None:
    from .formats.frame_writers import write_dxchange, write_nxtomo, write_tiff

    with item.scan() as scan:
        if to is ExportFormat.nxtomo:
            write_nxtomo(folder / f"{item.name}.nxs", scan, tick)
        elif to is ExportFormat.dxchange:
            write_dxchange(folder / f"{item.name}.h5", scan, tick)
        else:
            frames = folder / f"{item.name}_tiff"
            frames.mkdir()
            write_tiff(frames, scan, tick)
    if to is ExportFormat.tiff and item.record is not None:
        from .export_volume import write_volume_tiff

        known = load_tomogram_result(item.data.result_of(item.measured_uid))
        if known is not None:
            write_volume_tiff(folder / f"{item.name}_volume.tif", known)


def _export_volume(item: _Item, to: ExportFormat, folder: Path) -> None:
    from .export_volume import write_ome_zarr, write_stl

    tomogram = item.tomogram()
    if to is ExportFormat.ome_zarr:
        write_ome_zarr(folder / f"{item.name}.ome.zarr", tomogram, item.provenance())
    elif not write_stl(folder, tomogram):
        raise ValueError(f"{item.name} has no particles: there is no surface to write as STL")


def _export_tables(item: _Item, to: ExportFormat, folder: Path) -> None:
    from .export_tables import event_tables, write_csv, write_parquet

    tables: dict[str, tuple[pd.DataFrame, dict[str, str]]] = {}
    plan = item.record.plan_name if item.record is not None else "tomography"
    if item.record is not None:
        events = event_tables(item.journal)
        tables |= {f"events_{name}": found for name, found in events.items()}
    if plan in ("tomography", "analysis"):
        tomogram = item.tomogram()
        tables["particles"] = (tomogram.particles, {})
        tables["voids"] = (tomogram.voids, {})
    elif plan == "mosaic":
        assert item.record is not None
        found = load_map(item.data.result_of(item.record.uid)) or analyze_map(item.record)
        tables["map_particles"] = (found.particles, {})
        if len(found.regions.columns):
            tables["map_regions"] = (found.regions, {})
    provenance = item.provenance()
    for name, (table, units) in tables.items():
        if to is ExportFormat.csv:
            write_csv(folder / f"{name}.csv", table)
        else:
            write_parquet(folder / f"{name}.parquet", table, units, provenance)


def _put(fresh: Path, place: Path) -> Path:
    """Move what was written to its place, where an older export may be."""
    if place.is_dir():
        shutil.rmtree(place)
    fresh.replace(place)
    return place
