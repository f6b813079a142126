"""Rough particles: the truth of their surface is the truth of their images."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from skimage.measure import marching_cubes, mesh_surface_area

from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators.ellipsoids import Ellipsoids
from zoneplate.simulators.materials import NMC811
from zoneplate.simulators.powders import nmc811
from zoneplate.simulators.projection import SpecimenProjector, View
from zoneplate.simulators.specimen import Particle, Specimen, Support, Void
from zoneplate.simulators.surfaces import NODES, Roughness, rough_truth, surface_points
from zoneplate.simulators.truth import rasterize, surface_area_um2

TILTED = (math.cos(0.4), math.sin(0.4) * 0.6, 0.0, math.sin(0.4) * 0.8)
CENTER = (2.0, -1.0, 8.0)


def rough(depth_um=1.0, semi_axes=(6.0, 5.0, 5.5), seed=1, **keywords):
    grain = Particle(
        "grain",
        CENTER,
        semi_axes,
        TILTED,
        NMC811,
        roughness=Roughness(depth_um, seed=seed),
        **keywords,
    )
    return Specimen((grain,), Support.none())


def test_flat_table_is_the_ellipsoid():
    envelope = Ellipsoids.from_rows([CENTER], [(3.0, 4.0, 6.0)], [TILTED])
    truth = rough_truth(np.ones((NODES, NODES), dtype=np.float32), envelope)
    assert truth.volume_um3 == pytest.approx(envelope.volume[0], rel=1e-6)
    assert truth.surface_area_um2 == pytest.approx(
        surface_area_um2(envelope.semi_axes)[0], rel=1e-6
    )
    np.testing.assert_allclose(truth.centroid_um, CENTER, atol=1e-6)
    np.testing.assert_allclose(truth.extent_um, 2 * envelope.half_extent[0], rtol=2e-3)


def test_surface_stays_within_its_depth_and_touches_its_envelope():
    specimen = rough()
    table = specimen.rough_table(0)
    depth = 1.0 / (6.0 * 5.0 * 5.5) ** (1 / 3)
    assert table.max() == 1.0
    assert table.min() == pytest.approx(1 - depth, rel=1e-5)
    points = surface_points(table, specimen.envelope(0))
    whitened = (points - CENTER) @ np.linalg.inv(specimen.particle_geometry.generator[0]).T
    radius = np.linalg.norm(whitened, axis=1)
    assert 1 - depth - 1e-6 < radius.min() < 1 - 0.9 * depth
    assert 1 - 0.1 * depth < radius.max() < 1 + 1e-6


def test_roughness_is_band_limited():
    """Heights along a great circle: the power lies between the two wavelengths."""
    radius, wavelength = 10.0, 5.0
    ball = Ellipsoids.from_rows([(0, 0, 0)], [(radius,) * 3], [(1.0, 0, 0, 0)])
    power = np.zeros(65)
    for seed in range(20):
        table = Roughness(1.0, wavelength, seed).table((radius,) * 3)
        points = surface_points(table, ball).reshape(64, 128, 3)[32]  # next to the equator
        height = np.linalg.norm(points, axis=1)
        power += np.abs(np.fft.rfft(height - height.mean())) ** 2
    circumference = 2 * math.pi * radius
    # A wave that meets the circle at a slant looks longer on it, never shorter.
    shortest = circumference / wavelength
    assert power[: round(1.2 * shortest)].sum() / power.sum() > 0.99
    assert power[round(0.3 * shortest) :].sum() / power.sum() > 0.6


@pytest.mark.parametrize("depth_um", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("theta", [0.0, 50.0, 90.0, -33.0])
def test_shadow_holds_the_whole_volume(depth_um, theta):
    void = Void("v", CENTER, (1.5, 1.0, 1.2), TILTED)
    specimen = rough(depth_um, voids=(void,))
    pixel = 0.05
    path = SpecimenProjector(specimen).path(CENTER, theta, pixel, (280, 280))
    expected = specimen.truth_particles()["solid_volume_um3"][0]
    assert path.sum() * pixel**2 == pytest.approx(expected, rel=3e-3)


def test_shadow_is_centred_on_the_centroid():
    specimen = rough(2.0)
    pixel = 0.05
    path = SpecimenProjector(specimen).path(CENTER, 0.0, pixel, (280, 280)).astype(float)
    rows, columns = np.indices(path.shape)
    table = specimen.truth_particles().iloc[0]
    u = ((path * columns).sum() / path.sum() - 139.5) * pixel
    v = (139.5 - (path * rows).sum() / path.sum()) * pixel
    assert u + CENTER[0] == pytest.approx(table["center_x_um"], abs=0.005)
    assert v + CENTER[1] == pytest.approx(table["center_y_um"], abs=0.005)
    # A surface that is rough has its mass beside the centre of its envelope.
    assert abs(table["center_x_um"] - CENTER[0]) > 0.01


def test_chords_agree_with_labels_along_the_beam():
    specimen = rough(1.5)
    voxel, size = 0.1, 140
    labels = rasterize(specimen, (size, size, size), voxel, CENTER).particles
    path = SpecimenProjector(specimen).path(CENTER, 0.0, voxel, (size, size))
    difference = (labels > 0).sum(axis=1) * voxel - path
    assert np.abs(difference).mean() < 0.06
    assert np.abs(difference.mean()) < 0.005


def test_volume_and_area_agree_with_a_fine_mesh_of_labels():
    specimen = rough(1.5)
    voxel, size = 0.06, 230
    field = rasterize(specimen, (size, size, size), voxel, CENTER).particles
    table = specimen.truth_particles().iloc[0]
    assert field.sum() * voxel**3 == pytest.approx(table["volume_um3"], rel=5e-3)
    # Independent of our quadrature: scikit-image on the distance to the surface.
    axis = np.linspace(-1.05, 1.05, 150)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    height = _distance(specimen.rough_table(0), x, y, z)
    corners, faces, _, _ = marching_cubes(height, 0.0)
    corners = (corners * (axis[1] - axis[0]) + axis[0]) @ specimen.particle_geometry.generator[0].T
    assert mesh_surface_area(corners, faces) == pytest.approx(table["surface_area_um2"], rel=5e-3)
    smooth = surface_area_um2(specimen.particle_geometry.semi_axes)[0]
    ratio = table["volume_um3"] / specimen.particle_geometry.volume[0]
    assert table["surface_area_um2"] > 1.02 * smooth * ratio ** (2 / 3)
    assert table["sphericity"] < 0.97


def _distance(table, x, y, z):
    """rho minus radius by scipy's interpolation of the octahedral map."""
    from scipy.interpolate import RegularGridInterpolator

    node = np.linspace(-1, 1, NODES)
    scale = np.abs(x) + np.abs(y) + np.abs(z)
    u, v = x / scale, y / scale
    below = z < 0
    folded_u = np.where(below, np.copysign(1 - np.abs(v), u), u)
    folded_v = np.where(below, np.copysign(1 - np.abs(u), v), v)
    rho = RegularGridInterpolator((node, node), table.astype(float))(
        np.stack([folded_u, folded_v], axis=-1)
    )
    return rho - np.sqrt(x * x + y * y + z * z)


