"""Against truth at the settings of the study; `benchmarks/accuracy_against_truth.py` does five."""

from __future__ import annotations

import pytest

from zoneplate.acquisition import open_session
from zoneplate.acquisition.workflow import collect_screening
from zoneplate.plans import tomography

SEEDS = range(2)


@pytest.fixture(scope="session")
def documents(tmp_path_factory):
    found = []
    for seed in SEEDS:
        folder = tmp_path_factory.mktemp(f"seed{seed}")
        with open_session(sample="nmc622", seed=seed, data_dir=folder, live=False) as session:
            (uid,) = session.RE(tomography(session.microscope, center_um=(0.0, 0.0, 3.0)))
            tomograms = [session.tomogram(uid)]
            found.append(collect_screening(session.data, None, [uid], tomograms).document)
    return found


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
