"""Truth tables and labels are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import dblquad

from zoneplate.simulators.powders import nmc622
from zoneplate.simulators.specimen import Particle, Specimen, Support, Void
from zoneplate.simulators.truth import rasterize, surface_area_um2

TILTED = (math.cos(0.4), math.sin(0.4) * 0.6, 0.0, math.sin(0.4) * 0.8)


@pytest.fixture(scope="module")
def powder():
    return nmc622(5, width_um=160, height_um=160)


def test_surface_area_agrees_with_integration():
    a, b, c = 3.0, 1.2, 2.1

    def element(azimuth, polar):
        s = math.sin(polar)
        normal = (
            b * c * s * math.cos(azimuth),
            a * c * s * math.sin(azimuth),
            a * b * math.cos(polar),
        )
        return s * math.hypot(*normal)

    area, _ = dblquad(element, 0, math.pi, 0, 2 * math.pi)
    assert surface_area_um2(np.array([[a, b, c]]))[0] == pytest.approx(area, rel=1e-8)


def test_table_of_a_hollow_sphere():
    void = Void("hole", (0.5, 0, 4), (1.0, 1.0, 1.0))
    table = Specimen((Particle("shell", (0, 0, 4), (4.0, 4.0, 4.0), voids=(void,)),))
    row = table.truth_particles().iloc[0]
    volume = 4 / 3 * math.pi * 64
    assert row["particle_id"] == 1
    assert row["name"] == "shell"
    assert row["volume_um3"] == pytest.approx(volume)
    assert row["solid_volume_um3"] == pytest.approx(volume * 63 / 64)
    assert row["surface_area_um2"] == pytest.approx(4 * math.pi * 16)
    assert row["sphericity"] == pytest.approx(1.0)
    assert row["surface_to_volume_per_um"] == pytest.approx(3 / 4)
    assert row["equivalent_diameter_um"] == pytest.approx(8.0)
    assert row["void_count"] == 1
    assert row["dead_volume_fraction"] == pytest.approx(1 / 64)
    assert row["extent_z_um"] == pytest.approx(8.0)
    hole = table.truth_voids().iloc[0]
    assert (hole["void_id"], hole["particle_id"], hole["name"]) == (1, 1, "hole")
    assert hole["equivalent_diameter_um"] == pytest.approx(2.0)
    assert hole["depth_um"] == pytest.approx(3.5)


def test_extents_follow_the_rotation():
    half = math.sqrt(0.5)
    lying = Particle("a", (0, 0, 5), (4.0, 2.0, 1.0), (half, 0.0, 0.0, half))  # x to y
    row = Specimen((lying,)).truth_particles().iloc[0]
    assert row[["extent_x_um", "extent_y_um", "extent_z_um"]].tolist() == pytest.approx([4, 8, 2])


def test_each_void_belongs_to_its_particle(powder):
    particles, voids = powder.truth_particles(), powder.truth_voids()
    summed = voids.groupby("particle_id")["volume_um3"].sum()
    with_void = particles[particles["void_count"] > 0].set_index("particle_id")
    np.testing.assert_allclose(summed, with_void["void_volume_um3"])
    names = particles["name"].iloc[voids["particle_id"] - 1]
    assert ("v" + names).tolist() == voids["name"].tolist()


def test_whole_in_field_agrees_with_sampled_surfaces(powder):
    center, radius, half_height = (7.0, -11.0, 4.0), 30.0, 28.0
    inside = powder.whole_in_field(center, radius, half_height)
    geometry = powder.particle_geometry
    unit = np.random.default_rng(1).standard_normal((3, 4000))
    unit /= np.linalg.norm(unit, axis=0)
    for i, claimed in enumerate(inside):
        x, y, z = (
            geometry.center[i][:, None] - np.array(center)[:, None] + geometry.generator[i] @ unit
        )
        slack = min(radius - np.hypot(x, z).max(), half_height - np.abs(y).max())
        if abs(slack) > 0.01:
            assert claimed == (slack > 0), (i, slack)
    assert 10 < inside.sum() < len(inside) / 2


def test_touching_the_rim_from_inside_counts_as_whole():
    specimen = Specimen((Particle("a", (6, 0, 0), (4.0, 4.0, 4.0)),), Support.none())
    assert specimen.whole_in_field((0, 0, 0), 10.0 + 1e-9, 4.0 + 1e-9).tolist() == [True]
    assert specimen.whole_in_field((0, 0, 0), 9.99, 5.0).tolist() == [False]
    assert specimen.whole_in_field((0, 0, 0), 11.0, 3.99).tolist() == [False]


def test_labels_have_the_volumes_and_centres_of_the_table(powder):
    voxel, shape, center = 0.25, (200, 100, 240), (3.0, -5.0, 6.0)
    labels = rasterize(powder, shape, voxel, center)
    table = powder.truth_particles()
    y = center[1] + ((shape[0] - 1) / 2 - np.arange(shape[0])) * voxel
    z = center[2] + (np.arange(shape[1]) - (shape[1] - 1) / 2) * voxel
    x = center[0] + (np.arange(shape[2]) - (shape[2] - 1) / 2) * voxel
    checked = 0
    for row in table.itertuples():
        low = [
            getattr(row, f"center_{axis}_um") - getattr(row, f"extent_{axis}_um") / 2
            for axis in "xyz"
        ]
        high = [
            getattr(row, f"center_{axis}_um") + getattr(row, f"extent_{axis}_um") / 2
            for axis in "xyz"
        ]
        field = [(v.min(), v.max()) for v in (x, y, z)]
        if any(a < f[0] or b > f[1] for a, b, f in zip(low, high, field, strict=True)):
            continue
        i, j, k = np.nonzero(labels.particles == row.particle_id)
        assert len(i) * voxel**3 == pytest.approx(row.volume_um3, rel=0.06)
        found = (x[k].mean(), y[i].mean(), z[j].mean())
        expected = (row.center_x_um, row.center_y_um, row.center_z_um)
        assert found == pytest.approx(expected, abs=0.05)
        checked += 1
    assert checked > 10
    parent = np.unique(np.stack([labels.voids, labels.particles])[:, labels.voids > 0], axis=1)
    voids = powder.truth_voids()
    assert (voids["particle_id"].to_numpy()[parent[0] - 1] == parent[1]).all()


def test_labels_of_a_tilted_ellipsoid_follow_its_orientation():
    particle = Particle("a", (1.0, 2.0, 6.0), (6.0, 2.0, 1.0), TILTED)
    specimen = Specimen((particle,), Support.none())
    labels = rasterize(specimen, (80, 80, 80), 0.2, (0.0, 0.0, 6.0)).particles
    i, j, k = np.nonzero(labels)
    points = np.stack([(k - 39.5) * 0.2, (39.5 - i) * 0.2, (j - 39.5) * 0.2])
    # Second moments of a solid ellipsoid are a fifth of its shape matrix.
    np.testing.assert_allclose(
        5 * np.cov(points), specimen.particle_geometry.shape_matrix[0], atol=0.4
    )


def test_slice_zero_is_the_top():
    specimen = Specimen((Particle("a", (0, 5, 0), (2.0, 2.0, 2.0)),), Support.none())
    labels = rasterize(specimen, (20, 10, 10), 1.0).particles
    assert np.nonzero(labels.any(axis=(1, 2)))[0].mean() == pytest.approx(4.5)  # y = 9.5 - 5
