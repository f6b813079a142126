"""Follows the data directory: every run, as far as its journal has been written.

It reads and never writes. It can start at any moment, and start again: what it knows is always
what the journals say, read from the beginning.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import Document, decode, is_abandoned, journals
from zoneplate.acquisition.runs import FrameReference, RunRecord

logger = logging.getLogger(__name__)

POLL_S = 0.05
"""Wall time between two looks at the journals."""

RECENT = 400
"""Journals that are read when the page starts, the newest: older scans are for the catalog."""

WHOLE = 60
"""Journals that are known event by event, the newest: a lot of twelve regions has about 25."""

END_BYTES = 64 * 1024
"""Bytes at the end of a journal in which its last document is looked for."""

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of the longest document that is read: ours have some kilobytes."""

SILENT_S = 5.0
"""A journal that has not grown for so long is looked at: does its process still live?"""

REGION, OF = "region", "of"


@dataclass
class FollowedRun:
    """One run, as far as it is known.

    Attributes
    ----------
    path
        Its journal.
    record
        What its documents say.
    newest
        Its newest frame; None before the first.
    newest_wall_s
        When that was seen, seconds of the wall clock.
    start_s, time_s
        Instrument time of its first and its newest document.
    rows
        Rows of the live curve, if it is an analysis.
    damaged
        Why its journal cannot be read on; empty if it can.
    abandoned
        Whether the process that took it has died.
    began_s
        When the journal was first seen.
    whole
        Whether its events are known; of older runs that have ended only begin and end are.
    """

    path: Path
    record: RunRecord
    newest: FrameReference | None = None
    newest_wall_s: float = 0.0
    start_s: float = 0.0
    time_s: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    damaged: str = ""
    abandoned: bool = False
    began_s: float = field(default_factory=time.time)
    whole: bool = True

    @property
    def uid(self) -> str:
        """Uid of the run."""
        return str(self.record.start.get("uid", ""))

    @property
    def plan_name(self) -> str:
        """Name of the plan."""
        return str(self.record.start.get("plan_name", ""))

    @property
    def sample(self) -> str:
        """Name of the sample."""
        return str(self.record.start.get("sample", ""))

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return self.record.stop is None and not self.abandoned and not self.damaged

    @property
    def planned(self) -> int:
        """How many frames are planned, references included."""
        frames = self.record.start.get("frames")
        return sum(int(n) for n in frames.values()) if isinstance(frames, dict) else 0

    @property
    def taken(self) -> int:
        """How many frames have been taken."""
        return sum(len(frames) for frames in self.record.frames.values())

    @property
    def projections(self) -> int:
        """How many frames of the sample have been taken."""
        return len(self.record.frames.get("primary", {}))

    @property
    def lot(self) -> str:
        """Uid of the run that the lot began with: its map, or itself."""
        screening = self.record.start.get("screening")
        return str(screening.get("mosaic", "")) if isinstance(screening, dict) else self.uid

    @property
    def region(self) -> tuple[int, int]:
        """Which region of how many, from 0."""
        screening = self.record.start.get("screening")
        if not isinstance(screening, dict):
            return 0, 1
        return int(screening.get(REGION, 0)), int(screening.get(OF, 1))


