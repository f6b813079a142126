"""What a point costs the RunEngine on our devices, against `bluesky.plans.scan` on ophyd's toys.

Run it with `python benchmarks/plan_overhead.py [--points 141] [--rounds 5] [--profile]`.

Overhead is processor time of the RunEngine's thread per event: messages, readings, documents.
Frames are computed and written by the clock's thread, so they are not in it, and it does not
depend on what else the computer does, as wall time would. Ours and the toys take turns in one
process; the toys give as many readings per event as ours.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky import plans as bp
from ophyd import Component, Device
from ophyd.sim import SynAxis, SynSignal

from zoneplate.plans import tomography
from zoneplate.simulators import Specimen, attach, simulated_microscope
from zoneplate.simulators.specimen import Particle

POINTS, ROUNDS = 141, 5
SHOWN = 25
BINNING = 8
SEED = 1
RANGE_DEG = (-90.0, 90.0)

AXIS_READINGS = 2
"""A toy axis reads back and setpoint, like a motor."""


def toys(readings: int) -> Device:
    """Return a toy detector with so many signals; a trigger triggers all of them."""
    components = {f"signal_{number}": Component(SynSignal) for number in range(readings)}
    return type("Toys", (Device,), components)(name="toys")


class Probe:
    """Notes the processor time of the RunEngine's thread at each event of the projections."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.readings = 0
        self._streams: dict[str, str] = {}

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        elif name == "event" and self._streams[doc["descriptor"]] == "primary":
            self.seconds.append(time.thread_time())
            self.readings = len(doc["data"])

    @property
    def milliseconds(self) -> list[float]:
        """Of each point but the first ones, where caches fill."""
        return (1e3 * np.diff(self.seconds)[3:]).tolist()


def run(clock: Any, plan: Any, profile: cProfile.Profile | None = None) -> Probe:
    """Run a plan on a RunEngine of its own; return what was noted."""
    engine = RunEngine({}, context_managers=[])
    if clock is not None:
        attach(engine, clock)
    probe = Probe()
    engine.subscribe(probe)
    if profile is not None:
        engine.loop.call_soon_threadsafe(profile.enable)
    engine(plan)
    if profile is not None:
        engine.loop.call_soon_threadsafe(profile.disable)
        time.sleep(0.1)
    return probe


def compare(points: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Measure both in turns; return medians over all points and their ratio."""
    specimen = Specimen(particles=(Particle("a", (3.0, 4.0, 5.0), (5.0, 5.0, 5.0)),))
    microscope = simulated_microscope(specimen, seed=SEED, directory=folder)
    camera, theta = microscope.camera, microscope.stage.theta

    def scan() -> Probe:
        return run(microscope.clock, bp.scan([camera], theta, *RANGE_DEG, points))

    def study() -> Probe:
        plan = tomography(microscope, projections=points, dark_frames=1, flat_frames=1)
        return run(microscope.clock, plan)

    def toy_scan(readings: int) -> Callable[[], Probe]:
        axis, detector = SynAxis(name="axis"), toys(readings - AXIS_READINGS)
        return lambda: run(None, bp.scan([detector], axis, *RANGE_DEG, points))

    results: dict[str, Any] = {"points": points, "rounds": rounds}
    for what, ours in (("scan", scan), ("tomography", study)):
        readings = ours().readings
        toy = toy_scan(readings)
        toy()
        mine: list[float] = []
        theirs: list[float] = []
        ratios: list[float] = []
        for _ in range(rounds):
            one, other = ours().milliseconds, toy().milliseconds
            mine += one
            theirs += other
            ratios.append(float(np.median(one) / np.median(other)))
        results[what] = {
            "readings": readings,
            "ours_ms": round(float(np.median(mine)), 3),
            "toys_ms": round(float(np.median(theirs)), 3),
            "ratio": round(float(np.median(mine) / np.median(theirs)), 3),
            "ratio_lowest": round(min(ratios), 3),
            "ratio_highest": round(max(ratios), 3),
        }
    microscope.clock.close()
    return results


def profiled(points: int, folder: Path) -> None:
    """Print where the time of the RunEngine's thread goes, ours and the toys'."""
    microscope = simulated_microscope(Specimen(particles=()), seed=SEED, directory=folder)
    ours = bp.scan([microscope.camera], microscope.stage.theta, *RANGE_DEG, points)
    theirs = bp.scan([toys(6)], SynAxis(name="axis"), *RANGE_DEG, points)
    for name, clock, plan in (("ours", microscope.clock, ours), ("toys", None, theirs)):
        profile = cProfile.Profile(time.thread_time)
        run(clock, plan, profile)
        print(f"--- {name}, {points} points")
        pstats.Stats(profile).sort_stats("tottime").print_stats(SHOWN)
    microscope.clock.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.profile:
            profiled(options.points, Path(folder))
        else:
            results = compare(options.points, options.rounds, Path(folder))
            print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