def test_a_powder_of_rough_particles_is_as_rough_as_the_study_saw():
    """The study: radii at eight azimuths of a plane differ by about 1 um."""
    specimen = nmc811(0, roughness_um=2.0)
    proxies = []
    # Particles below 13 um are less rough, in proportion to their size.
    for index in (k for k in specimen.rough if specimen.particles[k].roughness.depth_um == 2.0):
        points = surface_points(specimen.rough_table(index), specimen.envelope(index))
        equator = points.reshape(64, 128, 3)[32] - specimen.particles[index].center_um
        radii = np.linalg.norm(equator, axis=1)[::16]
        proxies.append(np.ptp(radii))
    assert len(proxies) > 50
    assert np.mean(proxies) == pytest.approx(1.0, abs=0.15)


def test_rough_and_smooth_powders_have_the_same_places():
    smooth, specimen = (nmc811(2, width_um=128, height_um=128, roughness_um=r) for r in (0.0, 1.0))
    assert [p.center_um for p in smooth.particles] == [p.center_um for p in specimen.particles]
    before, after = smooth.truth_particles(), specimen.truth_particles()
    shrunk = before["equivalent_diameter_um"] - after["equivalent_diameter_um"]
    assert 0.5 < shrunk.median() < 1.2
    assert nmc811(2, width_um=128, height_um=128, roughness_um=1.0) == specimen


def test_rough_particle_is_whole_in_the_field_when_its_surface_is():
    specimen = rough(2.0, semi_axes=(6.0, 6.0, 6.0))
    height = np.abs(surface_points(specimen.rough_table(0), specimen.envelope(0))[:, 1] - CENTER[1])
    inside = specimen.whole_in_field
    assert height.max() < 5.98
    assert inside(CENTER, 7.0, height.max() + 1e-6).tolist() == [True]
    assert inside(CENTER, 7.0, height.max() - 1e-3).tolist() == [False]


def test_view_of_a_hundred_rough_particles_is_fast():
    projector = SpecimenProjector(nmc811(0, roughness_um=1.5))
    view = View((0.0, 0.0, 5.0), 80.0, 0.128, (512, 512))  # 128 x 128 pixels, four rays a side
    costs = []
    for _ in range(4):
        start = time.process_time()
        projector.sample(view, 5.4)
        costs.append(time.process_time() - start)
    assert min(costs) < 0.25  # CPU time of both threads: 0.09 s for 114 particles


def test_void_must_stay_below_the_deepest_point():
    deep = Void("v", CENTER, (4.6, 4.6, 4.6))
    rough(0.3, semi_axes=(5.0, 5.0, 5.0), voids=(deep,))
    with pytest.raises(ConfigurationError, match="void 'v' leaves its particle"):
        rough(0.5, semi_axes=(5.0, 5.0, 5.0), voids=(deep,))


def test_a_table_cannot_hold_roughness(tmp_path):
    with pytest.raises(ConfigurationError, match=r"save it as \.h5"):
        rough().save(tmp_path / "rough.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth_um": 0.0}, "depth_um 0.0 must be above 0"),
        ({"depth_um": 1.0, "wavelength_um": math.nan}, "wavelength_um nan"),
        ({"depth_um": 3.0}, "too deep for a mean radius of 5 um"),
        ({"depth_um": 1.0, "wavelength_um": 0.5}, "too fine"),
    ],
)
def test_impossible_roughness_is_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        Particle("a", CENTER, (5.0, 5.0, 5.0), roughness=Roughness(**changes))
