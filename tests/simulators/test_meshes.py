"""Particles as triangle meshes: exact truth, shadows without holes, refused when not closed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh

from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators import Mesh, Particle, Specimen, Support, Void
from zoneplate.simulators.parts import SpecimenError
from zoneplate.simulators.projection import SpecimenProjector
from zoneplate.simulators.surfaces import Roughness
from zoneplate.simulators.truth import rasterize

TILTED = (math.cos(0.4), math.sin(0.4) * 0.6, 0.0, math.sin(0.4) * 0.8)
CENTER, AXES = (2.0, -1.0, 6.0), (6.0, 3.0, 4.5)
HOLE = Void("hole", (3.0, -1.0, 6.5), (1.2, 0.8, 1.0), TILTED)


def ball(subdivisions=3):
    return trimesh.creation.icosphere(subdivisions)


def mesh_of(axes=AXES, center=CENTER, orientation=TILTED, subdivisions=5):
    shape = ball(subdivisions)
    return Mesh.of(shape.vertices * axes, shape.faces).moved(center, orientation)


def box(low, high):
    shape = trimesh.creation.box(bounds=[low, high])
    return Mesh.of(shape.vertices, shape.faces)


def floating(*particles):
    return Specimen(particles, Support.none())


@pytest.fixture(scope="module")
def ellipsoid():
    return floating(Particle("e", CENTER, AXES, TILTED, voids=(HOLE,)))


@pytest.fixture(scope="module")
def meshed():
    """The same in 20,480 triangles."""
    return floating(Particle.of_mesh("e", mesh_of(), voids=(HOLE,)))


def test_truth_of_a_fine_mesh_is_that_of_the_ellipsoid(meshed, ellipsoid):
    mine, theirs = (
        s.truth_particles().drop(columns=["name", "defect"]) for s in (meshed, ellipsoid)
    )
    # The triangles lie inside the ellipsoid, by 6e-4 of its volume.
    np.testing.assert_allclose(mine, theirs, rtol=1.2e-3, atol=2e-3)
    assert float(mine["volume_um3"][0]) < float(theirs["volume_um3"][0])
    depths = [s.truth_voids()["depth_um"][0] for s in (meshed, ellipsoid)]
    assert depths[0] == pytest.approx(depths[1], abs=3e-3)


def test_measures_agree_with_those_of_trimesh(meshed):
    mesh = meshed.particles[0].mesh
    other = trimesh.Trimesh(mesh.vertices_um, mesh.faces, process=False)
    assert other.is_watertight
    assert mesh.volume_um3 == pytest.approx(other.volume, rel=1e-12)
    assert mesh.surface_area_um2 == pytest.approx(other.area, rel=1e-12)
    np.testing.assert_allclose(mesh.centroid_um, other.center_mass, rtol=1e-9)


@pytest.mark.parametrize("theta", [0.0, 41.0, 90.0])
def test_shadow_is_that_of_the_ellipsoid(meshed, ellipsoid, theta):
    view = ((1.0, -1.0, 5.0), theta, 0.25, (60, 70), 0.1)
    paths = [SpecimenProjector(s).path(*view) for s in (meshed, ellipsoid)]
    # At the rim a chord of 12 um has a steep end.
    difference = np.abs(paths[0] - paths[1])
    assert difference.max() < 0.4
    assert difference.mean() < 4e-3
    images = [SpecimenProjector(s).transmission(*view) for s in (meshed, ellipsoid)]
    assert np.abs(images[0] - images[1]).max() < 0.01


def test_shadow_of_a_box_is_exact_where_rays_meet_edges_and_corners():
    """Rays run along faces and through edges: each counts once, none is lost."""
    cube = floating(Particle.of_mesh("box", box((-2, -1, 0), (2, 1, 3))))
    path = SpecimenProjector(cube).path((0, 0, 0), 0.0, 0.5, (9, 13))
    u, v = (np.arange(13) - 6) * 0.5, (4 - np.arange(9)) * 0.5
    inside = (np.abs(u) < 2)[None, :] & (np.abs(v) < 1)[:, None]
    outside = (np.abs(u) > 2)[None, :] | (np.abs(v) > 1)[:, None]
    np.testing.assert_allclose(path[inside], 3.0, rtol=1e-6)
    assert (path[outside] == 0).all()
    assert set(np.round(path.ravel(), 5)) == {0.0, 3.0}
    # Half of the rays on the rim count: as many as there are pixels in 4 x 2 um.
    assert (path > 0).sum() == 8 * 4


@pytest.mark.parametrize("theta", [0.0, 17.0, 63.0])
def test_shadow_of_a_shape_with_a_hole_through_it_holds_its_volume(theta):
    ring = trimesh.creation.torus(4.0, 1.5, major_sections=48, minor_sections=24)
    specimen = floating(Particle.of_mesh("ring", Mesh.of(ring.vertices, ring.faces)))
    path = SpecimenProjector(specimen).path((0, 0, 0), theta, 0.05, (240, 240))
    assert path.min() > -1e-4
    assert path.sum() * 0.05**2 == pytest.approx(ring.volume, rel=2e-3)


def test_labels_are_those_of_the_ellipsoid(meshed, ellipsoid):
    grid = ((60, 70, 90), 0.2, (2.1, -1.0, 5.9))
    mine, theirs = (rasterize(s, *grid) for s in (meshed, ellipsoid))
    share = (mine.particles != theirs.particles).sum() / (theirs.particles > 0).sum()
    assert share < 2e-3
    assert (mine.voids == theirs.voids).all()


def test_mesh_that_was_clockwise_is_turned_round():
    shape = ball()
    inward = Mesh.of(shape.vertices, shape.faces[:, ::-1])
    assert inward.volume_um3 == pytest.approx(shape.volume)


def spoiled(change):
    shape = ball()
    vertices, faces = shape.vertices.copy(), shape.faces.copy()
    return change(vertices, faces)


def one_turned(vertices, faces):
    faces[7] = faces[7][::-1]
    return vertices, faces


def two_balls(vertices, faces):
    return np.concatenate([vertices, vertices + 5]), np.concatenate([faces, faces + len(vertices)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, f: (v, f[1:]), r"not closed: 3 edges .*first from \(.*\) um"),
        (one_turned, "in the same direction"),
        (two_balls, "of 2 pieces"),
        (lambda v, f: (v * (1, 1, 0), f), "encloses no volume"),
        (lambda v, f: (v * np.nan, f), "finite numbers"),
        (lambda v, f: (v, f[:3]), "3 triangles enclose nothing"),
        (lambda v, f: (v, f + 1), "corners count from 0"),
    ],
)
def test_mesh_that_is_no_body_is_refused(change, message):
    with pytest.raises(ConfigurationError, match=message):
        Mesh.of(*spoiled(change))


@pytest.mark.parametrize("ending", [".stl", ".ply"])
@pytest.mark.parametrize("text", [True, False])
def test_mesh_file_is_one_particle_that_rests_on_the_tape(tmp_path, ending, text):
    path = tmp_path / f"grain{ending}"
    kind = {".stl": "stl_ascii" if text else "stl", ".ply": "ply"}[ending]
    options = {"encoding": "ascii" if text else "binary"} if ending == ".ply" else {}
    shape = ball()
    shape.apply_scale(4.0)
    path.write_bytes(b"" + _encoded(shape.export(file_type=kind, **options)))
    specimen = Specimen.load(path)
    row = specimen.truth_particles().iloc[0]
    assert (row["name"], specimen.name) == ("grain", "grain")
    assert row["volume_um3"] == pytest.approx(shape.volume, rel=1e-5)
    assert row["center_z_um"] == pytest.approx(4.0, abs=0.01)


def _encoded(exported):
    return exported if isinstance(exported, bytes) else exported.encode()


def test_mesh_file_that_is_open_is_refused_with_its_name(tmp_path):
    shape = ball()
    path = tmp_path / "leaky.stl"
    trimesh.Trimesh(shape.vertices, shape.faces[3:]).export(path)
    with pytest.raises(ConfigurationError, match=r"leaky\.stl: the surface is not closed"):
        Specimen.load(path)
    (tmp_path / "text.stl").write_text("no mesh")
    with pytest.raises(ConfigurationError, match=r"text\.stl: 0 triangles enclose nothing"):
        Specimen.load(tmp_path / "text.stl")
    with pytest.raises(ConfigurationError, match=r"none\.stl cannot be read"):
        Specimen.load(tmp_path / "none.stl")


def test_specimen_with_meshes_survives_its_file(meshed, tmp_path):
    both = Specimen((*meshed.particles, Particle("b", (20, 0, 6), (2, 2, 2))), Support.none())
    both.save(tmp_path / "a.h5")
    assert Specimen.load(tmp_path / "a.h5") == both
    with pytest.raises(ConfigurationError, match="'e' is a mesh, which a table cannot hold"):
        both.save(tmp_path / "a.csv")


CUBE = box((-2, -2, 0), (2, 2, 4))


@pytest.mark.parametrize(
    ("particles", "message"),
    [
        ((Particle.of_mesh("m", CUBE), Particle("b", (3.9, 0, 2), (2, 2, 2))), "interpenetrate"),
        ((Particle.of_mesh("m", CUBE), Particle("b", (0, 0, 2), (1, 1, 1))), "interpenetrate"),
        ((Particle.of_mesh("m", CUBE), Particle("b", (0, 0, 9), (8, 8, 8))), "interpenetrate"),
        (
            (Particle.of_mesh("m", CUBE), Particle.of_mesh("n", CUBE.moved((3.9, 1.0, 0.5)))),
            "'m' and 'n' interpenetrate",
        ),
        (
            (Particle.of_mesh("m", CUBE), Particle.of_mesh("n", CUBE.moved((0, 0, 1), scale=0.3))),
            "interpenetrate",
        ),
        ((Particle.of_mesh("m", CUBE, voids=(Void("v", (1.5, 0, 2), (1, 1, 1)),)),), "void 'v'"),
        ((Particle.of_mesh("m", CUBE, voids=(Void("v", (5, 0, 2), (1, 1, 1)),)),), "void 'v'"),
    ],
)
def test_impossible_neighbours_of_meshes_are_refused(particles, message):
    with pytest.raises(SpecimenError, match=message):
        floating(*particles)


def test_neighbours_may_touch_a_mesh_and_lie_in_its_envelope():
    """A ball at a corner of the cube is inside the ellipsoid around it."""
    touching = Particle("ball", (4.0, 0, 2), (2, 2, 2))
    near = Particle("corner", (2.2, 2.2, 4.2), (0.3, 0.3, 0.3))
    beside = Particle.of_mesh("beside", CUBE.moved((-4.0, 0, 0)))
    specimen = floating(Particle.of_mesh("m", CUBE), touching, near, beside)
    contacts = specimen.truth_contacts()
    assert contacts.to_numpy().tolist() == [[1, 2], [1, 4]]


def test_mesh_below_the_tape_is_refused():
    with pytest.raises(SpecimenError, match="reaches 1 um below the tape"):
        Specimen((Particle.of_mesh("m", CUBE.moved((0, 0, -1))),))


def test_mesh_cannot_be_rough():
    with pytest.raises(SpecimenError, match="cannot be rough"):
        Particle("m", (0, 0, 0), (1, 1, 1), mesh=CUBE, roughness=Roughness(0.1))


def test_whole_in_field_follows_the_corners():
    cube = floating(Particle.of_mesh("m", CUBE))
    reach = math.hypot(2, 2)
    assert cube.whole_in_field((0, 0, 2), reach + 1e-6, 2.001).tolist() == [True]
    assert cube.whole_in_field((0, 0, 2), reach - 1e-3, 2.001).tolist() == [False]
    assert cube.whole_in_field((0, 0, 2), 5.0, 1.99).tolist() == [False]
