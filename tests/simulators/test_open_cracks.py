"""Open cracks: their truth is exact, and shadows, labels and tables agree on it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zoneplate.simulators import SAMPLES, Crack, Particle, Specimen, Support, Void, nmc622_bad
from zoneplate.simulators.parts import SpecimenError
from zoneplate.simulators.projection import SpecimenProjector
from zoneplate.simulators.surfaces import Roughness
from zoneplate.simulators.truth import rasterize

TILTED = (math.cos(0.4), math.sin(0.4) * 0.6, 0.0, math.sin(0.4) * 0.8)
LENS = Crack("mouth", (1.0, 5.2, 6.5), (3.4, 0.7, 3.4), TILTED)
"""Upright in the upper side of `grain`."""


def grain(*cracks, voids=(), **changes):
    return Particle(
        "grain", (0.0, 2.0, 6.0), (6.0, 4.0, 5.0), cracks=cracks, voids=voids, **changes
    )


def alone(particle):
    return Specimen((particle,), Support.none())


@pytest.fixture(scope="module")
def cracked():
    return alone(grain(LENS))


@pytest.fixture(scope="module")
def bad_lot():
    return nmc622_bad(2, width_um=128, height_um=128)


def test_measures_of_a_ball_bitten_by_a_ball_are_those_of_the_formulas():
    """Two spheres: the lens they share is made of two caps."""
    large, small, distance = 5.0, 2.0, math.sqrt(21.0)
    bite = Crack("bite", (4.0, 1.0, 8.0), (small,) * 3)
    row = alone(Particle("ball", (0.0, 0.0, 6.0), (large,) * 3, cracks=(bite,)))
    row = row.truth_particles().iloc[0]
    to_plane = (distance**2 + large**2 - small**2) / (2 * distance)
    high, low = large - to_plane, small - (distance - to_plane)
    shared = sum(math.pi * h**2 * (3 * r - h) / 3 for r, h in ((large, high), (small, low)))
    whole = 4 / 3 * math.pi * large**3
    area = 4 * math.pi * large**2 + 2 * math.pi * (small * low - large * high)
    assert row["crack_volume_um3"] == pytest.approx(shared, rel=1e-3)
    assert row["volume_um3"] == row["solid_volume_um3"] == pytest.approx(whole - shared, rel=5e-5)
    assert row["surface_area_um2"] == pytest.approx(area, rel=1e-4)
    assert row["crack_count"] == 1
    assert row["extent_x_um"] == 10.0
    # What is missing lies towards the bite, so the centre moves away from it.
    center = [row[f"center_{axis}_um"] for axis in "xyz"]
    shift = np.array(center) - (0, 0, 6)
    np.testing.assert_allclose(shift / shift[0], np.array([4, 1, 2]) / 4, rtol=1e-3)


def test_bite_at_the_tip_shortens_the_particle():
    """The plane of the rim is 2 um from the tip of a ball of 5 um."""
    bite = Crack("bite", (5.0, 0.0, 6.0), (math.sqrt(20.0),) * 3)
    row = alone(Particle("ball", (0.0, 0.0, 6.0), (5.0,) * 3, cracks=(bite,)))
    row = row.truth_particles().iloc[0]
    assert row["extent_x_um"] == pytest.approx(5 + 3, abs=0.1)
    assert row["extent_y_um"] == 10.0


@pytest.mark.parametrize("theta", [0.0, 38.0, 90.0, -64.0])
def test_shadow_holds_the_volume_of_the_table(cracked, theta):
    pixel = 0.06
    path = SpecimenProjector(cracked).path((0.0, 2.0, 6.0), theta, pixel, (160, 220))
    row = cracked.truth_particles().iloc[0]
    assert path.min() == 0.0
    assert path.sum() * pixel**2 == pytest.approx(row["volume_um3"], rel=2e-4)


def test_chord_agrees_with_points_along_the_ray(cracked):
    theta, pixel, shape = 25.0, 0.4, (24, 34)
    path = SpecimenProjector(cracked).path((0.0, 2.0, 6.0), theta, pixel, shape)
    solid, crack = cracked.particle_geometry, cracked.crack_geometry
    angle = math.radians(theta)
    t, step = np.linspace(-9, 9, 3601, retstep=True)
    lost = 0
    for row in range(shape[0]):
        for column in range(shape[1]):
            u, v = (column - 16.5) * pixel, (11.5 - row) * pixel
            points = np.stack(
                [
                    u * math.cos(angle) - t * math.sin(angle),
                    np.full_like(t, 2.0 + v),
                    6.0 + u * math.sin(angle) + t * math.cos(angle),
                ],
                axis=1,
            )
            inside = [
                np.linalg.norm((points - g.center[0]) @ g.rotation[0] / g.semi_axes[0], axis=1) <= 1
                for g in (solid, crack)
            ]
            lost += (inside[0] & inside[1]).any()
            length = (inside[0] & ~inside[1]).sum() * step
            assert path[row, column] == pytest.approx(length, abs=4 * step)
    assert lost > 20


def test_labels_leave_the_crack_out(cracked):
    voxel = 0.1
    labels = rasterize(cracked, (100, 120, 140), voxel, (0.0, 2.0, 6.0)).particles
    row = cracked.truth_particles().iloc[0]
    assert (labels > 0).sum() * voxel**3 == pytest.approx(row["volume_um3"], rel=2e-3)
    whole = rasterize(alone(grain()), (100, 120, 140), voxel, (0.0, 2.0, 6.0)).particles
    lost = (whole > 0) & (labels == 0)
    assert lost.sum() * voxel**3 == pytest.approx(row["crack_volume_um3"], rel=0.02)


@pytest.mark.parametrize(
    ("particle", "message"),
    [
        (grain(Crack("c", (0, 2, 6), (2, 2, 0.3))), "lies wholly inside .*make it a void"),
        (grain(Crack("c", (20, 2, 6), (2, 2, 0.3))), "does not meet its particle"),
        (grain(Crack("c", (0, 2, 6), (9, 0.3, 9))), "leaves 2 pieces"),
        (grain(Crack("c", (0, 2, 6), (9, 9, 9))), "leaves 0 pieces"),
        (grain(LENS, Crack("c", (0, 5, 6), (1, 2, 1))), "cracks 'mouth' and 'c' interpenetrate"),
        (
            grain(LENS, voids=(Void("v", (1.0, 4.0, 6.5), (1.0, 1.0, 1.0)),)),
            "crack 'mouth' and void 'v' interpenetrate",
        ),
    ],
)
def test_impossible_cracks_are_refused(particle, message):
    with pytest.raises(SpecimenError, match=message):
        alone(particle)


def test_rough_particle_cannot_have_an_open_crack():
    with pytest.raises(SpecimenError, match="rough particle cannot have open cracks"):
        grain(LENS, roughness=Roughness(0.5))


def test_bad_lot_has_cracks_and_hollow_shells(bad_lot):
    particles, voids = bad_lot.truth_particles(), bad_lot.truth_voids()
    grains = particles[particles["defect"] != "satellite"]
    assert bad_lot.name == "nmc622-bad"
    assert (voids["defect"] == "hollow").sum() == round(0.25 * len(grains))
    assert (voids["defect"] == "crack").any()
    opened = particles[particles["defect"] == "open crack"]
    assert len(opened) == round(0.15 * len(grains))
    assert (opened["crack_count"] == 1).all()
    assert (particles["crack_count"].sum()) == len(opened)
    assert (opened["void_count"] == 0).all()
    share = opened["crack_volume_um3"] / (opened["crack_volume_um3"] + opened["volume_um3"])
    assert 0.01 < share.min() < share.max() < 0.15
    # A third more surface than the ball of the same volume, where a good one has a few percent.
    assert opened["sphericity"].max() < 0.93 < grains["sphericity"].median()


def test_bad_lot_has_more_dead_volume_than_the_good_one(bad_lot):
    good = SAMPLES["nmc622"](2).truth_particles()
    bad = bad_lot.truth_particles()
    dead = [table["void_volume_um3"].sum() / table["volume_um3"].sum() for table in (good, bad)]
    assert dead[1] > 2 * dead[0]
