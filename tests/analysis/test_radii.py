from __future__ import annotations

import numpy as np
import pytest
from phantoms import Ellipsoid, grey_volume, labels_of, powder, sphere

from zoneplate.analysis.radii import (
    local_roughness,
    measure_radii,
    roughness_floor_um,
    roughness_proxy,
)
from zoneplate.analysis.segmentation import segment

VOXEL_UM = 0.512
SHAPE = (40, 48, 56)


def test_a_row_per_particle_plane_and_azimuth():
    labels = labels_of(SHAPE, [sphere((12, 14, 15), 6), sphere((26, 30, 38), 8)])
    radii = measure_radii(labels, VOXEL_UM, azimuths=6)
    assert len(radii) == 2 * 3 * 6
    assert (
        radii.groupby(["particle_id", "plane"])["azimuth_deg"].apply(list).map(tuple).nunique() == 1
    )
    assert sorted(radii["azimuth_deg"].unique()) == [0, 60, 120, 180, 240, 300]
    assert set(radii["plane"]) == {"xy", "xz", "yz"}


@pytest.mark.parametrize("mode", ["voxel", "subvoxel"])
def test_radii_point_along_the_axes_of_the_specimen_frame(mode):
    body = Ellipsoid((18, 23, 27), (6, 9, 12))  # y, z, x
    volume = grey_volume(SHAPE, [body])
    volume[6:12, 22:25, 26:29] = 0.044  # a horn on the top side, towards +y
    radii = measure_radii(segment(volume, VOXEL_UM), VOXEL_UM, mode=mode)
    table = radii.set_index(["plane", "azimuth_deg"])["radius_um"] / VOXEL_UM
    for plane, along in (("xy", 12), ("xz", 12)):
        assert table[plane, 0.0] == pytest.approx(along, abs=0.7)
    assert table["xz", 90.0] == pytest.approx(9, abs=0.7)
    assert table["yz", 90.0] == pytest.approx(9, abs=0.7)
    assert table["xy", 90.0] > table["xy", 270.0] + 4
    assert table["yz", 0.0] == pytest.approx(table["xy", 90.0], abs=0.2)
    middle = np.sqrt(2 / (12**-2 + 9**-2))
    assert table["xz", 45.0] == pytest.approx(middle, abs=0.7)


@pytest.mark.parametrize(
    ("mode", "tolerance"), [("voxel", 0.2), ("subvoxel", 0.1)], ids=["voxel", "subvoxel"]
)
def test_radii_of_spheres_are_within_a_tenth_of_a_micrometre(mode, tolerance):
    solids, _ = powder(1, count=15, radii=(7, 12))
    found = segment(grey_volume((96, 80, 96), solids, signal_to_noise=10), VOXEL_UM)
    radii = measure_radii(found, VOXEL_UM, mode=mode)
    means = radii.groupby("particle_id")["radius_um"].mean()
    centers = radii.groupby("particle_id")[["center_y_um", "center_z_um", "center_x_um"]].first()
    index = centers.to_numpy() / VOXEL_UM * (-1, 1, 1) + (np.array((96, 80, 96)) - 1) / 2
    for mean, where in zip(means, index, strict=True):
        body = min(solids, key=lambda b: float(np.linalg.norm(b.center - where)))
        assert mean == pytest.approx(body.semi_axes[0] * VOXEL_UM, abs=tolerance)
    scatter = radii["radius_um"] - radii["particle_id"].map(means)
    assert scatter.std() < tolerance


def test_uncertainty_of_radii_covers_the_truth_and_is_smaller_below_the_voxel():
    body = sphere((20.2, 24.1, 27.7), 11.0)
    found = segment(grey_volume(SHAPE, [body], signal_to_noise=10), VOXEL_UM)
    errors = {}
    for mode in ("voxel", "subvoxel"):
        radii = measure_radii(found, VOXEL_UM, 16, mode=mode)
        wrong = (radii["radius_um"] - 11 * VOXEL_UM).abs() / radii["radius_um_se"]
        assert (wrong < 1.96).mean() >= 0.85
        errors[mode] = radii["radius_um_se"].mean()
    assert errors["subvoxel"] < 0.8 * errors["voxel"]


