"""Documents are on disk before anybody else sees them, and stay readable whatever happens."""

from __future__ import annotations

import errno
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from ophyd.sim import det, motor

from zoneplate.acquisition.journal import (
    DocumentJournal,
    JournalError,
    close_abandoned,
    follow_journal,
    frame_numbers,
    is_finished,
    journals,
    read_journal,
    uid_of,
)

COST_PER_DOCUMENT_S = 0.3e-3
Documents = list[tuple[str, dict[str, Any]]]


def run_documents(uid: str, time_s: float = 0.0, events: int = 3) -> Documents:
    """A run with one stream and a file of frames."""
    documents: Documents = [
        ("start", {"uid": uid, "time": time_s}),
        ("descriptor", {"uid": f"d-{uid}", "run_start": uid, "name": "primary", "time": time_s}),
        ("stream_resource", {"uid": f"r-{uid}", "run_start": uid, "parameters": {}}),
    ]
    for k in range(1, events + 1):
        datum = {"uid": f"s{k}", "descriptor": f"d-{uid}", "stream_resource": f"r-{uid}"}
        event = {"uid": f"e{k}", "descriptor": f"d-{uid}", "seq_num": k, "time": time_s + k}
        documents += [("stream_datum", datum), ("event", event | {"data": {"x": 0.5 * k}})]
    documents.append(("stop", {"uid": f"stop-{uid}", "run_start": uid, "time": time_s + 9}))
    return documents


def test_interleaved_runs_go_to_their_own_files_sorted_by_start(tmp_path: Path) -> None:
    later, earlier = run_documents("b", 2000.0), run_documents("a", 1000.25)
    journal = DocumentJournal(tmp_path)
    for one, other in zip(later, earlier, strict=True):
        journal(*one)
        journal(*other)
    assert [uid_of(path) for path in journals(tmp_path)] == ["a", "b"]
    assert journals(tmp_path)[0].name == "19700101T001640.250000_a.jsonl"
    assert list(read_journal(journals(tmp_path)[0])) == earlier
    assert list(read_journal(journals(tmp_path)[1])) == later


def test_real_scan_is_journalled_whole(tmp_path: Path) -> None:
    RE, seen = RunEngine(context_managers=[]), []  # type: ignore[var-annotated]
    RE.subscribe(DocumentJournal(tmp_path))
    RE.subscribe(lambda name, doc: seen.append((name, doc["uid"])))
    RE(bp.scan([det], motor, -1, 1, 5))
    (path,) = journals(tmp_path)
    assert [(name, doc["uid"]) for name, doc in read_journal(path)] == seen
    assert is_finished(path)


def test_values_of_every_kind_come_back(tmp_path: Path) -> None:
    start = {
        "uid": "u",
        "time": 0.0,
        "scalar": np.float32(0.25),
        "count": np.int64(7),
        "angles": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "reversed": np.arange(3)[::-1],
        "nothing": None,
        "nan": float("nan"),
        "infinite": -math.inf,
        "path": Path("a/b"),
        "pair": (1, 2),
        1: "a key that is no string",
    }
    DocumentJournal(tmp_path)("start", start)
    ((_, back),) = read_journal(journals(tmp_path)[0])
    assert math.isnan(back.pop("nan"))
    assert back == {
        "uid": "u",
        "time": 0.0,
        "scalar": 0.25,
        "count": 7,
        "angles": [[1.0, 2.0], [3.0, 4.0]],
        "reversed": [2, 1, 0],
        "nothing": None,
        "infinite": -math.inf,
        "path": "a/b",
        "pair": [1, 2],
        "1": "a key that is no string",
    }


def test_half_written_last_line_is_left_out(tmp_path: Path) -> None:
    documents = run_documents("u")
    journal = DocumentJournal(tmp_path)
    for document in documents[:-1]:
        journal(*document)
    (path,) = journals(tmp_path)
    with path.open("ab") as file:
        file.write(b'["stop",{"uid":"st')
    assert list(read_journal(path)) == documents[:-1]
    assert not is_finished(path)


def test_damage_before_the_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "19700101T000000.000000_u.jsonl"
    path.write_bytes(b'["start",{"uid":"u"}]\n["eve\n["stop",{}]\n')
    with pytest.raises(JournalError, match="line 2 is damaged"):
        list(read_journal(path))


def test_follower_gets_every_document_and_ends_after_stop(tmp_path: Path) -> None:
    documents, seen = run_documents("u", events=50), []  # type: ignore[var-annotated]
    journal = DocumentJournal(tmp_path)
    journal(*documents[0])
    (path,) = journals(tmp_path)

    def follow() -> None:
        seen.extend(follow_journal(path, poll_s=0.001))

    thread = threading.Thread(target=follow)
    thread.start()
    for document in documents[1:]:
        journal(*document)
        time.sleep(0.0005)
    thread.join(10)
    assert not thread.is_alive()
    assert seen == documents


