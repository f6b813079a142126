"""Maps of any shape, order and exposure, with flats in between, on a tilted support."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from zoneplate.acquisition.map_analysis import analyze_map
from zoneplate.acquisition.runs import RunRecord
from zoneplate.analysis.mosaic import stitch
from zoneplate.analysis.normalization import FlatField
from zoneplate.devices import ConfigurationError
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.plans import TileGrid, estimate, mosaic
from zoneplate.simulators import attach, nmc622, simulated_microscope


@pytest.fixture
def record(RE):
    record = RunRecord()
    RE.subscribe(lambda name, doc: record(name, doc) and None)
    return record


@pytest.mark.parametrize("order", ["serpentine", "raster", "columns", "spiral"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (5, 2), (1, 6)])
def test_every_order_takes_every_tile_once(order, shape):
    positions = TileGrid(shape, 10.0, order=order).positions_um()
    assert sorted(positions) == sorted(TileGrid(shape, 10.0).positions_um())
    if order == "spiral":
        assert np.hypot(*positions[0]) == min(np.hypot(x, y) for x, y in positions)


def test_overlap_sets_the_distance_of_tiles(RE, microscope, record):
    RE(mosaic(microscope, shape=(1, 3), overlap=0.25, binning=8))
    x_um = [frame.data["microscope_stage_x"] for frame in record.stream("primary")]
    assert np.diff(x_um) == pytest.approx([0.75 * 65.536] * 2, abs=0.3)


def test_tiles_anywhere_with_their_own_exposures_are_normalised_alike(RE, microscope, record):
    tiles = [(0.0, 0.0), (30.0, -10.0), (-45.0, 20.0)]
    exposures = [1.0, 0.25, 2.0]
    RE(mosaic(microscope, tiles_um=tiles, exposures_s=exposures))
    frames = record.stream("primary")
    read = [(f.data["microscope_stage_x"], f.data["microscope_stage_y"]) for f in frames]
    assert np.allclose(read, tiles, atol=0.3)
    raw = [frame.data["microscope_camera_mean_counts"] for frame in frames]
    assert raw[2] > 1.5 * raw[0] > 4 * raw[1]
    image = analyze_map(record).mosaic.image
    assert np.nanpercentile(image, 90) == pytest.approx(1.0, abs=0.06)


def test_flats_are_taken_again_between_tiles(RE, microscope, record):
    RE(mosaic(microscope, shape=(2, 3), flats_every=2, flat_frames=2, exposure_s=0.5))
    flats, tiles = record.stream("flat"), record.stream("primary")
    assert (len(flats), len(tiles)) == (6, 6)
    kinds = sorted([(f.time_s, "flat") for f in flats] + [(t.time_s, "tile") for t in tiles])
    assert [len(list(group)) for _, group in itertools.groupby(k for _, k in kinds)] == [2] * 6
    y_um = [frame.data["microscope_stage_y"] for frame in tiles]
    assert y_um == pytest.approx([32.0] * 3 + [-32.0] * 3, abs=0.3)
    assert analyze_map(record).facts["tiles"] == 6


def test_tilted_support_stays_in_focus(RE, microscope, record):
    RE(mosaic(microscope, shape=(2, 2), focus_plane=(5.0, 0.1, -0.05), exposure_s=0.1))
    for frame in record.stream("primary"):
        x, y, z = (frame.data[f"microscope_stage_{axis}"] for axis in "xyz")
        assert z == pytest.approx(5.0 + 0.1 * x - 0.05 * y, abs=0.3)


def test_map_with_every_option_is_estimated_within_two_percent(RE, microscope):
    options = {
        "shape": (2, 3),
        "overlap": 0.1,
        "order": "spiral",
        "exposures_s": [0.5, 1, 2, 1, 0.5, 1],
        "flats_every": 3,
        "focus_plane": (1.0, 0.02, 0.0),
    }
    expected = estimate(mosaic(microscope, **options))
    before_s = microscope.clock.now()
    RE(mosaic(microscope, **options))
    assert expected.time_s == pytest.approx(microscope.clock.now() - before_s, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"overlap": 0.95}, "0 to 0.9"),
        ({"order": "random"}, "serpentine"),
        ({"tiles_um": []}, "tiles 0"),
        ({"tiles_um": [(0, 0)], "exposures_s": [1, 2]}, "one per tile"),
        ({"tiles_um": [(0, 0)], "exposures_s": [-1]}, "exposure_s -1"),
        ({"flats_every": -1}, "flats_every -1"),
        ({"focus_plane": (5000.0, 0, 0)}, "limits"),
    ],
)
def test_impossible_map_is_refused(RE, microscope, arguments, told):
    with pytest.raises(ConfigurationError, match=told):
        RE(mosaic(microscope, **arguments))


def test_stage_errors_of_two_um_leave_seams_within_a_pixel(RE, tmp_path):
    loaded = InstrumentConfiguration.load()
    loose = {"repeatability": 2.0, "deadband": 20.0}
    axes = {name: getattr(loaded.stage, name).model_copy(update=loose) for name in "xy"}
    configuration = loaded.model_copy(update={"stage": loaded.stage.model_copy(update=axes)})
    sloppy = simulated_microscope(
        nmc622(5), seed=5, configuration=configuration, directory=tmp_path
    )
    attach(RE, sloppy.clock)
    record = RunRecord()
    RE.subscribe(lambda name, doc: record(name, doc) and None)
    RE(mosaic(sloppy, shape=(3, 4), overlap=0.25))
    sloppy.clock.close()
    from zoneplate.acquisition.live import FrameReader

    reader = FrameReader()
    stacks = {
        name: np.stack([reader.read(frame) for frame in record.stream(name)])
        for name in ("primary", "flat", "dark")
    }
    reader.close()
    images = FlatField.from_references(stacks["flat"], stacks["dark"]).transmission(
        stacks["primary"]
    )
    tiles = record.stream("primary")
    # Where the tiles are is what the encoders read; the stitching is told only what was asked for.
    true = np.array([[f.data[f"microscope_stage_{axis}"] for axis in "xy"] for f in tiles])
    asked = np.array(record.start["mosaic"]["positions_um"])
    assert np.std(true - asked) > 1.5
    found = stitch(images, asked, 0.512, max_shift_um=10.0).positions_um
    for i, j in itertools.combinations(range(len(tiles)), 2):
        if np.hypot(*(asked[i] - asked[j])) < 55:
            seam = (found[i] - found[j]) - (true[i] - true[j])
            assert np.abs(seam).max() < 0.512, (i, j)
