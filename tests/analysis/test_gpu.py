"""The graphics card gives the same volume as the processor; without one, in numba's simulator."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import cuda

from zoneplate.analysis.accumulator import NoGpuError
from zoneplate.analysis.reconstruction import StreamingReconstruction

SIMULATED = """
import numpy as np
from zoneplate.analysis import accumulator
from zoneplate.analysis.accumulator import HostAccumulator, NoGpuError
from zoneplate.analysis import backprojection_gpu
from zoneplate.analysis.backprojection_gpu import DeviceAccumulator
from zoneplate.analysis.reconstruction import StreamingReconstruction

backprojection_gpu._THREADS_PER_BLOCK = 2  # every thread of the card is a real one here
angles = np.deg2rad(np.linspace(-90, 90, 7))
scan = np.random.default_rng(0).random((7, 3, 8), dtype=np.float32)

def both(**options):
    lives = []
    for device in ("cpu", "gpu"):
        live = StreamingReconstruction((3, 8), angles, center=3.2, device=device, **options)
        live.add(scan[:4] + 1, angles[:4], index=range(4))
        live.slices()
        live.add(scan[:3], angles[:3], index=range(3))  # replaced
        lives.append(live)
    return lives

for options in ({}, {"region": (slice(1, 3), slice(0, 5), slice(4, 8))}):
    host, device = both(**options)
    assert isinstance(device._accumulator, DeviceAccumulator)
    assert isinstance(host._accumulator, HostAccumulator)
    scale = np.abs(host.volume).max()
    assert scale > 0
    assert np.abs(host.volume - device.volume).max() < 1e-4 * scale
    for one, other in zip(host.slices(), device.slices()):
        assert np.abs(one - other).max() < 1e-4 * scale
    before = device.volume
    kept = before.copy()
    device.add(scan[4:], angles[4:])
    host.add(scan[4:], angles[4:])
    assert np.array_equal(before, kept)
    assert np.abs(host.volume - device.volume).max() < 1e-4 * scale
    device.recenter(4.0)
    host.recenter(4.0)
    assert np.abs(host.volume - device.volume).max() < 1e-4 * scale

small = StreamingReconstruction((3, 8), angles)
assert isinstance(small._accumulator, HostAccumulator)
accumulator.GPU_WORTH_VOXELS = 10
chosen = StreamingReconstruction((3, 8), angles)
assert isinstance(chosen._accumulator, DeviceAccumulator)
print("same")
"""


def test_kernel_of_the_card_gives_the_same_volume_in_the_simulator():
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "same"


@pytest.mark.skipif(
    not cuda.is_available(), reason="no CUDA graphics card: the kernel is NOT tested on a card here"
)
def test_card_gives_the_same_volume():
    angles = np.deg2rad(np.linspace(-90, 90, 101))
    scan = np.random.default_rng(0).random((101, 64, 96), dtype=np.float32)
    volumes = []
    for device in ("cpu", "gpu"):
        live = StreamingReconstruction((64, 96), angles, center=45.3, device=device)
        for start in range(0, 101, 16):
            live.add(scan[start : start + 16], angles[start : start + 16])
        volumes.append(live.volume)
    assert np.abs(volumes[0] - volumes[1]).max() < 1e-4 * np.abs(volumes[0]).max()


@pytest.mark.skipif(cuda.is_available(), reason="there is a CUDA graphics card")
def test_card_that_is_not_there_is_refused_when_asked_for():
    with pytest.raises(NoGpuError, match="no CUDA graphics card"):
        StreamingReconstruction((4, 8), device="gpu")
