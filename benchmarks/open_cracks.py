"""Open cracks through the whole simulated chain: found, missed, seen where there are none.

    python benchmarks/open_cracks.py [SEEDS] [FIRST]

Powders in which one particle in five has a crack 0.6 to 1.4 um wide that reaches its surface, and
powders without cracks, smooth and rough: three tomograms of each at the study's settings. The
truth is looked up after the analysis.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import pandas as pd
from chain_accuracy import beside_truth, scanned_fields

from zoneplate.analysis.open_pores import COUNT, VOLUME
from zoneplate.simulators import Defects, Specimen, nmc622, nmc811

CLASSES_UM3 = (0.0, 4.0, 6.0, 10.0, 20.0, 999.0)
COVERAGE_SE = 1.96


def one_powder(specimen: Specimen, seed: int) -> pd.DataFrame:
    """Scan three fields; return the whole particles that were found, beside the truth."""
    truth, rows = specimen.truth_particles(), []
    for tomogram in scanned_fields(specimen, seed):
        both = beside_truth(specimen, truth, tomogram)
        rows.append(both[both["matched"]])
    return pd.concat(rows, ignore_index=True)


def print_cracks(cracked: pd.DataFrame) -> None:
    """Print how many of the cracks were found, by what they take away, and how large they read."""
    true, volume = cracked["crack_volume_um3_true"], cracked[VOLUME]
    print(f"{'crack takes, um3':>18s} {'cracks':>7s} {'found':>6s} {'volume, mean error':>19s}")
    for low, high in pairwise(CLASSES_UM3):
        own = (true >= low) & (true < high)
        seen = own & (cracked[COUNT] > 0)
        error = f"{volume[seen].sum() / true[seen].sum() - 1:+19.1%}" if seen.any() else ""
        print(f"{low:8.0f} to {high:6.0f} {own.sum():8d} {seen.sum():6d} {error}")
    seen = cracked[COUNT] > 0
    off = (volume - true)[seen]
    held = (off.abs() <= COVERAGE_SE * cracked[f"{VOLUME}_se"][seen]).mean()
    print(
        f"all: {seen.sum()} of {len(cracked)} found; volume {off.sum() / true[seen].sum():+.1%}, "
        f"scatter {(off / true[seen]).std():.1%}, 95 % intervals hold in {held:.0%}"
    )


def main() -> None:
    """Print what was found beside what is there."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 910
    numbers = range(first, first + seeds)
    touching = {"touching_fraction": 0.3}
    cracked = pd.concat(
        one_powder(nmc622(seed, defects=Defects(open_cracked_fraction=0.2, **touching)), seed)
        for seed in numbers
    )
    print_cracks(cracked[cracked["crack_count_true"] > 0])
    without = {
        "others in these powders": cracked[cracked["crack_count_true"] == 0],
        "NMC622 without cracks": one_powder(nmc622(first, defects=Defects(**touching)), first),
        "NMC811, rough": one_powder(nmc811(first, defects=Defects(**touching)), first),
    }
    for name, table in without.items():
        print(f"{name}: {(table[COUNT] > 0).sum()} of {len(table)} have an open pore")


if __name__ == "__main__":
    main()
