"""Streaming reconstruction against analytic truth, and against itself in any other order."""

import threading

import numpy as np
import pytest
from ellipsoid_phantom import ASYMMETRIC, project, voxelize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from zoneplate.analysis.angles import AngleError, angular_weights
from zoneplate.analysis.filters import FilterError
from zoneplate.analysis.projections import ReconstructionError
from zoneplate.analysis.reconstruction import FramesNotKeptError, StreamingReconstruction
from zoneplate.analysis.rings import remove_rings

SHAPE = (48, 64)
PIXEL_UM = 0.5
ANGLES = np.deg2rad(np.linspace(-90, 90, 121))

SMALL_SHAPE = (5, 16)
SMALL_ANGLES = np.deg2rad(np.linspace(-90, 90, 21))
SMALL_SCAN = np.random.default_rng(7).random((21, *SMALL_SHAPE), dtype=np.float32)


def batch(scan=SMALL_SCAN, angles=SMALL_ANGLES, **options):
    whole = StreamingReconstruction(scan.shape[1:], angles, **options)
    whole.add(scan, angles)
    return whole.volume


def assert_same(volume, expected, tolerance=1e-5):
    assert np.abs(volume - expected).max() <= tolerance * np.abs(expected).max()


# Truth


@pytest.mark.parametrize("center", [31.5, 35.2, 26.75])
@pytest.mark.parametrize("filter_name", ["ramp", "shepp-logan"])
def test_asymmetric_phantom_comes_back_in_place_and_in_scale(center, filter_name):
    scan = project(ASYMMETRIC, ANGLES, SHAPE, PIXEL_UM, center)
    truth = voxelize(ASYMMETRIC, SHAPE, PIXEL_UM)
    volume = batch(scan, ANGLES, center=center, pixel_um=PIXEL_UM, filter=filter_name)
    assert volume.shape == (48, 64, 64)
    assert volume.dtype == np.float32
    assert np.corrcoef(volume.ravel(), truth.ravel())[0, 1] > 0.99
    for body in ASYMMETRIC:
        alone = voxelize((body,), SHAPE, PIXEL_UM) > 0
        neighbourhood = ndimage.binary_dilation(alone, iterations=2)
        y, z, x = ndimage.center_of_mass(volume * neighbourhood)
        found_um = ((x - 31.5) * PIXEL_UM, (23.5 - y) * PIXEL_UM, (z - 31.5) * PIXEL_UM)
        np.testing.assert_allclose(found_um, body.center_um, atol=0.25 * PIXEL_UM)
        core = ndimage.binary_erosion(alone, iterations=3)
        assert core.sum() > 20
        assert volume[core].mean() == pytest.approx(body.attenuation_per_um, rel=0.02)


def test_outside_the_circle_is_zero_and_background_is_near_it():
    scan = project(ASYMMETRIC, ANGLES, SHAPE, PIXEL_UM, 31.5)
    volume = batch(scan, ANGLES, pixel_um=PIXEL_UM)
    z, x = np.mgrid[:64, :64] - 31.5
    outside = z**2 + x**2 > 31.5**2
    assert not volume[:, outside].any()
    empty = ndimage.binary_dilation(voxelize(ASYMMETRIC, SHAPE, PIXEL_UM) > 0, iterations=3)
    assert abs(volume[:, ~outside][~empty[:, ~outside]].mean()) < 1e-4


def test_material_that_reaches_beyond_the_field_leaves_no_bright_rim():
    wide = np.full((121, 4, 64), 2.0, dtype=np.float32)  # a layer without edges
    volume = batch(wide, ANGLES)
    assert np.abs(volume).max() < 0.01


def test_unit_of_the_volume_is_one_over_pixel_um():
    assert_same(batch(pixel_um=0.25), 4 * batch())


# Streaming


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_order_and_grouping_equals_the_batch(data):
    order = data.draw(st.permutations(range(21)))
    cuts = sorted(data.draw(st.sets(st.integers(1, 20), max_size=6)))
    hint = data.draw(st.sampled_from([None, SMALL_ANGLES]))
    center = data.draw(st.sampled_from([None, 6.3]))
    live = StreamingReconstruction(SMALL_SHAPE, hint, center)
    for some in np.split(np.array(order), cuts):
        live.add(SMALL_SCAN[some], SMALL_ANGLES[some])
        if data.draw(st.booleans()):
            live.volume  # noqa: B018 - looking must not change anything
    assert live.count == 21
    np.testing.assert_array_equal(live.angles_rad, SMALL_ANGLES[order])
    assert_same(live.volume, batch(center=center))


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_preview_without_a_plan_is_the_batch_of_what_was_seen(count):
    live = StreamingReconstruction(SMALL_SHAPE)
    order = np.random.default_rng(count).permutation(21)[:count]
    for i in order:
        live.add(SMALL_SCAN[i], SMALL_ANGLES[i])
        live.slices()
    weights = angular_weights(SMALL_ANGLES[order])
    expected = sum(
        w * batch(SMALL_SCAN[i : i + 1], SMALL_ANGLES[i : i + 1]) / np.pi
        for i, w in zip(order, weights, strict=True)
    )
    assert_same(live.volume, expected * np.pi / weights.sum())


