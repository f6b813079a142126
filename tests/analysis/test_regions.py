import numpy as np
import pandas as pd
import pytest

from zoneplate.analysis.mosaic import stitch
from zoneplate.analysis.regions import SHARED_EDGE, choose_regions, void_suspicion

PIXEL_UM = 2.0


def empty_map(width_um: float, height_um: float, center=(0.0, 0.0)):
    shape = (round(height_um / PIXEL_UM), round(width_um / PIXEL_UM))
    return stitch(np.ones((1, *shape)), [center], PIXEL_UM)


def particles(x, y, diameter=4.0) -> pd.DataFrame:
    x, y = np.atleast_1d(x).astype(float), np.atleast_1d(y).astype(float)
    return pd.DataFrame(
        {
            "particle_id": np.arange(len(x)) + 1,
            "center_x_um": x,
            "center_y_um": y,
            "equivalent_diameter_um": np.broadcast_to(diameter, x.shape).astype(float),
        }
    )


def powder_table(seed: int = 0, count: int = 1200) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    diameter = rng.lognormal(np.log(5.84), 0.428, count)
    return particles(rng.uniform(-260, 260, count), rng.uniform(-160, 160, count), diameter)


def inside(table: pd.DataFrame, row, field: float) -> int:
    radius = table["equivalent_diameter_um"] / 2
    x = (table["center_x_um"] - row.center_x_um).abs() + radius <= field / 2
    y = (table["center_y_um"] - row.center_y_um).abs() + radius <= field / 2
    return int((x & y).sum())


def test_the_densest_place_is_chosen_and_its_particles_are_counted():
    rng = np.random.default_rng(1)
    cluster = particles(rng.uniform(60, 100, 30), rng.uniform(-70, -30, 30))
    rest = particles(rng.uniform(-180, 180, 40), rng.uniform(-90, 90, 40))
    table = pd.concat([cluster, rest], ignore_index=True)
    row = next(choose_regions(table, empty_map(400, 200), 64.0, 1).itertuples())
    assert (row.center_x_um, row.center_y_um) == pytest.approx((80, -50), abs=12)
    assert row.particles_expected == inside(table, row, 64.0) >= 30
    assert "most anywhere" in row.reason


def test_regions_stay_in_the_map_and_never_overlap():
    field, mosaic = 65.536, empty_map(524, 328, center=(1000.0, -300.0))
    table = powder_table()
    table["center_x_um"] += 1000.0
    table["center_y_um"] -= 300.0
    chosen = choose_regions(table, mosaic, field, 12, margin_um=3.0)
    left, right, bottom, top = mosaic.extent_um
    assert (chosen["center_x_um"] - field / 2 >= left + 3 - 1e-6).all()
    assert (chosen["center_x_um"] + field / 2 <= right - 3 + 1e-6).all()
    assert (chosen["center_y_um"] - field / 2 >= bottom + 3 - 1e-6).all()
    assert (chosen["center_y_um"] + field / 2 <= top - 3 + 1e-6).all()
    # Five rows of the study's map, five regions, none behind another at 90 degrees.
    assert len(chosen) == 5
    heights = np.sort(chosen["center_y_um"])
    assert (np.diff(heights) >= field * (1 - SHARED_EDGE)).all()
    assert chosen["reason"].str.contains("no other region at its height").all()


def test_smaller_range_of_angles_leaves_room_for_regions_side_by_side():
    field, limit_deg = 65.536, 60.0
    chosen = choose_regions(
        powder_table(), empty_map(524, 328), field, 12, range_deg=(-limit_deg, 50.0)
    )
    assert len(chosen) > 5
    angles = np.radians(np.linspace(-limit_deg, 50.0, 111))
    for i, first in chosen.iterrows():
        for _, second in chosen.iloc[i + 1 :].iterrows():
            apart_y = abs(first["center_y_um"] - second["center_y_um"]) >= field * (1 - SHARED_EDGE)
            across = np.abs((first["center_x_um"] - second["center_x_um"]) * np.cos(angles))
            assert apart_y or (across >= field * (1 - 1e-6)).all()


def test_light_particles_are_suspected_and_their_region_is_preferred():
    rng = np.random.default_rng(4)
    table = powder_table(7, 600)
    diameter = table["equivalent_diameter_um"]
    # Flat and tall particles scatter by 5 %; a void takes 20 % away on the right of the map.
    table["volume_um3"] = np.pi / 6 * diameter**3 * rng.lognormal(0, 0.05, len(table))
    hollow = (table["center_x_um"] > 150) & (rng.random(len(table)) < 0.6)
    table.loc[hollow, "volume_um3"] *= 0.8
    table["overlaps"] = False
    suspicion = void_suspicion(table)
    assert suspicion[hollow].mean() > 5 * suspicion[~hollow].mean()
    row = next(choose_regions(table, empty_map(524, 328), 65.536, 1, strategy="voids").itertuples())
    assert row.center_x_um > 120
    assert "lighter than others of their outline" in row.reason
    assert not void_suspicion(table.assign(overlaps=True)).any()


