"""Volume and area from grey values, against spheres and ellipsoids that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import Ellipsoid, grey_volume, labels_of, sphere
from scipy.spatial.transform import Rotation

from zoneplate.analysis.grey_shape import measure_grey_shapes
from zoneplate.analysis.grey_slabs import measure_grey_shapes_in_slabs
from zoneplate.analysis.moments import measure_moments
from zoneplate.analysis.particles import measure_particles, measure_voids
from zoneplate.analysis.segmentation import segment
from zoneplate.analysis.surface_area import contact_area_voxels

SHAPE = (44, 46, 50)
CENTER = (21.3, 22.6, 24.1)


def shape_of(body: Ellipsoid, noise: float = 0.0, seed: int = 0):
    quality = 1 / noise if noise else np.inf
    share = grey_volume(SHAPE, [body], solid_per_um=1.0, signal_to_noise=quality, seed=seed)
    labels = labels_of(SHAPE, [body])
    labels[share < 0.5] = 0  # what half contrast leaves of it
    found = measure_grey_shapes(share, labels, noise=noise)
    return found.volume[1] / body.volume, found.area[1] / body.area


@pytest.mark.parametrize("radius", [4.0, 6.25, 10.0])
def test_clean_sphere_is_read_within_half_a_percent(radius):
    volume, area = shape_of(sphere(CENTER, radius))
    assert volume == pytest.approx(1, abs=0.003)
    assert area == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("noise", [0.1, 0.2])
@pytest.mark.parametrize("radius", [6.0, 10.0])
def test_noise_does_not_roughen_a_sphere(radius, noise):
    read = np.array([shape_of(sphere(CENTER, radius), noise, seed) for seed in range(4)])
    sphericity = read[:, 0] ** (2 / 3) / read[:, 1]
    assert np.abs(sphericity - 1).max() < 0.01
    assert np.abs(read.mean(axis=0) - 1).max() < 0.02


def test_rotated_ellipsoids_lose_no_area_to_the_blur():
    for turn in Rotation.random(3, rng=np.random.default_rng(1)):
        volume, area = shape_of(Ellipsoid(CENTER, (8.1, 6.25, 4.8), turn))
        assert volume == pytest.approx(1, abs=0.003)
        assert area == pytest.approx(1, abs=0.006)


def test_sphericity_column_is_within_one_percent_from_radius_six():
    bodies = [sphere((22, 23, 12), 6.0), sphere((22, 23, 35), 9.0)]
    volume = grey_volume(SHAPE, bodies, signal_to_noise=10)
    table = measure_particles(segment(volume, 0.5, field_radius_um=50), 0.5)
    assert table["sphericity_grey"].to_numpy() == pytest.approx(1, abs=0.01)
    true = sorted(body.volume * 0.5**3 for body in bodies)
    assert sorted(table["volume_grey_um3"]) == pytest.approx(true, rel=0.02)


def test_voids_do_not_show_in_the_shape_of_their_particle():
    body, hole = sphere(CENTER, 10.0), sphere((21, 24, 25), 3.2)
    volume = grey_volume(SHAPE, [body], [hole], signal_to_noise=12)
    found = segment(volume, 1.0, field_radius_um=50)
    row = measure_particles(found, 1.0).iloc[0]
    assert row["volume_grey_um3"] == pytest.approx(body.volume, rel=0.01)
    assert row["surface_area_grey_um2"] == pytest.approx(body.area, rel=0.01)
    void = measure_voids(found, 1.0).iloc[0]
    assert void["surface_area_grey_um2"] == pytest.approx(hole.area, rel=0.05)
    assert void["sphericity_grey"] == pytest.approx(1, abs=0.03)


def test_touching_particles_share_their_contact():
    bodies = [sphere((22, 23, 15), 9.0), sphere((22, 23, 31.5), 9.0)]
    found = segment(grey_volume(SHAPE, bodies), 1.0, field_radius_um=50)
    table = measure_particles(found, 1.0)
    assert len(table) == 2
    assert table["split"].all()
    contact = table["contact_area_um2"].to_numpy()
    assert contact[0] == pytest.approx(contact[1])
    assert 0 < contact[0] < 80  # the necks of two balls that overlap by 1.5 um: a disc of 41 um2
    assert table["volume_grey_um3"].sum() == pytest.approx(2 * bodies[0].volume, rel=0.02)


def test_plain_labels_have_no_grey_columns_filled():
    table = measure_particles(labels_of(SHAPE, [sphere(CENTER, 5.0)]), 1.0)
    assert table["volume_grey_um3"].isna().all()
    assert table["contact_area_um2"].tolist() == [0.0]


def test_contact_of_a_cut_cube():
    labels = np.zeros((22, 22, 24), dtype=np.int32)
    labels[1:21, 1:21, 2:12], labels[1:21, 1:21, 12:22] = 1, 2
    area = contact_area_voxels(labels)
    assert area[1] == area[2]
    assert area[1] == pytest.approx(400, rel=0.15)  # Crofton's weak side: faces along the axes


def test_moments_find_the_axes_of_a_rotated_ellipsoid():
    turn = Rotation.from_rotvec([0.4, -0.3, 0.8])
    labels = labels_of(SHAPE, [Ellipsoid(CENTER, (12, 8, 6), turn)])
    found = measure_moments(labels)
    assert found.center[1] == pytest.approx(CENTER, abs=0.05)
    assert found.semi_axes[1] == pytest.approx([12, 8, 6], rel=0.02)
    assert abs(found.directions[1, 0] @ turn.as_matrix()[:, 0]) > 0.999


def test_slabs_of_a_large_volume_read_what_the_whole_reads():
    bodies = [sphere((y, 23 + 3 * n, 25), 6.5) for n, y in enumerate((12.3, 33.1, 55.4, 76.2))]
    share = grey_volume((90, 60, 50), bodies, solid_per_um=1.0, signal_to_noise=10)
    labels = labels_of(share.shape, bodies)
    whole, slabs = (
        measure_grey_shapes_in_slabs(
            lambda box: share[box],
            labels,
            measure_moments(labels),
            noise=0.1,
            allowed=lambda box: np.ones(labels[box].shape, dtype=bool),
            slab_voxels=voxels,
        )
        for voxels in (2**24, 60 * 50 * 48)
    )
    np.testing.assert_allclose(slabs.volume[1:], whole.volume[1:], rtol=0.02)
    np.testing.assert_allclose(slabs.area[1:], whole.area[1:], rtol=0.01)
    for one in ("feret_max", "feret_min", "hull_volume"):
        first, second = (getattr(part.calipers, one)[1:] for part in (slabs, whole))
        np.testing.assert_allclose(first, second, rtol=0.02)
    centers = [
        part.calipers.points[part.calipers.first[4] : part.calipers.first[5]].mean(axis=0)
        for part in (slabs, whole)
    ]
    np.testing.assert_allclose(centers[0], centers[1], atol=0.1)
