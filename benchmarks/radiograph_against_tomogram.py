"""The same particles on the map and in tomograms: volumes and diameters side by side.

    python benchmarks/radiograph_against_tomogram.py [SEEDS] [FIRST]

Powders of NMC622 in which three particles in ten touch another: a map of a row of five fields, and
tomograms of three of them, at the study's settings. Particles of the map are put beside those of
the tomogram that they are the shadow of, each the nearest of the other. What the map measures is
the mass of the solid, so its volume is compared with the particle's grey volume less its voids.
The truth of the specimen is looked up after both analyses.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from zoneplate.acquisition import open_session
from zoneplate.plans import mosaic, tomography
from zoneplate.simulators import Defects, Specimen, nmc622

FIRST_SEED = 500
FIELDS_X_UM = (-128.0, 0.0, 128.0)
COLUMNS = 5
SAME_UM = 1.5
PLACE = ["center_x_um", "center_y_um"]
COVERED = 1.96
CLASSES_UM = ((0.0, 4.0), (4.0, 6.0), (6.0, 8.0), (8.0, 40.0), (0.0, 40.0))


def mutual(first: pd.DataFrame, second: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of rows that are each the nearest of the other, and near enough."""
    apart = np.linalg.norm(
        first[PLACE].to_numpy()[:, None] - second[PLACE].to_numpy()[None], axis=2
    )
    nearest = apart.argmin(axis=1)
    same = (apart.argmin(axis=0)[nearest] == np.arange(len(first))) & (apart.min(axis=1) < SAME_UM)
    return np.flatnonzero(same), nearest[same]


def one_powder(seed: int) -> tuple[pd.DataFrame, dict[str, int]]:
    """Scan one powder; return matched particles and counts."""
    specimen: Specimen = nmc622(seed=seed, defects=Defects(touching_fraction=0.3))
    truth = specimen.truth_particles()
    shadow = specimen.particle_geometry.shape_matrix[:, :2, :2]  # x and y: the beam goes along z
    truth["projected_um"] = 2 * np.linalg.det(shadow) ** 0.25
    rows: list[pd.DataFrame] = []
    counts = {"tomogram": 0, "found": 0, "overlapping": 0}
    with (
        tempfile.TemporaryDirectory() as folder,
        open_session(
            "simulated", specimen=specimen, seed=seed, data_dir=Path(folder), live=False
        ) as session,
    ):
        (uid,) = session.RE(mosaic(session.microscope, shape=(1, COLUMNS)))
        seen = session.map(uid).particles
        for x_um in FIELDS_X_UM:
            (uid,) = session.RE(tomography(session.microscope, center_um=(x_um, 0.0, 3.0)))
            table = session.tomogram(uid).particles
            whole = table[~table["touches_border"].astype(bool)].reset_index(drop=True)
            of_map, of_tomogram = mutual(seen, whole)
            beside = seen.iloc[of_map].reset_index(drop=True).add_suffix("_map")
            both = whole.iloc[of_tomogram].reset_index(drop=True).join(beside)
            known, true = mutual(both, truth)
            rows.append(
                both.iloc[known]
                .reset_index(drop=True)
                .join(truth.iloc[true].reset_index(drop=True).add_suffix("_true"))
            )
            counts["tomogram"] += len(whole)
            counts["found"] += len(both)
            counts["overlapping"] += int(both["overlaps_map"].sum())
    return pd.concat(rows), counts


def agreement(ratio: pd.Series) -> str:
    """Mean of the ratios less one with its 95 % interval, and their scatter, in per cent."""
    n = len(ratio)
    if n < 3:
        return "-"
    half = stats.t.ppf(0.975, n - 1) * ratio.std() / np.sqrt(n)
    return f"{100 * (ratio.mean() - 1):+.1f} ± {100 * half:.1f} ({100 * ratio.std():.1f})"


def report(table: pd.DataFrame, name: str) -> None:
    """Print a Markdown table by diameter."""
    solid = table["volume_grey_um3"] - table["void_volume_grey_um3"]
    volume, volume_se = table["volume_um3_map"], table["volume_um3_se_map"]
    both_se = np.hypot(volume_se, table["volume_grey_um3_se"])
    columns = {
        "volume, map / tomogram": volume / solid,
        "volume, map / truth": volume / table["solid_volume_um3_true"],
        "diameter, map / tomogram": table["equivalent_diameter_um_map"]
        / table["equivalent_diameter_grey_um"],
        "diameter, map / truth": table["equivalent_diameter_um_map"] / table["projected_um_true"],
    }
    held = {
        "tomogram": (volume - solid).abs() < COVERED * both_se,
        "truth": (volume - table["solid_volume_um3_true"]).abs() < COVERED * volume_se,
    }
    heads = [*columns, "agree within 95 % intervals", "truth in map's interval"]
    print(f"\n{name}: mean difference ± its 95 % interval (scatter of one particle), per cent\n")
    print("| diameter, um | particles | " + " | ".join(heads) + " |")
    print("|---|---|" + "---|" * len(heads))
    size = table["equivalent_diameter_um_true"]
    for low, high in CLASSES_UM:
        some = (size >= low) & (size < high) & np.isfinite(solid)
        if not some.any():
            continue
        cells = [agreement(values[some]) for values in columns.values()]
        cells += [f"{100 * values[some].mean():.0f} %" for values in held.values()]
        label = "all" if (low, high) == CLASSES_UM[-1] else f"{low:g} to {high:g}"
        print(f"| {label} | {int(some.sum())} | " + " | ".join(cells) + " |")


def main() -> None:
    """Print the comparison for particles that lie alone on the map and for those that do not."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    first = int(sys.argv[2]) if len(sys.argv) > 2 else FIRST_SEED
    results = [one_powder(seed) for seed in range(first, first + seeds)]
    table = pd.concat([part for part, _ in results], ignore_index=True)
    counts = {name: sum(one[name] for _, one in results) for name in results[0][1]}
    print(
        f"seeds {first} to {first + seeds - 1}: {counts['tomogram']} whole particles in "
        f"tomograms, {counts['found']} of them found on the map, "
        f"{counts['overlapping']} flagged as overlapping"
    )
    overlaps = table["overlaps_map"].astype(bool)
    report(table[~overlaps], "Alone on the map")
    report(table[overlaps], "Sharing their outline")


if __name__ == "__main__":
    main()
