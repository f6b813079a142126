"""Particles by their closed rims, and maps without a reference image."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from zoneplate.analysis.closed_rims import find_closed_rims
from zoneplate.analysis.mosaic import stitch
from zoneplate.analysis.mosaic_seams import divide_by_open_beam

LABELS = Path(__file__).parents[1] / "data" / "txm_labels.csv"
SHAPE = (200, 260)


def _discs(places, noise=0.003):
    """Absorption of blurred discs, each with the bright rim of phase contrast around it."""
    row, column = np.indices(SHAPE)
    absorption = np.zeros(SHAPE)
    for y, x, radius, depth in places:
        apart = np.hypot(row - y, column - x) - radius
        absorption += depth / (1 + np.exp(apart)) - 0.4 * depth * np.exp(-((apart - 3) ** 2) / 4)
    rng = np.random.default_rng(1)
    return absorption + ndimage.gaussian_filter(rng.normal(0, 4 * noise, SHAPE), 1.0)


def test_each_particle_is_found_once_with_its_size():
    places = [(50, 60, 20, 0.3), (60, 130, 12, 0.15), (140, 70, 30, 0.4), (150, 190, 8, 0.3)]
    found = find_closed_rims(_discs(places)).table.sort_values("diameter_px")
    assert len(found) == len(places)
    truth = sorted(places, key=lambda place: place[2])
    np.testing.assert_allclose(found["row_px"], [place[0] for place in truth], atol=1.5)
    np.testing.assert_allclose(found["column_px"], [place[1] for place in truth], atol=1.5)
    np.testing.assert_allclose(found["diameter_px"], [2 * place[2] for place in truth], rtol=0.15)
    assert not found["in_heap"].any()


def test_two_that_overlap_are_two():
    found = find_closed_rims(_discs([(100, 100, 24, 0.2), (100, 140, 20, 0.35)])).table
    assert len(found) == 2
    assert sorted(found["column_px"].round(-1)) == [100, 140]


def test_texture_and_steps_have_no_closed_rim():
    picture = _discs([], noise=0.01)
    picture[:, 130:] += 0.3
    assert find_closed_rims(picture).table.empty


def test_a_shapeless_heap_is_declared_and_not_counted():
    rng = np.random.default_rng(3)
    places = [
        (rng.uniform(40, 160), rng.uniform(60, 200), rng.uniform(5, 14), 0.12) for _ in range(140)
    ]
    found = find_closed_rims(_discs(places))
    row, column = np.indices(SHAPE)
    body = (abs(row - 100) < 50) & (abs(column - 130) < 60)
    assert found.heap[body].mean() > 0.4
    assert found.heap[:20].mean() < 0.05
    assert (~found.table["in_heap"]).sum() < len(places) / 5


def _tiles_without_reference():
    """Nine tiles with uneven illumination; five of them are partly covered."""
    rng = np.random.default_rng(5)
    row, column = np.indices((60, 64)) / 60
    beam = (
        1 + 0.4 * row - 0.3 * column + 0.2 * ndimage.gaussian_filter(rng.normal(size=row.shape), 2)
    )
    gain = np.linspace(0.9, 1.1, 9)
    transmission = np.ones((9, 60, 64))
    for number, left in enumerate((5, 12, 18, 24, 30)):
        transmission[number + 4, 15:45, left : left + 25] = 0.6
    counts = 1e4 * beam * gain[:, None, None] * transmission
    return counts.astype(np.float32), transmission


def test_open_beam_is_found_though_many_tiles_are_covered():
    counts, transmission = _tiles_without_reference()
    found = divide_by_open_beam(counts)
    np.testing.assert_allclose(found, transmission, atol=0.02)
    # The plain median over the tiles makes the covered part darker than it is in the open tile.
    plain = counts[0] / np.median(counts, axis=0)
    assert plain[30, 30] / plain[5, 5] > 1.03


def test_corners_that_never_see_the_beam_are_unknown():
    counts, _ = _tiles_without_reference()
    counts[:, -3:, -3:] = 100
    found = divide_by_open_beam(counts)
    assert np.isnan(found[:, -3:, -3:]).all()
    assert np.isfinite(found[:, :-3]).all()


def test_seamless_maps_have_no_step_where_tiles_differ():
    scene = np.exp(-_discs([(100, 130, 60, 0.4)], noise=0.0))
    tiles = np.stack([scene[:, :140], 0.8 * scene[:, 120:]])
    places = [(70.0, 0.0), (190.0, 0.0)]
    settings = {"register": False, "equalize": False}
    plain = stitch(tiles, places, 1.0, **settings).image
    joined = stitch(tiles, places, 1.0, seamless=True, **settings).image
    true = np.diff(np.log(scene), axis=1)

    def step(image):
        return np.abs(np.diff(np.log(image), axis=1) - true)[100].sum()

    assert step(plain) > 0.2
    assert step(joined) < 0.02
    assert joined.shape == plain.shape


def test_labels_of_the_real_map_are_whole():
    labels = pd.read_csv(LABELS)
    assert set(labels["kind"]) == {"crop", "particle", "unsure", "heap"}
    sizes = labels[labels["kind"].isin(["crop", "particle", "unsure"])]
    assert (sizes[["width_px", "height_px"]] > 0).all(axis=None)
    assert labels.groupby("crop")["held_out"].nunique().eq(1).all()
    heaps = labels.loc[labels["kind"] == "heap", "outline_px"]
    assert all(len(outline.split()) >= 6 and len(outline.split()) % 2 == 0 for outline in heaps)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_maps_that_show_nothing_give_an_empty_table(value):
    assert find_closed_rims(np.full((60, 80), value)).table.empty
