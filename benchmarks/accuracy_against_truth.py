"""How close to the truth a screening comes: five simulated NMC622 powders, one tomogram each.

    python benchmarks/accuracy_against_truth.py

Each seed is another powder and another noise. A tomogram at the study's settings is taken in the
middle of the powder, analysed, and compared with what the specimen really is: the same particles
(whole in the field) and the same voids. The truth is looked up after the analysis; nothing of it
goes in. The exit code is 1 when something is further off than `ALLOWED`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoneplate.acquisition import open_session
from zoneplate.acquisition.tomogram_file import StoredTomogram
from zoneplate.acquisition.truth import truth_of
from zoneplate.acquisition.workflow import collect_screening
from zoneplate.plans import tomography
from zoneplate.simulators import Specimen

SEEDS = range(5)
CENTER_UM = (0.0, 0.0, 3.0)
"""In the middle of the powder, half a median diameter above the tape."""

ALLOWED = {"count": 0.05, "diameter": 0.02, "volume": 0.05}
"""Largest relative errors that are accepted."""
LEAST_FREQUENCIES = 4
"""Of five 95 % intervals, so many must hold the truth."""

SIZE_CLASSES_UM = (0.0, 1.4, 1.6, 1.8, 2.2, 99.0)
SAME_VOID_UM = 1.0
"""A void is found when one was measured this near to its centre; voids lie further apart."""

CENTER = ["center_x_um", "center_y_um", "center_z_um"]


@dataclass(frozen=True)
class Comparison:
    """One powder: results and truth as in `results.json`, and its voids by size class."""

    found: dict[str, Any]
    true: dict[str, Any]
    voids: Counter[int]
    voids_found: Counter[int]
    false_voids: int


def compared(seed: int, folder: Path) -> Comparison:
    """Take, analyse and compare one powder."""
    with open_session("simulated", sample="nmc622", seed=seed, data_dir=folder, live=False) as one:
        (uid,) = one.RE(tomography(one.microscope, center_um=CENTER_UM))
        tomogram = one.tomogram(uid)
        found = collect_screening(one.data, None, [uid], [tomogram]).document
        specimen = Specimen.load(one.run(uid).start["specimen_file"])
    return Comparison(found, truth_of(specimen, [tomogram]), *void_detection(specimen, tomogram))


def void_detection(
    specimen: Specimen, tomogram: StoredTomogram
) -> tuple[Counter[int], Counter[int], int]:
    """Return voids by size class, those of them that were found, and how many are false."""
    half_height_um = tomogram.volume.shape[0] * tomogram.voxel_um / 2
    whole = specimen.whole_in_field(
        tomogram.center_um, tomogram.facts["whole_radius_um"], half_height_um
    )
    owners = specimen.truth_particles().loc[np.asarray(whole), "particle_id"]
    everywhere = specimen.truth_voids()
    true = everywhere[everywhere["particle_id"].isin(owners)]
    sizes = np.digitize(true["equivalent_diameter_um"], SIZE_CLASSES_UM) - 1
    seen = distance_um(true, tomogram.voids) < SAME_VOID_UM
    whole_voids = tomogram.voids[~tomogram.voids["touches_border"].astype(bool)]
    false = int((distance_um(whole_voids, everywhere) >= SAME_VOID_UM).sum())
    return Counter(sizes.tolist()), Counter(sizes[seen].tolist()), false


def distance_um(these: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Return how far each of these is from the nearest of the others."""
    apart = these[CENTER].to_numpy()[:, None] - others[CENTER].to_numpy()[None]
    return np.linalg.norm(apart, axis=2).min(axis=1, initial=np.inf)


def mean(results: dict[str, Any], quantity: str) -> float:
    """Return the mean of a quantity of the particles."""
    return float(results["particles"][quantity]["mean"])


def main() -> int:
    """Print a line per seed and how the five stand against what is accepted."""
    print(
        "seed   whole particles   mean diameter, um        mean volume, um3      voids > 1.8 um"
        "                dead volume\n"
        "       found  true       found  true  error       found  true  error    "
        "found [95 % interval]  true    found   true"
    )
    errors: dict[str, list[float]] = {name: [] for name in ALLOWED}
    held = false_voids = 0
    voids, voids_found = Counter[int](), Counter[int]()
    began_s = time.perf_counter()
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            one = compared(seed, Path(folder))
        counts, diameters, volumes = (
            [results["particles"]["count"] for results in (one.found, one.true)],
            [mean(results, "equivalent_diameter_um") for results in (one.found, one.true)],
            [mean(results, "volume_um3") for results in (one.found, one.true)],
        )
        for name, (found, true) in zip(ALLOWED, (counts, diameters, volumes), strict=True):
            errors[name].append(found / true - 1)
        frequency = one.found["void_frequency"]
        true_frequency = one.true["void_frequency"]["value"]
        held += frequency["low"] <= true_frequency <= frequency["high"]
        dead, true_dead = (r["dead_volume_fraction"]["value"] for r in (one.found, one.true))
        voids += one.voids
        voids_found += one.voids_found
        false_voids += one.false_voids
        print(
            f"{seed:4d}   {counts[0]:5d} {counts[1]:5d}       "
            f"{diameters[0]:5.2f} {diameters[1]:5.2f} {errors['diameter'][-1]:+6.1%}       "
            f"{volumes[0]:5.0f} {volumes[1]:5.0f} {errors['volume'][-1]:+6.1%}    "
            f"{frequency['value']:4.0%} [{frequency['low']:3.0%} to {frequency['high']:3.0%}]"
            f"   {true_frequency:4.0%}    {dead:5.2%}  {true_dead:5.2%}",
            flush=True,
        )
    print("\nvoids of true diameter, um:  found")
    for number, low in enumerate(SIZE_CLASSES_UM[:-1]):
        name = f"{low} to {SIZE_CLASSES_UM[number + 1]}" if number < 4 else f"above {low}"
        print(f"{name:>26s}:  {voids_found[number]} of {voids[number]}")
    print(f"{'false':>26s}:  {false_voids}\n")
    for name, allowed in ALLOWED.items():
        worst = max(errors[name], key=abs)
        print(f"{name:9s} worst error {worst:+.1%} (allowed {allowed:.0%})")
    print(f"frequency {held} of {len(SEEDS)} intervals hold the truth (least {LEAST_FREQUENCIES})")
    print(f"took {time.perf_counter() - began_s:.0f} s")
    near = all(max(map(abs, errors[name])) <= allowed for name, allowed in ALLOWED.items())
    return 0 if near and held >= LEAST_FREQUENCIES else 1


if __name__ == "__main__":
    sys.exit(main())
