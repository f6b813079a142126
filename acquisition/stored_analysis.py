"""Analysis of what is stored: a run of ours, or a file of anybody's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoneplate.analysis.summary import MINIMUM_VOID_UM
from zoneplate.analysis.tomogram import MINIMUM_CONTRAST_PER_UM, Preview, TomogramAnalysis
from zoneplate.analysis.views import same_angle_views

from .data_directory import DataDirectory
from .derived_run import DerivedRun
from .formats import Scan, ScanFormatError, open_scan
from .journal import DocumentJournal, read_journal
from .live import LiveTomogram
from .results import load_tomogram_result, save_tomogram_result
from .runs import find_journal
from .tomogram_file import StoredTomogram, keep

UNKNOWN_PIXEL_NOTE = (
    "the file does not say how large a pixel is: lengths are in pixels although their names say "
    "um; give --pixel-um"
)

NO_FLATS_NOTE = (
    "the file holds no flat (open-beam) images: the brightest parts of its projections stand in "
    "for them, so attenuation is relative and the pattern of the illumination stays in the images"
)

OPEN_BEAM_PERCENTILE = 99.0
"""Of the pixels of all projections: bright, but no single hot pixel."""

PROJECTIONS_AT_ONCE = 32


def analyze_run(
    data: DataDirectory,
    uid: str,
    *,
    again: bool = False,
    minimum_void_um: float = MINIMUM_VOID_UM,
    correct_geometry: bool = True,
    parameters: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> StoredTomogram:
    """Return the tomogram of a run; analyse its frames if that was not done, or is asked for.

    Parameters
    ----------
    data
        The data directory.
    uid
        Uid of the run, or its beginning.
    again
        Analyse even if there is a result; a derived run is added, the result replaced.
    minimum_void_um
        Equivalent diameter from which a void counts.
    correct_geometry
        Whether a tilted axis and a sample that moved are corrected.
    parameters
        What else the derived run is to say of itself.
    progress
        Told in words what is being done.

    Raises
    ------
    RunNotFoundError
        If there is no such run.
    ValueError
        If it is no tomogram.
    """
    journal = find_journal(data.journal, uid)
    live = LiveTomogram(
        previews=False, minimum_void_um=minimum_void_um, correct_geometry=correct_geometry
    )
    live.record.root = data.root
    documents = read_journal(journal)
    start = next(documents)[1]
    uid = str(start["uid"])
    found = None if again else load_tomogram_result(data.result_of(uid))
    if found is not None:
        return found
    if start.get("plan_name") != "tomography":
        raise ValueError(
            f"run {uid} is a {start.get('plan_name')!r}, not a tomography: give the uid of one"
        )
    progress("reading frames")
    live("start", start)
    for name, doc in documents:
        live(name, doc)
    tomogram = live.finish(progress)
    stop = live.record.stop
    sample = str(start.get("sample", ""))
    ended_s = float((stop or start)["time"])
    writer = DocumentJournal(data.journal)
    told = {
        "source": "stored",
        "minimum_void_um": minimum_void_um,
        "correct_geometry": correct_geometry,
        **(parameters or {}),
    }
    derived = DerivedRun(writer, uid, sample, told, ended_s)
    derived.progress(Preview(tomogram.projections, tomogram.projections, tomogram.summary))
    derived.tables(tomogram)
    derived.close()
    kept = keep(
        tomogram,
        uid,
        analysis_uid=derived.uid,
        time_s=live.record.duration_s(),
        exit_status=stop["exit_status"] if stop is not None else "unknown",
        sample=sample,
    )
    save_tomogram_result(data.result_of(uid), kept)
    return kept


def analyze_file(
    source: str | Path,
    *,
    pixel_um: float | None = None,
    minimum_void_um: float = MINIMUM_VOID_UM,
    correct_geometry: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[StoredTomogram, Scan]:
    """Analyse a scan file of any format we read.

    Parameters
    ----------
    source
        NXtomo or DXchange HDF5, Zeiss `.txrm`, folder of TIFFs.
    pixel_um
        Pixel size at the sample, for files that do not say, or say it wrong.
    minimum_void_um
        Equivalent diameter from which a void counts.
    correct_geometry
        Whether a tilted axis and a sample that moved are corrected.
    progress
        Told in words what is being done.

    Returns
    -------
    tuple
        The tomogram, and the scan it came from (closed: its metadata can be read).

    Raises
    ------
    ScanFormatError
        If the file cannot be read.
    ValueError
        If it cannot be analysed.
    """
    progress("reading frames")
    with open_scan(source) as scan:
        _check_tomography(source, scan)
        pixel = pixel_um or scan.pixel_um
        rows, columns = scan.projections.shape[1:]
        views = same_angle_views(scan.angles_deg)
        _, first_of_view = np.unique(views, return_index=True)
        analysis = TomogramAnalysis(
            (rows, columns),
            pixel or 1.0,
            planned_angles_deg=scan.angles_deg[first_of_view].tolist(),
            frames_per_view=int(np.bincount(views).max(initial=1)),
            center_um=scan.center_um,
            already_normalized=scan.already_normalized,
            minimum_void_um=minimum_void_um,
            minimum_contrast_per_um=MINIMUM_CONTRAST_PER_UM if pixel else 0.0,
            correct_geometry=correct_geometry,
        )
        for kind, frames in (("dark", scan.darks), ("flat", scan.flats)):
            for number, frame in enumerate(frames):
                analysis.add_reference(kind, number, frame, **_circumstances(scan, kind, number))
        lacks_flats = not len(scan.flats) and not scan.already_normalized
        if lacks_flats:
            analysis.add_reference("flat", 0, _stand_in_flat(scan))
        for first in range(0, len(scan.projections), PROJECTIONS_AT_ONCE):
            block = scan.projections[first : first + PROJECTIONS_AT_ONCE]
            for number, frame in enumerate(block, start=first):
                analysis.add_projection(
                    number,
                    frame,
                    float(scan.angles_deg[number]),
                    view=views[number],
                    **_circumstances(scan, "projection", number),
                )
            analysis.process()
        tomogram = analysis.finish(progress)
        facts: dict[str, Any] = {
            "source": str(source),
            "format": scan.format,
            "energy_kev": scan.energy_kev,
            "exposure_s": scan.exposure_s,
            "invalid_frames": scan.invalid,
        }
        notes = [*scan.warnings]
        notes += [] if pixel else [UNKNOWN_PIXEL_NOTE]
        notes += [NO_FLATS_NOTE] if lacks_flats else []
        notes += tomogram.warnings
        kept = keep(tomogram, "", **{**facts, "warnings": notes})
    return kept, scan


def _circumstances(scan: Scan, kind: str, number: int) -> dict[str, float | None]:
    """Return when a frame was taken and for how long; None where the file does not say."""
    begun_s, exposed_s = (
        float(values[f"{kind}s"][number]) if f"{kind}s" in values else None
        for values in (scan.times_s, scan.exposures_s)
    )
    middle_s = None if begun_s is None else begun_s + (exposed_s or 0.0) / 2
    return {"time_s": middle_s, "exposure_s": exposed_s}


def _check_tomography(source: str | Path, scan: Scan) -> None:
    """Refuse what no volume can be made of, before anything is computed."""
    if scan.kind == "tomography":
        return
    rows, columns = scan.projections.shape[1:]
    what = f"one radiograph of {rows} x {columns} pixels at {scan.angles_deg[0]:.2f} degrees"
    if scan.kind == "mosaic":
        tiles = f"{scan.metadata['mosaic_rows']} x {scan.metadata['mosaic_columns']}"
        what = f"a map of {tiles} tiles, stored as one image of {rows} x {columns} pixels"
    raise ScanFormatError(
        source,
        f"it holds {what}, and no volume can be computed from that",
        "give a tomography (projections over 180 degrees; a .txrm of this instrument), or read "
        "the pixels with zoneplate.acquisition.open_scan",
    )


def _stand_in_flat(scan: Scan) -> NDArray[np.float32]:
    """Return an even field as bright as the brightest parts of the projections."""
    level = np.percentile(scan.projections[:], OPEN_BEAM_PERCENTILE)
    return np.full(scan.projections.shape[1:], max(float(level), 1.0), dtype=np.float32)
