import numpy as np
import pytest
from powder_maps import (
    MU_PER_UM,
    PIXEL_UM,
    absorption,
    cut,
    grid_positions,
    noisy,
    powder,
    voids_in,
)

from zoneplate.analysis.mosaic import Mosaic, stitch
from zoneplate.analysis.radiograph import find_particles_2d, label_particles_2d

TILE = 128
SHAPE = (2, 3)
ROWS, COLUMNS = SHAPE[0] * TILE, SHAPE[1] * TILE


def map_of(image: np.ndarray, **options) -> Mosaic:
    positions = grid_positions(SHAPE, TILE * PIXEL_UM)
    return stitch(cut(image, positions, TILE), positions, PIXEL_UM, **options)


def single_map(spheres, shape=(90, 110), noise=0.02, seed=0, hollow=()) -> Mosaic:
    image = absorption(np.array(spheres), shape)
    if len(hollow):
        image = image - absorption(np.array(hollow), shape)
    tile = noisy(np.exp(-image), noise, seed)
    return stitch([tile], [(0.0, 0.0)], PIXEL_UM)


@pytest.fixture(scope="module")
def scene():
    spheres = powder(COLUMNS * PIXEL_UM + 20, ROWS * PIXEL_UM + 20, 200, seed=7)
    voids = voids_in(spheres, seed=8)
    solid = absorption(spheres, (ROWS, COLUMNS))
    return spheres, voids, solid, solid - absorption(voids, (ROWS, COLUMNS))


def seen(spheres: np.ndarray, margin_um: float = 0.0) -> np.ndarray:
    half_x, half_y = COLUMNS * PIXEL_UM / 2 - margin_um, ROWS * PIXEL_UM / 2 - margin_um
    return spheres[(np.abs(spheres[:, 0]) < half_x) & (np.abs(spheres[:, 1]) < half_y)]


def test_counts_and_sizes_a_powder(scene):
    spheres, voids, _, image = scene
    table = find_particles_2d(map_of(noisy(np.exp(-image), 0.025, 1)), attenuation_per_um=MU_PER_UM)
    half = table.query(
        f"abs(center_x_um) < {COLUMNS * PIXEL_UM / 2} and abs(center_y_um) < {ROWS * PIXEL_UM / 2}"
    )
    true = seen(spheres)
    assert len(half) == pytest.approx(len(true), rel=0.08)
    assert table["equivalent_diameter_um"].mean() == pytest.approx(2 * true[:, 3].mean(), rel=0.06)
    whole = ~table["touches_border"]
    inner = seen(spheres, margin_um=6)
    holes = seen(voids, margin_um=6)
    solid = 4 / 3 * np.pi * (np.sum(inner[:, 3] ** 3) - np.sum(holes[:, 3] ** 3))
    found = table[
        (table["center_x_um"].abs() < COLUMNS * PIXEL_UM / 2 - 6)
        & (table["center_y_um"].abs() < ROWS * PIXEL_UM / 2 - 6)
    ]
    assert found["volume_um3"].sum() == pytest.approx(solid, rel=0.03)
    assert whole.mean() > 0.7


def test_voids_change_neither_count_nor_size(scene):
    _, _, solid, hollow = scene
    tables = [find_particles_2d(map_of(noisy(np.exp(-i), 0.025, 1))) for i in (solid, hollow)]
    assert len(tables[1]) == pytest.approx(len(tables[0]), abs=3)
    mean = [t["equivalent_diameter_um"].mean() for t in tables]
    assert mean[1] == pytest.approx(mean[0], rel=0.02)


def test_absorption_and_transmission_maps_agree(scene):
    image = noisy(np.exp(-scene[3]), 0.02, 2)
    by_transmission = find_particles_2d(map_of(image))
    by_absorption = find_particles_2d(map_of(-np.log(image), transmission=False))
    assert len(by_absorption) == pytest.approx(len(by_transmission), abs=2)


def test_uneven_illumination_is_not_particles(scene):
    ramp = 1 + 0.02 * np.linspace(-1, 1, COLUMNS)[None, :]
    flat = noisy(np.ones((ROWS, COLUMNS)) * ramp, 0.025, 3)
    assert find_particles_2d(map_of(flat)).empty
    image = noisy(np.exp(-scene[3]), 0.025, 1)
    assert len(find_particles_2d(map_of(image * ramp))) == pytest.approx(
        len(find_particles_2d(map_of(image))), rel=0.03
    )


