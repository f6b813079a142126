"""Sustained rate and memory of streaming reconstruction at binning 2 and 1, beside the roofline.

    python benchmarks/large_scans.py [--whole]

Every frame costs the same, so the rate is that of one batch of 16 frames after a first one. What
remains to be done after the last frame of a scan is at most such a batch. With `--whole` all frames
of both scans are added (minutes), and the time from the last batch to the volume is measured.

The roofline: a batch reads and writes every voxel inside the circle that all angles see once, and
every frame costs each of them two products and two sums. What memory and arithmetic of this machine
can do at most is measured in the same run, by copying an array and by multiplying matrices.

Peak memory is that of the process less the files of its libraries that are mapped (LLVM's alone has
180 MB): the system counts as many of their pages as it likes, and takes them back when it has to.

Where TomoPy is installed, its gridrec, padded to twice the width, is timed on some rows of the same
scans, once all frames are there, and multiplied up to all rows: every row costs it the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.progress import track

from zoneplate.analysis.reconstruction import StreamingReconstruction

BATCH = 16
SCANS = ((512, 786), (1024, 1571))
"""Columns (and rows) of a frame, and projections."""

CIRCLE = math.pi / 4
"""Share of the voxels that lie inside the circle."""
FLOPS = 4 * CIRCLE
BYTES = 8 / BATCH * CIRCLE
"""Per voxel of the cube and frame: single precision, read and written once per batch."""

GRIDREC_ROWS = 32
COPIED_BYTES, MATRIX = 1 << 29, 3000


def fastest(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest time of a few, in seconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def roofline() -> tuple[float, float]:
    """Return what this machine can do at most: bytes per second, and flops per second."""
    one, other = (np.ones(COPIED_BYTES // 4, dtype=np.float32) for _ in range(2))
    moved = 2 * COPIED_BYTES / fastest(lambda: np.copyto(other, one))
    a = np.ones((MATRIX, MATRIX), dtype=np.float32)
    return moved, 2 * MATRIX**3 / fastest(lambda: a @ a)


def measure(size: int, projections: int, *, whole: bool) -> tuple[float, float, float]:
    """Return seconds and CPU seconds per frame, and seconds from the last batch to the volume."""
    angles = np.deg2rad(np.linspace(-90, 90, projections))
    frames = np.random.default_rng(0).random((BATCH, size, size), dtype=np.float32)
    live = StreamingReconstruction((size, size), angles)
    live.add(frames, angles[:BATCH])
    starts = list(range(BATCH, projections, BATCH)) if whole else [BATCH]
    wall_s, cpu_s, last_s = time.perf_counter(), time.process_time(), 0.0
    for start in track(starts, description=f"{size}", disable=not whole):
        last_s = time.perf_counter()
        part = angles[start : start + BATCH]
        live.add(frames[: len(part)], part)
    done = min(starts[-1] + BATCH, projections) - BATCH
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    if whole:
        assert live.volume.shape == (size, size, size)
    last_s = time.perf_counter() - last_s
    return wall_s / done, cpu_s / done, last_s


def peak_memory() -> tuple[int, int]:
    """Return the most memory that this process had, and the mapped files beside it, in bytes."""
    everything = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    mapped = sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile:"))
    return everything - mapped, mapped


def gridrec_s(size: int, projections: int) -> tuple[float, float]:
    """Return seconds and CPU seconds of TomoPy's gridrec for a whole scan."""
    import tomopy  # pyright: ignore[reportMissingImports]

    angles = np.deg2rad(np.linspace(-90, 90, projections))
    shape = (projections, GRIDREC_ROWS, size)
    frames = np.random.default_rng(0).random(shape, dtype=np.float32)
    padded = np.pad(frames, ((0, 0), (0, 0), (size // 2, size // 2)), mode="edge")
    taken: list[tuple[float, float]] = []
    for _ in range(2):  # the first loads libraries and plans transforms
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        tomopy.recon(padded, angles, center=size - 0.5, algorithm="gridrec", filter_name="ramlak")
        taken.append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    factor = size / GRIDREC_ROWS
    return taken[1][0] * factor, taken[1][1] * factor


def main() -> None:
    """Print a line per size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", action="store_true", help="all frames of both scans")
    whole = parser.parse_args().whole
    took_s: dict[int, float] = {}
    took_cpu_s: dict[int, float] = {}
    for size, projections in SCANS:
        frame_s, cpu_s, last_s = measure(size, projections, whole=whole)
        took_s[size], took_cpu_s[size] = frame_s, cpu_s
        peak, mapped = peak_memory()
        print(
            f"{size}: {1 / frame_s:.1f} frames/s, {cpu_s:.3f} CPU s per frame; from the last "
            f"{'batch to the volume' if whole else 'batch on'} {last_s:.2f} s; peak memory "
            f"{peak / 1e9:.2f} GB = {peak / (4 * size**3):.2f} x the volume, and "
            f"{mapped / 1e9:.2f} GB of mapped files"
        )
    if importlib.util.find_spec("tomopy") is None:
        print("TomoPy gridrec: not installed, not compared")
    else:
        for size, projections in SCANS:
            wall_s, cpu_s = gridrec_s(size, projections)
            ours_s, ours_cpu_s = took_s[size] * projections, took_cpu_s[size] * projections
            print(
                f"{size}: TomoPy gridrec {wall_s:.1f} s, {cpu_s:.1f} CPU s after the last frame; "
                f"streaming, while frames come, {ours_s:.1f} s, {ours_cpu_s:.1f} CPU s: "
                f"{ours_s / wall_s:.2f} and {ours_cpu_s / cpu_s:.2f} of that"
            )
    # Last: its arrays would count as memory of the reconstruction.
    bandwidth, flops = roofline()
    print(
        f"this machine: {bandwidth / 1e9:.1f} GB/s, {flops / 1e9:.0f} GFLOP/s at most; "
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    for size, frame_s in took_s.items():
        memory_s, arithmetic_s = BYTES * size**3 / bandwidth, FLOPS * size**3 / flops
        print(
            f"{size}: at most by memory {1 / memory_s:.0f} frames/s ({memory_s / frame_s:.0%} of "
            f"the time), by arithmetic {1 / arithmetic_s:.0f} ({arithmetic_s / frame_s:.0%})"
        )


if __name__ == "__main__":
    main()
