"""Cost of streaming reconstruction, and its ratio to other engines on the same frames.

    python benchmarks/streaming_reconstruction.py [--size 128] [--projections 141] [--repeats 5]

Everything is measured in one run on one machine. CPU seconds include all threads; the streaming
reconstruction and ASTRA use one, TomoPy one core. Medians of the repeats.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from zoneplate.analysis.engines import reconstruct
from zoneplate.analysis.reconstruction import StreamingReconstruction


def powder(size: int, angles: NDArray[np.float64], spheres: int = 30) -> NDArray[np.float32]:
    """Absorption of a few dozen spheres, with the noise of about 1000 counts per pixel."""
    rng = np.random.default_rng(0)
    radius = rng.uniform(0.03, 0.1, spheres) * size
    x, y, z = rng.uniform(-0.3, 0.3, (3, spheres)) * size
    line = np.arange(size) - (size - 1) / 2
    frames = np.zeros((len(angles), size, size), dtype=np.float32)
    for frame, theta in zip(frames, angles, strict=True):
        u = x * np.cos(theta) + z * np.sin(theta)
        for a, b, r in zip(u, y, radius, strict=True):
            squared = r**2 - (line + b)[:, None] ** 2 - (line - a) ** 2
            frame += 2 * 0.02 * np.sqrt(np.maximum(squared, 0))
    counts = rng.poisson(1000 * np.exp(-frames))
    return -np.log(np.maximum(counts, 1) / 1000).astype(np.float32)


def streamed(frames: NDArray[np.float32], angles: NDArray[np.float64]) -> dict[str, float]:
    """One whole scan, a frame at a time, as it comes from the microscope."""
    live = StreamingReconstruction(frames.shape[1:], angles_hint=angles, threads=1)
    cpu, each = time.process_time(), []
    for frame, angle in zip(frames, angles, strict=True):
        start = time.perf_counter()
        live.add(frame, angle)
        each.append(time.perf_counter() - start)
    start = time.perf_counter()
    volume = live.volume
    last = time.perf_counter() - start
    cpu = time.process_time() - cpu
    assert np.isfinite(volume).all()
    start = time.perf_counter()
    live.slices()
    return {
        "median frame (ms)": 1e3 * statistics.median(each),
        "95 % frame (ms)": 1e3 * float(np.percentile(each, 95)),
        "volume after the last frame (ms)": 1e3 * last,
        "three slices (ms)": 1e3 * (time.perf_counter() - start),
        "whole scan (CPU s)": cpu,
    }


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    work()  # imports, plans and compiled code are not what is compared
    taken: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def gridrec(frames: NDArray[np.float32], angles: NDArray[np.float64]) -> object:
    """TomoPy at its quickest that is still correct: padded to twice the width, nothing else."""
    import tomopy  # pyright: ignore[reportMissingImports]

    size = frames.shape[2]
    padded = np.pad(frames, ((0, 0), (0, 0), (size // 2, size // 2)), mode="edge")
    return tomopy.recon(
        padded, angles, center=size - 0.5, algorithm="gridrec", filter_name="ramlak", ncore=1
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--projections", type=int, default=141)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    angles = np.deg2rad(np.linspace(-90, 90, options.projections))
    frames = powder(options.size, angles)
    print(
        f"{options.size} x {options.size}, {options.projections} projections; "
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    runs = [streamed(frames, angles) for _ in range(options.repeats + 1)][1:]
    result = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    for name, value in result.items():
        print(f"  streaming: {name:34s} {value:9.3f}")
    ours = result["whole scan (CPU s)"]
    others: dict[str, Callable[[], object]] = {
        "streaming, batch": lambda: reconstruct(frames, angles, threads=1),
        "astra FBP": lambda: reconstruct(frames, angles, engine="astra"),
        "tomopy gridrec, padded": lambda: gridrec(frames, angles),
    }
    for name, work in others.items():
        engine = name.split()[0].rstrip(",")
        if engine != "streaming" and importlib.util.find_spec(engine) is None:
            print(f"  {name:26s} not installed, not compared")
            continue
        theirs = cpu_seconds(work, max(1, options.repeats // 2))
        print(f"  {name:26s} {theirs:9.3f} CPU s   streaming / this = {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