def test_preview_with_a_plan_is_scaled_to_half_a_turn():
    scan = project(ASYMMETRIC, ANGLES, SHAPE, PIXEL_UM, 31.5)
    live = StreamingReconstruction(SHAPE, ANGLES, pixel_um=PIXEL_UM)
    live.add(scan[::4], ANGLES[::4])  # the first pass of an interlaced scan
    truth = voxelize(ASYMMETRIC, SHAPE, PIXEL_UM)
    core = ndimage.binary_erosion(np.isclose(truth, 0.05), iterations=3)
    assert live.volume[core].mean() == pytest.approx(0.05, rel=0.03)


def test_readbacks_a_little_off_the_plan_are_taken():
    jitter = np.random.default_rng(1).normal(0, 1e-4, 21)
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES)
    live.add(SMALL_SCAN, SMALL_ANGLES + jitter)
    assert_same(live.volume, batch(), 0.01)


def test_view_taken_more_often_than_planned_shares_its_weight():
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES)
    live.add(SMALL_SCAN, SMALL_ANGLES)
    for _ in range(3):
        live.add(SMALL_SCAN[5], SMALL_ANGLES[5])
    assert_same(live.volume, batch())


def test_slices_are_those_of_the_volume():
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES)
    live.add(SMALL_SCAN[:8], SMALL_ANGLES[:8])
    slices = live.slices()
    np.testing.assert_allclose(slices.zx, live.volume[2], rtol=1e-6)
    np.testing.assert_allclose(slices.yx, live.volume[:, 8], rtol=1e-6)
    np.testing.assert_allclose(slices.yz, live.volume[:, :, 8], rtol=1e-6)


def test_nothing_added_yet_is_an_empty_volume():
    live = StreamingReconstruction(SMALL_SHAPE)
    assert live.count == 0
    assert not live.volume.any()
    assert not any(part.any() for part in live.slices())


def test_volume_that_was_handed_out_never_changes():
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES)
    live.add(SMALL_SCAN, SMALL_ANGLES, index=range(21))
    before = live.volume
    snapshot = live.copy()
    with pytest.raises(ValueError, match="read-only"):
        before[0] = 1
    live.add(SMALL_SCAN[0] + 1, SMALL_ANGLES[0], index=0)
    np.testing.assert_array_equal(before, snapshot)
    assert np.abs(live.volume - snapshot).max() > 0
    assert snapshot.flags.writeable
    assert snapshot.flags.c_contiguous


def test_projections_are_copied():
    live = StreamingReconstruction(SMALL_SHAPE)
    buffer = SMALL_SCAN.copy()
    live.add(buffer, SMALL_ANGLES)
    buffer[:] = 0
    assert_same(live.volume, batch())


# Replacing and recentring


@pytest.mark.parametrize("hint", [None, SMALL_ANGLES])
@pytest.mark.parametrize("spoiled", [SMALL_SCAN[3] * 0.5, np.full(SMALL_SHAPE, 1e6)])
@pytest.mark.parametrize("look", [True, False])
def test_replacing_an_index_leaves_no_trace(hint, spoiled, look):
    live = StreamingReconstruction(SMALL_SHAPE, hint)
    for i in range(21):
        live.add(spoiled if i == 3 else SMALL_SCAN[i], SMALL_ANGLES[i], index=i + 1)
    if look:
        live.volume  # noqa: B018
    live.add(SMALL_SCAN[3], SMALL_ANGLES[3], index=4)
    assert live.count == 21
    assert_same(live.volume, batch())


def test_replacement_may_be_at_another_angle():
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES)
    live.add(SMALL_SCAN, np.roll(SMALL_ANGLES, 1), index=range(21))
    live.add(SMALL_SCAN, SMALL_ANGLES, index=range(21))
    assert_same(live.volume, batch())


@pytest.mark.parametrize("hint", [None, SMALL_ANGLES])
def test_recentring_afterwards_equals_building_with_the_centre(hint):
    live = StreamingReconstruction(SMALL_SHAPE, hint)
    live.add(SMALL_SCAN[:15], SMALL_ANGLES[:15])
    before = live.copy()
    live.recenter(9.3)
    live.add(SMALL_SCAN[15:], SMALL_ANGLES[15:])
    assert live.center == 9.3
    assert_same(live.volume, batch(center=9.3))
    assert np.abs(live.volume - before).max() > 0


