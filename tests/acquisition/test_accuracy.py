"""Against truth at the settings of the study; `benchmarks/accuracy_against_truth.py` does five."""

from __future__ import annotations

import numpy as np
import pytest

from zoneplate.acquisition import open_session
from zoneplate.acquisition.workflow import collect_screening
from zoneplate.plans import tomography
from zoneplate.simulators import Specimen

pytestmark = pytest.mark.long

SEEDS = range(2)


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    found = []
    for seed in SEEDS:
        folder = tmp_path_factory.mktemp(f"seed{seed}")
        with open_session(sample="nmc622", seed=seed, data_dir=folder, live=False) as session:
            (uid,) = session.RE(tomography(session.microscope, center_um=(0.0, 0.0, 3.0)))
            tomograms = [session.tomogram(uid)]
            document = collect_screening(session.data, None, [uid], tomograms).document
            specimen = Specimen.load(session.run(uid).start["specimen_file"])
            found.append((document, tomograms[0], specimen))
    return found


@pytest.fixture(scope="session")
def documents(scans):
    return [document for document, _, _ in scans]


def test_every_seed_counts_and_sizes_particles_right(documents):
    for document in documents:
        particles, truth = document["particles"], document["truth"]["particles"]
        assert particles["count"] == pytest.approx(truth["count"], rel=0.05)
        for quantity, tolerance in (("equivalent_diameter_um", 0.02), ("volume_um3", 0.05)):
            assert particles[quantity]["mean"] == pytest.approx(
                truth[quantity]["mean"], rel=tolerance
            )


def test_void_frequency_is_in_its_interval(documents):
    held = 0
    for document in documents:
        frequency = document["void_frequency"]
        truth = document["truth"]["void_frequency"]["value"]
        held += frequency["low"] <= truth <= frequency["high"]
    assert held == len(documents)


def test_signal_to_noise_is_that_of_the_study(documents):
    values = [document["tomograms"][0]["snr"] for document in documents]
    assert sum(values) / len(values) == pytest.approx(10.4, abs=1.5)


def test_intervals_of_single_particles_hold_the_truth(scans):
    """The short form of benchmarks/uncertainty_coverage.py."""
    center = ["center_x_um", "center_y_um", "center_z_um"]
    held: dict[str, list[bool]] = {}
    for _, tomogram, specimen in scans:
        truth = specimen.truth_particles()
        whole = tomogram.particles[~tomogram.particles["touches_border"].astype(bool)]
        apart = np.linalg.norm(
            whole[center].to_numpy()[:, None] - truth[center].to_numpy()[None], axis=2
        )
        true = truth.iloc[apart.argmin(axis=1)].reset_index(drop=True)
        for name in [column for column in whole if f"{column}_se" in whole]:
            column = name.replace("_grey", "")
            if column in true:
                known = np.isfinite(whole[name].to_numpy(float))
                error = whole[name].to_numpy(float) - true[column].to_numpy()
                inside = np.abs(error) < 1.96 * whole[f"{name}_se"].to_numpy(float)
                held.setdefault(name, []).extend(inside[known])
    assert {"volume_um3", "surface_area_um2", "sphericity_grey", "volume_grey_um3"} <= set(held)
    assert all(len(values) > 30 for values in held.values())
    shares = {name: np.mean(values) for name, values in held.items()}
    assert min(shares.values()) >= 0.85, shares
