import base64
import io
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import volume_scene
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from volume_scene import BALLS, CENTER_UM, VOID, VOXEL_UM, radii_table, tables, volume_view

from zoneplate.analysis import figures, meshes
from zoneplate.analysis.figures_map import turned_figure
from zoneplate.analysis.figures_radii import spread_over_sizes
from zoneplate.analysis.figures_statistics import void_diameter_um
from zoneplate.analysis.figures_style import PARTICLE
from zoneplate.analysis.mosaic import stitch


def every_figure() -> dict[str, Figure]:
    view = volume_view()
    particles, voids = tables()
    mosaic = stitch(np.random.default_rng(0).uniform(0.5, 1, (2, 20, 20)), [(0, 0), (20, 0)], 1.0)
    convergence = pd.DataFrame(
        {
            "projections": [20, 60, 141],
            "particles": [2, 3, 3],
            "void_frequency": [0.5, 0.33, 0.33],
            "void_frequency_low": [0.1, 0.06, 0.06],
            "void_frequency_high": [0.9, 0.8, 0.8],
        }
    )
    return {
        "mosaic": figures.mosaic_figure(mosaic),
        "radiographs": figures.radiographs_figure(np.ones((9, 8, 8)), np.linspace(-90, 90, 9), 1),
        "slices": figures.slices_figure(view),
        "gallery": figures.gallery_figure(view, particles, voids),
        "histograms": figures.histograms_figure(particles, voids, larger_than_um=1.8, view=view),
        "radii": figures.radii_figure(radii_table(), view=view),
        "roughness": figures.roughness_figure(radii_table(), noise_floor_um=0.5, view=view),
        "turned": turned_figure(np.ones((9, 8, 8)), np.linspace(-90, 90, 9), 1),
        "convergence": figures.convergence_figure(convergence),
        "solid": figures.solid_figure(view, figures.surface_meshes(view)),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, Figure]:
    return every_figure()


def texts(figure: Figure) -> str:
    found = [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text"))]
    return "\n".join(found)


def test_every_figure_becomes_a_picture_without_touching_pyplot(drawn):
    before = plt.get_fignums()
    for name, figure in drawn.items():
        uri = figures.data_uri(figure, dpi=50)
        picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert min(picture.size) > 60, name
        assert len(np.unique(np.asarray(picture.convert("L")))) > 5, name
    assert plt.get_fignums() == before


def test_every_axis_has_a_unit(drawn):
    names_without_unit = ("number", "sphericity", "projections", "particle number", "")
    for name in ("mosaic", "slices", "turned", "histograms", "radii", "roughness", "convergence"):
        for axes in drawn[name].axes:
            for label in (axes.get_xlabel(), axes.get_ylabel()):
                with_unit = "(" in label or "%" in label or "transmission" in label
                assert with_unit or label.startswith(names_without_unit), (name, label)


def test_the_map_shows_regions_and_particles_where_they_are():
    mosaic = stitch(np.ones((1, 30, 40)), [(5.0, -3.0)], 1.0)
    mosaic.image[8, 30] = 0.1
    x, y = mosaic.to_um(8, 30)
    particles = pd.DataFrame(
        {"center_x_um": [x], "center_y_um": [y], "equivalent_diameter_um": [4.0]}
    )
    regions = pd.DataFrame(
        {
            "region_id": [3],
            "center_x_um": [1.0],
            "center_y_um": [-5.0],
            "width_um": [10.0],
            "height_um": [6.0],
        }
    )
    figure = figures.mosaic_figure(mosaic, particles, regions)
    axes = figure.axes[0]
    shown = axes.images[0]
    left, right, bottom, top = shown.get_extent()
    column = (x - left) / (right - left) * 40 - 0.5
    row = (top - y) / (top - bottom) * 30 - 0.5
    assert (row, column) == pytest.approx((8, 30))
    (circles,) = (c for c in axes.collections if isinstance(c, PatchCollection))
    box = circles.get_paths()[0].get_extents()
    assert ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) == pytest.approx((x, y))
    frames = [p.get_bbox().bounds for p in axes.patches if isinstance(p, Rectangle)]
    assert (-4.0, -8.0, 10.0, 6.0) in frames
    assert "3" in [t.get_text() for t in axes.texts]


