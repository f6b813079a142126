"""Flat and dark correction, bad pixels, starved pixels, ring removal."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from zoneplate.analysis.normalization import (
    DEFAULT_MINIMUM_TRANSMISSION,
    FlatField,
    NormalizationError,
    SaturatedPixelsWarning,
    StarvedPixelsWarning,
    absorption,
    edge_scale,
    normalize,
    transmission,
)
from zoneplate.analysis.projections import ReconstructionError
from zoneplate.analysis.rings import remove_rings

REAL_SCAN = Path(__file__).parents[3] / "shared" / "data" / "dls_24737_bubbles.h5"
SHAPE = (20, 31)


@pytest.fixture
def camera():
    """Uneven flats, darks with offset, and counts of a known absorption."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    dark = 100.0 + rows
    flat = dark + 4000.0 + 40 * columns
    truth = 0.5 + 0.4 * np.sin(columns / 5) * np.cos(rows / 4) + rng.uniform(0, 0.05, (3, *SHAPE))
    counts = dark + (flat - dark) * np.exp(-truth)
    return counts, flat, dark, truth


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_known_absorption_comes_back(camera, dtype):
    counts, flat, dark, truth = camera
    flats, darks = np.stack([flat - 5, flat + 5]), np.stack([dark, dark])
    result = normalize(counts.round().astype(dtype), flats, darks)
    assert result.dtype == np.float32
    assert result.shape == truth.shape
    np.testing.assert_allclose(result, truth, atol=1e-3)


def test_single_frame_and_single_references(camera):
    counts, flat, dark, truth = camera
    np.testing.assert_allclose(normalize(counts[1], flat, dark), truth[1], atol=1e-5)


def test_without_darks_they_are_zero(camera):
    counts, flat, dark, truth = camera
    np.testing.assert_allclose(normalize(counts - dark, flat - dark), truth, atol=1e-5)


@pytest.mark.parametrize("defect", ["dead", "dead_row", "hot_dark", "cluster", "corner"])
def test_bad_pixels_take_their_neighbours(camera, defect):
    counts, flat, dark, truth = (a.copy() for a in camera)
    spot = {
        "dead": np.s_[7, 9],
        "dead_row": np.s_[12, :],
        "hot_dark": np.s_[4, 20],
        "cluster": np.s_[8:11, 8:11],
        "corner": np.s_[0, 0],
    }[defect]
    if defect == "hot_dark":
        dark[spot] += 3000
        flat[spot] += 3000
        counts[:, *spot] = 4095  # saturates at any intensity
    else:
        flat[spot] = dark[spot]
        counts[:, *spot] = dark[spot]
    result = normalize(counts, flat, dark)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result, truth, atol=0.25 if defect == "cluster" else 0.12)
    bad = FlatField.from_references(flat, dark).bad
    assert bad.sum() == np.ones(SHAPE)[spot].sum()
    good = ~bad
    np.testing.assert_allclose(result[:, good], truth[:, good], atol=1e-5)


def test_photon_noise_is_not_taken_for_bad_pixels():
    rng = np.random.default_rng(5)
    field = FlatField.from_references(rng.poisson(500, (10, 200, 220)), np.zeros((200, 220)))
    assert not field.bad.any()


def test_starved_pixels_are_clipped_and_said(camera):
    counts, flat, dark, _ = camera
    counts[:, 5:8, 5:8] = dark[5:8, 5:8] - 3  # read noise below the dark
    t = transmission(counts, flat, dark)
    assert np.count_nonzero(t < DEFAULT_MINIMUM_TRANSMISSION) == 27
    assert t.min() < 0
    with pytest.warns(StarvedPixelsWarning, match="27 of 1860"):
        result = normalize(counts, flat, dark)
    np.testing.assert_allclose(result[:, 5:8, 5:8], -np.log(DEFAULT_MINIMUM_TRANSMISSION))
    with pytest.warns(StarvedPixelsWarning):
        assert normalize(counts, flat, dark, minimum_transmission=0.05).max() < 3.0


def test_drifting_source_is_scaled_out(camera):
    counts, flat, dark, truth = camera
    drift = np.array([1.0, 0.8, 0.7])
    drifted = dark + (counts - dark) * drift[:, None, None]
    np.testing.assert_allclose(normalize(drifted, flat, dark, flat_scale=drift), truth, atol=1e-5)


def test_edge_scale_finds_the_drift():
    drift = np.array([1.0, 0.8, 0.7], dtype=np.float32)
    t = np.ones((3, *SHAPE), dtype=np.float32) * drift[:, None, None]
    t[:, :, 10:20] *= 0.3
    np.testing.assert_allclose(edge_scale(t), drift)
    with pytest.raises(NormalizationError, match="edge"):
        edge_scale(t, columns=16)


