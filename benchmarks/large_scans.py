"""Sustained rate and memory of streaming reconstruction at binning 2 and 1.

    python benchmarks/large_scans.py

Every frame costs the same, so the rate is that of one batch of 16 frames after a first one. What
remains to be done after the last frame of a scan is at most such a batch.
"""

from __future__ import annotations

import os
import resource
import time

import numpy as np

from zoneplate.analysis.reconstruction import StreamingReconstruction

BATCH = 16
SCANS = ((512, 786), (1024, 1571))
"""Columns (and rows) of a frame, and projections."""


def main() -> None:
    """Print a line per size."""
    for size, projections in SCANS:
        angles = np.deg2rad(np.linspace(-90, 90, projections))
        frames = np.random.default_rng(0).random((BATCH, size, size), dtype=np.float32)
        live = StreamingReconstruction((size, size), angles)
        live.add(frames, angles[:BATCH])
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        live.add(frames, angles[BATCH : 2 * BATCH])
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(
            f"{size}: {BATCH / wall_s:.1f} frames/s, {cpu_s / BATCH:.3f} CPU s per frame, a batch "
            f"{wall_s:.2f} s; peak memory {peak / 1e9:.2f} GB = {peak / (4 * size**3):.2f} x the "
            f"volume; {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main()
