"""How long segmentation and tables take, beside a scikit-image regionprops pipeline, in one run.

    python benchmarks/metrology_speed.py [SIZE]

160 particles, half of them with a void, in 128 x 128 x 128 voxels; then the same scene tiled to
SIZE (default 256; 512 needs 6 GB), each pipeline in a process of its own, with its peak memory. The
pipeline of scikit-image: Otsu, fill holes, watershed on the distance map, `regionprops_table`,
marching cubes per particle.
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import marching_cubes, mesh_surface_area, regionprops, regionprops_table
from skimage.segmentation import watershed

from zoneplate.analysis import measure_particles, measure_voids, segment
from zoneplate.analysis.open_pores import measure_open_pores
from zoneplate.analysis.workers import available_threads

VOXEL_UM = 0.512
PARTICLES = 160
REPEATS = 3
EDGE = 128

Grey = NDArray[np.float32]


def scene() -> Grey:
    """160 blurred balls on a grid, every other one hollow, at a signal-to-noise of 10."""
    random = np.random.default_rng(0)
    volume = np.zeros((EDGE,) * 3)
    axis = np.arange(-12, 13)
    for number, at in enumerate(list(np.ndindex(5, 6, 6))[:PARTICLES]):
        shift = random.uniform(-0.5, 0.5, 3)
        middle = np.array(at) * (24, 20, 20) + 14
        i, j, k = np.meshgrid(*(axis - s for s in shift), indexing="ij")
        distance = np.sqrt(i**2 + j**2 + k**2)
        ball = np.clip(8.0 - distance, 0, 1)
        if number % 2:
            ball -= np.clip(3.1 - distance, 0, 1)
        box = tuple(slice(max(m - 12, 0), min(m + 13, EDGE)) for m in middle)
        inner = tuple(
            slice(side.start - m + 12, side.stop - m + 12)
            for side, m in zip(box, middle, strict=True)
        )
        volume[box] = np.maximum(volume[box], ball[inner])
    volume = 0.044 * ndimage.gaussian_filter(volume, 0.6)
    return (volume + random.normal(0, 0.0044, volume.shape)).astype(np.float32)


def ours(volume: Grey) -> tuple[int, float, float]:
    """Return particles, seconds to segment, and seconds for both tables."""
    began = time.perf_counter()
    found = segment(volume, VOXEL_UM, field_radius_um=VOXEL_UM * len(volume))
    middle = time.perf_counter()
    particles = measure_particles(found, VOXEL_UM)
    measure_voids(found, VOXEL_UM)
    return len(particles), middle - began, time.perf_counter() - middle


def theirs(volume: Grey) -> tuple[int, float, float]:
    """The same with scikit-image."""
    began = time.perf_counter()
    solid = volume > threshold_otsu(volume)
    filled = ndimage.binary_fill_holes(solid)
    distance = ndimage.distance_transform_edt(filled)
    peaks = peak_local_max(distance, min_distance=3, labels=filled.astype(int))
    markers = np.zeros(volume.shape, dtype=int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-distance, markers, mask=filled)
    middle = time.perf_counter()
    regionprops_table(labels, properties=("label", "area", "centroid", "bbox"))
    for region in regionprops(labels):
        if region.area > 8:
            mesh_surface_area(*marching_cubes(np.pad(region.image, 1).astype(float), 0.5)[:2])
    return int(labels.max()), middle - began, time.perf_counter() - middle


def best(measure: Callable[[Grey], tuple[int, float, float]], volume: Grey) -> tuple[int, ...]:
    """Return particles and the least milliseconds of a few runs."""
    runs = [measure(volume) for _ in range(REPEATS)]
    return runs[0][0], *(round(1000 * min(run[part] for run in runs)) for part in (1, 2))


PIPELINES = {"zoneplate": ours, "scikit-image": theirs}


def large_run(name: str, size: int) -> tuple[int, float, float, float]:
    """Return particles, wall and processor seconds, and peak memory over that of the volume."""
    measure = PIPELINES[name]
    measure(scene())  # compile
    large = np.tile(scene(), (size // EDGE,) * 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    count, segmenting_s, tables_s = measure(large)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_top = 1024 * (peak - before) / large.nbytes
    return count, segmenting_s + tables_s, time.process_time() - began, on_top


def main() -> None:
    """Print both pipelines, the rate, and a large volume in a process of its own for each."""
    packages = ("numpy", "scipy", "numba", "scikit-image", "connected-components-3d", "edt")
    print(f"{available_threads()} cores, Python {platform.python_version()}", end="")
    print("".join(f", {name} {version(name)}" for name in packages))
    volume = scene()
    ours(volume)  # compile
    print(f"{EDGE}-cubed               particles   segment ms   tables ms")
    for name, measure in PIPELINES.items():
        count, segmenting, tables = best(measure, volume)
        rate = 60_000 * count / (segmenting + tables)
        print(f"{name:20s} {count:9d} {segmenting:12d} {tables:11d}   {rate:,.0f} particles/min")
    found = segment(volume, VOXEL_UM, field_radius_um=VOXEL_UM * len(volume))
    began = time.perf_counter()
    measure_open_pores(found)
    print(f"open pores, once when the scan is over: {1000 * (time.perf_counter() - began):.0f} ms")
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    for name in PIPELINES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            count, wall_s, cpu_s, on_top = pool.submit(large_run, name, size).result()
        print(
            f"{size}-cubed, {name}: {count} particles, {wall_s:.1f} s, "
            f"{cpu_s:.1f} s of processor, {on_top:.1f} times the volume on top of it",
            flush=True,
        )


if __name__ == "__main__":
    main()
