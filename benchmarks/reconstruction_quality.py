"""How well solid and voids of a reconstructed powder agree with the specimen, by engine and fault.

    python benchmarks/reconstruction_quality.py [--seeds 1] [--imperfections] [--few-views]

NMC622 at the study's settings (141 projections of 1 s at binning 8), each powder another noise.
Dice is twice the common voxels over the sum of both, against the specimen on the voxel grid:

- solid: of everything inside the field that every angle sees;
- voids: of voids above 1.8 um in particles that lie wholly inside the field. A void that the wall
  of the field cuts open is no closed void, for the segmentation and for nobody else: the flood
  from outside gets in. With those counted as missed the figure in brackets results.

`--imperfections` switches every imperfection of the microscope off alone, and on alone.
`--few-views` keeps every view, every second and every fourth, for filtered back-projection and for
the iterative algorithms of ASTRA.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine
from scipy import ndimage

from zoneplate.acquisition.live import FrameReader, angle_of
from zoneplate.acquisition.runs import RunRecord
from zoneplate.analysis import find_center, normalize, reconstruct, segment
from zoneplate.analysis.tomogram import MINIMUM_CONTRAST_PER_UM
from zoneplate.plans import tomography
from zoneplate.simulators import Imperfections, Specimen, attach, nmc622, simulated_microscope
from zoneplate.simulators.truth import rasterize

PIXEL_UM = 0.512
CENTER_UM = (0.0, 0.0, 3.0)
PROJECTIONS = 141
VOID_UM = 1.8
WALL_UM = 2 * PIXEL_UM
STEPS = (1, 2, 4)
WANTED = {"solid": 0.97, "voids": 0.88}

OFF: dict[str, dict[str, Any]] = {
    "photon noise": {"photon_noise": False},
    "read noise": {"read_noise": False},
    "dark current": {"dark_current": False},
    "blur": {"blur": False},
    "illumination": {"flat_structure": False},
    "drift of the beam": {"flat_drift": False},
    "fixed pattern": {"fixed_pattern": False},
    "hot pixels": {"hot_pixels": False},
    "stage repeatability": {"stage_repeatability": False},
    "axis off centre": {"axis_offset_um": 0.0},
    "run-out": {"runout_um": 0.0},
    "thermal drift": {"drift_um_per_hour": 0.0},
}


@dataclass(frozen=True, eq=False)
class Scan:
    """Absorption, angles, and what the specimen really is."""

    frames: np.ndarray
    angles_rad: np.ndarray
    column: float
    truth_solid: np.ndarray
    truth_voids: np.ndarray
    counted: np.ndarray
    """Voids by label: above the limit, in a particle that is wholly inside the field."""
    large: np.ndarray
    """Voids by label: above the limit."""
    inside: np.ndarray

    @property
    def radius_um(self) -> float:
        return field_radius_um(self.frames.shape[2], self.column)


def field_radius_um(columns: int, column: float) -> float:
    return (min(column, columns - 1 - column) + 0.5) * PIXEL_UM


def take(seed: int, imperfections: Imperfections) -> Scan:
    """Scan a powder and look its truth up."""
    specimen: Specimen = nmc622(seed)
    record, reader = RunRecord(), FrameReader()
    with tempfile.TemporaryDirectory() as folder:
        microscope = simulated_microscope(
            specimen, seed=seed, directory=Path(folder), imperfections=imperfections
        )
        engine = RunEngine({}, context_managers=[])
        attach(engine, microscope.clock)
        engine.subscribe(lambda name, doc: record(name, doc) and None)
        engine(tomography(microscope, center_um=CENTER_UM, projections=PROJECTIONS))
        stacks = {
            name: np.stack([reader.read(frame) for frame in record.stream(name)])
            for name in ("primary", "flat", "dark")
        }
        reader.close()
        microscope.clock.close()
    angles = np.deg2rad([angle_of(frame) for frame in record.stream("primary")])
    frames = normalize(stacks["primary"], stacks["flat"], stacks["dark"])
    column = find_center(frames, angles).column
    rows, columns = frames.shape[1:]
    truth = rasterize(specimen, (rows, columns, columns), PIXEL_UM, CENTER_UM)
    radius_um = field_radius_um(columns, column)
    places_um = (np.arange(columns) - (columns - 1) / 2) * PIXEL_UM
    within = np.hypot(places_um[:, None], places_um[None, :]) < radius_um
    voids = specimen.truth_voids()
    whole = specimen.whole_in_field(CENTER_UM, radius_um - WALL_UM, rows * PIXEL_UM / 2)
    owners = specimen.truth_particles().loc[np.asarray(whole), "particle_id"]
    large = np.zeros(len(voids) + 1, dtype=bool)
    large[1:] = voids["equivalent_diameter_um"] > VOID_UM
    counted = large.copy()
    counted[1:] &= voids["particle_id"].isin(owners)
    inside = np.broadcast_to(within, truth.voids.shape)
    solid = (truth.particles > 0) & (truth.voids == 0) & inside
    return Scan(frames, angles, column, solid, truth.voids, counted, large, inside)


def dice(found: np.ndarray, true: np.ndarray) -> float:
    """Return twice the common voxels over the sum of both."""
    return float(2 * (found & true).sum() / max(int(found.sum() + true.sum()), 1))


def scores(scan: Scan, volume: np.ndarray) -> tuple[float, float, float, float]:
    """Return Dice of solid, of voids, of voids with those that are cut open; share of volume."""
    found = segment(
        volume,
        PIXEL_UM,
        minimum_contrast_per_um=MINIMUM_CONTRAST_PER_UM,
        field_radius_um=scan.radius_um,
    )
    solid = (found.particles > 0) & (found.voids == 0) & scan.inside
    ids = np.arange(1, int(found.voids.max(initial=0)) + 1)
    results: list[float] = []
    true_all = (scan.truth_voids > 0) & scan.inside
    share = np.nan
    for which in (scan.counted, scan.large):
        true = which[scan.truth_voids] & scan.inside
        # Voids that are really there but not asked for are neither right nor wrong; what lies on
        # no void at all is wrong.
        others = ndimage.sum_labels(true_all & ~true, found.voids, ids)
        own = ndimage.sum_labels(true, found.voids, ids)
        kept = np.concatenate([[False], others <= own])
        seen = kept[found.voids] & scan.inside
        results.append(dice(seen, true))
        share = seen.sum() / max(int(true.sum()), 1) if which is scan.counted else share
    return dice(solid, scan.truth_solid), results[0], results[1], float(share)


def engines() -> dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]]:
    """Return what is compared, by name; gridrec and ASTRA where they are installed."""

    def by(**options: Any) -> Callable[[np.ndarray, np.ndarray, float], np.ndarray]:
        return lambda frames, angles, column: reconstruct(
            frames, angles, column, PIXEL_UM, **options
        )

    found = {
        "streaming, ramp": by(),
        "streaming, Shepp-Logan": by(filter="shepp-logan"),
        "streaming, Hann": by(filter="hann"),
    }
    for engine, name in (("astra", "ASTRA FBP"), ("tomopy", "TomoPy gridrec")):
        if importlib.util.find_spec(engine) is None:
            print(f"{name}: not installed, not compared")
        else:
            found[name] = by(engine=engine)
    return found


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.process_time()
    return work(), time.process_time() - start


def row(name: str, values: list[tuple[float, float, float, float]], cpu_s: float | None) -> str:
    solid, voids, cut, share = np.mean(values, axis=0)
    cost = "" if cpu_s is None else f"   {cpu_s:8.2f}"
    return f"{name:28s} {solid:6.3f}   {voids:6.3f} ({cut:.3f})   {share:6.2f}{cost}"


def by_engine(scans: list[Scan]) -> None:
    """Print a line per engine."""
    print(f"\n{'engine':28s}  solid    voids (all)    volume found   CPU s")
    for name, work in engines().items():
        values, costs = [], []
        for scan in scans:
            volume, cpu_s = timed(lambda s=scan, w=work: w(s.frames, s.angles_rad, s.column))
            values.append(scores(scan, volume))
            costs.append(cpu_s)
        print(row(name, values, float(np.median(costs))), flush=True)
        if name == "streaming, ramp":
            solid, voids = np.mean(values, axis=0)[:2]
            reached = solid >= WANTED["solid"] and voids >= WANTED["voids"]
            print(f"  wanted: solid {WANTED['solid']}, voids {WANTED['voids']}: ", end="")
            print("reached" if reached else "NOT reached")


def by_imperfection(seeds: int) -> None:
    """Print a line per imperfection: off alone, and on alone."""
    default, perfect = Imperfections(), Imperfections.none()
    cases = {"all on": default, "none": perfect}
    for name, switch in OFF.items():
        cases[f"all but {name}"] = dataclasses.replace(default, **switch)
    for name, switch in OFF.items():
        on = {key: getattr(default, key) for key in switch}
        cases[f"only {name}"] = dataclasses.replace(perfect, **on)
    print(f"\n{'imperfections':28s}  solid    voids (all)    volume found")
    for name, imperfections in cases.items():
        values = []
        for seed in range(seeds):
            scan = take(seed, imperfections)
            volume = reconstruct(scan.frames, scan.angles_rad, scan.column, PIXEL_UM)
            values.append(scores(scan, volume))
        print(row(name, values, None), flush=True)


def by_views(scans: list[Scan]) -> None:
    """Print a line per number of views and algorithm."""
    ways: dict[str, dict[str, Any]] = {
        "ramp": {},
        "Hann": {"filter": "hann"},
        "SIRT, 50 iterations": {"engine": "astra", "algorithm": "sirt", "iterations": 50},
        "CGLS, 10 iterations": {"engine": "astra", "algorithm": "cgls", "iterations": 10},
    }
    print(f"\n{'views, algorithm':28s}  solid    voids (all)    volume found   CPU s")
    for step in STEPS:
        for name, options in ways.items():
            values, costs = [], []
            for scan in scans:
                order = np.argsort(scan.angles_rad)[::step]
                frames, angles = scan.frames[order], scan.angles_rad[order]
                volume, cpu_s = timed(
                    lambda f=frames, a=angles, s=scan, o=options: reconstruct(
                        f, a, s.column, PIXEL_UM, **o
                    )
                )
                values.append(scores(scan, volume))
                costs.append(cpu_s)
            print(row(f"{len(order)}, {name}", values, float(np.median(costs))), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="powders to average over")
    parser.add_argument("--imperfections", action="store_true", help="each off, and on, alone")
    parser.add_argument("--few-views", action="store_true", help="fewer views, iterative engines")
    options = parser.parse_args()
    if options.imperfections:
        by_imperfection(options.seeds)
        return
    scans = [take(seed, Imperfections()) for seed in range(options.seeds)]
    voids = sum(int(scan.counted[np.unique(scan.truth_voids)].sum()) for scan in scans)
    print(f"{options.seeds} NMC622 powders, {voids} voids above {VOID_UM} um in whole particles")
    if options.few_views:
        by_views(scans)
    else:
        by_engine(scans)


if __name__ == "__main__":
    main()