def test_references_are_reused_unchanged(camera):
    counts, flat, dark, _ = camera
    field = FlatField.from_references(flat, dark)
    one_by_one = np.stack([absorption(field.transmission(frame)) for frame in counts])
    np.testing.assert_array_equal(one_by_one, normalize(counts, flat, dark))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projections": np.ones((3, 20, 30))}, "projections are"),
        ({"projections": np.ones(20)}, "projections are"),
        ({"projections": np.full((2, *SHAPE), np.nan)}, "NaN"),
        ({"flats": np.ones((2, 19, 31))}, "darks are"),
        ({"flats": np.empty((0, *SHAPE))}, "at least one frame"),
        ({"flats": np.full(SHAPE, np.inf)}, "flats hold NaN"),
        ({"flats": np.zeros(SHAPE)}, "no flat pixel is above the dark"),
        ({"darks": np.full(SHAPE, np.nan)}, "darks hold NaN"),
        ({"minimum_transmission": 0.0}, "between 0 and 1"),
        ({"flat_scale": -1.0}, "positive"),
        ({"flat_scale": [1.0, 1.0]}, "flat_scale of shape"),
    ],
)
def test_unusable_input_is_refused(change, message):
    arguments = {
        "projections": np.ones((3, *SHAPE)),
        "flats": np.full(SHAPE, 2.0),
        "darks": np.zeros(SHAPE),
    } | change
    with pytest.raises(NormalizationError, match=message):
        normalize(**arguments)


def test_real_scan_has_a_plausible_transmission():
    if not REAL_SCAN.exists():
        pytest.skip(f"real data is not here: {REAL_SCAN}")
    with h5py.File(REAL_SCAN) as file:
        t = transmission(
            file["exchange/data"][::10],
            file["exchange/data_white"][:],
            file["exchange/data_dark"][:],
        )
    assert np.isfinite(t).all()
    assert 0.04 < t.min() < t.max() < 0.8
    assert t[:, :20].mean() == pytest.approx(0.73, abs=0.03)  # the beam had dropped since the flat


def test_rings_are_removed_and_the_rest_is_kept():
    angles = np.linspace(-np.pi / 2, np.pi / 2, 91)
    u = np.arange(64) - 31.5
    track = 18 * np.cos(angles)[:, None, None]
    clean = np.exp(-((u - track) ** 2) / 50).repeat(5, axis=1)
    stripes = np.random.default_rng(2).normal(0, 0.1, (5, 64)) * (np.arange(64) % 7 == 3)
    corrected = remove_rings(clean + stripes)
    assert np.abs(corrected - clean).max() < 0.35 * np.abs(stripes).max()
    # Where the blob turns back its mean is sharp: the price, 5 % of its height, is documented.
    assert np.abs(remove_rings(clean) - clean).max() < 0.06
    assert np.abs(remove_rings(clean) - clean).mean() < 0.02
    # Linear: what is taken off the sum is the sum of what is taken off.
    stripes_alone = remove_rings(np.broadcast_to(stripes, clean.shape))
    np.testing.assert_allclose(corrected, remove_rings(clean) + stripes_alone, atol=1e-5)


def test_ring_removal_refuses_too_few_projections():
    with pytest.raises(ReconstructionError, match="at least 20"):
        remove_rings(np.zeros((7, 4, 5)))
    with pytest.raises(ReconstructionError, match="positive"):
        remove_rings(np.zeros((30, 4, 5)), smoothing_columns=0)


# A camera that saturates


def test_saturated_pixels_take_their_neighbours_and_are_said(camera):
    counts, flat, dark, truth = camera
    counts = counts.round().astype(np.uint16)
    counts[1, 4:6, 20] = 65535  # a cosmic ray through the camera
    with pytest.warns(SaturatedPixelsWarning, match="2 of 1860 values are at the camera's full"):
        found = normalize(counts, flat.astype(np.uint16), dark.astype(np.uint16))
    np.testing.assert_allclose(found, truth, atol=0.12)
    field = FlatField.from_references(flat.astype(np.uint16))
    assert field.saturated(counts) == 2
    assert FlatField.from_references(flat).saturated(counts) == 2  # averages do not say it
    assert FlatField.from_references(flat).saturated(counts.astype(float)) == 0  # nobody does
    assert FlatField.from_references(flat, full_scale=9999).full_scale == 9999


def test_pixel_that_saturates_in_a_flat_is_bad(camera):
    counts, flat, dark, truth = camera
    flats = np.stack([flat, flat]).astype(np.uint16)
    flats[1, 3, 3] = 65535
    field = FlatField.from_references(flats, dark)
    assert field.bad[3, 3]
    assert field.bad.sum() == 1
    np.testing.assert_allclose(normalize(counts, flats, dark), truth, atol=0.12)
    with pytest.raises(NormalizationError, match="overexposed"):
        FlatField.from_references(np.full((2, *SHAPE), 65535, dtype=np.uint16))
