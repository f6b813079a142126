"""Powders with defects are possible specimens, and their truth says what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators.defects import (
    CRACK_OPENING_UM,
    IRON,
    SATELLITE_SHARE,
    SHELL_LEAST_UM,
    Defects,
)
from zoneplate.simulators.materials import NMC622
from zoneplate.simulators.powders import nmc622, nmc811
from zoneplate.simulators.projection import SpecimenProjector
from zoneplate.simulators.specimen import Particle, Specimen, Support

ALL = Defects(
    hollow_fraction=0.1,
    cracked_fraction=0.08,
    foreign_fraction=0.02,
    satellite_fraction=0.15,
    touching_fraction=0.3,
    empty_fields=3,
)


@pytest.fixture(scope="module")
def powder():
    return nmc622(3, defects=ALL)


@pytest.fixture(scope="module")
def grains(powder):
    table = powder.truth_particles()
    return table[table["defect"] != "satellite"]


def test_no_defects_is_the_powder_as_it_was():
    assert nmc622(5, defects=Defects()) == nmc622(5)
    assert not Defects().any
    assert ALL.any


def test_same_seed_gives_the_same_defects(powder):
    assert nmc622(3, defects=ALL) == powder
    assert nmc622(4, defects=ALL) != powder


def test_shares_are_those_asked_for(powder, grains):
    count = len(grains)
    voids = powder.truth_voids()
    assert count == round(30 * (544 * 352 / 64**2 - 3))
    assert (voids["defect"] == "hollow").sum() == round(0.1 * count)
    assert (voids["defect"] == "crack").sum() == round(0.08 * count)
    foreign = grains["defect"] == "foreign"
    assert foreign.sum() == round(0.02 * count)
    # The study's void frequency holds for the rest.
    ordinary = (voids["defect"] == "").sum()
    assert ordinary == round(
        0.55 * (count - round(0.1 * count) - round(0.08 * count) - foreign.sum())
    )
    assert voids["particle_id"].is_unique


def test_hollow_particles_are_shells_of_even_thickness(powder):
    voids, particles = powder.truth_voids(), powder.truth_particles()
    hollow = voids[voids["defect"] == "hollow"]
    parents = particles.iloc[hollow["particle_id"] - 1]
    centers = [f"center_{axis}_um" for axis in "xyz"]
    np.testing.assert_allclose(hollow[centers].to_numpy(), parents[centers].to_numpy())
    assert hollow["depth_um"].min() >= 2.0 - 1e-9
    inner = powder.void_geometry.semi_axes[hollow.index]
    outer = powder.particle_geometry.semi_axes[parents.index]
    assert (outer - inner).min() >= SHELL_LEAST_UM - 1e-9
    # Same shape: all axes shrink alike.
    np.testing.assert_allclose(np.ptp(inner / outer, axis=1), 0.0, atol=1e-9)
    assert 0.1 < parents["dead_volume_fraction"].median() < 0.5


def test_cracks_are_thin_lenses_well_inside(powder):
    voids = powder.truth_voids()
    index = voids.index[voids["defect"] == "crack"]
    axes = np.sort(powder.void_geometry.semi_axes[index], axis=1)
    low, high = CRACK_OPENING_UM
    assert ((2 * axes[:, 0] >= low) & (2 * axes[:, 0] <= high)).all()
    np.testing.assert_allclose(axes[:, 1], axes[:, 2])
    assert np.median(axes[:, 2] / axes[:, 0]) > 2.5
    parents = powder.void_parent[index]
    wall = powder.particle_geometry.semi_axes[parents].min(axis=1) - axes[:, 2]
    assert wall.min() >= SHELL_LEAST_UM
    assert voids.loc[index, "sphericity"].median() < 0.9 < voids["sphericity"].median()


def test_foreign_particles_are_iron_without_voids_and_darker(powder):
    metal = [particle for particle in powder.particles if particle.defect == "foreign"]
    assert {particle.material for particle in metal} == {IRON}
    assert not any(particle.voids for particle in metal)
    others = {p.material for p in powder.particles if p.defect != "foreign"}
    assert NMC622 in others
    darkness = []
    for material in (IRON, NMC622):
        ball = Particle("ball", (0, 0, 3), (3.0, 3.0, 3.0), material=material)
        projector = SpecimenProjector(Specimen((ball,), Support.none()))
        darkness.append(-np.log(projector.transmission((0, 0, 3), 0.0, 0.1, (3, 3))[1, 1]))
    assert darkness[0] > 2 * darkness[1]


def test_satellites_are_small_and_touch_their_hosts(powder):
    table = powder.truth_particles().set_index("particle_id")
    satellites = table[table["defect"] == "satellite"]
    assert 0.15 * 1.5 < len(satellites) / (len(table) - len(satellites)) < 0.15 * 2.5
    contacts = powder.truth_contacts()
    for identity, satellite in satellites.iterrows():
        rows = contacts[(contacts == identity).any(axis=1)]
        partners = table.loc[rows.to_numpy()[rows.to_numpy() != identity]]
        share = satellite["equivalent_diameter_um"] / partners["equivalent_diameter_um"]
        assert ((share >= SATELLITE_SHARE[0] - 1e-9) & (share <= SATELLITE_SHARE[1] + 1e-9)).any()


def test_touching_share_of_the_particles_is_in_contact(powder, grains):
    contacts = powder.truth_contacts()
    of_grains = contacts[contacts.isin(grains["particle_id"].tolist()).all(axis=1)]
    touching = np.unique(of_grains.to_numpy())
    # A handful of the others come within 10 nm by chance, or touch as the third.
    assert len(touching) / len(grains) == pytest.approx(0.3, abs=0.02)
    assert len(nmc622(3).truth_contacts()) < 10


def test_contact_means_surfaces_within_ten_nanometres(powder):
    """Independent of the generator's contact test: gap along the line between sampled surfaces."""
    geometry = powder.particle_geometry
    unit = np.random.default_rng(0).standard_normal((3, 20000))
    unit /= np.linalg.norm(unit, axis=0)
    pairs = powder.truth_contacts().to_numpy() - 1
    for i, j in pairs[:: len(pairs) // 12]:
        surfaces = [(geometry.center[k] + (geometry.generator[k] @ unit).T) for k in (i, j)]
        nearest, _ = cKDTree(surfaces[0]).query(surfaces[1])
        # 20000 points on a particle of 6 um are 80 nm apart.
        assert nearest.min() < 0.15
        body = (surfaces[1] - geometry.center[i]) @ geometry.rotation[i] / geometry.semi_axes[i]
        assert np.linalg.norm(body, axis=1).min() > 1 - 1e-6  # and none is inside the other


def test_fields_are_empty(powder):
    geometry = powder.particle_geometry
    x, y = geometry.center[:, 0], geometry.center[:, 1]
    empty = 0
    for column in range(8):
        for row in range(5):
            left, low = (column - 4) * 64.0, (row - 2.5) * 64.0
            inside = (
                (x + geometry.half_extent[:, 0] > left)
                & (x - geometry.half_extent[:, 0] < left + 64)
                & (y + geometry.half_extent[:, 1] > low)
                & (y - geometry.half_extent[:, 1] < low + 64)
            )
            empty += not inside.any()
    assert empty == 3


def test_particles_with_defects_rest_on_the_tape_or_on_their_host(powder):
    geometry = powder.particle_geometry
    bottom = geometry.center[:, 2] - geometry.half_extent[:, 2]
    satellite = np.array([particle.defect == "satellite" for particle in powder.particles])
    np.testing.assert_allclose(bottom[~satellite], 0.0, atol=1e-9)
    assert (bottom[satellite] > -1e-5).all()
    assert np.median(bottom[satellite]) > 1.0


@pytest.mark.parametrize("seed", range(4))
def test_every_particle_can_touch_another(seed):
    """Building the specimen checks that none interpenetrates."""
    powder = nmc622(seed, defects=Defects(touching_fraction=1.0))
    touching = np.unique(powder.truth_contacts().to_numpy())
    assert len(touching) >= len(powder.particles) - 2


def test_nmc811_has_defects_too():
    powder = nmc811(1, defects=replace(ALL, empty_fields=0))
    assert set(powder.truth_voids()["defect"]) == {"hollow", "crack"}
    assert set(powder.truth_particles()["defect"]) == {"", "satellite", "foreign"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hollow_fraction": 1.2}, "hollow_fraction 1.2"),
        ({"touching_fraction": float("nan")}, "touching_fraction nan"),
        ({"hollow_fraction": 0.6, "foreign_fraction": 0.5}, "together exceed 1"),
        ({"empty_fields": -1}, "empty_fields -1"),
        ({"foreign_material": "Iron"}, "formula@density"),
    ],
)
def test_impossible_defects_are_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        Defects(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cracked_fraction": 0.9}, r"cracked_fraction 0.9 is not possible: only \d+ of 1402"),
        ({"empty_fields": 40}, "choose fewer"),
    ],
)
def test_defects_that_find_no_place_are_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        nmc622(0, defects=Defects(**changes))
