"""How close to the truth a screening comes: five simulated NMC622 powders, one tomogram each.

    python benchmarks/accuracy_against_truth.py

Each seed is another powder and another noise. A tomogram at the study's settings is taken in the
middle of the powder, analysed, and compared with what the specimen really is: the same particles
(whole in the field) and the same voids (above the detection limit). The truth is looked up after
the analysis; nothing of it goes in.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from zoneplate.acquisition import open_session
from zoneplate.acquisition.truth import truth_of_run
from zoneplate.acquisition.workflow import collect_screening
from zoneplate.plans import tomography

SEEDS = range(5)
CENTER_UM = (0.0, 0.0, 3.0)
"""In the middle of the map, half a median diameter above the tape."""

ALLOWED = {"count": 0.05, "diameter": 0.02, "volume": 0.05}
"""Largest relative errors that are accepted."""
LEAST_FREQUENCIES = 4
"""Of five 95 % intervals, so many must hold the truth."""


def measured_and_true(seed: int, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the results of one powder and the truth about it, as in `results.json`."""
    with open_session("simulated", sample="nmc622", seed=seed, data_dir=folder, live=False) as one:
        (uid,) = one.RE(tomography(one.microscope, center_um=CENTER_UM))
        tomogram = one.tomogram(uid)
        results = collect_screening(one.data, None, [uid], [tomogram]).document
        truth = truth_of_run(one.run(uid), [tomogram])
    assert truth is not None
    return results, truth


def mean(results: dict[str, Any], quantity: str) -> float:
    """Return the mean of a quantity of the particles."""
    return float(results["particles"][quantity]["mean"])


def main() -> None:
    """Print a line per seed and how the five stand against what is accepted."""
    print(
        "seed   whole particles   mean diameter, um        mean volume, um3      voids > 1.8 um"
        "                dead volume\n"
        "       found  true       found  true  error       found  true  error    "
        "found [95 % interval]  true    found   true"
    )
    errors: dict[str, list[float]] = {name: [] for name in ALLOWED}
    held = 0
    began_s = time.perf_counter()
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            found, true = measured_and_true(seed, Path(folder))
        counts = found["particles"]["count"], true["particles"]["count"]
        diameters = [mean(one, "equivalent_diameter_um") for one in (found, true)]
        volumes = [mean(one, "volume_um3") for one in (found, true)]
        pairs = {"count": counts, "diameter": diameters, "volume": volumes}
        for name, (value, expected) in pairs.items():
            errors[name].append(value / expected - 1)
        frequency, true_frequency = found["void_frequency"], true["void_frequency"]["value"]
        held += frequency["low"] <= true_frequency <= frequency["high"]
        dead, true_dead = (one["dead_volume_fraction"]["value"] for one in (found, true))
        print(
            f"{seed:4d}   {counts[0]:5d} {counts[1]:5d}       "
            f"{diameters[0]:5.2f} {diameters[1]:5.2f} {errors['diameter'][-1]:+6.1%}       "
            f"{volumes[0]:5.0f} {volumes[1]:5.0f} {errors['volume'][-1]:+6.1%}    "
            f"{frequency['value']:4.0%} [{frequency['low']:3.0%} to {frequency['high']:3.0%}]"
            f"   {true_frequency:4.0%}    {dead:5.2%}  {true_dead:5.2%}",
            flush=True,
        )
    print()
    for name, allowed in ALLOWED.items():
        worst = max(errors[name], key=abs)
        print(f"{name:9s} worst error {worst:+.1%} (allowed {allowed:.0%})")
    print(f"frequency {held} of {len(SEEDS)} intervals hold the truth (least {LEAST_FREQUENCIES})")
    print(f"took {time.perf_counter() - began_s:.0f} s")


if __name__ == "__main__":
    main()
