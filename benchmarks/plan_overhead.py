"""What a point costs the RunEngine on our devices, against `bluesky.plans.scan` on ophyd's toys.

Run it with `python benchmarks/plan_overhead.py [--points 141] [--rounds 5] [--messages]`.

Overhead is processor time of the RunEngine's thread per event: messages, readings, documents.
Frames are computed and written by the clock's thread, so they are not in it, and it does not
depend on what else the computer does, as wall time would. Ours and the toys take turns in one
process; the toys give as many readings per event as ours.
"""

from __future__ import annotations

import argparse
import json
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


def run(clock: Any, plan: Any) -> Probe:
    """Run a plan on a RunEngine of its own; return what was noted."""
    engine = RunEngine({}, context_managers=[])
    if clock is not None:
        attach(engine, clock)
    probe = Probe()
    engine.subscribe(probe)
    engine(plan)
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


class Messages:
    """Sums the processor time of the RunEngine's thread by message, from each to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._last = ("", 0.0)

    def __call__(self, message: Any) -> None:
        command, begun_s = self._last
        now_s = time.thread_time()
        if command:
            self.seconds[command] = self.seconds.get(command, 0.0) + now_s - begun_s
            self.counts[command] = self.counts.get(command, 0) + 1
        self._last = (message.command, now_s)


def by_message(points: int, folder: Path) -> None:
    """Print what each kind of message costs per point: our tomogram, and the toys' scan."""
    microscope = simulated_microscope(Specimen(particles=()), seed=SEED, directory=folder)
    plans = {
        "tomography": (
            microscope.clock,
            tomography(microscope, projections=points, dark_frames=1, flat_frames=1),
        ),
        "scan of ours": (
            microscope.clock,
            bp.scan([microscope.camera], microscope.stage.theta, *RANGE_DEG, points),
        ),
        "scan of toys": (None, bp.scan([toys(18)], SynAxis(name="axis"), *RANGE_DEG, points)),
    }
    for name, (clock, plan) in plans.items():
        engine = RunEngine({}, context_managers=[])
        if clock is not None:
            attach(engine, clock)
        seen = Messages()
        engine.msg_hook = seen
        engine(plan)
        total_ms = 1e3 * sum(seen.seconds.values()) / points
        print(
            f"{name}: {sum(seen.counts.values()) / points:.1f} messages, {total_ms:.2f} ms a point"
        )
        for command, seconds in sorted(seen.seconds.items(), key=lambda one: -one[1])[:9]:
            count = seen.counts[command] / points
            print(f"    {command:<12} {count:5.1f} a point {1e3 * seconds / points:7.2f} ms")
    microscope.clock.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--messages", action="store_true", help="what each message costs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.messages:
            by_message(options.points, Path(folder))
        else:
            results = compare(options.points, options.rounds, Path(folder))
            print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
