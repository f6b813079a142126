"""What scans at binning 1 need: a region, a coarse preview, and memory that is said beforehand."""

import tracemalloc

import numpy as np
import pytest

from zoneplate.analysis.memory import MemoryLimitError, reconstruction_bytes
from zoneplate.analysis.projections import ReconstructionError
from zoneplate.analysis.reconstruction import StreamingReconstruction
from zoneplate.analysis.region import bin_frames, preview_factor

ROWS, COLUMNS, VIEWS = 12, 32, 40
ANGLES = np.deg2rad(np.linspace(-90, 90, VIEWS))
SCAN = np.random.default_rng(3).random((VIEWS, ROWS, COLUMNS), dtype=np.float32)


def reconstructed(**options):
    live = StreamingReconstruction((ROWS, COLUMNS), ANGLES, center=14.2, **options)
    live.add(SCAN, ANGLES)
    return live


@pytest.mark.parametrize(
    "region",
    [
        (slice(3, 9), slice(10, 20), slice(5, 30)),
        (slice(None), slice(0, 4), slice(28, 32)),  # away from the axis
        (slice(-1, None), slice(None), slice(16, 17)),
    ],
)
def test_region_is_that_part_of_the_whole_volume(region):
    whole, part = reconstructed(), reconstructed(region=region)
    assert part.shape == whole.volume[region].shape
    np.testing.assert_allclose(part.volume, whole.volume[region], atol=1e-6)
    middle = part.shape[0] // 2
    np.testing.assert_array_equal(part.slices().zx, part.volume[middle])


def test_region_can_be_recentred_and_its_frames_replaced():
    region = (slice(2, 5), slice(8, 24), slice(8, 24))
    live = StreamingReconstruction((ROWS, COLUMNS), ANGLES, region=region)
    live.add(SCAN + 1, ANGLES, index=range(VIEWS))
    live.add(SCAN, ANGLES, index=range(VIEWS))
    live.recenter(14.2)
    np.testing.assert_allclose(live.volume, reconstructed().volume[region], atol=1e-5)


@pytest.mark.parametrize("part", [slice(5, 5), slice(0, 9, 2), slice(40, 50)])
def test_region_without_voxels_is_refused(part):
    with pytest.raises(ReconstructionError, match="at least one voxel"):
        reconstructed(region=(slice(None), part, slice(None)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keep_limit_bytes": 0},
        {"region": (slice(0, 4), slice(None), slice(None))},
    ],
)
def test_memory_is_bounded_by_what_was_said(options):
    shape, angles = (64, 96), np.deg2rad(np.linspace(-90, 90, 151))
    scan = np.random.default_rng(0).random((16, *shape), dtype=np.float32)
    StreamingReconstruction(shape, angles, **options).add(scan, angles[:16])  # compile, plan
    tracemalloc.start()
    try:
        live = StreamingReconstruction(shape, angles, threads=1, **options)
        for start in range(0, 151, 16):
            some = angles[start : start + 16]
            live.add(scan[: len(some)], some)
        live.slices()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.6 * live.memory_bytes < peak <= live.memory_bytes


def test_volume_at_binning_1_is_within_its_target():
    needed = reconstruction_bytes((1024, 1024), 1571)
    assert needed < 1.6 * 4 * 1024**3


def test_reconstruction_that_does_not_fit_is_refused_before_it_is_allocated():
    tracemalloc.start()
    try:
        with pytest.raises(MemoryLimitError, match=r"needs 4\.\d+ GB .* may use 2\.00 GB: bin"):
            StreamingReconstruction(
                (1024, 1024), np.linspace(0, 3.1, 1571), memory_limit_bytes=2 * 10**9
            )
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
    with pytest.raises(MemoryLimitError):  # what no computer has is refused without being told
        StreamingReconstruction((100_000, 100_000), np.linspace(0, 3.1, 1571))
    with pytest.raises(MemoryLimitError):
        StreamingReconstruction((100_000, 100_000))


def test_preview_at_reduced_resolution_is_the_binned_volume():
    fine = np.deg2rad(np.linspace(-90, 90, 91))
    u = np.arange(64) - 31.5
    chord = 2 * np.sqrt(np.maximum(20.0**2 - (u - 4 * np.cos(fine)[:, None]) ** 2, 0))
    scan = np.repeat(chord[:, None, :], 8, axis=1).astype(np.float32) * 0.04
    whole = StreamingReconstruction((8, 64), fine)
    whole.add(scan, fine)
    coarse = StreamingReconstruction((4, 32), fine, pixel_um=2.0)
    coarse.add(bin_frames(scan, 2), fine)
    binned = whole.volume.reshape(4, 2, 32, 2, 32, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(binned.ravel(), coarse.volume.ravel())[0, 1] > 0.99
    assert np.polyfit(binned.ravel(), coarse.volume.ravel(), 1)[0] == pytest.approx(1, abs=0.02)


def test_binning_that_does_not_fit_is_refused():
    with pytest.raises(ReconstructionError, match="multiples"):
        bin_frames(SCAN, 5)
    assert preview_factor((768, 1000), 256) == 4
    assert preview_factor((7, 1021), 256) == 1
