"""The main jobs, whole: screen a sample, analyse what exists, write the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zoneplate.analysis.lot_specification import LotSpecification
from zoneplate.analysis.stop_when import Verdict
from zoneplate.analysis.summary import MINIMUM_VOID_UM
from zoneplate.devices import AcquisitionError, ConfigurationError
from zoneplate.plans.angles import PASSES
from zoneplate.plans.stopping import DECISIONS

from .data_directory import DataDirectory, check_writable
from .detection_twin import detection_of
from .journal import journals, read_journal
from .live import EXPOSURE, reading
from .map_analysis import MapResult, load_map
from .provenance import frame_files
from .report_facts import add_report_facts
from .reporting import write_results_report
from .results import Results, collect_results, save_results, write_json
from .runs import RunNotFoundError, RunRecord, find_journal, read_run
from .screening import Begun, begun, stop_of, tomograms_of
from .stored_analysis import analyze_file, analyze_run
from .tomogram_file import StoredTomogram
from .truth import truth_of_run

Progress = Callable[[str], None]

LOT_DECIDED = "zoneplate.acquisition.workflow:is_decided"
"""How the rule of a lot is written into the run."""


def screen_sample(
    session: Any,
    out: Path,
    *,
    regions: int | None = None,
    lot: LotSpecification | None = None,
    resume: str | None = None,
    progress: Progress = lambda _: None,
    **options: Any,
) -> Results:
    """Screen the sample on the stage and leave the results in a folder.

    Parameters
    ----------
    session
        An open session.
    out
        Folder for results and report.
    regions
        Number of tomograms; 1, or as many as a screening that is resumed was to take. With `lot`
        as many as its budget pays for.
    lot
        What the lot must fulfil: the screening ends when that is decided.
    resume
        A run of a screening that was broken off (uid or its beginning; -1 for the newest scan):
        its settings hold unless others are given, what it measured is not measured again.
    progress
        Told in words what is being done.
    options
        Passed on to `zoneplate.plans.screen`.

    Returns
    -------
    Results
    """
    from zoneplate.plans import screen

    check_writable(out)
    if regions is not None:
        options["regions"] = regions
    if resume is not None:
        earlier = begun(session.data, resume)
        check_same_specimen(session, earlier)
        options = {**earlier.options, **options, "resume": earlier.mosaic_uid or None}
    if lot is not None:
        decided, rule = Verdict(is_decided, LOT_DECIDED), options.get("stop_when")
        options["regions"] = lot.most_regions
        options["stop_when"] = decided if rule is None else decided | rule
    session.questions.lot = lot
    uids: list[str] = []

    options = {"regions": 1, **options}

    def plan() -> Any:
        uids.extend((yield from screen(session.microscope, **options)))

    session.steering.run(plan())
    if len(uids) < 2:
        raise AcquisitionError("every region was skipped: there is nothing to measure")
    progress("waiting for the live analysis")
    return report_tomograms(session, uids[0], uids[1:], out, lot=lot, progress=progress)


def is_decided(results: Mapping[str, Any]) -> str | None:
    """Return that the verdict on the lot is reached, None while it is not."""
    verdict = results.get("verdict") or {}
    return "the lot is decided" if verdict.get("final") else None


def check_same_specimen(session: Any, earlier: Begun) -> None:
    """Refuse to go on with another specimen than the one a screening was begun with.

    Raises
    ------
    ConfigurationError
        If there is another on the stage.
    """
    ours, theirs = session.md.get("specimen_file"), earlier.start.get("specimen_file")
    if Path(str(ours)).name != Path(str(theirs)).name:
        raise ConfigurationError(
            f"the screening was begun with specimen {theirs} on the stage, now there is {ours}: "
            "give the same --sample, --seed or --specimen"
        )


def report_tomograms(
    session: Any,
    mosaic_uid: str | None,
    tomogram_uids: Sequence[str],
    out: Path,
    *,
    lot: LotSpecification | None = None,
    progress: Progress = lambda _: None,
) -> Results:
    """Collect a screening that has been taken and write its report."""
    tomograms = [session.tomogram(uid) for uid in tomogram_uids]
    results = collect_screening(session.data, mosaic_uid, tomogram_uids, tomograms, lot=lot)
    progress("writing the report")
    add_report_facts(results)
    save_results(out, results)
    # Kept with the data as well: the live page and its list of lots show these numbers.
    kept = session.data.result_of(mosaic_uid or tomogram_uids[0])
    check_writable(kept)
    write_json(kept / "results.json", results.document)
    write_results_report(out, results, _map_of(session.data, mosaic_uid))
    return results


def collect_screening(
    data: DataDirectory,
    mosaic_uid: str | None,
    tomogram_uids: Sequence[str],
    tomograms: Sequence[StoredTomogram],
    *,
    minimum_void_um: float = MINIMUM_VOID_UM,
    lot: LotSpecification | None = None,
    correct_detection: bool = False,
) -> Results:
    """Put the parts of a screening together, from what the data directory holds."""
    records = [read_run(find_journal(data.journal, uid)) for uid in tomogram_uids]
    map_record = read_run(find_journal(data.journal, mosaic_uid)) if mosaic_uid else None
    map_result = _map_of(data, mosaic_uid)
    first = map_record or records[0]
    notes: list[str] = []
    if map_result is not None and map_result.facts.get("regions_note"):
        notes.append(str(map_result.facts["regions_note"]))
    timing = timing_of(map_record, records)
    timing["screening_stop"] = stop_of(data, mosaic_uid) if mosaic_uid else None
    if timing["screening_stop"]:
        notes.append(f"the screening ended after region {len(records)}: {timing['screening_stop']}")
    notes += [
        f"region {number + 1}: stopped after {stop['projections']} of {stop['planned']} "
        f"projections ({stop['reason']}), {stop['saved_s']:.0f} s saved"
        for number, stop in enumerate(timing["early_stop"])
        if stop is not None
    ]
    return collect_results(
        str(first.start.get("sample", "")),
        tomograms,
        parameters={
            "acquisition": {
                record.plan_name: record.start["plan_args"]
                for record in [*([map_record] if map_record else []), *records]
            },
            "minimum_void_um": minimum_void_um,
        },
        source={
            "data_directory": str(data.root),
            "mosaic_uid": mosaic_uid,
            "tomogram_uids": list(tomogram_uids),
            "instrument": first.start.get("instrument"),
            "seed": first.start.get("seed"),
        },
        timing=timing,
        mosaic=_mosaic_facts(map_result),
        map_particles=map_result.particles if map_result is not None else None,
        truth=truth_of_run(first, tomograms, minimum_void_um=minimum_void_um),
        notes=notes,
        live=[live_curve(data, uid) for uid in tomogram_uids],
        minimum_void_um=minimum_void_um,
        lot=lot,
        inputs=[
            file
            for record in [*([map_record] if map_record else []), *records]
            for file in frame_files(record)
        ],
        twin=detection_of(
            [
                (record.start, int(tomogram.facts["projections"]))
                for record, tomogram in zip(records, tomograms, strict=True)
            ],
            data,
        ),
        correct_detection=correct_detection,
    )


def timing_of(map_record: RunRecord | None, records: Sequence[RunRecord]) -> dict[str, Any]:
    """Return instrument times in seconds.

    `mosaic_s` counts from the first tile's exposure to the last tile's readout, as the study
    does; `mosaic_with_references_s` and `tomography_s` count whole runs.
    """
    timing: dict[str, Any] = {}
    if map_record is not None:
        tiles = map_record.stream("primary")
        if tiles:
            timing["mosaic_s"] = tiles[-1].time_s - _exposure_start_s(tiles[0].data)
        timing["mosaic_with_references_s"] = map_record.duration_s()
    timing["tomography_s"] = [record.duration_s() for record in records]
    timing["beam_on_fraction"] = [_beam_on(record) for record in records]
    timing["early_stop"] = [early_stop_of(record) for record in records]
    return timing


def early_stop_of(record: RunRecord) -> dict[str, Any] | None:
    """Return why and when an adaptive tomogram stopped early; None if it was taken whole.

    The time saved is what its last pass took per projection, times the projections not taken.
    """
    decisions = record.readings(DECISIONS)
    reason = str(decisions[-1][f"{DECISIONS}_reason"]) if decisions else ""
    if not reason:
        return None
    frames = record.stream("primary")
    planned = int(record.start["frames"]["projections"])
    last_pass = frames[-min(planned // PASSES, len(frames)) :]
    each_s = (last_pass[-1].time_s - last_pass[0].time_s) / max(len(last_pass) - 1, 1)
    return {
        "projections": len(frames),
        "planned": planned,
        "reason": reason,
        "saved_s": round(each_s * (planned - len(frames)), 1),
    }


def live_curve(data: DataDirectory, uid: str) -> pd.DataFrame:
    """Return the rows of the live curve of a run's newest analysis; empty if there is none."""
    for path in reversed(journals(data.journal)):
        documents = read_journal(path)
        start = next(documents, ("", {}))[1]
        if start.get("analysis_of") != uid:
            continue
        streams: dict[str, str] = {}
        rows: list[dict[str, Any]] = []
        for name, doc in documents:
            if name == "descriptor":
                streams[doc["uid"]] = doc["name"]
            elif name == "event" and streams[doc["descriptor"]] == "progress":
                rows.append(doc["data"])
        return pd.DataFrame(rows)
    return pd.DataFrame()


