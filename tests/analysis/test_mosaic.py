from pathlib import Path

import numpy as np
import pytest
from powder_maps import PIXEL_UM, absorption, cut, grid_positions, noisy, powder
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from zoneplate.analysis.mosaic import open_beam_level, pixel_noise, stitch

TILE = 64
FIELD_UM = TILE * PIXEL_UM
REAL_MAP = Path(__file__).parents[3] / "shared" / "data" / "txm_mosaic_4x4"


def powder_scene(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    area = rows * columns * PIXEL_UM**2
    spheres = powder(columns * PIXEL_UM, rows * PIXEL_UM, int(area / 150), seed)
    return noisy(np.exp(-absorption(spheres, (rows, columns))), 0.025, seed)


def overlapping(overlap_px: int, error_px: float, shape=(3, 4), seed: int = 0):
    """Tiles that the stage put elsewhere than it says, on whole pixels."""
    said = grid_positions(shape, (TILE - overlap_px) * PIXEL_UM)
    rng = np.random.default_rng(seed)
    true = said + PIXEL_UM * np.rint(rng.normal(0, error_px, said.shape))
    scene = powder_scene(280, 340, seed)
    return cut(scene, true, TILE), said, true


def test_abutting_tiles_give_back_the_scene():
    scene = np.random.default_rng(1).uniform(0.2, 1, (5 * 16, 8 * 16))
    positions = grid_positions((5, 8), 16 * PIXEL_UM)
    mosaic = stitch(cut(scene, positions, 16), positions, PIXEL_UM, equalize=False)
    np.testing.assert_allclose(mosaic.image, scene, rtol=1e-6)
    assert mosaic.coverage.all()
    assert mosaic.center_um == pytest.approx((0, 0))


def test_area_is_the_union_of_the_fields():
    tiles = np.ones((40, 128, 128))
    mosaic = stitch(tiles, grid_positions((5, 8), 128 * PIXEL_UM), PIXEL_UM)
    assert mosaic.area_um2 == pytest.approx(40 * 65.536**2)
    half = stitch(np.ones((2, 10, 10)), [(0, 0), (5, 0)], 1.0)
    assert half.area_um2 == pytest.approx(150)


def test_row_zero_is_the_largest_y_and_columns_grow_with_x():
    tiles = np.ones((2, 8, 6))
    tiles[1, 1, 4] = 0.3  # in the upper tile, near its top right corner
    mosaic = stitch(tiles, [(100.0, 50.0), (100.0, 54.0)], 0.5, equalize=False)
    row, column = np.argwhere(mosaic.image < 0.5)[0]
    assert mosaic.to_um(row, column) == pytest.approx((100.75, 55.25))
    assert mosaic.to_pixel(100.75, 55.25) == pytest.approx((row, column))


def test_pictures_correct_the_stage():
    tiles, said, true = overlapping(overlap_px=16, error_px=1.5)
    mosaic = stitch(tiles, said, PIXEL_UM, max_shift_um=5 * PIXEL_UM)
    before, after = said - true, mosaic.positions_um - true
    before, after = before - before.mean(axis=0), after - after.mean(axis=0)
    assert np.std(before) > 1.2 * PIXEL_UM
    assert np.std(after[mosaic.registered_tiles]) < 0.35 * PIXEL_UM
    assert mosaic.registered_tiles.sum() >= 11
    assert "positioned by their pictures" in mosaic.notes[-1]


def test_a_pair_agrees_with_another_implementation():
    scene = powder_scene(80, 160, seed=4)
    first, second = scene[8:72, 10:74], scene[11:75, 50:114]  # 24 columns in common
    said = np.array([(0.0, 0.0), (38 * PIXEL_UM, 0.0)])  # truth: 40 right, 3 down
    found = stitch([first, second], said, PIXEL_UM, max_shift_um=5 * PIXEL_UM).positions_um
    oracle = phase_cross_correlation(first[:, 38:], second[:, :26], normalization=None)[0]
    assert (found[1] - found[0]) / PIXEL_UM == pytest.approx((40, -3), abs=0.4)
    assert (38 + oracle[1], -oracle[0]) == pytest.approx((40, -3), abs=0.6)


@pytest.mark.parametrize("overlap_px", [0, 5])
def test_too_little_overlap_keeps_the_stage_positions_and_says_so(overlap_px):
    tiles, said, _ = overlapping(overlap_px, error_px=1.0)
    mosaic = stitch(tiles, said, PIXEL_UM)
    np.testing.assert_array_equal(mosaic.positions_um, said)
    assert not mosaic.registered
    assert "stage positions" in mosaic.notes[-1]


def test_empty_overlaps_keep_the_stage_positions():
    rng = np.random.default_rng(2)
    said = grid_positions((2, 3), 48 * PIXEL_UM)
    mosaic = stitch(rng.normal(1, 0.03, (6, TILE, TILE)), said, PIXEL_UM)
    np.testing.assert_allclose(mosaic.positions_um, said, atol=1e-9)
    assert not mosaic.registered_tiles.any()


def test_one_contradictory_match_does_not_move_the_rest():
    tiles, said, true = overlapping(overlap_px=20, error_px=0.0, seed=3)
    # Dirt that two neighbours share at the wrong distance.
    rng = np.random.default_rng(0)
    dirt = 1 + 0.5 * ndimage.gaussian_filter(rng.normal(0, 1, (TILE, 20)), 1.5)
    tiles = tiles.copy()
    tiles[5][:, -20:] = dirt + rng.normal(0, 0.02, dirt.shape)
    tiles[6][5:, :20] = dirt[:-5] + rng.normal(0, 0.02, dirt[:-5].shape)
    mosaic = stitch(tiles, said, PIXEL_UM, max_shift_um=6 * PIXEL_UM)
    assert "contradictory" in mosaic.notes[-1]
    assert np.abs(mosaic.positions_um - true).max() < 0.5 * PIXEL_UM


def test_beam_drift_between_tiles_is_removed():
    tiles, said, _ = overlapping(overlap_px=0, error_px=0.0)
    drift = np.random.default_rng(5).normal(1, 0.03, len(tiles))
    mosaic = stitch(tiles * drift[:, None, None], said, PIXEL_UM)
    left = mosaic.intensity_correction * drift
    assert np.std(left / left.mean()) < 0.004
    offset = stitch(-np.log(tiles) + drift[:, None, None], said, PIXEL_UM, transmission=False)
    assert np.std(offset.intensity_correction + drift) < 0.004


def test_a_large_step_is_not_drift():
    tiles, said, _ = overlapping(overlap_px=0, error_px=0.0)
    tiles = tiles.copy()
    tiles[4] *= 0.6
    mosaic = stitch(tiles, said, PIXEL_UM)
    assert mosaic.intensity_correction[4] == 1
    assert any("[5]" in note for note in mosaic.notes)


def test_narrow_seams_are_bridged_and_wide_gaps_stay_empty():
    tiles = np.full((2, 10, 10), 0.7)
    seam = stitch(tiles, [(0, 0), (11.0, 0)], 1.0)
    assert np.allclose(seam.image, 0.7)
    assert not seam.coverage[:, 10].any()
    gap = stitch(tiles, [(0, 0), (16.0, 0)], 1.0)
    assert np.isnan(gap.image[:, 10:16]).all()
    assert gap.area_um2 == pytest.approx(200)


def test_overlaps_blend_without_a_step():
    tiles = np.stack([np.full((12, 12), 0.8), np.full((12, 12), 1.0)])
    image = stitch(tiles, [(0, 0), (6.0, 0)], 1.0, equalize=False, register=False).image
    assert np.abs(np.diff(image[6])).max() < 0.05
    assert image[6, 0] == pytest.approx(0.8)
    assert image[6, -1] == pytest.approx(1.0)


def test_pixels_without_data_are_taken_from_the_other_tile():
    tiles = np.ones((2, 8, 8))
    tiles[0, 3, 6] = np.nan
    mosaic = stitch(tiles, [(0, 0), (4.0, 0)], 1.0)
    assert np.isfinite(mosaic.image[:, :12]).all()


def test_open_beam_level_and_noise():
    image = powder_scene(96, 96, seed=6)
    assert open_beam_level(image) == pytest.approx(1.0, abs=0.004)
    assert pixel_noise(image) == pytest.approx(0.025, rel=0.15)
    assert open_beam_level(-np.log(image), bright=False) == pytest.approx(0.0, abs=0.005)


@pytest.mark.parametrize(
    ("tiles", "positions", "pixel", "message"),
    [
        (np.ones((8, 8)), [(0, 0)], 1.0, "expected \\(tiles, rows, columns\\)"),
        (np.ones((2, 8, 8)), [(0, 0)], 1.0, "x and y per tile"),
        (np.ones((2, 8, 8)), [(0, 0), (np.nan, 1)], 1.0, "tiles \\[1\\]"),
        (np.ones((1, 8, 8)), [(0, 0)], 0.0, "pixel size"),
    ],
)
def test_bad_input_is_named(tiles, positions, pixel, message):
    with pytest.raises(ValueError, match=message):
        stitch(tiles, positions, pixel)


def test_steps_that_the_stage_states_wrongly_are_found_out():
    tiles, true, _ = overlapping(overlap_px=16, error_px=0.0, shape=(4, 4))
    said = true * (0.93, 0.9)  # it states 44.6 and 43.2 px and moves 48
    mosaic = stitch(tiles, said, PIXEL_UM, max_shift_um=8 * PIXEL_UM)
    apart = mosaic.positions_um - true
    assert np.abs(apart - apart.mean(axis=0)).max() < 0.5 * PIXEL_UM
    assert "the steps are 1.07" in mosaic.notes[-1]


@pytest.fixture(scope="module")
def real_tiles():
    if not REAL_MAP.exists():
        pytest.skip(f"no real map at {REAL_MAP}")
    tifffile = pytest.importorskip("tifffile")
    return np.stack([tifffile.imread(path) for path in sorted(REAL_MAP.glob("*.tif"))])


# (first, second, x, y): offsets that several filters and search ranges agree on.
CLEAR_NEIGHBOURS = [
    (0, 1, 480, 2),
    (4, 5, 482, 3),
    (6, 7, 488, -1),
    (10, 14, -4, 490),
    (14, 15, 485, 3),
]


def test_real_map_finds_its_clearest_neighbours_though_its_stated_steps_are_wrong(real_tiles):
    # 20 % overlap is nominal: steps of 409 pixels.
    said = np.array([(409.0 * (i % 4), 409.0 * (i // 4)) for i in range(16)])
    mosaic = stitch(real_tiles, said, 1.0, max_shift_um=100.0, self_flat=True)
    for first, second, x, y in CLEAR_NEIGHBOURS:
        offset = mosaic.positions_um[second] - mosaic.positions_um[first]
        assert offset == pytest.approx((x, y), abs=3), (first + 1, second + 1)
    assert mosaic.registered_tiles.sum() >= 10
