"""A short form of the kill matrix (benchmarks/kill_matrix.py): no acknowledged frame is lost."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from zoneplate.acquisition import open_scan
from zoneplate.acquisition.cli import main
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import DocumentJournal, _RunFile, encode, journals, read_journal
from zoneplate.acquisition.recovery import Recovery, recover
from zoneplate.acquisition.runs import read_run
from zoneplate.devices.frame_documents import DATA_PATH
from zoneplate.simulators.frame_file import FrameFile, FrameRecord

UID = "00000000-dead-beef-0000-000000000001"
EVENTS = 12
SHAPE = (24, 32)
EPOCH_S = 1_800_000_000.0


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def frame(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(0, 60_000, SHAPE, dtype=np.uint16)


class KillsWhenRead:
    """Pixels that end the process when HDF5 asks for them."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        kill()


@dataclass
class Crash:
    """Where the scanning process kills itself: documents and frames count from 1."""

    at_document: int = 0
    how: str = "before"
    at_frame: int = 0
    frame_how: str = "documents"
    documents: int = field(default=0, init=False)
    frames: int = field(default=0, init=False)

    def install(self) -> None:
        write, append = _RunFile.write, FrameFile.append

        def writing(file: _RunFile, name: str, doc: dict[str, Any]) -> None:
            self.documents += 1
            if self.documents == self.at_document:
                line = encode(name, doc)
                if self.how == "half":
                    os.write(file._fd, line[: len(line) // 2])
                elif self.how == "after":
                    write(file, name, doc)
                kill()
            write(file, name, doc)

        def appending(file: FrameFile, pixels: Any, record: FrameRecord) -> int:
            self.frames += 1
            if self.frames == self.at_frame and self.frame_how == "pixels":
                pixels = KillsWhenRead()  # everything about the frame is written, but no pixels
            number = append(file, pixels, record)
            if self.frames == self.at_frame:
                kill()
            return number

        _RunFile.write, FrameFile.append = writing, appending


def scan(data: DataDirectory, acknowledged: Path, crash: Crash) -> None:
    """What a camera and a RunEngine do, in the same order, in a process of its own."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        crash.install()
        acquire(data, acknowledged)
    finally:
        kill()  # whatever happens: a forked test process must never go on


def acquire(data: DataDirectory, acknowledged: Path) -> None:
    path = data.frames / "2027" / "scan.nxs"
    path.parent.mkdir()
    journal = DocumentJournal(data.journal)
    journal("start", {"uid": UID, "time": EPOCH_S, "plan_name": "tomography"})
    file = FrameFile(
        path,
        SHAPE,
        pixel_um=0.5,
        energy_kev=5.4,
        sample_name="s",
        instrument_name="i",
        start_s=EPOCH_S,
    )
    stream = {"uid": "d", "run_start": UID, "name": "primary", "time": EPOCH_S, "data_keys": {}}
    journal("descriptor", stream)
    resource = {"uid": "r", "run_start": UID, "uri": f"file://localhost{path}"}
    journal("stream_resource", resource | {"data_key": "image", "parameters": {}})
    log = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for k in range(EVENTS):
        file.append(frame(k), FrameRecord(0, 7.0 * k, 0, 0, 0, 1.0, EPOCH_S + k, k))
        datum = {"uid": f"s{k}", "descriptor": "d", "stream_resource": "r"}
        datum |= {"indices": {"start": k, "stop": k + 1}}
        journal("stream_datum", datum | {"seq_nums": {"start": k + 1, "stop": k + 2}})
        event = {"uid": f"e{k}", "descriptor": "d", "seq_num": k + 1, "time": EPOCH_S + k}
        journal("event", event | {"data": {"stage_theta": 7.0 * k}})
        os.write(log, f"{k}\n".encode())
    file.close()
    stop = {"uid": "t", "run_start": UID, "time": EPOCH_S + 99, "exit_status": "success"}
    journal("stop", stop | {"num_events": {"primary": EVENTS}})


@dataclass
class Bench:
    data: DataDirectory
    acknowledged: Path

    @property
    def frames(self) -> Path:
        return self.data.frames / "2027" / "scan.nxs"

    @property
    def journal(self) -> Path:
        (path,) = journals(self.data.journal)
        return path

    def crash(self, crash: Crash | None = None) -> None:
        scan(self.data, self.acknowledged, crash or Crash())

    def expect_nothing_lost(self, found: Recovery, *, but_events: bool = False) -> None:
        """Every acknowledged frame is readable by anybody; its event is there too."""
        numbers = self.acknowledged.read_text().split() if self.acknowledged.exists() else []
        acked = [int(number) for number in numbers]
        record = read_run(self.journal)
        assert record.stop is not None
        seen = {one.seq_num - 1: one for one in record.stream("primary")}
        if not but_events:
            assert set(acked) <= set(seen)
            assert not found.missing
        if not acked:
            return
        with h5py.File(self.frames, "r") as file:  # as other people open it
            for k in acked:
                pixels = np.asarray(file[DATA_PATH][k])  # type: ignore[index]
                assert zlib.crc32(pixels.tobytes()) == zlib.crc32(frame(k).tobytes())
        with open_scan(self.frames) as stored:
            assert len(stored.projections) >= len(acked)
            assert not stored.metadata["unfinished"]
        again = recover(self.data)
        assert (again.whole, again.runs) == (1, [])  # once is enough


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    data = DataDirectory(tmp_path / "data")
    data.create()
    return Bench(data, tmp_path / "acknowledged")


LAST = 3 + 2 * EVENTS + 1
POINTS = [
    *[Crash(at_document=n, how=how) for n in (2, 3, 5, 6, 17, LAST) for how in ("before", "half")],
    *[Crash(at_document=n, how="after") for n in (1, 4, 5, LAST)],
    *[Crash(at_frame=n, frame_how=how) for n in (1, 2, EVENTS) for how in ("pixels", "documents")],
]


def name_of(crash: Crash) -> str:
    if crash.at_frame:
        return f"frame{crash.at_frame}-before-{crash.frame_how}"
    return f"document{crash.at_document}-{crash.how}"


@pytest.mark.parametrize("crash", POINTS, ids=name_of)
def test_killed_scan_keeps_every_acknowledged_frame(bench: Bench, crash: Crash) -> None:
    bench.crash(crash)
    found = recover(bench.data)
    assert not found.going_on
    bench.expect_nothing_lost(found)


@pytest.mark.parametrize("how", ["before", "half"])
def test_run_that_died_before_its_name_is_adopted_or_removed(bench: Bench, how: str) -> None:
    bench.crash(Crash(at_document=1, how=how))
    found = recover(bench.data)
    assert journals(bench.data.journal) == []
    assert len(found.notes) == 1
    hidden = list(bench.data.journal.glob(".*"))
    assert hidden == []


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:-size]


def zeros(size: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:-size] + bytes(size)


def hole(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(512) + content[middle + 512 :]


@pytest.mark.parametrize(
    ("damage", "events_lost"),
    [(cut(1), 0), (cut(40), 0), (cut(512), 2), (zeros(1), 0), (zeros(512), 2), (hole, 4)],
    ids=["cut1", "cut40", "cut512", "zeros1", "zeros512", "hole512"],
)
def test_journal_after_a_power_cut_keeps_what_can_be_read(
    bench: Bench, damage: Callable[[bytes], bytes], events_lost: int
) -> None:
    bench.crash()
    bench.journal.write_bytes(damage(bench.journal.read_bytes()))
    found = recover(bench.data)
    bench.expect_nothing_lost(found, but_events=True)
    events = [doc for name, doc in read_journal(bench.journal) if name == "event"]
    assert EVENTS - events_lost <= len(events) <= EVENTS
    (run,) = found.runs
    assert run.done
    if len(events) < EVENTS:  # the report says where the frames without events are
        assert any("more frames are in scan.nxs" in one for one in run.done) or run.missing


@pytest.mark.parametrize("size", [1, 4096, 3 * SHAPE[0] * SHAPE[1] * 2])
def test_frames_whose_pixels_never_reached_the_disk_are_said(bench: Bench, size: int) -> None:
    bench.crash(Crash(at_document=LAST))
    with h5py.File(bench.frames, "r") as file:
        ends = [
            info.byte_offset + info.size
            for info in map(file[DATA_PATH].id.get_chunk_info, range(EVENTS))  # type: ignore
        ]
    length = max(ends) - size
    os.truncate(bench.frames, length)
    gone = [k for k, end in enumerate(ends) if end > length]
    found = recover(bench.data)
    said = [one for one in found.missing if "the pixels of primary" in one]
    assert [int(one.split()[-1]) - 1 for one in said] == gone
    with open_scan(bench.frames) as stored:
        kept = [k for k in range(EVENTS) if k not in gone]
        np.testing.assert_array_equal(stored.projections, [frame(k) for k in kept])
        np.testing.assert_allclose(stored.angles_deg, [7.0 * k for k in kept])
        assert stored.invalid == len(gone)
    assert bench.frames.with_name("scan.nxs.damaged").stat().st_size == length
    assert recover(bench.data).runs == []


def test_run_that_goes_on_is_left_alone(bench: Bench) -> None:
    bench.crash(Crash(at_document=9))
    with bench.journal.open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        before = bench.journal.read_bytes()
        found = recover(bench.data)
        assert found.going_on == [UID]
        assert bench.journal.read_bytes() == before


def test_frames_in_no_journal_are_named_and_readable(bench: Bench) -> None:
    bench.crash(Crash(at_frame=5))
    bench.journal.unlink()
    found = recover(bench.data)
    assert any("is in no journal; 5 frames" in note for note in found.notes)
    with open_scan(bench.frames) as stored:
        assert len(stored.projections) == 5
        assert not stored.metadata["unfinished"]


def test_command_says_what_is_missing_and_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.crash(Crash(at_document=LAST))
    os.truncate(bench.frames, bench.frames.stat().st_size - 1000)
    command = ["zoneplate", "recover", "--data", str(bench.data.root), "--no-enter"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert f"run {UID[:8]} tomography ({EVENTS} primary)" in shown
    assert f"MISSING the pixels of primary {EVENTS}" in shown
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "1 runs needed nothing" in capsys.readouterr().out


def test_file_held_open_by_a_writer_is_not_touched(bench: Bench) -> None:
    bench.crash(Crash(at_document=9))
    with bench.frames.open("r+b"):
        found = recover(bench.data)
        assert any(f"process {os.getpid()} has it open" in one for one in found.missing)
    bench.expect_nothing_lost(recover(bench.data))


def test_result_cut_short_is_removed(bench: Bench) -> None:
    bench.crash()
    folder = bench.data.result_of(UID)
    folder.mkdir()
    (folder / "volume.h5.part").write_bytes(b"half")
    (folder / "volume.h5").write_bytes(b"\x89HDF")
    found = recover(bench.data)
    assert list(folder.iterdir()) == []
    assert any(f"zoneplate reanalyze uid={UID}" in note for note in found.notes)


def test_recovering_many_whole_runs_is_quick(bench: Bench) -> None:
    journal = DocumentJournal(bench.data.journal)
    for k in range(200):
        uid = f"00000000-0000-0000-0000-{k:012d}"
        journal("start", {"uid": uid, "time": EPOCH_S + k})
        journal("stop", {"uid": f"s{k}", "run_start": uid, "time": EPOCH_S + k})
    began = time.monotonic()
    assert recover(bench.data).whole == 200
    assert time.monotonic() - began < 2.0


def test_data_directory_that_was_moved_is_still_whole(bench: Bench, tmp_path: Path) -> None:
    bench.crash(Crash(at_document=LAST))
    archive = DataDirectory(tmp_path / "archive")
    bench.data.root.rename(archive.root)
    found = recover(archive)
    assert not found.missing
    assert found.notes == []  # no file counts as belonging to nobody
    record = read_run(journals(archive.journal)[0])
    files = {one.file for one in record.stream("primary")}
    assert files == {archive.frames / "2027" / "scan.nxs"}
