"""After a crash at any moment: journals, frame files, results and catalog made whole again.

What was acknowledged (an event in the journal) is never dropped; what cannot be had back is said.
Originals of damaged files stay, with ``.damaged`` in their names. Runs that go on are left alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from .data_directory import DataDirectory
from .frame_repair import FrameFileState, repair_frame_file
from .journal import (
    SUFFIX,
    Document,
    close_abandoned,
    decode,
    encode,
    journals,
    read_journal,
    uid_of,
)
from .provenance import frame_files
from .runs import RunRecord, data_root, is_analysis, locate, read_run

DAMAGED_FOLDER = "damaged"
_URI = re.compile(rb'"uri":"(file://[^"]+)"')
_NEEDS = {"event": "descriptor", "event_page": "descriptor", "stream_datum": "stream_resource"}
_FRAME_SUFFIXES = (".nxs", ".h5")


@dataclass
class RecoveredRun:
    """A run that needed something, or lacks something.

    Attributes
    ----------
    uid, plan_name
        The run.
    done
        What was done for it, in words.
    missing
        What it lacks, in words; empty if nothing was lost.
    events
        Events by stream.
    """

    uid: str
    plan_name: str = ""
    done: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    events: dict[str, int] = field(default_factory=dict[str, int])


@dataclass
class Recovery:
    """What `recover` found.

    Attributes
    ----------
    whole
        Number of runs that needed nothing.
    going_on
        Uids of runs that are still being written; they were left alone.
    runs
        The others.
    notes
        What concerns no run: files in no journal, results that were removed.
    entered
        Runs in the catalog; None if it was not asked for.
    """

    whole: int = 0
    going_on: list[str] = field(default_factory=list[str])
    runs: list[RecoveredRun] = field(default_factory=list[RecoveredRun])
    notes: list[str] = field(default_factory=list[str])
    entered: int | None = None

    @property
    def missing(self) -> list[str]:
        """Everything that is missing, a line each."""
        return [f"run {run.uid[:8]}: {one}" for run in self.runs for one in run.missing]


def recover(data: DataDirectory, progress: Callable[[str], None] = lambda _: None) -> Recovery:
    """Make a data directory whole after a crash; does nothing to one that is.

    Parameters
    ----------
    data
        The data directory. Another session may be at work in it.
    progress
        Told in words what is being done.

    Returns
    -------
    Recovery
    """
    found = Recovery()
    if not data.journal.is_dir():
        found.notes.append(f"{data.root} holds no journals: nothing to recover")
        return found
    progress("looking at journals")
    _adopt_hidden(data.journal, found)
    files: dict[Path, FrameFileState] = {}
    for path in journals(data.journal):
        run = RecoveredRun(uid_of(path))
        with _owned(path) as ours:
            if not ours:
                found.going_on.append(run.uid)
                continue
            readable = _mend_journal(path, run)
        if not readable:
            found.runs.append(run)
            continue
        if close_abandoned(path):
            run.done.append("closed: its process had ended without a stop document")
        if not is_analysis(path):
            _check_frames(path, run, files)
        if run.done or run.missing:
            record = read_run(path)
            run.plan_name = record.plan_name
            run.events = {name: len(frames) for name, frames in record.frames.items()}
            found.runs.append(run)
        else:
            found.whole += 1
    progress("looking at files")
    if not found.going_on:
        _orphans(data, found)
        _results(data, found)
    return found


def enter_in_catalog(data: DataDirectory, found: Recovery, catalog: Callable[[], Any]) -> None:
    """Enter what is missing in the catalog; a catalog that does not start is built again.

    Parameters
    ----------
    data
        The data directory.
    found
        Gets the number of runs in the catalog, and notes.
    catalog
        Opens the catalog of the data directory.
    """
    from .catalog import CatalogError

    try:
        found.entered = _enter(catalog)
        return
    except CatalogError as error:
        if "before it was ready" not in str(error):
            found.notes.append(str(error))
            return
    aside = data.root / f"catalog{time.strftime('.damaged-%Y%m%dT%H%M%S')}"
    (data.root / "catalog").rename(aside)
    found.notes.append(f"the catalog did not start: it was built again, the old one is {aside}")
    found.entered = _enter(catalog)


def _enter(catalog: Callable[[], Any]) -> int:
    with catalog() as opened:
        opened.forget_entered()
        opened.wait_until_caught_up()
        return len(opened)


@contextmanager
def _owned(path: Path) -> Any:
    """Lock a journal; gives whether nobody writes it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _adopt_hidden(folder: Path, found: Recovery) -> None:
    """Journals whose process died before they got their names."""
    for path in folder.glob(f".*{SUFFIX}"):
        with _owned(path) as ours:
            if not ours:
                continue
            lines = path.read_bytes().splitlines(keepends=True)
            if lines and lines[0].endswith(b"\n") and _document(lines[0]) is not None:
                path.rename(path.with_name(path.name[1:]))
                found.notes.append(f"{path.name[1:]}: a run that ended with its start")
            else:
                path.unlink()
                found.notes.append(f"{path.name}: the beginnings of a start document, removed")


