"""Two lots: differences found where there are, and as rarely as stated where there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from zoneplate.analysis.comparison import compare, differing
from zoneplate.analysis.statistics import TYPICAL_CORRELATION_WEIGHT


def lot(rng, *, frequency=0.5, median_um=5.8, regions=6, size=25, correlation=0.05):
    shift = rng.normal(0, 0.4 * correlation**0.5, regions)
    weight = (1 - correlation) / correlation
    shares = rng.beta(frequency * weight, (1 - frequency) * weight, regions)
    particles = pd.DataFrame(
        {"particle_id": np.arange(regions * size), "region": np.repeat(np.arange(regions), size)}
    )
    within = rng.normal(0, 0.4 * (1 - correlation) ** 0.5, len(particles))
    particles["equivalent_diameter_um"] = median_um * np.exp(np.repeat(shift, size) + within)
    particles["volume_um3"] = np.pi / 6 * particles["equivalent_diameter_um"] ** 3
    hollow = particles.loc[rng.random(len(particles)) < np.repeat(shares, size)]
    diameters = np.minimum(0.4 * hollow["equivalent_diameter_um"], 5.0) + 0.5
    return particles, hollow.assign(
        equivalent_diameter_um=diameters, volume_um3=np.pi / 6 * diameters**3
    )


@pytest.mark.long
def test_equal_lots_differ_no_more_often_than_stated():
    rng = np.random.default_rng(7)
    values = [
        [one.p_value for one in compare(lot(rng), lot(rng), minimum_void_um=1.0)]
        for _ in range(150)
    ]
    false = (np.array(values, dtype=float) < 0.05).mean(axis=0)
    assert (false < 0.10).all(), false
    assert (false[:3] > 0).all(), false


def test_real_differences_are_found_with_their_size():
    rng = np.random.default_rng(8)
    a, b = lot(rng, frequency=0.3), lot(rng, frequency=0.8, median_um=8.0)
    frequency, size, dead, _hollow = compare(a, b, minimum_void_um=1.0)
    assert frequency.p_value < 1e-4
    assert frequency.low < 0.5 < frequency.high
    assert size.p_value < 1e-4
    assert size.low < size.effect < size.high
    assert size.effect == pytest.approx(8.0 / 5.8, rel=0.2)
    assert dead.effect > 1
    back = compare(b, a, minimum_void_um=1.0)
    assert back[0].effect == pytest.approx(-frequency.effect)
    assert back[1].effect == pytest.approx(1 / size.effect)
    assert back[2].p_value == pytest.approx(dead.p_value)


def test_several_tests_share_the_level():
    rng = np.random.default_rng(3)
    found = compare(lot(rng), lot(rng, median_um=9.0), minimum_void_um=1.0)
    assert differing(found) == ["equivalent_diameter_um"]
    chance = [replace(one, p_value=0.02) for one in found]
    assert differing(chance) == []  # each alone would be called different
    assert len(differing([replace(one, p_value=0.001) for one in found])) == len(found)


def test_misshapen_particles_are_compared_where_shapes_are_known():
    rng = np.random.default_rng(4)
    tables = []
    for share in (0.01, 0.4):
        particles, voids = lot(rng)
        shape = np.where(rng.random(len(particles)) < share, 0.6, 0.98)
        tables.append((particles.assign(sphericity_grey=shape), voids))
    found = compare(*tables, minimum_void_um=1.0)[-1]
    assert found.quantity == "share misshapen"
    assert found.low < 0.39 < found.high
    assert found.p_value < 1e-4


def test_cracked_particles_are_compared_where_open_pores_were_looked_for():
    rng = np.random.default_rng(5)
    tables = []
    for share in (0.01, 0.3):
        particles, voids = lot(rng)
        pores = (rng.random(len(particles)) < share).astype(int)
        tables.append(
            (particles.assign(open_pore_count=pores, open_pore_volume_um3=9.0 * pores), voids)
        )
    found = {one.quantity: one for one in compare(*tables, minimum_void_um=1.0)}
    cracked = found["share cracked"]
    assert cracked.low < 0.29 < cracked.high
    assert cracked.p_value < 1e-4
    assert "share misshapen" not in found


def test_independent_particles_are_judged_as_by_scipy():
    rng = np.random.default_rng(9)
    a, b = lot(rng, regions=1, size=40), lot(rng, regions=1, size=60, median_um=5.6)
    # Regions of one particle each are no clusters.
    tables = [tuple(t.assign(region=t["particle_id"]) for t in one) for one in (a, b)]
    size = compare(*tables, minimum_void_um=1.0)[1]
    name = "equivalent_diameter_um"
    oracle = stats.mannwhitneyu(a[0][name], b[0][name], method="asymptotic")
    # The same statistic; ours has Student's tails with as many degrees of freedom as regions.
    ours = stats.t.isf(size.p_value / 2, 40 + 60 - 2 + TYPICAL_CORRELATION_WEIGHT)
    assert ours == pytest.approx(stats.norm.isf(oracle.pvalue / 2), rel=1e-6)


def test_a_lot_without_particles_or_voids_gives_no_test_and_no_crash():
    rng = np.random.default_rng(1)
    particles, voids = lot(rng)
    nothing = compare((particles.head(0), voids.head(0)), (particles, voids), minimum_void_um=1)
    assert [one.effect for one in nothing] == [None] * 4
    dense = compare((particles, voids.head(0)), (particles, voids), minimum_void_um=1.0)
    assert dense[2].effect is None
    assert dense[0].p_value < 1e-4