@pytest.mark.parametrize(("panel", "across", "up"), [(0, 0, 1), (1, 0, 2), (2, 2, 1)])
def test_outlines_lie_on_the_particles_in_the_specimen_frame(panel, across, up):
    figure = figures.slices_figure(volume_view())
    axes = [a for a in figure.axes if a.images and a.collections][panel]
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    assert to_rgba(PARTICLE) == pytest.approx(tuple(lines[0].get_color()[0]))
    middles = [np.mean([p.min(axis=0), p.max(axis=0)], axis=0) for p in lines[0].get_segments()]
    wanted = (BALLS[0][across], BALLS[0][up])
    assert min(np.hypot(*(m - wanted)) for m in middles) < VOXEL_UM
    (void,) = (np.mean([p.min(axis=0), p.max(axis=0)], axis=0) for p in lines[1].get_segments())
    assert void == pytest.approx((VOID[across], VOID[up]), abs=VOXEL_UM)
    image = axes.images[0]
    left, right, bottom, top = image.get_extent()
    data = np.asarray(image.get_array())
    row = int((top - (VOID[up] - 2.0)) / (top - bottom) * data.shape[0])
    column = int((VOID[across] - left) / (right - left) * data.shape[1])
    assert data[row, column] > 0.03  # solid beside the void, upright


def test_a_dense_inclusion_does_not_darken_the_rest():
    view = volume_view()
    view.volume[volume_scene.ball(102.0, -36.0, 8.0, 1.5)] = 5.0
    axes = next(a for a in figures.slices_figure(view).axes if a.images)
    low, high = axes.images[0].get_clim()
    assert low < 0.0
    assert 0.045 < high < 0.07


def test_radiographs_are_spread_over_the_angles_in_any_order():
    angles = np.random.default_rng(0).permutation(np.linspace(-90, 90, 141))
    figure = figures.radiographs_figure(np.random.default_rng(1).random((141, 6, 6)), angles, 0.5)
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert titles == ["−90°", "−60°", "−30°", "0°", "+30°", "+60°", "+90°"]
    limits = {a.images[0].get_clim() for a in figure.axes if a.get_title()}
    assert len(limits) == 1


def test_few_radiographs_are_each_shown_once():
    figure = figures.radiographs_figure(
        np.random.default_rng(1).random((2, 6, 6)), [0.0, 30.0], 0.5
    )
    assert [a.get_title() for a in figure.axes if a.get_title()] == ["0°", "+30°"]
    with pytest.raises(ValueError, match="one angle each"):
        figures.radiographs_figure(np.ones((3, 6, 6)), [0.0], 1.0)


def test_the_gallery_shows_whole_particles_with_the_largest_voids_first():
    particles, voids = tables()
    assert "Particle 1, diameter 8.0 µm; largest void 2.4 µm; 2.7 % of" in texts(
        figures.gallery_figure(volume_view(), particles, voids)
    )
    without = texts(figures.gallery_figure(volume_view(voids=False), particles, voids))
    assert "Particle 1, diameter 8.0 µm, no void found" in without
    named = texts(figures.gallery_figure(volume_view(), particles, voids, particle_ids=[2]))
    assert "Particle 2, diameter 6.0 µm, sphericity 0.98" in named
    assert "Particle 1" not in named
    assert "Particle 3" not in without  # cut by the border


def test_the_gallery_cuts_particles_through_a_place_if_asked():
    particles, _ = tables()
    particles["open_pore_volume_um3"] = [0.0, 8.2, 0.0]
    view = volume_view()
    figure = figures.gallery_figure(
        view, particles, particle_ids=[2], through_um=np.array([[95.1, -44.4, 3.1]])
    )
    assert "sphericity 0.98, open pores 8.2 µm³" in texts(figure)
    xy, xz, yz = (axes.images[0].get_array() for axes in figure.axes)
    row, depth, column = 28, 10, 12  # (19.5 - 28) * 0.5 - 40 is -44.25, and so on
    assert np.array_equal(xy, view.volume[:, depth])
    assert np.array_equal(xz, view.volume[row][::-1])
    assert np.array_equal(yz, view.volume[:, :, column])


