"""Page and analysis elsewhere: late, restarted and slow readers know what the journals say."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from zoneplate.acquisition import Session, open_session
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import DocumentJournal, journals, read_journal
from zoneplate.acquisition.live_pictures import SLICES
from zoneplate.acquisition.live_worker import LiveWorker
from zoneplate.acquisition.page.board import Board
from zoneplate.acquisition.page.facts import read_results
from zoneplate.acquisition.page.follower import Follower
from zoneplate.acquisition.results import load_tomogram_result
from zoneplate.plans import tomography
from zoneplate.simulators import Particle, Specimen, Void

NMC = "LiNi0.6Mn0.2Co0.2O2@4.77"
SPECIMEN = Specimen(
    particles=(
        Particle(
            "a", (0, 0, 4), (5, 5, 4), material=NMC, voids=(Void("v", (0, 0, 4), (1.8, 1.8, 1.8)),)
        ),
        Particle("b", (14, -9, 4), (4, 4, 4), material=NMC),
    ),
    name="two particles",
)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, str]]:
    folder = tmp_path_factory.mktemp("followed")
    with open_session("simulated", specimen=SPECIMEN, data_dir=folder, live=False) as session:
        plan = tomography(
            session.microscope, center_um=(0, 0, 4), projections=25, dark_frames=1, flat_frames=3
        )
        (uid,) = session.RE(plan)
        yield session, uid


def catch_up(data: DataDirectory, seconds: float, kill_at: int | None = None) -> LiveWorker:
    worker = LiveWorker(data, catch_up=True)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    folder = next(data.results.glob("*/"), None)
    while time.monotonic() < deadline:
        folder = next(data.results.glob("*/"), folder)
        if kill_at is not None and folder is not None and (folder / "live" / SLICES).exists():
            break
        if (
            folder is not None
            and (folder / "volume.h5").exists()
            and not (folder / "live").exists()
        ):
            break
        time.sleep(0.02)
    worker.stopped.set()
    thread.join(60)
    return worker


@pytest.mark.long
def test_analysis_that_was_stopped_catches_up(scanned, tmp_path):
    session, uid = scanned
    catch_up(session.data, 120)
    found = load_tomogram_result(session.data.result_of(uid))
    assert found is not None
    assert found.facts["projections"] == 25
    moved = DataDirectory(tmp_path / "mounted elsewhere")
    session.data.root.rename(moved.root)  # frames are where the folder is now
    try:
        (moved.result_of(uid) / "volume.h5").unlink()
        catch_up(moved, 120)
        again = load_tomogram_result(moved.result_of(uid))
        assert again is not None
        assert np.array_equal(again.volume, found.volume)
        before = (moved.result_of(uid) / "volume.h5").stat().st_mtime_ns
        catch_up(moved, 1)
        assert (moved.result_of(uid) / "volume.h5").stat().st_mtime_ns == before
    finally:
        moved.root.rename(session.data.root)


def test_scan_broken_off_before_its_first_frame_is_no_failure_of_the_analysis(
    scanned, tmp_path, caplog
):
    session, uid = scanned
    (source,) = [p for p in journals(session.data.journal) if uid in p.name]
    lines = source.read_bytes().splitlines(keepends=True)
    stop = json.loads(lines[-1])
    stop[1] |= {"exit_status": "abort", "reason": "the shutter is stuck"}
    data = DataDirectory(tmp_path)
    data.create()
    (data.journal / source.name).write_bytes(lines[0] + json.dumps(stop).encode() + b"\n")
    worker = LiveWorker(data, catch_up=True)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not ("broken off" in caplog.text and len(journals(data.journal)) == 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker.stopped.set()
    thread.join(60)
    assert "projections or flats are missing" in caplog.text
    assert not any(entry.exc_info for entry in caplog.records)
    (made,) = [path for path in journals(data.journal) if path.name != source.name]
    *_, (name, derived) = read_journal(made)
    assert (name, derived["exit_status"]) == ("stop", "fail")


def test_follower_that_starts_late_knows_the_same(scanned, tmp_path):
    session, uid = scanned
    (source,) = [p for p in journals(session.data.journal) if uid in p.name]
    data = DataDirectory(tmp_path)
    data.create()
    early, copy = Follower(data), data.journal / source.name
    with copy.open("wb", buffering=0) as file:
        for line in source.read_bytes().splitlines(keepends=True):
            file.write(line[:7])  # a reader may come in the middle of a line
            early.poll()
            file.write(line[7:])
            early.poll()
    late = Follower(data)
    late.poll()
    (one,), (other,) = early.runs(), late.runs()
    assert one.projections == other.projections == 25
    assert one.record.frames == other.record.frames
    assert one.record.stop == other.record.stop is not None


def test_scan_that_died_is_given_up(tmp_path):
    data = DataDirectory(tmp_path)
    data.create()
    journal = DocumentJournal(data.journal)
    journal("start", {"uid": "dead-1", "time": 1.8e9, "plan_name": "mosaic", "sample": "x"})
    board = Board(data)
    board.follower.poll()
    for one in board.follower._journals.values():
        one.grown_s -= 100
    board.follower.poll()
    assert board.follower.runs()[0].open
    journal.close()  # what the operating system does for a process that dies
    for one in board.follower._journals.values():
        one.grown_s -= 100
    board.follower.poll()
    board.draw()
    assert not board.follower.runs()[0].open
    assert "ended without closing it" in board.cards["status"]


def test_page_reads_and_writes_nothing(scanned):
    session, _ = scanned
    before = {path: path.stat().st_mtime_ns for path in session.data.root.rglob("*")}
    board = Board(session.data)
    board.follower.poll()
    board.draw()
    assert "Projection 25 of 25" in board.cards["radiograph"]
    assert {path: path.stat().st_mtime_ns for path in session.data.root.rglob("*")} == before


def test_memory_of_a_follower_is_bounded(tmp_path):
    data = DataDirectory(tmp_path)
    data.create()
    follower = Follower(data, recent=5)
    journal = DocumentJournal(data.journal)
    for number in range(20):
        uid = f"run-{number:03d}"
        journal("start", {"uid": uid, "time": 1.8e9 + number, "plan_name": "mosaic"})
        stop = {"uid": f"s{number}", "run_start": uid, "time": 1.8e9 + number}
        journal("stop", {**stop, "exit_status": "success"})
        follower.poll()
    assert [run.uid for run in follower.runs()] == [f"run-{n:03d}" for n in range(15, 20)]


def test_of_old_runs_only_begin_and_end_are_kept(scanned, tmp_path, monkeypatch):
    monkeypatch.setattr("zoneplate.acquisition.page.follower.WHOLE", 2)
    session, uid = scanned
    (source,) = [p for p in journals(session.data.journal) if uid in p.name]
    data = DataDirectory(tmp_path)
    data.create()
    follower, asked = Follower(data), Board(data, lot="run-1")
    for number in range(6):
        copy = data.journal / f"20261127T10000{number}.000000_run-{number}.jsonl"
        copy.write_bytes(source.read_bytes().replace(uid.encode(), f"run-{number}".encode()))
        follower.poll()
    late = Follower(data)
    for one in (follower, late, asked.follower):
        one.poll()
        runs = one.runs()
        assert {run.uid for run in runs} == {f"run-{n}" for n in range(6)}
        assert all(run.record.stop is not None for run in runs)
        held = {run.uid for run in runs if run.record.frames}
        assert held == ({"run-1"} if one is asked.follower else set()) | {"run-4", "run-5"}
    asked.draw()
    assert "Projection 25 of 25" in asked.cards["radiograph"]


def test_results_of_a_lot_that_cannot_be_read_are_none(tmp_path):
    data = DataDirectory(tmp_path)
    folder = data.result_of("lot")
    folder.mkdir(parents=True)
    for content in (b"{", b"[]", b"\xff"):
        (folder / "results.json").write_bytes(content)
        assert read_results(data, "lot") is None


def test_verdict_stands_beside_the_counts(scanned):
    session, uid = scanned
    folder = session.data.result_of(uid)
    folder.mkdir(exist_ok=True)
    frequency = {"n": 20, "k": 5, "value": 0.25, "low": 0.1, "high": 0.5}
    limit = {"name": "void_frequency", "acceptable": 0.3, "rejectable": 0.6}
    verdict = {"decision": "accept", "why": "few <voids>", "limits": [limit]}
    (folder / "results.json").write_text(
        json.dumps({"void_frequency": frequency, "verdict": verdict, "warnings": []})
    )
    board = Board(session.data)
    board.follower.poll()
    board.draw()
    (folder / "results.json").unlink()
    assert "<b>accept</b> few &lt;voids&gt;" in board.cards["counts"]
    assert 'class="level rejectable" style="left:60.0%"' in board.cards["counts"]
    assert 'data-particles="20" data-with-voids="5"' in board.cards["counts"]
