"""What a point costs in wall time: over Channel Access, in process, and with ophyd's own toys.

Run it with `python benchmarks/channel_access_overhead.py [--points 1571]`. The instrument's own
time does not count: the clocks jump. The slope says whether points get slower as a scan goes on.
A real camera does not compute its frames. What the simulator takes for that cannot be taken off, as
it goes on beside the client: the overhead is measured with frames that cost little, of one particle
without blur.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from bluesky import plans as bp
from ophyd.sim import SynAxis, SynGauss

from zoneplate.devices.epics import epics_microscope
from zoneplate.devices.epics_environment import use_simulated_servers
from zoneplate.plans import tomography
from zoneplate.simulators import Particle, Specimen, attach, simulated_microscope
from zoneplate.simulators.ioc import ServerProcess

SEED = 1
POINTS = 141


def engine(clock: Any) -> RunEngine:
    RE = RunEngine({}, context_managers=[])
    if clock is not None:
        attach(RE, clock)
    return RE


def per_point(RE: RunEngine, plan: Any) -> dict[str, float]:
    """Run a plan; return statistics of the wall time between its events, in ms."""
    times: list[float] = []
    token = RE.subscribe(lambda name, doc: times.append(time.perf_counter()), "event")
    RE(plan)
    RE.unsubscribe(token)
    gaps_ms = 1e3 * np.diff(times)
    slope = float(np.polyfit(np.arange(len(gaps_ms)), gaps_ms, 1)[0])
    return {
        "points": len(times),
        "median_ms": round(float(np.median(gaps_ms)), 2),
        "p95_ms": round(float(np.percentile(gaps_ms, 95)), 2),
        "slope_ms_per_1000_points": round(1e3 * slope, 2),
        "median_of_first_200_ms": round(float(np.median(gaps_ms[:200])), 2),
        "median_of_last_200_ms": round(float(np.median(gaps_ms[-200:])), 2),
    }


def study_scan(microscope: Any) -> dict[str, float]:
    """Take the tomogram of the study; return its wall and instrument time."""
    before_s, begin = microscope.clock.now(), time.perf_counter()
    engine(microscope.clock)(tomography(microscope, center_um=(0, 0, 4)))
    return {
        "wall_s": round(time.perf_counter() - begin, 2),
        "instrument_s": round(microscope.clock.now() - before_s, 3),
    }


def scan(microscope: Any, points: int) -> Any:
    return bp.scan([microscope.camera], microscope.stage.theta, -90, 90, points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=POINTS)
    points = parser.parse_args().points
    results: dict[str, Any] = {}
    port, beacon_port = use_simulated_servers()
    with tempfile.TemporaryDirectory() as folder:
        here = simulated_microscope(seed=SEED, directory=Path(folder) / "here")
        results["in process"] = per_point(engine(here.clock), scan(here, points))
        results["in process, tomogram"] = study_scan(here)
        here.clock.close()
        with ServerProcess(
            directory=folder, seed=SEED, port=port, beacon_port=beacon_port
        ) as server:
            there = epics_microscope(server.prefix, directory=folder, simulated=True)
            results["channel access"] = per_point(engine(there.clock), scan(there, points))
            results["channel access, tomogram"] = study_scan(there)
            there.destroy()
        one = Path(folder) / "one.csv"
        Specimen(particles=(Particle("one", (0, 0, 5), (5, 5, 5)),)).save(one)
        with ServerProcess(
            directory=folder,
            specimen=one,
            imperfections={"blur": False},
            port=port,
            beacon_port=beacon_port,
        ) as server:
            there = epics_microscope(server.prefix, directory=folder, simulated=True)
            results["overhead of channel access"] = per_point(
                engine(there.clock), scan(there, points)
            )
            there.destroy()
    axis = SynAxis(name="axis")
    detector = SynGauss("detector", axis, "axis", center=0, Imax=1, sigma=1)
    toy = bp.scan([detector], axis, -90, 90, points)
    results["ophyd.sim"] = per_point(engine(None), toy)
    for other in ("in process", "ophyd.sim"):
        ratio = results["channel access"]["median_ms"] / results[other]["median_ms"]
        results[f"channel access / {other}"] = round(ratio, 2)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