def test_histogram_means_leave_out_what_is_not_counted():
    particles, voids = tables()
    small = voids.assign(void_id=2, equivalent_diameter_um=1.0, sphericity=0.1)
    of_cut = voids.assign(void_id=3, particle_id=3, equivalent_diameter_um=9.0)
    every = pd.concat([voids, small, of_cut], ignore_index=True)
    said = texts(figures.histograms_figure(particles, every, larger_than_um=1.8))
    assert "mean 2.40" in said
    assert "Particles, n = 2" in said
    assert "Voids, n = 1" in said
    assert "up to 1.8 µm, not counted" in said
    assert void_diameter_um(voids.assign(equivalent_diameter_grey_um=2.6)).tolist() == [2.6]
    assert void_diameter_um(voids.assign(equivalent_diameter_grey_um=np.nan)).tolist() == [2.4]


def test_radii_show_whole_particles_over_the_sizes():
    radii = radii_table()
    radii.loc[radii["particle_id"] == 2, "touches_border"] = True
    assert spread_over_sizes(radii, 4) == [1]
    assert spread_over_sizes(radii_table(), 4) == [1, 2]


@pytest.mark.parametrize(
    "figure",
    [
        figures.slices_figure(volume_view(voids=False, particles=False)),
        figures.gallery_figure(volume_view(voids=False, particles=False)),
        figures.solid_figure(volume_view(particles=False), []),
        figures.histograms_figure(tables()[0].head(0), tables()[1].head(0)),
        figures.radii_figure(radii_table().head(0)),
        figures.roughness_figure(radii_table().head(0)),
        figures.convergence_figure(pd.DataFrame()),
        figures.radiographs_figure(np.empty((0, 4, 4)), [], 1.0),
    ],
    ids=["slices", "gallery", "solid", "histograms", "radii", "rough", "convergence", "views"],
)
def test_nothing_measured_is_drawn_as_such(figure):
    assert figures.data_uri(figure, dpi=40).startswith("data:image/png")


def test_surfaces_are_closed_outward_and_in_place():
    meshes = figures.surface_meshes(volume_view())
    assert [(m.kind, m.label, m.parent) for m in meshes] == [
        ("particle", 1, 1),
        ("particle", 2, 2),
        ("particle", 3, 3),
        ("void", 1, 1),
    ]
    for mesh, (x, y, z, radius) in zip(meshes, [*BALLS, VOID], strict=True):
        corners = mesh.vertices[mesh.faces].astype(float)
        center = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
        assert center == pytest.approx((x, y, z), abs=0.3)
        moved = corners - center
        signed = np.einsum("ij,ij->", moved[:, 0], np.cross(moved[:, 1], moved[:, 2])) / 6
        counted = volume_scene.ball(x, y, z, radius).sum() * VOXEL_UM**3
        assert signed == pytest.approx(counted, rel=0.15)
        edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_the_triangle_budget_is_kept():
    fine = figures.surface_meshes(volume_view())
    coarse = figures.surface_meshes(volume_view(), triangle_budget=600)
    assert len(coarse) == len(fine)
    assert sum(len(m.faces) for m in coarse) < 0.5 * sum(len(m.faces) for m in fine)


def test_the_viewer_gets_the_same_surfaces():
    view, (particles, _) = volume_view(), tables()
    meshes = figures.surface_meshes(view)
    payload = figures.viewer_payload(view, meshes, particles)
    first = payload["objects"][0]
    steps = np.frombuffer(base64.b64decode(first["vertices"]), "<u2").reshape(-1, 3)
    points = np.array(payload["low"]) + steps / 65535 * np.array(payload["size"])
    np.testing.assert_allclose(points, meshes[0].vertices, atol=0.002)
    faces = np.frombuffer(base64.b64decode(first["faces"]), "<u2").reshape(-1, 3)
    np.testing.assert_array_equal(faces, meshes[0].faces)
    assert first["text"] == "Particle 1: diameter 8.0 µm, 2.7 % void"
    assert payload["objects"][2]["text"].endswith("cut by the border, no void found")


def test_shells_are_the_darker_the_more_of_them_is_void():
    view = volume_view()
    shells = meshes.shell_colors(view)
    assert shells[3] == to_rgb(meshes.PLAIN)
    emptier = replace(view, voids=np.where(view.particles == 1, 1, view.voids))
    assert sum(meshes.shell_colors(emptier)[1]) < sum(shells[1])


def test_views_pick_their_region_from_joint_tables():
    particles, _ = tables()
    joint = pd.concat([particles.assign(region=1), particles.assign(region=2)])
    assert len(volume_view(region=2).rows_of(joint)) == 3
    assert len(volume_view().rows_of(joint)) == 6
    assert volume_view().axis_um("y")[0] > CENTER_UM[1] > volume_view().axis_um("y")[-1]