def test_void_does_not_shorten_a_radius():
    body, hole = sphere((20, 24, 28), 11.0), sphere((20, 24, 28), 5.0)
    found = segment(grey_volume(SHAPE, [body], [hole]), VOXEL_UM)
    for mode in ("voxel", "subvoxel"):
        radii = measure_radii(found, VOXEL_UM, mode=mode)["radius_um"] / VOXEL_UM
        assert radii.min() > 10


def test_radii_end_at_the_cut_between_touching_particles():
    pair = [sphere((20, 24, 20), 8.0), sphere((20, 24, 35), 8.0)]
    found = segment(grey_volume(SHAPE, pair), VOXEL_UM)
    assert found.particles.max() == 2
    table = measure_radii(found, VOXEL_UM, mode="subvoxel")
    left = table[(table["center_x_um"] < 0) & (table["plane"] == "xy")].set_index("azimuth_deg")
    assert left["radius_um"][0.0] / VOXEL_UM == pytest.approx(7.5, abs=1.0)


def test_proxies_are_spread_and_steps_of_the_radii():
    labels = labels_of(SHAPE, [Ellipsoid((20, 24, 28), (7, 9, 12))])
    radii = measure_radii(labels, 1.0)
    proxy = roughness_proxy(radii).set_index("plane")
    local = local_roughness(radii)
    for plane, group in radii.groupby("plane"):
        values = group["radius_um"].to_numpy()
        steps = np.abs(np.roll(values, -1) - values)
        assert proxy["mean_radius_um"][plane] == pytest.approx(values.mean())
        assert proxy["diameter_um"][plane] == pytest.approx(2 * values.mean())
        assert proxy["total_proxy_um"][plane] == pytest.approx(np.ptp(values))
        assert proxy["local_proxy_mean_um"][plane] == pytest.approx(steps.mean())
        assert proxy["local_proxy_max_um"][plane] == pytest.approx(steps.max())
        np.testing.assert_allclose(local[local["plane"] == plane]["local_proxy_um"], steps)
    assert proxy["total_proxy_um"]["xz"] == pytest.approx(3, abs=0.5)
    assert len(local) == 24


@pytest.mark.parametrize(
    ("mode", "signal_to_noise", "low", "high"),
    [  # research/particles.md, finding 3
        ("voxel", np.inf, 0.33, 0.47),
        ("voxel", 10.4, 0.45, 0.58),
        ("voxel", 5.0, 0.6, 0.85),
        ("subvoxel", 10.4, 0.12, 0.22),
    ],
)
def test_floor_of_a_smooth_sphere(mode, signal_to_noise, low, high):
    for diameter_um in (7.0, 14.0):
        floor = roughness_floor_um(
            diameter_um, VOXEL_UM, mode=mode, signal_to_noise=signal_to_noise
        )
        assert low < floor < high


def test_floor_is_the_same_every_time_and_cached():
    roughness_floor_um.cache_clear()
    first = roughness_floor_um(7.0, VOXEL_UM)
    assert roughness_floor_um(7.0, VOXEL_UM) == first
    assert roughness_floor_um.cache_info().hits == 1


def test_floor_of_an_invisible_sphere_is_unknown():
    assert np.isnan(roughness_floor_um(0.3, VOXEL_UM))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"azimuths": 1}, "azimuths must be at least 2"),
        ({"mode": "mesh"}, "mode must be"),
        ({"mode": "subvoxel"}, "needs grey values"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure_radii(np.ones((3, 3, 3), dtype=int), 1.0, **arguments)


def test_no_particles_give_an_empty_table():
    radii = measure_radii(np.zeros((4, 5, 6), dtype=int), 1.0)
    assert radii.empty
    assert roughness_proxy(radii).empty
    assert local_roughness(radii).empty
