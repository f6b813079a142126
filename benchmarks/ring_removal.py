"""What ring removal while projections arrive is worth, and what it costs.

    python benchmarks/ring_removal.py [--seeds 2]

NMC622 at the study's settings with all imperfections. Flats take the fixed pattern of the camera
out and leave their own noise in; without them, or with flats of another day, the pattern stays in
every projection: it is put back here, as it is and much stronger. Dice of solid and voids as in
`reconstruction_quality.py`; rings are what is left of the mean over circles around the axis less
its smooth course, root mean square outside the particles. The volume is read after every sixteenth
projection, as a preview does.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from reconstruction_quality import PIXEL_UM, Scan, scores, take
from scipy import ndimage

from zoneplate.analysis.reconstruction import StreamingReconstruction
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.simulators import Imperfections
from zoneplate.simulators.detector import SimulatedDetector

STRENGTHS = (0.0, 1.0, 5.0, 20.0, 40.0)
READ_EVERY = 16
SMOOTH_VOXELS = 3.0
SOLID_MARGIN_VOXELS = 3


def pattern(seed: int) -> np.ndarray:
    """Return the absorption that the fixed pattern of the camera looks like."""
    configuration = InstrumentConfiguration.load()
    quiet = Imperfections.none()
    counts = []
    for imperfections in (replace(quiet, fixed_pattern=True), quiet):
        detector = SimulatedDetector(
            configuration.camera, configuration.source, imperfections, seed
        )
        clear = np.ones(configuration.camera.detector.shape(8), dtype=np.float32)
        exposed = detector.expose(clear, exposure_s=1.0, binning=8).astype(float)
        counts.append(exposed - configuration.camera.offset_adu)
    return -np.log(counts[0] / counts[1]).astype(np.float32)


def rings(scan: Scan, volume: np.ndarray) -> float:
    """Return how strong rings are, 1/um."""
    size = volume.shape[2]
    place = np.arange(size) - (size - 1) / 2
    radius = np.hypot(place[:, None], place[None, :]).round().astype(int)
    near = ndimage.binary_dilation(
        scan.truth_solid | (scan.truth_voids > 0), iterations=SOLID_MARGIN_VOXELS
    )
    empty = scan.inside & ~near
    found = []
    for layer, free in zip(volume, empty, strict=True):
        circles = np.arange(4, radius[scan.inside[0]].max() - 1)
        mean = ndimage.mean(np.where(free, layer, 0), radius, circles)
        share = ndimage.mean(free, radius, circles)
        course = mean / np.maximum(share, 1e-6)
        rest = course - ndimage.gaussian_filter1d(course, SMOOTH_VOXELS)
        found.append(rest[share > 0.5])
    return float(np.sqrt(np.mean(np.concatenate(found) ** 2)))


def main() -> None:
    """Print a line for each strength of the pattern, without and with ring removal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="powders")
    seeds = range(parser.parse_args().seeds)
    scans = [take(seed, Imperfections(seed=seed)) for seed in seeds]
    for strength in STRENGTHS:
        for remove in (False, True):
            results = []
            for seed, scan in zip(seeds, scans, strict=True):
                frames = scan.frames + np.float32(strength) * pattern(seed)
                live = StreamingReconstruction(
                    frames.shape[1:],
                    scan.angles_rad,
                    scan.column,
                    PIXEL_UM,
                    threads=1,
                    remove_rings=remove,
                )
                begin = time.process_time()
                for number, (frame, angle) in enumerate(
                    zip(frames, scan.angles_rad, strict=True), start=1
                ):
                    live.add(frame, angle)
                    if number % READ_EVERY == 0:
                        _ = live.volume
                volume = live.copy()
                cpu_s = time.process_time() - begin
                results.append((*scores(scan, volume)[:2], rings(scan, volume), cpu_s))
            solid, voids, ring, cpu_s = np.mean(results, axis=0)
            print(
                f"pattern x {strength:g}, {'rings removed' if remove else 'as it is':14s} "
                f"solid {solid:.3f}, voids {voids:.3f}, rings {ring:.5f} 1/um, {cpu_s:.2f} CPU s",
                flush=True,
            )


if __name__ == "__main__":
    main()
