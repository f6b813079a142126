"""How much of a tomogram the beam is on a frame, standing and in motion.

Run it with `python benchmarks/beam_on.py [--run]`. The times are those of the dry run, which tests
hold within 2 % of the simulated run; with `--run` the two plainest scans are taken too.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from typing import Any

from bluesky import RunEngine
from bluesky import plan_stubs as bps

from zoneplate.plans import estimate, tomography
from zoneplate.simulators import Specimen, attach, simulated_microscope

CENTER_UM = (0.0, 0.0, 4.0)
SCANS: dict[str, dict[str, Any]] = {
    "step, interlaced": {},
    "step, sequential": {"order": "sequential"},
    "step, golden": {"order": "golden"},
    "step, flats every 35": {"references_every": 35},
    "step, references before and after": {"references": "both"},
    "step, 4 frames of 0.25 s per angle": {"exposure_s": 0.25, "frames_per_angle": 4},
    "step, edge-on rule": {"exposure_rule": "edge-on"},
    "fly": {"order": "sequential", "motion": "fly"},
    "fly, blur of 1 voxel": {"order": "sequential", "motion": "fly", "most_blur_voxels": 1.0},
    "fly, interlaced, blur of 1.25 voxels": {"motion": "fly", "most_blur_voxels": 1.25},
    "fly, references before and after": {
        "order": "sequential",
        "motion": "fly",
        "references": "both",
    },
}
TAKEN = ("step, sequential", "fly")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="store_true", help="take the plainest ones too")
    options = parser.parse_args()
    logging.getLogger("zoneplate").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        microscope = simulated_microscope(Specimen(particles=()), seed=1, directory=folder)
        for name, scan in SCANS.items():
            cost = estimate(tomography(microscope, center_um=CENTER_UM, **scan))
            share = cost.beam_s / cost.time_s
            print(f"{name:<38} {cost.time_s:6.1f} s, beam on a frame {share:4.0%}")
        engine = RunEngine({}, context_managers=[])
        attach(engine, microscope.clock)
        stage = microscope.stage
        for name in TAKEN if options.run else ():
            engine(bps.mv(stage.theta, 0, stage.x, 0, stage.y, 0, stage.z, 0))
            before_s = microscope.clock.now()
            engine(tomography(microscope, center_um=CENTER_UM, **SCANS[name]))
            print(f"taken: {name:<31} {microscope.clock.now() - before_s:6.1f} s")
        microscope.clock.close()


if __name__ == "__main__":
    main()