def test_frames_too_large_to_keep_still_reconstruct_but_cannot_be_replaced():
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES, keep_limit_bytes=1000)
    live.add(SMALL_SCAN[1:], SMALL_ANGLES[1:], index=range(1, 21))
    with pytest.raises(FramesNotKeptError, match="keep_limit_bytes"):
        live.add(SMALL_SCAN[5], SMALL_ANGLES[5], index=5)
    with pytest.raises(FramesNotKeptError, match="twice"):
        live.add(SMALL_SCAN[5], SMALL_ANGLES[5], index=99)
    with pytest.raises(FramesNotKeptError, match="centre"):
        live.recenter(9.0)
    live.add(SMALL_SCAN[0], SMALL_ANGLES[0], index=0)
    assert_same(live.volume, batch())
    without_plan = StreamingReconstruction(SMALL_SHAPE, keep_limit_bytes=1000)
    with pytest.raises(FramesNotKeptError, match="angles_hint"):
        without_plan.add(SMALL_SCAN, SMALL_ANGLES)


def test_large_volumes_wait_for_whole_batches(monkeypatch):
    monkeypatch.setattr("zoneplate.analysis.reconstruction._DEFER_ABOVE_BYTES", 0)
    for limit in (0, 1 << 20):
        live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES, keep_limit_bytes=limit)
        for i in range(21):
            live.add(SMALL_SCAN[i], SMALL_ANGLES[i])
        assert_same(live.volume, batch())


# Threads


def test_reader_never_sees_half_a_frame():
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES)
    live.add(SMALL_SCAN, SMALL_ANGLES, index=range(21))
    expected = batch()
    stop = threading.Event()
    seen: list[float] = []

    def read():
        while not stop.is_set():
            volume, slices = live.volume, live.slices()
            seen.append(float(np.abs(volume - expected).max()))
            seen.append(float(np.abs(slices.zx - expected[2]).max()))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(50):  # the same data again: every state between two calls is the same volume
        live.add(SMALL_SCAN, SMALL_ANGLES, index=range(21))
    stop.set()
    for reader in readers:
        reader.join()
    assert len(seen) > 10
    assert max(seen) < 1e-4 * expected.max()


def test_number_of_threads_does_not_matter(monkeypatch):
    monkeypatch.setattr("zoneplate.analysis.backprojection._UPDATES_WORTH_A_THREAD", 1)
    assert_same(batch(threads=2), batch(threads=1), 0)


# Refusals


def test_degrees_are_noticed():
    with pytest.raises(AngleError, match="degrees"):
        StreamingReconstruction(SMALL_SHAPE, np.linspace(-90, 90, 21))
    live = StreamingReconstruction(SMALL_SHAPE)
    with pytest.raises(AngleError, match="degrees"):
        live.add(SMALL_SCAN[0], -90.0)
    live.add(SMALL_SCAN[0], 0.0)
    live.add(SMALL_SCAN[1], 9.0)
    with pytest.raises(AngleError, match="degrees"):
        live.add(SMALL_SCAN[2], -9.0)
    assert live.count == 2


def test_angle_outside_the_plan_is_refused():
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES[:3])
    with pytest.raises(AngleError, match="planned"):
        live.add(SMALL_SCAN[0], 0.0)


@pytest.mark.parametrize(
    ("projections", "angles", "index", "message"),
    [
        (SMALL_SCAN[:, :4], SMALL_ANGLES, None, "expected"),
        (SMALL_SCAN[0, 0], 0.0, None, "expected"),
        (SMALL_SCAN, SMALL_ANGLES[:5], None, "21 projections but 5 angles"),
        (np.where(SMALL_SCAN > 0.5, np.nan, SMALL_SCAN), SMALL_ANGLES, None, "NaN"),
        (SMALL_SCAN, SMALL_ANGLES, [1, 2], "21 projections but 2 indices"),
        (SMALL_SCAN[:2], SMALL_ANGLES[:2], [1, 1], "same key twice"),
    ],
)
def test_unusable_frames_are_refused_and_leave_nothing(projections, angles, index, message):
    live = StreamingReconstruction(SMALL_SHAPE)
    with pytest.raises(ReconstructionError, match=message):
        live.add(projections, angles, index)
    assert live.count == 0


