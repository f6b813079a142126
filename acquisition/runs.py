"""A run as its documents tell it: what was planned, and where each frame is.

Consumers key on `seq_num` and overwrite, never append: a pause may repeat an event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from .journal import Document, frame_numbers, journals, read_journal, uid_of

FRAMES_FOLDER = "frames"
"""Folder of a data directory that holds the frames."""


class RunNotFoundError(LookupError):
    """There is no such run in the data directory."""


@dataclass(frozen=True)
class FrameReference:
    """One event with the frame it speaks of.

    Attributes
    ----------
    stream, seq_num
        The event: its stream and its number in it.
    file, number
        The HDF5 file and the index of the frame in it.
    data
        The scalars of the event.
    time_s
        Instrument time of the event.
    """

    stream: str
    seq_num: int
    file: Path
    number: int
    data: dict[str, Any]
    time_s: float


@dataclass
class RunRecord:
    """Documents of one run, gathered as they come.

    Attributes
    ----------
    start, stop
        The documents; `stop` is None while the run goes on.
    frames
        For each stream, the frames by `seq_num`.
    root
        The data directory: where frames are looked for that are not where they were written.
    """

    start: Document = field(default_factory=dict[str, Any])
    stop: Document | None = None
    frames: dict[str, dict[int, FrameReference]] = field(
        default_factory=dict[str, dict[int, FrameReference]]
    )
    root: Path | None = None
    _streams: dict[str, str] = field(default_factory=dict[str, str])
    _files: dict[str, Path] = field(default_factory=dict[str, Path])
    _resources: dict[str, Document] = field(default_factory=dict[str, Document])
    _places: dict[tuple[str, int], tuple[Path, int]] = field(
        default_factory=dict[tuple[str, int], tuple[Path, int]]
    )
    _waiting: dict[tuple[str, int], Document] = field(
        default_factory=dict[tuple[str, int], Document]
    )

    def __call__(self, name: str, doc: Document) -> list[FrameReference]:
        """Take a document; return the events that now have their frame."""
        if name == "start":
            self.start = doc
        elif name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        elif name == "stream_resource":
            self._resources[doc["uid"]] = doc
        elif name == "stream_datum":
            return self._datum(doc)
        elif name == "event":
            return self._event(doc)
        elif name == "stop":
            self.stop = doc
        return []

    @property
    def uid(self) -> str:
        """Uid of the run."""
        return str(self.start["uid"])

    @property
    def plan_name(self) -> str:
        """Name of the plan that made the run."""
        return str(self.start.get("plan_name", ""))

    def stream(self, name: str) -> list[FrameReference]:
        """Return the frames of a stream in the order of their `seq_num`."""
        return [frame for _, frame in sorted(self.frames.get(name, {}).items())]

    def readings(self, name: str) -> list[dict[str, Any]]:
        """Return the scalars of a stream that has no frames, in the order of its `seq_num`."""
        found = [
            (key[1], doc) for key, doc in self._waiting.items() if self._streams[key[0]] == name
        ]
        return [doc["data"] for _, doc in sorted(found, key=lambda one: one[0])]

    def duration_s(self) -> float | None:
        """Return the instrument time from start to stop; None while the run goes on."""
        if self.stop is None:
            return None
        return float(self.stop["time"]) - float(self.start["time"])

    def _datum(self, doc: Document) -> list[FrameReference]:
        """Note where the frames of events are; a catalog says so after the events."""
        resource = self._resources[doc["stream_resource"]]
        if resource["uid"] not in self._files:
            self._files[resource["uid"]] = locate(str(resource["uri"]), self.root)
        file = self._files[resource["uid"]]
        first = int(doc["seq_nums"]["start"])
        found: list[FrameReference] = []
        for offset, number in enumerate(frame_numbers(resource, doc)):
            key = (doc["descriptor"], first + offset)
            self._places[key] = (file, number)
            if key in self._waiting:
                found.append(self._reference(key, self._waiting.pop(key)))
        return found

    def _event(self, doc: Document) -> list[FrameReference]:
        key = (doc["descriptor"], int(doc["seq_num"]))
        if key in self._places:
            return [self._reference(key, doc)]
        self._waiting[key] = doc
        return []

    def _reference(self, key: tuple[str, int], doc: Document) -> FrameReference:
        file, number = self._places[key]
        reference = FrameReference(
            stream=self._streams[key[0]],
            seq_num=key[1],
            file=file,
            number=number,
            data=doc["data"],
            time_s=float(doc["time"]),
        )
        self.frames.setdefault(reference.stream, {})[reference.seq_num] = reference
        return reference


def locate(uri: str, root: Path | None = None) -> Path:
    """Return the file that a document speaks of, also in a data directory that was moved.

    Parameters
    ----------
    uri
        ``file://localhost/data/frames/2026-11-23/scan.nxs``.
    root
        The data directory as it is now. A file that is not where the document says is looked
        for in the same place below its ``frames``.
    """
    path = Path(unquote(urlparse(uri).path))
    if root is None or FRAMES_FOLDER not in path.parts or path.exists():
        return path
    last = len(path.parts) - 1 - path.parts[::-1].index(FRAMES_FOLDER)
    moved = root.joinpath(*path.parts[last:])
    return moved if moved.exists() else path


def data_root(journal: Path) -> Path:
    """Return the data directory of a journal."""
    return journal.resolve().parent.parent


def is_analysis(journal: Path) -> bool:
    """Whether a journal tells of an analysis, not of a scan."""
    return "analysis_of" in next(read_journal(journal), ("", {}))[1]


def read_run(journal: Path) -> RunRecord:
    """Return the run that a journal tells of."""
    record = RunRecord(root=data_root(journal))
    for name, doc in read_journal(journal):
        record(name, doc)
    return record


def find_journal(journal_directory: Path, uid: str) -> Path:
    """Return the journal of a run.

    Parameters
    ----------
    journal_directory
        The folder of journals.
    uid
        Uid of the run or its beginning; `"-1"` is the newest scan.

    Raises
    ------
    RunNotFoundError
        If no run, or more than one, fits.
    """
    found = journals(journal_directory) if journal_directory.is_dir() else []
    if uid == "-1":
        for path in reversed(found):
            if not is_analysis(path):
                return path
    fitting = [path for path in found if uid_of(path).startswith(uid)]
    if len(fitting) != 1:
        what = "no run" if not fitting else f"{len(fitting)} runs"
        raise RunNotFoundError(
            f"{what} with uid {uid} in {journal_directory}; give more of the uid, or --data"
        )
    return fitting[0]