@pytest.mark.parametrize("radius", [1.5, 3.0, 7.0])
@pytest.mark.parametrize("noise", [0.0, 0.025])
def test_a_sphere_has_its_diameter_place_and_volume(radius, noise):
    mosaic = single_map([(6.3, -4.1, 0, radius)], noise=noise)
    row = find_particles_2d(mosaic, attenuation_per_um=MU_PER_UM).iloc[0]
    assert (row.center_x_um, row.center_y_um) == pytest.approx((6.3, -4.1), abs=0.25)
    assert row.equivalent_diameter_um == pytest.approx(2 * radius, rel=0.08)
    assert row.thickness_max_um == pytest.approx(2 * radius, rel=0.2 if radius < 2 else 0.08)
    volume = 4 / 3 * np.pi * radius**3
    assert abs(row.volume_um3 - volume) < max(4 * row.volume_um3_se, 0.03 * volume)
    assert not row.touches_border
    assert not row.overlaps


def test_touching_particles_are_split_and_flagged():
    mosaic = single_map([(-3.0, 0, 0, 3.2), (3.1, 0.5, 0, 3.0), (15, 10, 0, 3.0)])
    table = find_particles_2d(mosaic)
    assert len(table) == 3
    assert table.sort_values("center_x_um")["overlaps"].tolist() == [True, True, False]
    assert len(find_particles_2d(mosaic, split=False)) == 2


@pytest.mark.parametrize(("radius", "cavity"), [(6.0, 4.2), (8.0, 7.3)])
def test_a_hollow_particle_is_one_particle(radius, cavity):
    mosaic = single_map([(0, 0, 0, radius)], hollow=[(0.3, 0.2, 0, cavity)])
    table = find_particles_2d(mosaic, attenuation_per_um=MU_PER_UM)
    assert len(table) == 1
    assert table["equivalent_diameter_um"].iloc[0] == pytest.approx(2 * radius, rel=0.09)
    shell = 4 / 3 * np.pi * (radius**3 - cavity**3)
    assert table["volume_um3"].iloc[0] == pytest.approx(shell, rel=0.05)


def test_particles_on_top_of_each_other_are_flagged():
    mosaic = single_map([(0, 0, 0, 4.0), (0.2, 0, 8, 3.8)])
    table = find_particles_2d(mosaic, attenuation_per_um=MU_PER_UM)
    assert table["overlaps"].tolist() == [True]


def test_particles_cut_by_the_edge_are_flagged():
    half_width = 110 * PIXEL_UM / 2
    mosaic = single_map([(half_width - 1, 3, 0, 4.0), (0, 0, 0, 4.0)])
    table = find_particles_2d(mosaic).sort_values("center_x_um")
    assert table["touches_border"].tolist() == [False, True]


def test_edges_of_missing_data_count_as_border():
    mosaic = single_map([(0, 0, 0, 4.0)])
    mosaic.image[:, :57] = np.nan
    assert find_particles_2d(mosaic)["touches_border"].tolist() == [True]


def test_labels_match_the_table():
    mosaic = single_map([(-12, 4, 0, 3.0), (10, -5, 0, 5.0)])
    labels, table = label_particles_2d(mosaic), find_particles_2d(mosaic)
    area = np.bincount(labels.ravel())[1:] * PIXEL_UM**2
    np.testing.assert_allclose(area, table["projected_area_um2"])
    row, column = mosaic.to_pixel(table["center_x_um"][0], table["center_y_um"][0])
    assert labels[round(row), round(column)] == table["particle_id"][0]


def test_an_empty_map_gives_an_empty_table_with_all_columns():
    table = find_particles_2d(
        single_map(np.empty((0, 4)), noise=0.03), attenuation_per_um=MU_PER_UM
    )
    assert table.empty
    assert {"volume_um3", "thickness_max_um", "overlaps", "touches_border"} <= set(table)
    assert find_particles_2d(single_map(np.empty((0, 4)), noise=0.0)).empty


def test_a_nonsense_attenuation_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        find_particles_2d(single_map([(0, 0, 0, 3.0)]), attenuation_per_um=0.0)
