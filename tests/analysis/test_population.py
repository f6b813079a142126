"""What whole particles say about the powder, against the truth of simulated fields."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from zoneplate.analysis.population import Field, describe_population, detected_share

HEIGHT_UM, RADIUS_UM = 64.5, 31.7


@pytest.fixture(scope="module")
def powder():
    """Many fields of one monolayer; large particles hold voids more often; the map sees all."""
    rng = np.random.default_rng(2)
    fields, everything = {}, []
    for region in range(300):
        n = 110
        d = rng.lognormal(np.log(5.84), 0.428, n)
        x, y = rng.uniform(-64, 64, n), rng.uniform(-64, 64, n)
        z = d / 2 + 5.0  # settled on a plane; the axis is at z = 8
        inside = np.hypot(x, z - 8.0) + d / 2 < RADIUS_UM
        whole = inside & (np.abs(y) + d / 2 < HEIGHT_UM / 2)
        fields[region] = Field(RADIUS_UM, HEIGHT_UM, (0.0, 0.0, 8.0))
        everything.append(
            pd.DataFrame(
                {
                    "particle_id": np.arange(n),
                    "region": region,
                    "center_z_um": z,
                    "equivalent_diameter_um": d,
                    "volume_um3": np.pi / 6 * d**3,
                    **{f"extent_{axis}_um": d for axis in "xyz"},
                    "touches_border": ~whole,
                    "hollow": rng.random(n) < np.minimum(d / 12, 1),
                }
            )
        )
    particles = pd.concat(everything, ignore_index=True)
    voids = particles.loc[particles["hollow"]].assign(equivalent_diameter_um=2.4)
    return particles, voids, fields


def test_border_weights_give_the_frequency_and_sizes_of_the_powder(powder):
    particles, voids, fields = powder
    found = describe_population(particles, voids, fields, minimum_void_um=1.8)
    whole = particles.loc[~particles["touches_border"]]
    truth = particles["hollow"].mean()
    assert whole["hollow"].mean() < truth - 0.012  # what is seen without weights
    frequency = found["void_frequency"]
    assert frequency["value"] == pytest.approx(truth, abs=0.008)
    assert frequency["low"] < truth < frequency["high"]
    assert frequency["n"] == len(whole)
    for percent in (10, 50, 90):
        expected = np.percentile(particles["equivalent_diameter_um"], percent)
        measured = found["sizes_tomograms"][f"d{percent}_number_um"]["value"]
        assert measured == pytest.approx(expected, rel=0.015)


def test_sizes_come_from_the_map_where_there_is_one(powder):
    particles, voids, fields = powder
    few = particles.loc[particles["region"] == 0]
    seen = particles.head(1500).assign(overlaps=False, touches_border=False)
    seen.loc[seen.index[:200], "overlaps"] = True
    found = describe_population(
        few,
        voids.loc[voids["region"] == 0],
        {0: fields[0]},
        minimum_void_um=1.8,
        map_particles=seen,
    )
    assert found["sizes_map"]["n"] == 1300  # those that overlap have no diameter of their own
    d50 = found["sizes_map"]["d50_number_um"]
    assert d50["low"] < 5.84 < d50["high"]
    assert found["sizes_map"]["span_volume"]["value"] == pytest.approx(1.15, abs=0.2)
    # 25 particles cannot tell d10 and d90, so there is no span, and the reason is said.
    span = found["sizes_tomograms"]["span_number"]
    assert span["value"] is None
    assert "too few" in span["warning"]


def test_missed_voids_can_be_reckoned_in(powder):
    particles, voids, fields = powder
    plain = describe_population(particles, voids, fields, minimum_void_um=1.8)
    corrected = describe_population(
        particles, voids, fields, minimum_void_um=1.8, detected=0.9, false_alarms=0.02
    )
    value = plain["void_frequency"]["value"]
    assert corrected["void_frequency"]["value"] == pytest.approx((value - 0.02) / 0.88)
    assert corrected["void_frequency"]["detected"] == 0.9


def test_frequency_is_what_it_would_be_had_no_void_been_missed():
    """Voids of known sizes, found with the probability of a curve: the truth comes back."""
    rng = np.random.default_rng(12)
    n, truth, d50, d90 = 6000, 0.4, 1.2, 1.5
    table = pd.DataFrame({"particle_id": np.arange(n), "volume_um3": 113.0, "region": 0})
    table["equivalent_diameter_um"], table["touches_border"], table["center_z_um"] = 6.0, False, 0.0
    table[[f"extent_{axis}_um" for axis in "xyz"]] = 6.0
    sizes = rng.uniform(1.0, 2.0, n)
    chance = 1 / (1 + (sizes / d50) ** (-np.log(9) / np.log(d90 / d50)))
    found = (rng.random(n) < truth) & (rng.random(n) < chance)
    voids = table.loc[found].assign(equivalent_diameter_um=sizes[found], volume_um3=1.0)
    share = detected_share(table, voids, d50_um=d50, d90_um=d90, minimum_void_um=0.9)
    assert share == pytest.approx(chance.mean(), abs=0.02)
    field = {0: Field(RADIUS_UM, HEIGHT_UM, (0.0, 0.0, 0.0))}
    result = describe_population(table, voids, field, minimum_void_um=0.9, detected=share)
    frequency = result["void_frequency"]
    assert frequency["value"] == pytest.approx(truth, abs=0.02)
    assert frequency["low"] < truth < frequency["high"]
    plain = describe_population(table, voids, field, minimum_void_um=0.9)["void_frequency"]
    assert plain["value"] < 0.35