def test_few_regions_lie_at_different_heights():
    chosen = choose_regions(powder_table(), empty_map(524, 328), 65.536, 3)
    heights = np.sort(chosen["center_y_um"])
    assert (np.diff(heights) >= 65.536 * (1 - SHARED_EDGE)).all()
    assert chosen["reason"].str.contains("no other region at its height").all()


def test_of_two_equal_places_the_one_with_less_material_beside_it_wins():
    grid_x, grid_y = np.meshgrid(np.arange(-20, 21, 10), np.arange(-20, 21, 10))
    upper = particles(grid_x.ravel() - 120, grid_y.ravel() + 60)
    lower = particles(grid_x.ravel() - 120, grid_y.ravel() - 60)
    heavy = particles([60, 100, 140], [60, 60, 60], diameter=18.0)
    for beside, best in ((heavy, -60), (heavy.assign(center_y_um=-60.0), 60)):
        table = pd.concat([upper, lower, beside], ignore_index=True)
        row = next(choose_regions(table, empty_map(400, 240), 64.0, 1).itertuples())
        assert np.sign(row.center_y_um) == np.sign(best)
        assert row.outside_path_um == pytest.approx(0, abs=1e-9)


def test_diversity_prefers_mixed_sizes_to_many_equal_ones():
    rng = np.random.default_rng(3)
    equal = particles(rng.uniform(-130, -80, 40), rng.uniform(-25, 25, 40), diameter=3.0)
    sizes = rng.permutation(np.geomspace(3.2, 15, 28))
    mixed = particles(rng.uniform(85, 125, 28), rng.uniform(-20, 20, 28), diameter=sizes)
    table = pd.concat([equal, mixed], ignore_index=True)
    mosaic = empty_map(400, 100)
    by_count = choose_regions(table, mosaic, 64.0, 1)["center_x_um"][0]
    by_diversity = choose_regions(table, mosaic, 64.0, 1, strategy="diversity")
    assert by_count < 0 < by_diversity["center_x_um"][0]
    assert "size classes" in by_diversity["reason"][0]


def test_fewer_regions_than_asked_are_explained():
    table = powder_table()
    chosen = choose_regions(table, empty_map(150, 70), 64.0, 5)
    assert len(chosen) == 1
    assert chosen.attrs["note"].startswith("1 of 5 regions")
    assert "behind each other" in chosen.attrs["note"]
    assert choose_regions(table, empty_map(524, 328), 64.0, 2).attrs["note"] == ""


def test_no_particles_and_no_room_are_explained():
    nothing = choose_regions(particles([], []), empty_map(200, 200), 64.0, 1)
    assert nothing.empty
    assert "no particles" in nothing.attrs["note"]
    small = choose_regions(particles(0, 0), empty_map(50, 200), 64.0, 1)
    assert small.empty
    assert "smaller than" in small.attrs["note"]


def test_a_map_of_exactly_one_field_has_one_region():
    chosen = choose_regions(particles([0, 5], [0, 5]), empty_map(64, 64), 64.0, 1)
    assert chosen.loc[0, ["center_x_um", "center_y_um"]].tolist() == pytest.approx([0, 0])


def test_unmapped_ground_is_avoided():
    mosaic = empty_map(400, 100)
    mosaic.image[:, 40:60] = np.nan  # x from -120 to -80 um
    table = particles(np.linspace(-130, -70, 20), np.zeros(20))
    table = pd.concat([table, particles([100, 110], [0, 5])], ignore_index=True)
    row = next(choose_regions(table, mosaic, 64.0, 1).itertuples())
    assert row.center_x_um + 32 <= -120 + 1e-6 or row.center_x_um - 32 >= -80 - 1e-6


def test_measured_regions_are_not_chosen_again():
    table, mosaic = powder_table(), empty_map(524, 328)
    first = choose_regions(table, mosaic, 65.536, 2)
    more = choose_regions(table, mosaic, 65.536, 2, avoid=first)
    heights = np.sort([*first["center_y_um"], *more["center_y_um"]])
    assert len(heights) == 4
    assert (np.diff(heights) >= 65.536 * (1 - SHARED_EDGE)).all()


def test_the_same_map_gives_the_same_regions():
    table, mosaic = powder_table(5), empty_map(524, 328)
    first, second = (choose_regions(table, mosaic, (80.0, 40.0), 4) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert (first["width_um"] == 80).all()


@pytest.mark.parametrize(
    ("field", "count", "strategy"), [(64.0, 0, "count"), (0.0, 1, "count"), (64.0, 1, "luck")]
)
def test_nonsense_is_refused(field, count, strategy):
    with pytest.raises(ValueError, match=r"cannot be chosen|unknown"):
        choose_regions(particles(0, 0), empty_map(200, 200), field, count, strategy=strategy)