def analyze(
    source: str | Path,
    out: Path,
    *,
    data_dir: str | Path | None = None,
    pixel_um: float | None = None,
    minimum_void_um: float = MINIMUM_VOID_UM,
    correct_geometry: bool = True,
    again: bool = True,
    lot: LotSpecification | None = None,
    correct_detection: bool = False,
    progress: Progress = lambda _: None,
) -> Results:
    """Analyse a scan that exists: a file of any format we read, or a run by its uid.

    Parameters
    ----------
    source
        A path, or a uid (`-1` for the newest run).
    out
        Folder for results and report.
    data_dir
        Where to look for a uid.
    pixel_um
        Pixel size, for files that do not say.
    minimum_void_um
        Equivalent diameter from which a void counts.
    correct_geometry
        Whether a tilted axis and a sample that moved are corrected.
    again
        Analyse a run even if there is a result.
    lot
        What the lot must fulfil; adds the verdict.
    correct_detection
        Correct the frequency of voids of the powder for missed and for false voids, as the twin of
        the scan shows them.
    progress
        Told in words what is being done.

    Returns
    -------
    Results

    Raises
    ------
    ScanFormatError, RunNotFoundError, ValueError
        If there is nothing that can be analysed; the message says why.
    ConfigurationError
        If the folder cannot be written.
    """
    check_writable(out)
    if not Path(source).exists():
        try:
            return _analyze_run(
                DataDirectory.choose(data_dir),
                str(source),
                out,
                minimum_void_um=minimum_void_um,
                correct_geometry=correct_geometry,
                again=again,
                lot=lot,
                correct_detection=correct_detection,
                progress=progress,
            )
        except RunNotFoundError as error:
            raise RunNotFoundError(f"{source} is neither a file nor a run: {error}") from None
    tomogram, scan = analyze_file(
        source,
        pixel_um=pixel_um,
        minimum_void_um=minimum_void_um,
        correct_geometry=correct_geometry,
        progress=progress,
    )
    results = collect_results(
        scan.sample or Path(source).stem,
        [tomogram],
        parameters={"minimum_void_um": minimum_void_um, "pixel_um": tomogram.voxel_um},
        source={"file": str(source), "format": scan.format},
        minimum_void_um=minimum_void_um,
        lot=lot,
        correct_detection=correct_detection,
        inputs=files_of(Path(source)),
    )
    progress("writing the report")
    add_report_facts(results)
    save_results(out, results)
    write_results_report(out, results, None)
    return results