def test_nan_angle_is_refused():
    with pytest.raises(AngleError, match="NaN"):
        StreamingReconstruction(SMALL_SHAPE).add(SMALL_SCAN[0], np.nan)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shape": (0, 16)}, ReconstructionError, "at least 1 row"),
        ({"center": 16.0}, ReconstructionError, "off the detector"),
        ({"center": float("nan")}, ReconstructionError, "off the detector"),
        ({"pixel_um": 0}, ReconstructionError, "positive"),
        ({"filter": "parzen"}, FilterError, "unknown filter"),
        ({"threads": 0}, ValueError, "at least 1"),
        ({"angles_hint": []}, AngleError, "no angles"),
    ],
)
def test_unusable_settings_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        StreamingReconstruction(**({"shape": SMALL_SHAPE} | arguments))


# Angular weights


def test_complete_scan_weighs_half_a_turn_with_half_weight_at_its_ends():
    weights = angular_weights(np.deg2rad(np.linspace(-90, 90, 141)))
    assert weights.sum() == pytest.approx(np.pi)
    np.testing.assert_allclose(weights[1:-1], np.pi / 140)
    np.testing.assert_allclose(weights[[0, -1]], np.pi / 280)


@given(st.permutations(range(21)))
def test_weights_do_not_depend_on_order(order):
    np.testing.assert_allclose(
        angular_weights(SMALL_ANGLES[list(order)]), angular_weights(SMALL_ANGLES)[list(order)]
    )


@pytest.mark.parametrize("count", [5, 13, 36, 89, 141])
def test_golden_angles_are_a_complete_set(count):
    golden = np.pi * (np.sqrt(5) - 1) / 2
    weights = angular_weights(np.mod(np.arange(count) * golden, np.pi))
    assert weights.sum() == pytest.approx(np.pi)


def test_missing_wedge_is_not_given_to_its_edges():
    angles = np.deg2rad(np.arange(-90, 0, 2.0))
    weights = angular_weights(angles)
    assert weights.max() == pytest.approx(2 * np.deg2rad(2))
    assert angular_weights(angles, clip=1e9).sum() == pytest.approx(np.pi)
    assert angular_weights(angles, nominal_step=np.deg2rad(4), clip=1.5).max() == pytest.approx(
        np.deg2rad(6)
    )


def test_repeated_views_share_their_weight():
    angles = np.deg2rad([0, 0, 0.0001, 180, 45, 90, 135])
    np.testing.assert_allclose(angular_weights(angles)[:4], np.pi / 16, rtol=1e-3)
    assert angular_weights(angles).sum() == pytest.approx(np.pi)


def test_single_view_weighs_half_a_turn():
    np.testing.assert_allclose(angular_weights([0.3]), np.pi)
    assert angular_weights([]).size == 0


@pytest.mark.parametrize("options", [{"clip": 0}, {"nominal_step": -1.0}])
def test_weight_settings_are_validated(options):
    with pytest.raises(AngleError, match="positive"):
        angular_weights(SMALL_ANGLES, **options)


# Rings


def striped(seed=5):
    """A scan whose columns are each off by a little, in every projection."""
    stripes = np.random.default_rng(seed).normal(0, 0.05, SMALL_SHAPE).astype(np.float32)
    return SMALL_SCAN + stripes


@pytest.mark.parametrize("keep_limit_bytes", [1000, 1 << 30], ids=["not_kept", "kept"])
def test_rings_are_removed_on_the_way_as_they_are_from_the_whole_scan(keep_limit_bytes):
    scan = striped()
    expected = batch(remove_rings(scan))
    live = StreamingReconstruction(
        SMALL_SHAPE, SMALL_ANGLES, remove_rings=True, keep_limit_bytes=keep_limit_bytes
    )
    for number in np.random.default_rng(0).permutation(len(scan)):
        live.add(scan[number], SMALL_ANGLES[number], index=int(number))
        assert np.isfinite(live.volume).all()  # reading on the way changes nothing at the end
    assert_same(live.volume, expected)
    assert np.abs(live.volume - batch(scan)).max() > 0.01 * np.abs(expected).max()


def test_rings_follow_a_replaced_frame_and_another_centre():
    scan = striped()
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES, remove_rings=True)
    live.add(np.concatenate([scan[:1] + 1, scan[1:]]), SMALL_ANGLES, index=range(len(scan)))
    assert live.volume.any()
    live.add(scan[0], SMALL_ANGLES[0], index=0)
    assert_same(live.volume, batch(remove_rings(scan)))
    live.recenter(8.3)
    assert_same(live.volume, batch(remove_rings(scan), center=8.3))


def test_rings_stay_while_there_are_too_few_projections_to_know_them():
    live = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES, remove_rings=True)
    plain = StreamingReconstruction(SMALL_SHAPE, SMALL_ANGLES)
    for one in (live, plain):
        one.add(striped()[:19], SMALL_ANGLES[:19])
    assert_same(live.volume, plain.volume)