def test_follower_waits_for_the_rest_of_a_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "19700101T000000.000000_u.jsonl"
    path.write_bytes(b'["start",{"uid":"u"}]\n["stop",{"run')

    def write_the_rest() -> bool:
        with path.open("ab") as file:
            file.write(b'_start":"u"}]\n')
        return False

    documents = list(follow_journal(path, poll_s=0.0, stop=write_the_rest))
    assert documents == [("start", {"uid": "u"}), ("stop", {"run_start": "u"})]


def test_follower_of_a_run_that_never_stops_can_be_ended(tmp_path: Path) -> None:
    documents = run_documents("u")
    journal = DocumentJournal(tmp_path)
    for document in documents[:-1]:
        journal(*document)
    (path,) = journals(tmp_path)
    assert list(follow_journal(path, poll_s=0.001, stop=lambda: True)) == documents[:-1]


def test_full_disk_raises_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = run_documents("u")
    journal = DocumentJournal(tmp_path)
    for document in documents[:4]:
        journal(*document)
    write, calls = os.write, []

    def full(fd: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:10])  # some bytes go in before the disk is full

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(JournalError, match="No space left on device"):
            journal(*documents[4])
    for document in documents[4:]:  # the disk has room again
        journal(*document)
    assert list(read_journal(journals(tmp_path)[0])) == documents


def test_run_ends_when_its_documents_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RE, journal = RunEngine(context_managers=[]), DocumentJournal(tmp_path)
    RE.subscribe(journal)
    write, events = os.write, []

    def full(fd: int, data: bytes) -> int:
        if data.startswith(b'["event"'):
            events.append(data)
            if len(events) > 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(JournalError):
        RE(bp.count([det], 10))
    names = [name for name, _ in read_journal(journals(tmp_path)[0])]
    assert names == ["start", "descriptor", "event", "event", "stop"]


@pytest.mark.parametrize(
    ("name", "doc", "message"),
    [
        ("event", {"descriptor": "x"}, "refers to x, never seen"),
        ("stream_datum", {"descriptor": "x"}, "refers to x, never seen"),
        ("stop", {"run_start": "x"}, "not open: x"),
        ("start", {"uid": "../../etc/passwd", "time": 0.0}, "cannot be a file name"),
        ("telegram", {}, "unknown kind"),
    ],
)
def test_documents_of_no_open_run_are_refused(
    tmp_path: Path, name: str, doc: dict[str, Any], message: str
) -> None:
    with pytest.raises(JournalError, match=message):
        DocumentJournal(tmp_path)(name, doc)


def test_values_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be written as JSON"):
        DocumentJournal(tmp_path)("start", {"uid": "u", "time": 0.0, "device": object()})
    assert journals(tmp_path) == []


def test_run_of_a_killed_process_is_closed_but_a_living_one_is_not(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_journal import DocumentJournal, run_documents
journal = DocumentJournal({str(tmp_path)!r})
for document in run_documents("dead", 5.0)[:-2]:
    journal(*document)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -9
    living = DocumentJournal(tmp_path)
    for document in run_documents("living", 100.0)[:-1]:
        living(*document)
    dead, alive = journals(tmp_path)
    with dead.open("ab") as file:
        file.write(b'["event",{"half')

    assert close_abandoned(dead)
    assert not close_abandoned(dead)  # once is enough
    assert not close_abandoned(alive)
    name, stop = list(read_journal(dead))[-1]
    assert (name, stop["run_start"], stop["exit_status"]) == ("stop", "dead", "fail")
    assert stop["num_events"] == {"primary": 2}
    assert stop["time"] == 7.0
    living(*run_documents("living", 100.0)[-1])
    assert is_finished(alive)


def test_a_document_costs_less_than_a_third_of_a_millisecond(tmp_path: Path) -> None:
    journal, costs = DocumentJournal(tmp_path), []
    data = {f"motor_{k}": 0.1 * k for k in range(40)}
    for name, doc in run_documents("u", events=500):
        full = doc | {"data": data, "timestamps": data} if name == "event" else doc
        began = time.perf_counter()
        journal(name, full)
        costs.append(time.perf_counter() - began)
    assert statistics.median(costs) < COST_PER_DOCUMENT_S


def test_two_runs_of_one_plan_have_a_journal_each(tmp_path: Path) -> None:
    RE = RunEngine(context_managers=[])
    RE.subscribe(DocumentJournal(tmp_path))

    def two_runs() -> Any:
        yield from bps.open_run()
        yield from bps.trigger_and_read([det])
        yield from bps.close_run()
        yield from bp.count([det], 2)

    uids = RE(two_runs())
    assert [uid_of(path) for path in journals(tmp_path)] == list(uids)


@pytest.mark.parametrize(
    ("view", "indices", "frames"),
    [
        (None, (2, 4), [2, 3]),
        ("15:", (0, 2), [15, 16]),
        ("15:156", (3, 4), [18]),
        (":,0:8,0:6", (1, 2), [1]),
        ([4, 9, 10], (1, 3), [9, 10]),
    ],
)
def test_frame_numbers_of_a_view(view: Any, indices: tuple[int, int], frames: list[int]) -> None:
    resource = {"parameters": {"slice": view} if view else {}}
    datum = {"indices": {"start": indices[0], "stop": indices[1]}}
    assert frame_numbers(resource, datum) == frames