def files_of(source: Path) -> list[Path]:
    """Return the file, or the files of a folder in the order of their names."""
    return (
        sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
    )


def summary_of(
    session: Any, mosaic_uid: str, uids: Sequence[str], lot: LotSpecification | None = None
) -> dict[str, Any]:
    """Return the results so far of a screening."""
    tomograms = [session.tomogram(uid) for uid in uids]
    return collect_screening(session.data, mosaic_uid, uids, tomograms, lot=lot).document


def _analyze_run(
    data: DataDirectory,
    uid: str,
    out: Path,
    *,
    minimum_void_um: float,
    correct_geometry: bool,
    again: bool,
    lot: LotSpecification | None,
    correct_detection: bool,
    progress: Progress,
) -> Results:
    """Analyse a tomography run, or all tomograms of a screening given the uid of its map."""
    record = read_run(find_journal(data.journal, uid))
    screening = record.start.get("screening") or {}
    if record.plan_name == "mosaic":
        mosaic_uid, uids = record.uid, tomograms_of(data, record.uid)
    elif record.plan_name == "analysis":
        mosaic_uid, uids = None, [str(record.start["analysis_of"])]
    else:
        mosaic_uid, uids = screening.get("mosaic"), [record.uid]
    if not uids:
        raise ValueError(f"run {uid} is a map without tomograms: there is nothing to measure yet")
    tomograms = [
        analyze_run(
            data,
            one,
            again=again,
            minimum_void_um=minimum_void_um,
            correct_geometry=correct_geometry,
            progress=progress,
        )
        for one in uids
    ]
    results = collect_screening(
        data,
        mosaic_uid,
        uids,
        tomograms,
        minimum_void_um=minimum_void_um,
        lot=lot,
        correct_detection=correct_detection,
    )
    progress("writing the report")
    add_report_facts(results)
    save_results(out, results)
    write_results_report(out, results, _map_of(data, mosaic_uid))
    return results


def _map_of(data: DataDirectory, mosaic_uid: str | None) -> MapResult | None:
    return load_map(data.result_of(mosaic_uid)) if mosaic_uid else None


def _mosaic_facts(result: MapResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {**result.facts, "regions": result.regions.to_dict("records")}


def _exposure_start_s(data: dict[str, Any]) -> float:
    return next(float(v) for name, v in data.items() if name.endswith("_exposure_start_s"))


def _beam_on(record: RunRecord) -> float | None:
    duration_s = record.duration_s()
    if not duration_s:
        return None
    usual_s = float(record.start["acquisition"]["exposure_s"])
    exposed_s = sum(
        reading(frame, EXPOSURE) or usual_s
        for stream in ("primary", "flat")
        for frame in record.stream(stream)
    )
    return exposed_s / duration_s
