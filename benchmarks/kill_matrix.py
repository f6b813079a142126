"""The kill matrix: every process killed in turn, full disks, power cuts; what was lost?

    python benchmarks/kill_matrix.py [--only PATTERN]

Each line is a kill point: a real session scans in a process of its own and notes, after each
event, the checksum of the pixels (that frame is acknowledged); then something is killed with
SIGKILL, or the disk is full, or the end of a file is cut off; then `recover` runs. Counted are
acknowledged frames that cannot be read back with the same checksum and are not said to be
missing (lost), and those that the report names as missing (said).
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from zoneplate.acquisition.catalog import EmbeddedCatalog
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import journals, uid_of
from zoneplate.acquisition.provenance import frame_files
from zoneplate.acquisition.recovery import Recovery, recover
from zoneplate.acquisition.runs import is_analysis, read_run

FRAMES = "/entry/instrument/detector/data"
PROJECTIONS = 24
CHILD_TIMEOUT_S = 120.0
WORKER_STARTS_S = 5.0


@dataclass(frozen=True)
class Point:
    """What happens, and when."""

    name: str
    what: str
    when: str = ""
    count: int = 0


def points() -> list[Point]:
    found = [Point(f"scan/{how} document {n}", "journal", how, n)
             for how in ("before", "half", "after")
             for n in (1, 2, 6, 20, 45, 80)]  # fmt: skip
    found += [Point(f"scan/{how} stop document", "journal-stop", how) for how in ("before", "half")]
    found += [Point(f"scan/frame {n}, {how}", "frame", how, n)
              for how in ("no pixels yet", "not announced")
              for n in (1, 9, 30)]  # fmt: skip
    found += [Point(f"live worker/event {n}", "live", "event", n) for n in (1, 12, PROJECTIONS)]
    found += [Point(f"live worker/{ms} ms after stop", "live", "stop", ms) for ms in (50, 600)]
    found += [Point(f"EPICS server/event {n}", "ioc", "event", n) for n in (1, 12)]
    found += [Point(f"catalog/event {n}", "catalog", "event", n) for n in (1, PROJECTIONS)]
    found += [Point(f"catalog/{ms} ms after stop", "catalog", "stop", ms) for ms in (20, 150, 400)]
    found += [Point(f"disk full/{kb} kB left", "disk", "", kb) for kb in (300, 700, 1100)]
    found += [Point(f"power cut/journal, last {n} bytes cut", "cut-journal", "cut", n)
              for n in (1, 60, 4096)]  # fmt: skip
    found += [Point("power cut/journal, last 4096 bytes zero", "cut-journal", "zero", 4096)]
    found += [Point(f"power cut/frames, last {n} bytes cut", "cut-frames", "cut", n)
              for n in (1, 4096, 100_000)]  # fmt: skip
    return found


# The scanning process.


def child(root: Path, acknowledged: Path, point: Point) -> None:
    from zoneplate.acquisition import open_session
    from zoneplate.acquisition.live import FrameReader
    from zoneplate.acquisition.runs import RunRecord
    from zoneplate.plans import tomography
    from zoneplate.simulators import Particle, Specimen

    install(point)
    specimen = Specimen(
        (Particle("a", (4.0, 3.0, 5.0), (5.0, 5.0, 5.0), material="LiNiO2@4.7"),), name="one"
    )
    live = point.what == "live"
    log = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    instrument = "epics-simulated" if point.what == "ioc" else "simulated"
    with open_session(instrument, specimen=specimen, data_dir=root, live=live) as session:
        record, reader = RunRecord(), FrameReader()

        def acknowledge(name: str, doc: dict[str, Any]) -> None:
            for one in record(name, doc):
                checksum = zlib.crc32(reader.read(one).tobytes())
                row = (record.uid, one.stream, one.seq_num, one.number, checksum)
                os.write(log, (" ".join(map(str, row)) + "\n").encode())

        def end(pid: int | None) -> None:
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

        def victim() -> int | None:
            if point.what == "ioc":
                (pid,) = child_processes("ioc")
                return pid
            if point.what == "live":
                return session.live.pid if session.live is not None else None
            service = session.catalog._service
            return service.pid if service is not None else None

        def strike(name: str, doc: dict[str, Any]) -> None:
            if point.when == "event" and name == "event" and doc["seq_num"] == point.count:
                end(victim())

        if point.what == "catalog":
            session.catalog.start()
            deadline = time.monotonic() + 30
            while not session.catalog._service.ready.is_set() and time.monotonic() < deadline:
                time.sleep(0.05)
        if session.live is not None:
            session.live.start()
            time.sleep(WORKER_STARTS_S)  # the scan is over before a fresh worker has begun
        session.RE.subscribe(acknowledge)
        if point.what in ("live", "catalog", "ioc"):
            session.RE.subscribe(strike)
        session.RE(
            tomography(session.microscope, center_um=(0, 0, 5), projections=PROJECTIONS, binning=8)
        )
        if point.what in ("live", "catalog") and point.when == "stop":
            time.sleep(point.count / 1000)
            end(victim())
        if point.what == "catalog":
            os.kill(os.getpid(), signal.SIGKILL)  # the catalog is not to be started again


def child_processes(name: str) -> list[int]:
    command = ["pgrep", "-P", str(os.getpid()), "-f", name]
    return [int(pid) for pid in subprocess.run(command, capture_output=True).stdout.split()]


def install(point: Point) -> None:
    """Put the kill where it belongs."""
    from zoneplate.acquisition.journal import _RunFile, encode
    from zoneplate.simulators.frame_file import FrameFile

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    write, append = _RunFile.write, FrameFile.append
    seen = {"documents": 0, "frames": 0}

    def writing(file: Any, name: str, doc: dict[str, Any]) -> None:
        seen["documents"] += 1
        here = point.what == "journal" and seen["documents"] == point.count
        if here or (point.what == "journal-stop" and name == "stop"):
            line = encode(name, doc)
            if point.when == "half":
                os.write(file._fd, line[: len(line) // 2])
            elif point.when == "after":
                write(file, name, doc)
            kill()
        write(file, name, doc)

    class Pixels:
        def __array__(self, *_: Any, **__: Any) -> Any:
            kill()

    def appending(file: Any, pixels: Any, record: Any) -> int:
        seen["frames"] += 1
        here = point.what == "frame" and seen["frames"] == point.count
        number = append(
            file, Pixels() if here and point.when == "no pixels yet" else pixels, record
        )
        if here:
            kill()
        return number

    _RunFile.write, FrameFile.append = writing, appending


# The judge.


def acknowledged_frames(path: Path) -> Iterator[tuple[str, str, int, int, int]]:
    for row in path.read_text().splitlines() if path.exists() else ():
        uid, stream, *numbers = row.split()
        seq_num, number, checksum = map(int, numbers)
        yield uid, stream, seq_num, number, checksum


def judge(data: DataDirectory, acknowledged: Path, found: Recovery) -> tuple[int, int, int, int]:
    """Acknowledged, lost, said to be missing, events the journal lost (their frames are there)."""
    said = {tuple(one.split()[-2:]) for one in found.missing if "the pixels of" in one}
    paths = {uid_of(path): path for path in journals(data.journal)}
    rows = list(acknowledged_frames(acknowledged))
    lost = named = events = 0
    for uid, stream, seq_num, number, checksum in rows:
        record = read_run(paths[uid])
        assert record.stop is not None, "not closed"
        events += seq_num not in record.frames.get(stream, {})
        good = False
        for path in frame_files(record):
            with h5py.File(path, "r") as file:  # plain, as other people open it
                dataset: Any = file[FRAMES]
                if number < len(dataset):
                    good |= zlib.crc32(np.asarray(dataset[number]).tobytes()) == checksum
        if not good and (stream, str(seq_num)) in said:
            named += 1
        elif not good:
            lost += 1
    return len(rows), lost, named, events


def damage(data: DataDirectory, point: Point) -> None:
    scans = [path for path in journals(data.journal) if not is_analysis(path)]
    target = scans[-1]
    if point.what == "cut-frames":
        (target,) = frame_files(read_run(scans[-1]))
    content = target.read_bytes()
    tail = bytes(point.count) if point.when == "zero" else b""
    target.write_bytes(content[: -point.count] + tail)


def run(point: Point, shared: Path, scratch: Path) -> tuple[Recovery, tuple[int, int, int, int]]:
    root = shared
    if point.what in ("disk", "cut-journal", "cut-frames"):
        root = scratch / point.name.replace("/", "-").replace(" ", "-")
        root.mkdir()
    data = DataDirectory(root)
    if point.what == "disk":
        mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(root))
        data.create()
        free = shutil.disk_usage(root).free
        # What is left is what the session itself and so many kilobytes need.
        (root / "ballast").write_bytes(b"x" * (free - point.count * 1024))
    log = scratch / f"acknowledged-{time.monotonic_ns()}"
    command = [sys.executable, __file__, "--child", point.name, str(root), str(log)]
    subprocess.run(command, check=False, timeout=CHILD_TIMEOUT_S, stderr=subprocess.DEVNULL)
    if point.what.startswith("cut"):
        damage(data, point)
    if point.what == "disk":
        (root / "ballast").unlink()  # the operator has made room
    found = recover(data)
    verdict = judge(data, log, found)
    again = recover(data)
    assert not again.runs, f"{point.name}: not whole after the first recovery: {again.runs}"
    if point.what == "disk":
        subprocess.run(["umount", str(root)], check=True)
    return found, verdict


def mount(*arguments: str) -> None:
    result = subprocess.run(["mount", *arguments], check=False, capture_output=True)
    if result.returncode:
        raise PermissionError("a full disk needs the right to mount a small one")


def check_catalog(data: DataDirectory) -> None:
    scans = {uid_of(path): path for path in journals(data.journal) if not is_analysis(path)}
    with EmbeddedCatalog(data.root) as catalog:
        catalog.wait_until_caught_up()
        assert set(catalog) == set(scans), "runs are missing in the catalog"
        rows = 0
        for uid, path in scans.items():
            stream = read_run(path).stream("primary")
            if stream:
                assert len(catalog[uid].table()) == len(stream)
                rows += len(stream)
    print(f"catalog: {len(scans)} of {len(scans)} runs, {rows} primary events, as in the journals")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="shell pattern of the kill points to run")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, root, log = options.child
        child(Path(root), Path(log), next(one for one in points() if one.name == name))
        return
    total = np.zeros(4, dtype=int)
    run_points, skipped, began = 0, [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        shared, scratch = Path(folder, "data"), Path(folder, "scratch")
        scratch.mkdir()
        print(f"{'kill point':<44} {'acked':>6} {'lost':>5} {'said':>5} {'no event':>9}")
        for point in points():
            if not fnmatch.fnmatch(point.name, options.only):
                continue
            try:
                found, verdict = run(point, shared, scratch)
            except PermissionError as error:
                skipped.append(point.name)
                print(f"{point.name:<44} SKIPPED: {error}")
                continue
            run_points += 1
            total += verdict
            acked, lost, said, events = verdict
            done = "; ".join(one.done[0] for one in found.runs if one.done)[:60]
            print(
                f"{point.name:<44} {acked:6d} {lost:5d} {said:5d} {events:9d}  {done}", flush=True
            )
        if shared.exists():
            check_catalog(DataDirectory(shared))
    acked, lost, said, events = total
    print(
        f"{run_points} kill points recovered, {len(skipped)} skipped: {acked} acknowledged frames, "
        f"{lost} lost, {said} cut off by the power cut and said to be, {events} events cut off "
        f"whose frames are there; {time.monotonic() - began:.0f} s"
    )
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
