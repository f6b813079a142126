"""What is found of a tilted axis and a moving sample, and what correcting them is worth.

    python benchmarks/geometry_correction.py [--seeds 2] [--large 2 1]

NMC622 at the study's settings, interlaced, with all imperfections of the microscope, of which those
that move the image are off, as they are, twice as large, and far larger. For each: tilt, drift and
movement as found and as simulated, and the Dice of solid and voids (`reconstruction_quality.py`)
without any correction, with all corrections whether they are certain or not, and with what the
analysis does by itself. `analysis/motion.py` has its thresholds from here.

`--large` looks instead for what that takes at binning 2 and 1: projections of powder at binning 4
that moved, each pixel repeated, of as many views as the finer binning has.

Where the sample is on average is not part of it: each volume is laid over the specimen first.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from dataclasses import replace
from typing import Any

import numpy as np
from reconstruction_quality import PIXEL_UM, Scan, scores, take
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from zoneplate.analysis import reconstruct
from zoneplate.analysis.geometry import Geometry, find_geometry, geometry_bytes
from zoneplate.analysis.motion import find_motion
from zoneplate.analysis.rotation_axis import RotationCenter, find_center
from zoneplate.plans import ordered, projection_angles
from zoneplate.simulators import Imperfections, nmc622
from zoneplate.simulators.materials import attenuation_per_um
from zoneplate.simulators.projection import SpecimenProjector

CASES: dict[str, dict[str, Any]] = {
    "no movement": {"runout_um": 0.0, "drift_um_per_hour": 0.0},
    "the default": {},
    "twice the default": {"runout_um": 0.05, "drift_um_per_hour": 0.4},
    "run-out 0.1 um, drift 1 um/h": {"runout_um": 0.1, "drift_um_per_hour": 1.0},
    "run-out 0.2 um, drift 3 um/h": {"runout_um": 0.2, "drift_um_per_hour": 3.0},
    "run-out 0.5 um, drift 10 um/h": {"runout_um": 0.5, "drift_um_per_hour": 10.0},
    "tilt 0.1 deg": {"axis_tilt_deg": 0.1},
    "tilt 0.25 deg": {"axis_tilt_deg": 0.25},
    "tilt 0.5 deg": {"axis_tilt_deg": 0.5},
    "0.3 um, 5 um/h, tilt -0.4 deg": {
        "runout_um": 0.3,
        "drift_um_per_hour": 5.0,
        "axis_tilt_deg": -0.4,
    },
}
CASES |= {f"lean {lean} deg": {"axis_lean_deg": lean} for lean in (0.1, 0.25, 0.5, 1.0)}

LARGE = {2: 786, 1: 1571}
"""Projections by binning."""
POWDER = "LiNi0.6Mn0.2Co0.2O2@4.77"
SHOWN, SHAKEN_PIXELS = 256, 0.5

SUBVOXEL = 20
NOTICED_VOXELS = 0.05


def forced(scan: Scan, found: Geometry, center: RotationCenter, clock: np.ndarray) -> Geometry:
    """Return the geometry with everything corrected, certain or not."""
    turned = Geometry(found.tilt, None, found.tilt is not None, False)
    column = turned.center(center).column
    frames = turned.correct(scan.frames)
    motion = find_motion(frames, scan.angles_rad, column, clock, least_pixels=0.0)
    return Geometry(found.tilt, motion, turned.tilt_corrected, motion is not None)


def judged(scan: Scan, frames: np.ndarray, column: float) -> tuple[float, float]:
    """Return Dice of solid and of voids, the volume laid over the specimen."""
    volume = reconstruct(frames, scan.angles_rad, column, PIXEL_UM)
    truth = scan.truth_solid.astype(np.float32)
    offset = phase_cross_correlation(
        truth, volume * scan.inside, upsample_factor=SUBVOXEL, normalization=None
    )[0]
    if np.abs(offset).max() > NOTICED_VOXELS:
        volume = ndimage.shift(volume, offset, order=3, mode="nearest")
    return scores(scan, volume)[:2]


def line(name: str, seed: int) -> None:
    """Print what is found and what it is worth for one scan."""
    imperfections = replace(Imperfections(seed=seed), **CASES[name])
    scan = take(seed, imperfections)
    clock = np.arange(len(scan.angles_rad))
    center = find_center(scan.frames, scan.angles_rad)
    begin = time.process_time()
    found = find_geometry(scan.frames, scan.angles_rad, center, clock)
    cpu_s = time.process_time() - begin
    told = found.as_dict(PIXEL_UM)
    results = [
        judged(scan, geometry.correct(scan.frames), geometry.center(center).column)
        for geometry in (
            Geometry(None, None, False, False),
            forced(scan, found, center, clock),
            found,
        )
    ]
    without, always, ours = (f"{solid:.3f} {voids:.3f}" for solid, voids in results)
    done = [name for name in ("tilt", "motion") if told[f"{name}_corrected"]]
    print(
        f"{name:30s} {seed}  tilt {told['tilt_deg']:+.3f} +- {told['tilt_se_deg']:.3f} "
        f"(true {imperfections.axis_tilt_deg:+.2f}) deg; lean {told['lean_deg']:+.3f} +- "
        f"{told['lean_se_deg']:.3f} (true {imperfections.axis_lean_deg:+.2f}) deg; "
        f"drift {told['drift_um']:.3f} +- "
        f"{told['drift_se_um']:.3f} um; movement {told['motion_rms_um']:.3f} +- "
        f"{told['motion_rms_se_um']:.3f} um; without {without}, always {always}, "
        f"by itself {ours} ({', '.join(done) or 'nothing'} corrected, {cpu_s:.1f} CPU s)",
        flush=True,
    )


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def large(binning: int) -> None:
    """Print what looking for movements in a large scan takes, and correcting them."""
    views, factor = LARGE[binning], 1024 // SHOWN // binning
    angles_deg = np.array(ordered(projection_angles(views, -90.0, 90.0), "interlaced"))
    powder, rng = SpecimenProjector(nmc622(0, width_um=40.0)), np.random.default_rng(0)
    attenuation, pixel_um = attenuation_per_um(POWDER, 5.4), 65.536 / SHOWN
    frames = np.empty((views, SHOWN * factor, SHOWN * factor), dtype=np.float32)
    for frame, angle in zip(frames, angles_deg, strict=True):
        u_um, v_um = rng.normal(0, SHAKEN_PIXELS * pixel_um, 2)
        place = (0.0, float(v_um), 4.0)
        path = powder.path(place, float(angle), pixel_um, (SHOWN, SHOWN), float(u_um))
        frame[:] = (attenuation * path).repeat(factor, axis=0).repeat(factor, axis=1)
    before, angles = peak_bytes(), np.deg2rad(angles_deg)
    center = RotationCenter((frames.shape[2] - 1) / 2, 0.01)
    steps = []
    found = Geometry(None, None, False, False)
    for name in ("find", "correct"):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        if name == "find":
            found = find_geometry(frames, angles, center, np.arange(views))
        else:
            found.correct(frames, out=frames)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        steps.append(f"{name} {wall_s:.0f} s, {cpu_s:.0f} CPU s")
    told, bound = found.as_dict(pixel_um / factor), geometry_bytes(frames.shape[1:], views)
    print(
        f"binning {binning}: {'; '.join(steps)}; {(peak_bytes() - before) / 1e9:.2f} GB (stated "
        f"bound {bound / 1e9:.2f}) beside {frames.nbytes / 1e9:.2f} of "
        f"projections; movement {told['motion_rms_um']:.3f} um (true "
        f"{SHAKEN_PIXELS * pixel_um * 2**0.5:.3f}); load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    """Print a line for each case and powder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="powders")
    parser.add_argument("--large", type=int, nargs="+", choices=sorted(LARGE), help="binnings")
    parser.add_argument("--only", default="", help="cases whose name begins like this")
    options = parser.parse_args()
    for binning in options.large or []:
        large(binning)
    for name in CASES if not options.large else ():
        for seed in range(options.seeds) if name.startswith(options.only) else ():
            line(name, seed)


if __name__ == "__main__":
    main()
