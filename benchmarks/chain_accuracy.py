"""Particles, voids and touching pairs through the whole simulated chain, against truth.

    python benchmarks/chain_accuracy.py [SEEDS] [FIRST]

Five NMC622 powders in which three particles in ten touch another, three tomograms of each at the
study's settings: scanned, reconstructed, segmented, measured, and compared one by one with the
particles and voids of the specimen. The truth is looked up after the analysis.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accuracy_against_truth import CENTER, SAME_VOID_UM, distance_um

from zoneplate.acquisition import open_session
from zoneplate.analysis.summary import MINIMUM_VOID_UM
from zoneplate.plans import tomography
from zoneplate.simulators import Defects, Specimen, nmc622

CENTERS_UM = ((-110.0, 0.0, 3.0), (0.0, 0.0, 3.0), (110.0, 0.0, 3.0))
SAME_PARTICLE_UM = 1.5
RESOLVED_UM = 2.5
"""Diameter of five voxels: smaller lobes are taken for bumps of the particle they touch."""
VOID_CLASSES_UM = (0.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.4, 3.0, 99.0)
PAIRS = (
    ("volume_um3", "volume_um3"),
    ("volume_grey_um3", "volume_um3"),
    ("equivalent_diameter_um", "equivalent_diameter_um"),
    ("equivalent_diameter_grey_um", "equivalent_diameter_um"),
    ("surface_area_um2", "surface_area_um2"),
    ("surface_area_grey_um2", "surface_area_um2"),
    ("sphericity", "sphericity"),
    ("sphericity_grey", "sphericity"),
)


def beside_truth(specimen: Specimen, truth: pd.DataFrame, tomogram: Any) -> pd.DataFrame:
    """Return the whole particles of a field, each with the measured one that is nearest.

    Columns of the truth end in ``_true``; ``matched`` are those that are near and each the nearest
    of the other: else two particles were taken for one.
    """
    inside = specimen.whole_in_field(
        tomogram.center_um,
        tomogram.facts["whole_radius_um"],
        tomogram.volume.shape[0] * tomogram.voxel_um / 2,
    )
    own = truth[np.asarray(inside)].reset_index(drop=True)
    apart = np.linalg.norm(
        own[CENTER].to_numpy()[:, None] - tomogram.particles[CENTER].to_numpy()[None], axis=2
    )
    nearest = apart.argmin(axis=1)
    found = tomogram.particles.iloc[nearest].reset_index(drop=True)
    mutual = apart.argmin(axis=0)[nearest] == np.arange(len(own))
    matched = (apart.min(axis=1) < SAME_PARTICLE_UM) & mutual
    return own.add_suffix("_true").join(found).assign(matched=matched)


def scanned_fields(specimen: Specimen, seed: int) -> Iterator[Any]:
    """Scan three fields of a powder and yield what was made of each."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_session(
            "simulated", specimen=specimen, seed=seed, data_dir=Path(folder), live=False
        ) as session,
    ):
        for center_um in CENTERS_UM:
            (uid,) = session.RE(tomography(session.microscope, center_um=center_um))
            yield session.tomogram(uid)


