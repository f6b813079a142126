"""Tilt of the axis and movement of the sample come back, and a clean scan is left alone."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from ellipsoid_phantom import Ellipsoid, project, voxelize
from scipy import ndimage

from zoneplate.analysis import reconstruct
from zoneplate.analysis.axis_tilt import find_axis_tilt, turned
from zoneplate.analysis.geometry import find_geometry, geometry_bytes
from zoneplate.analysis.motion import find_motion, shifted_back
from zoneplate.analysis.projections import ReconstructionError
from zoneplate.analysis.reprojection import reproject
from zoneplate.analysis.rotation_axis import RotationCenter, RotationCenterError

SHAPE, PIXEL_UM, CENTER = (48, 64), 0.5, 33.2
ANGLES = np.deg2rad(np.linspace(-90, 90, 91))
STILL = np.zeros((len(ANGLES), 2))


def powder(seed: int = 3) -> tuple[Ellipsoid, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        Ellipsoid(
            (rng.uniform(-10, 10), rng.uniform(-9, 9), rng.uniform(-10, 10)),
            tuple(rng.uniform(1.5, 3.0, 3)),
            0.05,
            tuple(rng.uniform(-1, 1, 3)),
        )
        for _ in range(14)
    )


@pytest.fixture(scope="module")
def clean():
    stack = project(powder(), ANGLES, SHAPE, PIXEL_UM, CENTER, 2)
    return stack + np.random.default_rng(0).normal(0, 0.02, stack.shape).astype(np.float32)


@pytest.mark.parametrize("theta_deg", [-90.0, -31.0, 0.0, 44.0, 71.0])
def test_reprojection_is_the_projection(theta_deg):
    angle = np.deg2rad([theta_deg])
    volume = voxelize(powder(), SHAPE, PIXEL_UM)
    found = reproject(volume * PIXEL_UM, angle, CENTER, SHAPE[1])
    expected = project(powder(), angle, SHAPE, PIXEL_UM, CENTER)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 0.02 * expected.max()
    assert found.sum() == pytest.approx(expected.sum(), rel=2e-3)


def test_turning_back_undoes_a_tilt_and_a_shift():
    rows, columns = np.mgrid[:40, :50]

    def blobs(places):
        return sum(np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 18) for u, v in places)

    upright = np.array([(24.5, 8.0), (20.0, 30.0), (35.0, 20.0)])
    tilt, middle = 0.05, np.array([24.5, 19.5])
    across, down = (upright - middle).T
    seen = np.stack([across - down * tilt, down + across * tilt], axis=1) + middle + [1.3, -0.7]
    back = turned(blobs(seen), tilt, (1.3, 0.7))  # 0.7 upwards
    assert np.abs(back - blobs(upright))[4:-4, 4:-4].max() < 0.02


@pytest.mark.parametrize("tilt_deg", [0.0, 0.8, -2.0])
def test_tilt_comes_back_within_its_error(clean, tilt_deg):
    pair = shifted_back(clean[[0, -1]], STILL[:2], -np.deg2rad(tilt_deg))
    found = find_axis_tilt(*pair, CENTER + 0.5)
    assert found.tilt_deg == pytest.approx(tilt_deg, abs=4 * found.standard_error_deg)
    assert found.standard_error_deg < 0.1
    assert found.column == pytest.approx(CENTER, abs=0.05)


def test_pair_that_does_not_belong_together_has_no_tilt(clean):
    with pytest.raises(RotationCenterError, match="half a turn"):
        find_axis_tilt(np.zeros(SHAPE), np.zeros(SHAPE), CENTER)
    with pytest.raises(ReconstructionError, match="single projections"):
        find_axis_tilt(clean[:2], clean[:2], CENTER)


def moved(jitter: float, drift: float) -> np.ndarray:
    """Random shifts of each view, and one that grows with time, both along u and v."""
    rng = np.random.default_rng(7)
    return rng.normal(0, jitter, STILL.shape) + np.outer(times() / len(ANGLES), [drift, drift / 2])


def times() -> np.ndarray:
    """Interlaced: neighbouring angles are taken at different times."""
    order = np.concatenate([np.arange(first, len(ANGLES), 4) for first in (0, 2, 1, 3)])
    return np.argsort(order)


def edges(stack: np.ndarray, center: float) -> float:
    """How steep the edges in the volume are: movements blur them."""
    volume = ndimage.gaussian_filter(reconstruct(stack, ANGLES, center), 1.0)
    return float(np.square(np.gradient(volume)).mean())


def test_clean_scan_is_left_alone(clean):
    found = find_geometry(clean, ANGLES, RotationCenter(CENTER, 0.01), times())
    assert not found.corrected
    assert found.correct(clean) is clean
    assert found.center(RotationCenter(CENTER, 0.01)).column == CENTER
    told = found.as_dict(PIXEL_UM)
    assert told["motion_rms_um"] < 0.05 * PIXEL_UM
    assert told["drift_um"] < 4 * told["drift_se_um"]
    assert told["center_column"] == pytest.approx(CENTER, abs=3 * told["center_se"])
    assert not found.notes(PIXEL_UM)
    assert found.unseen_pixels(SHAPE[0]) == 0


def test_jitter_and_drift_come_back_and_are_corrected(clean):
    true = moved(jitter=0.4, drift=1.2)
    shaken = shifted_back(clean, -true, 0.0)
    found = find_geometry(shaken, ANGLES, RotationCenter(CENTER + 0.3, 0.01), times())
    motion = found.motion
    assert motion is not None
    assert found.motion_corrected
    # What a rigid sample elsewhere on the stage would show cannot be told, and is not asked for.
    rigid = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    error = motion.shifts - true
    error[:, 0] += motion.column - CENTER
    error[:, 0] -= rigid @ np.linalg.lstsq(rigid, error[:, 0], rcond=None)[0]
    error[:, 1] -= error[:, 1].mean()
    assert error.std(axis=0).max() < 0.1
    assert motion.jitter == pytest.approx(0.4 * np.sqrt(2), abs=4 * motion.jitter_error)
    assert motion.drift == pytest.approx(1.2 * np.hypot(1, 0.5), abs=4 * motion.drift_error)
    assert motion.agreement[1] > motion.agreement[0]
    assert found.unseen_pixels(SHAPE[0]) == pytest.approx(np.abs(motion.shifts[:, 0]).max())
    center = found.center(RotationCenter(CENTER, 0.01)).column
    before, best = edges(shaken, CENTER + 0.3), edges(clean, CENTER)
    assert edges(found.correct(shaken), center) > before + 0.8 * (best - before)
    assert best > 1.05 * before
    assert any("shifted back" in note for note in found.notes(PIXEL_UM))


@pytest.mark.parametrize("jitter", [0.8, 1.5])
def test_large_movements_are_corrected_on_trial_until_they_are_certain(clean, jitter):
    true = moved(jitter=jitter, drift=0.0)
    shaken = shifted_back(clean, -true, 0.0)
    found = find_geometry(shaken, ANGLES, RotationCenter(CENTER, 0.01), times())
    assert found.motion is not None
    assert found.motion_corrected
    assert (found.motion.shifts - true).std(axis=0).max() < 0.3 * jitter


def test_large_images_are_binned_first(clean, monkeypatch):
    monkeypatch.setattr("zoneplate.analysis.geometry.WIDEST_PIXELS", 64)
    true = moved(jitter=0.5, drift=0.0)
    large = shifted_back(clean, -true, 0.0).repeat(2, axis=1).repeat(2, axis=2)
    large = large[:, :-1]  # 95 rows are no multiple of two
    center = 2 * CENTER + 0.5
    found = find_geometry(large, ANGLES, RotationCenter(center, 0.01), times())
    assert found.motion is not None
    assert found.motion_corrected
    assert (found.motion.shifts - 2 * true).std(axis=0).max() < 0.3
    assert found.motion.column == pytest.approx(center, abs=0.4)


def test_tilted_axis_is_made_upright(clean):
    leaning = shifted_back(clean, STILL, -np.deg2rad(1.5))
    found = find_geometry(leaning, ANGLES, RotationCenter(CENTER, 0.05), times())
    assert found.tilt_corrected
    assert found.as_dict(PIXEL_UM)["tilt_deg"] == pytest.approx(1.5, abs=0.1)
    assert found.unseen_pixels(SHAPE[0]) == pytest.approx(24 * np.tan(np.deg2rad(1.5)), abs=0.1)
    inside = np.s_[:, 4:-4, 4:-4]
    smooth, before, after = (
        ndimage.gaussian_filter(stack, (0, 1, 1))[inside]
        for stack in (clean, leaning, found.correct(leaning))
    )
    assert np.abs(after - smooth).mean() < 0.3 * np.abs(before - smooth).mean()
    assert any("tilted by 1." in note for note in found.notes(PIXEL_UM))


def leaning(lean_deg: float) -> np.ndarray:
    """What lies downstream is seen lower."""
    lean, views = np.deg2rad(lean_deg), []
    for angle in ANGLES:
        moved = []
        for body in powder():
            x, y, z = body.center_um
            depth = z * np.cos(angle) - x * np.sin(angle)
            moved.append(replace(body, center_um=(x, y - depth * np.tan(lean), z)))
        views.append(project(tuple(moved), np.array([angle]), SHAPE, PIXEL_UM, CENTER, 2)[0])
    stack = np.stack(views)
    return stack + np.random.default_rng(1).normal(0, 0.02, stack.shape).astype(np.float32)


@pytest.mark.parametrize("lean_deg", [2.0, -3.0])
def test_leaning_axis_is_told_and_not_corrected(lean_deg):
    found = find_geometry(leaning(lean_deg), ANGLES, RotationCenter(CENTER, 0.05), times())
    assert found.lean is not None
    assert found.lean.lean_deg == pytest.approx(lean_deg, abs=3 * found.lean.standard_error_deg)
    assert found.lean.standard_error_deg < 0.2 * abs(lean_deg)
    assert found.lean_shows
    assert not found.tilt_corrected
    assert any("leans by" in note and "level" in note for note in found.notes(PIXEL_UM))
    assert found.as_dict(PIXEL_UM)["lean_deg"] == pytest.approx(found.lean.lean_deg, abs=1e-5)


def test_upright_axis_leans_by_nothing(clean):
    found = find_geometry(clean, ANGLES, RotationCenter(CENTER, 0.01), times())
    assert found.lean is not None
    assert abs(found.lean.lean_deg) < 4 * found.lean.standard_error_deg
    assert found.lean.standard_error_deg < 0.2
    assert not found.lean_shows


def test_memory_is_bounded_by_what_was_said(monkeypatch):
    monkeypatch.setattr("zoneplate.analysis.geometry.WIDEST_PIXELS", 32)
    shaken = shifted_back(
        project(powder(), ANGLES, SHAPE, PIXEL_UM, CENTER, 1), -moved(1.0, 0), 0.0
    )
    place = RotationCenter(CENTER, 0.01)
    find_geometry(shaken, ANGLES, place, times())  # compile, plan
    tracemalloc.start()
    try:
        found = find_geometry(shaken, ANGLES, place, times())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.motion is not None
    needed = geometry_bytes(SHAPE, len(ANGLES))
    assert 0.4 * needed < peak <= needed


def test_nothing_to_go_by_is_none():
    rng = np.random.default_rng(0)
    empty = np.zeros((len(ANGLES), *SHAPE), dtype=np.float32)
    assert find_motion(empty, ANGLES, CENTER, times()) is None
    few = rng.normal(size=(12, *SHAPE)).astype(np.float32)
    assert find_motion(few, ANGLES[:12], CENTER, np.arange(12)) is None
    found = find_geometry(empty, ANGLES, RotationCenter(CENTER, np.inf), times())
    assert found.as_dict(PIXEL_UM)["tilt_deg"] is None
    assert not found.corrected


def test_drift_of_a_scan_in_sequence_is_not_told_from_run_out(clean):
    found = find_geometry(clean, ANGLES, RotationCenter(CENTER, 0.01), np.arange(len(ANGLES)))
    assert found.as_dict(PIXEL_UM)["drift_um"] is None


def test_views_that_show_nothing_have_no_say(clean):
    blank = clean.copy()
    blank[10:20] = 0
    found = find_motion(blank, ANGLES, CENTER, np.arange(len(ANGLES)))
    assert found is not None
    assert np.isfinite([found.rms, found.jitter, found.drift, found.column_error]).all()
    assert found.rms < 0.1
    assert np.isfinite(found.shifts).all()