def _mend_journal(path: Path, run: RecoveredRun) -> bool:
    """Keep the documents of a damaged journal that can be read; False if there is no start."""
    lines = path.read_bytes().splitlines(keepends=True)
    known: set[str] = set()
    good: list[tuple[str, Document]] = []
    lost = 0
    for number, line in enumerate(lines):
        # A block that never reached the disk reads as zeros.
        document = _document(line.strip(b"\0"))
        last = number == len(lines) - 1
        if document is None and last and b"\0" not in line:
            break  # half a line: it was never acknowledged, and `close_abandoned` cuts it
        if document is None or not _belongs(document, known):
            lost += 1
            continue
        known.add(str(document[1].get("uid", "")))
        good.append(document)
    if not lost and not any(b"\0" in line for line in lines):
        return True
    keep = path.parent / DAMAGED_FOLDER
    keep.mkdir(exist_ok=True)
    shutil.copy2(path, keep / path.name)
    if not good or good[0][0] != "start":
        path.unlink()
        run.missing.append(
            f"its start document is gone; the rest is kept as {DAMAGED_FOLDER}/{path.name}, its "
            "frames can be analysed as a file"
        )
        return False
    fresh = path.with_name(f".{path.name}.part")
    with fresh.open("wb") as file:
        file.writelines(encode(*document) for document in good)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    run.done.append(f"journal mended; the original is {DAMAGED_FOLDER}/{path.name}")
    if lost:
        run.missing.append(f"{lost} documents of its journal could not be read")
    return True


def _document(line: bytes) -> tuple[str, Document] | None:
    try:
        return decode(line)
    except ValueError:
        return None


def _belongs(document: tuple[str, Document], known: set[str]) -> bool:
    """Whether what a document refers to is there."""
    name, doc = document
    return name not in _NEEDS or str(doc.get(_NEEDS[name])) in known


def _check_frames(path: Path, run: RecoveredRun, files: dict[Path, FrameFileState]) -> None:
    """Repair the frame files of a run, and see that every event has its frame."""
    record: RunRecord | None = None
    stop_reads_whole = not run.done and not run.missing
    root = data_root(path)
    places = [locate(uri, root) for uri in _uris(path)]
    for place in places:
        if place not in files:
            files[place] = repair_frame_file(place)
        state = files[place]
        if stop_reads_whole and not (state.repaired or state.problem or state.lost):
            continue
        record = record or read_run(path)
        if state.repaired:
            run.done.append(f"{place.name} repaired: {state.repaired}")
        _compare(record, state, run)


def _compare(record: RunRecord, state: FrameFileState, run: RecoveredRun) -> None:
    own = [
        frame
        for stream in record.frames
        for frame in record.stream(stream)
        if frame.file == state.path
    ]
    if state.problem:
        run.missing.append(f"{len(own)} frames: {state.path} {state.problem}")
        return
    for frame in own:
        if frame.number >= state.frames or frame.number in state.lost:
            run.missing.append(f"the pixels of {frame.stream} {frame.seq_num}")
    without = state.frames - 1 - max((frame.number for frame in own), default=-1)
    if without > 0 and len(frame_files(record)) <= 1:
        run.done.append(
            f"{without} more frames are in {state.path.name} than the journal knows: "
            f"`zoneplate analyze {state.path}` uses them"
        )


def _uris(path: Path) -> list[str]:
    """Files that a journal speaks of, each once."""
    return [uri.decode() for uri in dict.fromkeys(_URI.findall(path.read_bytes()))]


def _orphans(data: DataDirectory, found: Recovery) -> None:
    """Frame files that no journal speaks of."""
    if not data.frames.is_dir():
        return
    spoken = {
        locate(uri, data.root).resolve() for path in journals(data.journal) for uri in _uris(path)
    }
    for path in sorted(data.frames.rglob("*")):
        if path.suffix in _FRAME_SUFFIXES and path.resolve() not in spoken:
            state = repair_frame_file(path)
            text = state.problem or f"{state.frames} frames: `zoneplate analyze {path}` reads them"
            found.notes.append(f"{path.name} is in no journal; {text}")


def _results(data: DataDirectory, found: Recovery) -> None:
    """Results that were being written; they can be computed again."""
    for leftover in data.results.glob("*/*.part"):
        leftover.unlink()
        found.notes.append(f"removed {leftover.parent.name}/{leftover.name}, a result cut short")
    for volume in data.results.glob("*/volume.h5"):
        readable = False
        with suppress(OSError), h5py.File(volume, "r"):
            readable = True
        if not readable:
            volume.unlink()
            found.notes.append(
                f"removed a damaged result: `zoneplate reanalyze uid={volume.parent.name}` "
                "makes it again"
            )


def acknowledged(path: Path) -> dict[str, int]:
    """Return the number of events by stream in a journal."""
    streams: dict[str, str] = {}
    events: dict[str, set[int]] = {}
    for name, doc in read_journal(path):
        if name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        elif name == "event":
            events.setdefault(streams[doc["descriptor"]], set()).add(int(doc["seq_num"]))
    return {stream: len(numbers) for stream, numbers in events.items()}
