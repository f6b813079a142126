"""The document journal: every Bluesky document on disk before anybody else sees it.

One file per run, one JSON line ``["event", {...}]`` per document, appended and never rewritten.
It is the only thing that happens on the RunEngine thread besides the scan itself; catalog, live
analysis and page read the journal from other processes and can die without losing anything.

A journal is locked (``flock``) as long as its run is open, so anybody can tell a run that goes on
from one whose process died: the operating system drops the lock of a dead process.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import orjson

Document = dict[str, Any]

SUFFIX = ".jsonl"
_SAFE_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_TAIL_BYTES = 1 << 16
_ORJSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_RUN_KEYS = {"descriptor": "run_start", "resource": "run_start", "stream_resource": "run_start"}
_PARENT_KEYS = {
    "event": "descriptor",
    "event_page": "descriptor",
    "stream_datum": "descriptor",
    "datum": "resource",
    "datum_page": "resource",
}


class JournalError(RuntimeError):
    """A document could not be written, or a journal is damaged."""


class DocumentJournal:
    """Write Bluesky documents to one append-only file per run.

    A callback for ``RE.subscribe``, to be subscribed first. It raises when a document cannot be
    written, which ends the run: data that are not on disk do not exist. Runs may be nested or
    interleaved. Each document is handed to the operating system before the call returns (it
    survives a crash of this process); the file is fsynced at the stop document.

    Parameters
    ----------
    directory : str or Path
        Folder of the journals, made if needed.

    Raises
    ------
    JournalError
        A document belongs to no open run, or cannot be written.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, _RunFile] = {}
        self._run_of: dict[str, str] = {}

    def __call__(self, name: str, doc: Document) -> None:
        """Append one document to the journal of its run."""
        if name == "start":
            uid = doc["uid"]
            if uid in self._open:
                raise JournalError(f"run {uid} was started twice")
            self._open[uid] = _RunFile(self.directory, doc)
            return
        uid = self._route(name, doc)
        file = self._open.get(uid)
        if file is None:
            raise JournalError(f"{name} document of a run that is not open: {uid}")
        file.write(name, doc)
        if name in ("descriptor", "resource"):
            self._run_of[doc["uid"]] = uid
        elif name == "stop":
            file.finish()
            del self._open[uid]
            self._run_of = {k: v for k, v in self._run_of.items() if v != uid}

    def path_of(self, uid: str) -> Path | None:
        """Journal of a run of this writer that is still open; None otherwise."""
        file = self._open.get(uid)
        return file.path if file else None

    def close(self) -> None:
        """Close journals of runs that never stopped; readers then see them as abandoned."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        self._run_of.clear()

    def _route(self, name: str, doc: Document) -> str:
        if name in _PARENT_KEYS:
            parent = doc[_PARENT_KEYS[name]]
            try:
                return self._run_of[parent]
            except KeyError:
                raise JournalError(f"{name} document refers to {parent}, never seen") from None
        if name in _RUN_KEYS or name == "stop":
            return doc["run_start"]
        raise JournalError(f"unknown kind of document {name!r}")


class _RunFile:
    """Append-only file of one open run."""

    def __init__(self, directory: Path, start: Document) -> None:
        uid = start["uid"]
        if not _SAFE_UID.fullmatch(uid):
            raise JournalError(f"run uid {uid!r} cannot be a file name")
        stamp = datetime.fromtimestamp(start["time"], UTC).strftime("%Y%m%dT%H%M%S.%f")
        self.path = directory / f"{stamp}_{uid}{SUFFIX}"
        # It gets its name once it is locked and begins with the start document, so that no
        # reader ever meets an empty journal, or one that looks abandoned.
        hidden = self.path.with_name(f".{self.path.name}")
        try:
            self._fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as error:
            raise JournalError(f"cannot create journal {hidden}: {error.strerror}") from error
        self._size = 0
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.write("start", start)
            os.rename(hidden, self.path)
        except BaseException:
            os.close(self._fd)
            hidden.unlink(missing_ok=True)
            raise

    def write(self, name: str, doc: Document) -> None:
        line = encode(name, doc)
        try:
            written = os.write(self._fd, line)
            while written < len(line):  # a signal, or the last free block
                written += os.write(self._fd, line[written:])
        except OSError as error:
            os.ftruncate(self._fd, self._size)  # no half line before the next document
            raise JournalError(f"cannot write journal {self.path}: {error.strerror}") from error
        self._size += len(line)

    def finish(self) -> None:
        try:
            os.fsync(self._fd)
            _fsync_directory(self.path.parent)
        except OSError as error:
            raise JournalError(f"cannot sync journal {self.path}: {error.strerror}") from error
        finally:
            self.close()

    def close(self) -> None:
        os.close(self._fd)


def encode(name: str, doc: Document) -> bytes:
    r"""One journal line of a document.

    Numpy values become JSON numbers and lists. Not-a-number and infinities, which JSON lacks,
    are written as Python's `json` writes them, so that nothing is lost.

    Examples
    --------
    >>> encode("event", {"data": {"x": np.float32(0.5)}})
    b'["event",{"data":{"x":0.5}}]\n'
    >>> encode("event", {"data": {"x": float("nan")}})
    b'["event",{"data":{"x":NaN}}]\n'
    """
    try:
        line = orjson.dumps([name, doc], default=_plain, option=_ORJSON | orjson.OPT_APPEND_NEWLINE)
        if b"null" not in line:
            return line
    except TypeError as error:
        try:
            return _encode_slowly(name, doc)
        except (TypeError, ValueError):
            raise JournalError(f"a {name} document cannot be written as JSON: {error}") from error
    # orjson writes null for not-a-number as well as for None: tell them apart.
    return _encode_slowly(name, doc)


def decode(line: bytes) -> tuple[str, Document]:
    """Name and document of one journal line.

    Raises
    ------
    ValueError
        It is no journal line.
    """
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            entry = json.loads(line)  # NaN and Infinity
        except RecursionError:
            raise ValueError("nested too deeply") from None
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], dict)):
        raise ValueError("not a journal line")
    return entry[0], entry[1]


def read_journal(path: str | Path) -> Iterator[tuple[str, Document]]:
    """Documents of a journal, in order; a last line that was cut by a crash is left out.

    Raises
    ------
    JournalError
        A line before the last is damaged.
    """
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield _decoded(path, number, line)


def follow_journal(
    path: str | Path, poll_s: float = 0.05, stop: Callable[[], bool] = lambda: False
) -> Iterator[tuple[str, Document]]:
    """Documents of a journal as they are written; ends after the stop document.

    Parameters
    ----------
    path : str or Path
        A journal, finished or growing.
    poll_s : float
        Pause between looks at the end of the file, seconds.
    stop : callable
        Looked at whenever there is nothing to read; True ends it early.

    Raises
    ------
    JournalError
        A line is damaged.
    """
    number = 0
    with Path(path).open("rb") as file:
        while True:
            begin = file.tell()
            line = file.readline()
            if line.endswith(b"\n"):
                number += 1
                name, doc = _decoded(path, number, line)
                yield name, doc
                if name == "stop":
                    return
                continue
            file.seek(begin)  # half a line, or none: it is still being written
            if stop():
                return
            time.sleep(poll_s)


def journals(directory: str | Path) -> list[Path]:
    """All journals of a folder, in the order in which their runs were started."""
    with os.scandir(directory) as entries:
        names = [e.name for e in entries if e.name.endswith(SUFFIX) and e.name[0] != "."]
    return [Path(directory, name) for name in sorted(names)]


def uid_of(path: str | Path) -> str:
    """Run uid of a journal, from its name.

    Examples
    --------
    >>> uid_of("20261122T101500.250000_0b7a-11.jsonl")
    '0b7a-11'
    """
    return Path(path).name.removesuffix(SUFFIX).split("_", 1)[1]


def is_finished(path: str | Path) -> bool:
    """Whether a journal ends with its stop document (only the end of the file is read)."""
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    lines = tail.splitlines(keepends=True)
    return bool(lines) and lines[-1].startswith(b'["stop"') and lines[-1].endswith(b"\n")


def is_abandoned(path: str | Path) -> bool:
    """Whether the process that wrote a journal died before it was finished; writes nothing.

    Works on this computer and on file systems that share locks between computers (NFS 4).
    """
    if is_finished(path):
        return False
    with Path(path).open("rb") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
    return not is_finished(path)  # it may have been finished in between


def close_abandoned(path: str | Path) -> bool:
    """Append a stop document to a journal whose process died; False if there is nothing to do.

    The run ends with ``exit_status`` "fail" and the time of its last document. Half a line left by
    the crash is cut off. A journal that is still being written is not touched.
    """
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if is_finished(path):
            return False
        stop = _missing_stop(path)
        os.ftruncate(fd, _complete_bytes(path))
        os.write(fd, encode("stop", stop))
        os.fsync(fd)
        return True
    finally:
        os.close(fd)


def _missing_stop(path: str | Path) -> Document:
    """Stop document for a journal that lacks one, from the documents that are there."""
    last_s, run, events, streams = 0.0, "", dict[str, int](), dict[str, str]()
    for name, doc in read_journal(path):
        last_s = max(last_s, float(np.max(doc.get("time", last_s))))  # a list in event pages
        if name == "start":
            run = doc["uid"]
        elif name == "descriptor":
            streams[doc["uid"]] = doc["name"]
            events.setdefault(doc["name"], 0)
        elif name in ("event", "event_page"):
            stream = streams[doc["descriptor"]]
            events[stream] = max(events[stream], int(np.max(doc["seq_num"])))
    return {
        "uid": str(uuid.uuid4()),
        "run_start": run,
        "time": last_s,
        "exit_status": "fail",
        "reason": "the process that took this run ended without closing it",
        "num_events": events,
    }


def frame_numbers(stream_resource: Document, stream_datum: Document) -> list[int]:
    """Frames in the file that a ``stream_datum`` stands for.

    A ``stream_resource`` may be a view of its dataset (parameter ``slice``: ``"15:"``,
    ``"15:156"`` or a list of frame numbers); indices of a ``stream_datum`` count in that view.

    Parameters
    ----------
    stream_resource, stream_datum : dict
        The two documents.

    Returns
    -------
    list of int
        Frame numbers in the dataset.

    Examples
    --------
    >>> resource = {"parameters": {"slice": "15:"}}
    >>> frame_numbers(resource, {"indices": {"start": 0, "stop": 2}})
    [15, 16]
    """
    indices = range(stream_datum["indices"]["start"], stream_datum["indices"]["stop"])
    view = stream_resource["parameters"].get("slice") or "0:"
    if isinstance(view, str):
        first = int(view.split(",", 1)[0].split(":", 1)[0] or 0)
        return [first + i for i in indices]
    return [int(view[i]) for i in indices]


def _decoded(path: str | Path, number: int, line: bytes) -> tuple[str, Document]:
    try:
        return decode(line)
    except ValueError as error:
        raise JournalError(f"{path}: line {number} is damaged ({error})") from error


def _complete_bytes(path: str | Path) -> int:
    """Bytes up to the end of the last complete line."""
    with Path(path).open("rb") as file:
        return sum(len(line) for line in file if line.endswith(b"\n"))


def _encode_slowly(name: str, doc: Document) -> bytes:
    return json.dumps([name, doc], default=_plainer, separators=(",", ":")).encode() + b"\n"


def _plainer(value: Any) -> Any:
    """JSON equivalent of what Python's encoder does not know but orjson does (dates, ...)."""
    try:
        return _plain(value)
    except TypeError:
        return orjson.loads(orjson.dumps(value, default=_plain, option=_ORJSON))


def _plain(value: Any) -> Any:
    """JSON equivalent of what orjson does not know."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _fsync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