def one_powder(seed: int) -> dict[str, list[pd.DataFrame]]:
    """Scan three fields; return matched particles, voids, contacts and counts."""
    specimen = nmc622(seed=seed, defects=Defects(touching_fraction=0.3))
    truth, holes = specimen.truth_particles(), specimen.truth_voids()
    contacts = specimen.truth_contacts()
    rows: dict[str, list[pd.DataFrame]] = {
        name: [] for name in ("particles", "voids", "pairs", "false")
    }
    for tomogram in scanned_fields(specimen, seed):
        both = beside_truth(specimen, truth, tomogram)
        rows["particles"].append(both)
        own = both["particle_id_true"]
        right = dict(zip(own, both["matched"], strict=True))
        size_um = dict(zip(own, both["equivalent_diameter_um_true"], strict=True))
        known = contacts[
            contacts["first_particle_id"].isin(right) & contacts["second_particle_id"].isin(right)
        ]
        both_ids = known[["first_particle_id", "second_particle_id"]].to_numpy().tolist()
        rows["pairs"].append(
            pd.DataFrame(
                {
                    "right": [right[a] and right[b] for a, b in both_ids],
                    "smaller_um": [min(size_um[a], size_um[b]) for a, b in both_ids],
                }
            )
        )
        voids = holes[holes["particle_id"].isin(own)]
        rows["voids"].append(voids.assign(found=distance_um(voids, tomogram.voids) < SAME_VOID_UM))
        whole = ~tomogram.voids["touches_border"].astype(bool)
        far = distance_um(tomogram.voids[whole], holes) >= SAME_VOID_UM
        rows["false"].append(pd.DataFrame({"false": [int(far.sum())]}))
        measured = tomogram.voids[whole]
        counted = measured["equivalent_diameter_grey_um"] > MINIMUM_VOID_UM
        large = voids["equivalent_diameter_um"] > MINIMUM_VOID_UM
        rows["false"][-1] = rows["false"][-1].assign(
            dead=measured.loc[counted, "volume_grey_um3"].sum(),
            dead_true=voids.loc[large, "volume_um3"].sum(),
            solid=tomogram.particles.loc[
                ~tomogram.particles["touches_border"].astype(bool), "volume_um3"
            ].sum(),
            solid_true=both["volume_um3_true"].sum(),
        )
    return rows


def main() -> None:
    """Print what was found beside what is there."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    powders = [one_powder(seed) for seed in range(first, first + seeds)]
    tables = {
        name: pd.concat([table for powder in powders for table in powder[name]])
        for name in powders[0]
    }
    particles, voids, pairs, sums = (
        tables[name] for name in ("particles", "voids", "pairs", "false")
    )
    good = particles[particles["matched"]]
    single = good[~good["split"].astype(bool)]
    print(f"{seeds} powders, {len(sums)} tomograms, {len(particles)} whole particles,")
    print(f"{len(good)} of them matched one to one ({len(single)} not cut from a neighbour)\n")
    print(f"{'quantity':30s} {'mean, error':>12s} {'each':>8s} {'scatter':>8s} {'n':>5s}")
    for name, true in PAIRS:
        table = single if "area" in name or "sphericity" in name else good
        values, exact = table[name].astype(float), table[true + "_true"].astype(float)
        seen = np.isfinite(values)
        values, exact = values[seen], exact[seen]
        each = values / exact - 1
        print(
            f"{name:30s} {values.mean() / exact.mean() - 1:+12.2%} {each.mean():+8.2%} "
            f"{each.std():8.2%} {len(values):5d}"
        )
    dead, true_dead = (
        sums["dead"].sum() / sums["solid"].sum(),
        sums["dead_true"].sum() / sums["solid_true"].sum(),
    )
    print(
        f"\ndead volume, voids above {MINIMUM_VOID_UM} um: {dead:.3%}, true {true_dead:.3%}", end=""
    )
    print(f" ({dead / true_dead - 1:+.1%})")
    fair = pairs[pairs["smaller_um"] > RESOLVED_UM]
    print(f"touching pairs told apart: {pairs['right'].sum()} of {len(pairs)}, ", end="")
    print(f"{fair['right'].sum()} of {len(fair)} with both above {RESOLVED_UM} um")
    print(f"false voids: {sums['false'].sum()} in {len(particles)} particles")
    print("voids of true diameter, um: found")
    sizes = voids["equivalent_diameter_um"]
    for low, high in itertools.pairwise(VOID_CLASSES_UM):
        some = voids[(sizes >= low) & (sizes < high)]
        print(f"{low:8g} to {high:4g}: {some['found'].sum()} of {len(some)}")


if __name__ == "__main__":
    main()
