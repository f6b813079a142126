"""A specimen refuses what cannot exist, and accepts everything that can."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators.ellipsoids import (
    Ellipsoids,
    contact_gap,
    distance_to_surface,
    farthest_distance,
    protrusion,
    rotation_matrices,
)
from zoneplate.simulators.materials import attenuation_per_um, parse_material
from zoneplate.simulators.specimen import Particle, Specimen, SpecimenError, Support, Void


def ball(name, center, radius, voids=()):
    return Particle(name, center, (radius, radius, radius), voids=tuple(voids))


def random_ellipsoids(count, seed, low=0.5, high=4.0):
    random = np.random.default_rng(seed)
    quaternion = random.standard_normal((count, 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    return Ellipsoids(
        random.uniform(-4, 4, (count, 3)), random.uniform(low, high, (count, 3)), quaternion
    )


def surface_points(ellipsoids, index, count=6000):
    """Points on one ellipsoid, from a Fibonacci sphere."""
    k = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    unit = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)]
    )
    return ellipsoids.center[index] + (ellipsoids.generator[index] @ unit).T


def level(ellipsoids, index, points):
    """1 on the surface, less inside; independent of shape matrices and contact functions."""
    body = (points - ellipsoids.center[index]) @ ellipsoids.rotation[index]
    return np.linalg.norm(body / ellipsoids.semi_axes[index], axis=1)


def gap(ellipsoids, i, j):
    offset = ellipsoids.center[j] - ellipsoids.center[i]
    return contact_gap(ellipsoids.packed_shape[i], ellipsoids.packed_shape[j], *offset)


def test_quaternion_turns_body_axes_into_the_sample_frame():
    half = math.sqrt(0.5)
    # A quarter turn about z brings body x to sample y.
    matrix = rotation_matrices(np.array([[half, 0.0, 0.0, half]]))[0]
    np.testing.assert_allclose(matrix @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    # A quarter turn about x brings body y to sample z.
    matrix = rotation_matrices(np.array([[half, half, 0.0, 0.0]]))[0]
    np.testing.assert_allclose(matrix @ [0, 1, 0], [0, 0, 1], atol=1e-15)


def test_contact_of_spheres_is_the_distance_of_their_centres():
    pair = Ellipsoids.from_rows(
        [(0, 0, 0), (3, 4, 0)], [(2, 2, 2), (4, 4, 4)], [(1, 0, 0, 0), (1, 0, 0, 0)]
    )
    assert gap(pair, 0, 1) == pytest.approx(-1.0, abs=1e-9)


def test_contact_agrees_with_sampled_surfaces():
    ellipsoids = random_ellipsoids(160, seed=3)
    decided = 0
    for i in range(0, 160, 2):
        nearest = level(ellipsoids, i + 1, surface_points(ellipsoids, i)).min()
        inside = level(ellipsoids, i, ellipsoids.center[[i + 1]])[0] < 1
        signed = gap(ellipsoids, i, i + 1)
        if abs(nearest - 1) > 0.01 or inside:  # finer than the sampling is another test's
            assert (signed < 0) == (nearest < 1 or inside), (i, signed, nearest)
            decided += 1
    assert decided > 70


@pytest.mark.parametrize("longest", [1.2, 20.0])
def test_contact_is_found_to_a_nanometre_for_needles_and_discs(longest):
    ellipsoids = random_ellipsoids(80, seed=5, low=1.0, high=longest)
    random = np.random.default_rng(6)
    for i in range(0, 80, 2):
        normal = random.standard_normal(3)
        normal /= np.linalg.norm(normal)
        # Support points with opposite normals laid on each other: the two touch exactly.
        reach = [
            ellipsoids.shape_matrix[k]
            @ normal
            / np.sqrt(normal @ ellipsoids.shape_matrix[k] @ normal)
            for k in (i, i + 1)
        ]
        touching = reach[0] + reach[1]
        for shift_um in (-1e-3, 1e-3):
            offset = touching + shift_um * normal
            found = contact_gap(ellipsoids.packed_shape[i], ellipsoids.packed_shape[i + 1], *offset)
            if shift_um < 0:
                assert found == pytest.approx(shift_um, rel=1e-3)
            else:
                assert found >= 0


def test_farthest_point_and_nearest_surface_agree_with_sampling():
    ellipsoids = random_ellipsoids(40, seed=7)
    in_space = farthest_distance(ellipsoids.center, ellipsoids.generator)
    in_plane = farthest_distance(ellipsoids.center[:, [0, 2]], ellipsoids.generator[:, [0, 2], :])
    inner = ellipsoids.center + 0.3 * ellipsoids.generator[:, :, 0]
    depth = distance_to_surface(inner, ellipsoids)
    for i in range(40):
        points = surface_points(ellipsoids, i)
        assert in_space[i] == pytest.approx(np.linalg.norm(points, axis=1).max(), rel=2e-3)
        assert in_plane[i] == pytest.approx(np.hypot(points[:, 0], points[:, 2]).max(), rel=2e-3)
        sampled = np.linalg.norm(points - inner[i], axis=1).min()
        assert sampled * (1 - 0.01) - 1e-3 <= depth[i] <= sampled + 1e-12
        # The exact value is an extreme: no sample may beat it.
        assert np.linalg.norm(points, axis=1).max() <= in_space[i] + 1e-9


def test_farthest_point_of_a_centred_ellipsoid_is_its_long_axis():
    # The hard case of the trust-region problem: the linear term vanishes.
    one = Ellipsoids.from_rows([(0, 0, 0)], [(1, 5, 2)], [(1, 0, 0, 0)])
    assert farthest_distance(one.center, one.generator)[0] == pytest.approx(5.0)
    off = Ellipsoids.from_rows([(0.1, 0, 0)], [(1, 5, 2)], [(1, 0, 0, 0)])
    # Still the hard case: stationary at sin(t) = 0.1 / (25 - 1).
    sine = 0.1 / 24
    expected = math.hypot(0.1 + sine, 5 * math.sqrt(1 - sine**2))
    assert farthest_distance(off.center, off.generator)[0] == pytest.approx(expected, rel=1e-12)


def test_protrusion_agrees_with_sampled_surfaces():
    inner, outer = random_ellipsoids(60, 9, 0.3, 1.0), random_ellipsoids(60, 10, 1.0, 4.0)
    inner.center[:] = outer.center + 0.65 * outer.generator[:, :, 1]
    out = protrusion(inner, outer)
    for i in range(60):
        reach = level(outer, i, surface_points(inner, i)).max()
        assert out[i] == pytest.approx((reach - 1) * outer.semi_axes[i].min(), abs=5e-3)
    assert 10 < (out > 0).sum() < 50


def test_touching_particles_are_allowed():
    Specimen((ball("a", (0, 0, 2), 2), ball("b", (4, 0, 2), 2)))


def test_void_may_touch_its_particle_from_inside_and_its_neighbour():
    voids = (Void("v", (-1, 0, 2), (1, 1, 1)), Void("w", (1, 0, 2), (1, 1, 1)))
    assert len(Specimen((ball("a", (0, 0, 2), 2, voids),)).voids) == 2


def test_particle_and_void_may_share_an_id():
    Specimen((ball("1", (0, 0, 2), 2, (Void("1", (0, 0, 2), (1, 1, 1)),)),))


@pytest.mark.parametrize(
    ("particles", "message", "objects"),
    [
        (
            (ball("left", (0, 0, 2), 2), ball("right", (3.99, 0, 2), 2)),
            "particles 'left' and 'right' interpenetrate by 0.01 um",
            {("particle", "left"), ("particle", "right")},
        ),
        (
            (ball("here", (0, 0, 2), 2), ball("again", (0, 0, 2), 2)),
            "'here' and 'again' interpenetrate",
            {("particle", "here"), ("particle", "again")},
        ),
        (
            (ball("giant", (0, 0, 90), 90), ball("speck", (0, 30, 5), 0.2)),
            "'giant' and 'speck' interpenetrate",
            {("particle", "giant"), ("particle", "speck")},
        ),
        (
            (ball("a", (0, 0, 2), 2, (Void("v", (1.5, 0, 2), (0.51, 0.51, 0.51)),)),),
            "void 'v' leaves its particle 'a'",
            {("void", "v"), ("particle", "a")},
        ),
        (
            (
                ball(
                    "a",
                    (0, 0, 4),
                    4,
                    (Void("v", (0, 0, 4), (1, 1, 1)), Void("w", (0, 1.5, 4), (1, 1, 1))),
                ),
            ),
            "voids 'v' and 'w' interpenetrate by 0.5 um",
            {("void", "v"), ("void", "w")},
        ),
        ((ball("low", (0, 0, 1.9), 2),), "'low' reaches 0.1 um below", {("particle", "low")}),
        (
            (ball("twin", (0, 0, 2), 2), ball("twin", (9, 0, 2), 2)),
            "particle id 'twin' occurs twice",
            {("particle", "twin")},
        ),
    ],
)
def test_impossible_specimen_is_refused_with_its_ids(particles, message, objects):
    with pytest.raises(SpecimenError, match=message) as caught:
        Specimen(particles)
    assert set(caught.value.objects) == objects
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"center_um": (math.nan, 0, 3)}, "centre"),
        ({"center_um": (0, math.inf, 3)}, "centre"),
        ({"semi_axes_um": (1, -1, 1)}, "semi-axes"),
        ({"semi_axes_um": (1, 0, 1)}, "semi-axes"),
        ({"orientation": (0.9, 0, 0, 0)}, "unit quaternion"),
        ({"orientation": (math.nan, 0, 0, 0)}, "unit quaternion"),
        ({"orientation": (0, 0, 0, 0)}, "unit quaternion"),
        ({"material": "LiNiO2"}, "formula@density"),
        ({"material": "Unobtainium@3"}, "not an element"),
        ({"material": "LiNiO2@-1"}, "density"),
        ({"material": "LiNiO2@480"}, "density"),
        ({"material": "@4.8"}, "not possible"),
        ({"id": ""}, "id is empty"),
    ],
)
def test_impossible_value_is_refused(changes, message):
    values = {"id": "odd", "center_um": (0, 0, 3), "semi_axes_um": (1, 1, 1)} | changes
    with pytest.raises(ConfigurationError, match=message):
        Particle(**values)


def test_nearly_unit_quaternion_is_normalised():
    particle = Particle("a", (0, 0, 3), (1, 2, 3), (0.995, 0, 0, 0))
    assert particle.orientation == (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_impossible_support_is_refused(value):
    with pytest.raises(ConfigurationError, match="thickness_um"):
        Support(thickness_um=value)


def test_without_support_particles_may_be_anywhere():
    assert len(Specimen((ball("deep", (0, 0, -50), 3),), Support.none()).particles) == 1


def test_empty_specimen_is_legal():
    empty = Specimen()
    assert len(empty.truth_particles()) == 0
    assert len(empty.truth_voids()) == 0
    assert empty.whole_in_field((0, 0, 0), 32, 32).shape == (0,)


def test_twenty_thousand_particles_beside_a_giant_are_checked_quickly():
    k = np.arange(150)
    grains = [
        ball(f"{i},{j}", (3.0 * i, 3.0 * j, 1.5), 1.5) for i in k.tolist() for j in k.tolist()
    ]
    giant = ball("giant", (-300, 0, 250), 250)
    start = time.process_time()
    Specimen((giant, *grains))
    assert time.process_time() - start < 5  # takes 0.2 s


def test_attenuation_matches_the_study_and_the_data_sheet():
    # Heenan et al. 2020: about 14 % pass 42 um of NMC811. Tables differ by 6-8 %.
    assert math.exp(-42 * attenuation_per_um("LiNi0.8Mn0.1Co0.1O2@4.77", 5.4)) == pytest.approx(
        0.14, rel=0.10
    )
    assert attenuation_per_um("LiNi0.6Mn0.2Co0.2O2@4.77", 5.4) == pytest.approx(0.0438, rel=0.005)
    # 25 um Kapton pass 93 %.
    assert math.exp(-25 * attenuation_per_um("C22H10N2O5@1.42", 5.4)) == pytest.approx(
        0.931, abs=0.003
    )
    assert attenuation_per_um("Fe@7.8", 5.4) == 2 * attenuation_per_um("Fe@3.9", 5.4)


def test_spaces_around_a_material_do_not_matter():
    assert parse_material(" C22H10N2O5 @ 1.42 ") == ("C22H10N2O5", 1.42)