class _Journal:
    """One journal that is read as it grows."""

    def __init__(self, path: Path, root: Path) -> None:
        self.run = FollowedRun(path, RunRecord(root=root))
        self.streams: dict[str, str] = {}
        self.grown_s = time.monotonic()
        self._offset = 0

    def glance(self) -> None:
        """Know of a run that has ended how it began and how it ended, and no more."""
        old = self.run
        run = FollowedRun(old.path, RunRecord(root=old.record.root), whole=False)
        try:
            (first, start), (last, stop) = _ends(old.path)
            if (first, last) != ("start", "stop"):
                return
            run.start_s, run.time_s = float(start["time"]), float(stop["time"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # read whole, it says what is wrong with it
        run.record.start, run.record.stop, run.began_s = start, stop, old.began_s
        self.run, self.streams = run, {}

    def read(self) -> list[tuple[str, Document]]:
        """Return the new documents."""
        run = self.run
        found: list[tuple[str, Document]] = []
        try:
            with run.path.open("rb") as file:
                file.seek(self._offset)
                while line := file.readline(LONGEST_LINE):
                    if not line.endswith(b"\n"):
                        if len(line) == LONGEST_LINE:
                            raise ValueError(f"a line is longer than {LONGEST_LINE} bytes")
                        break  # it is still being written
                    self._offset += len(line)
                    found.append(decode(line))
        except (OSError, ValueError) as error:
            run.damaged = f"the journal of run {run.uid[:8]} cannot be read on: {error}"
            logger.warning("%s", run.damaged)
        if found:
            self.grown_s = time.monotonic()
        return found

    def check_alive(self) -> None:
        """Notice that the process behind an open run has died."""
        self.run.abandoned = is_abandoned(self.run.path)


class Follower:
    """Knows all recent runs of a data directory.

    Parameters
    ----------
    data
        The data directory.
    recent
        How many journals to know of.
    lot
        Uid of a lot to know every event of; the newest if empty.

    Attributes
    ----------
    lock
        Held while the runs change.
    version
        Grows with every change.
    """

    def __init__(self, data: DataDirectory, recent: int = RECENT, lot: str = "") -> None:
        self.data = data
        self._lot = lot
        self.lock = threading.RLock()
        self.version = 0
        self._recent = recent
        self._journals: dict[str, _Journal] = {}
        self._known: set[str] = set()
        self._folder_changed_ns = -1
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Follow from a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def runs(self) -> list[FollowedRun]:
        """Return the scans, oldest first."""
        with self.lock:
            found = [j.run for j in self._journals.values() if j.run.record.start]
        scans = [run for run in found if "analysis_of" not in run.record.start]
        return sorted(scans, key=lambda run: run.start_s)

    def lot(self, uid: str = "") -> list[FollowedRun]:
        """Return the runs of one lot in order; those of the newest without a uid."""
        runs = self.runs()
        if not runs:
            return []
        wanted = uid or runs[-1].lot
        return [run for run in runs if run.lot == wanted or run.uid == wanted]

    def poll(self) -> bool:
        """Read what is new; return whether anything was."""
        settled = self._look_for_journals()
        changed = False
        for journal in list(self._journals.values()):
            run = journal.run
            if run.record.stop is not None or run.damaged:
                continue
            documents = journal.read()
            if documents or run.damaged:
                changed = True
                with self.lock:
                    for name, doc in documents:
                        self._take(journal, name, doc)
                settled = settled or run.record.stop is not None
            elif not run.abandoned and time.monotonic() - journal.grown_s > SILENT_S:
                journal.check_alive()
                journal.grown_s = time.monotonic()
                changed = changed or run.abandoned
        self.version += changed
        if settled and self._forget_old():
            self.poll()
        return changed

    def _run(self) -> None:
        while not self._stopped.wait(POLL_S):
            try:
                self.poll()
            except Exception:
                # A folder that is away for a moment must not end the page: it is looked at again.
                logger.exception("The data directory could not be followed")
                self._stopped.wait(1.0)

    def analysis(self, run: FollowedRun) -> FollowedRun | None:
        """Return the newest analysis of a run; None if there is none."""
        with self.lock:
            found = [
                journal.run
                for journal in self._journals.values()
                if journal.run.record.start.get("analysis_of") == run.uid
            ]
        return max(found, key=lambda one: one.began_s, default=None)

    def _look_for_journals(self) -> bool:
        """Take note of new journals; return whether there are any."""
        try:
            changed_ns = self.data.journal.stat().st_mtime_ns
        except OSError:
            return False
        if changed_ns == self._folder_changed_ns:
            return False
        self._folder_changed_ns = changed_ns
        paths = journals(self.data.journal)
        if not self._known:
            self._known.update(path.name for path in paths[: -self._recent])
        for path in paths:
            if path.name not in self._known:
                self._known.add(path.name)
                journal = _Journal(path, self.data.root)
                if path not in paths[-WHOLE:]:
                    journal.glance()
                with self.lock:
                    self._journals[path.name] = journal
        return True

    def _forget_old(self) -> bool:
        """Keep memory flat over a long campaign; return whether something is to be read again."""
        again = False
        with self.lock:
            for name in sorted(self._journals)[: -self._recent]:
                if not self._journals[name].run.open:
                    del self._journals[name]
            shown = {run.uid for run in self.lot(self._lot)}
            for name in sorted(self._journals)[:-WHOLE]:
                run = self._journals[name].run
                of_shown = run.uid in shown or run.record.start.get("analysis_of") in shown
                if run.whole and run.record.stop is not None and not of_shown:
                    self._journals[name].glance()
                elif of_shown and not run.whole:
                    self._journals[name] = _Journal(run.path, self.data.root)
                    again = True
        return again

    def _take(self, journal: _Journal, name: str, doc: Document) -> None:
        """Take a document; one that makes no sense ends the reading of its journal."""
        run = journal.run
        try:
            if name == "start":
                if run.record.start:
                    raise ValueError("a second start document")
                run.start_s = float(doc["time"])
            frames = run.record(name, doc)
            run.time_s = max(run.time_s, float(doc.get("time", 0.0)))
            if name == "descriptor":
                journal.streams[doc["uid"]] = str(doc["name"])
            elif name == "event" and journal.streams[doc["descriptor"]] == "progress":
                run.rows.append(dict(doc["data"]))
            if frames:
                run.newest, run.newest_wall_s = frames[-1], time.time()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            run.damaged = f"the journal of run {run.uid[:8]} holds a malformed {name}: {error!r}"
            logger.warning("%s", run.damaged)


def _ends(path: Path) -> tuple[tuple[str, Document], tuple[str, Document]]:
    """Return the first and the last document of a journal, without reading those between.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it has no two documents.
    """
    with path.open("rb") as file:
        first = file.readline(LONGEST_LINE)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(first), size - END_BYTES))
        last = file.read().splitlines(keepends=True)
    if not last or not last[-1].endswith(b"\n"):
        raise ValueError(f"{path} has no end")
    return decode(first), decode(last[-1])
