"""Rotation centre from a pair of views, and from all of them."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from ellipsoid_phantom import ASYMMETRIC, Ellipsoid, project

from zoneplate.analysis.normalization import normalize
from zoneplate.analysis.projections import ReconstructionError
from zoneplate.analysis.rotation_axis import (
    RotationCenterError,
    find_center,
    find_rotation_center,
    refine_rotation_center,
)

REAL_SCAN = Path(__file__).parents[3] / "shared" / "data" / "dls_24737_bubbles.h5"
SHAPE = (48, 64)
PIXEL_UM = 0.5
ANGLES = np.deg2rad(np.linspace(-90, 90, 91))


def layer(seed: int) -> tuple[Ellipsoid, ...]:
    """A layer of particles five times as wide as the field."""
    rng = np.random.default_rng(seed)
    return tuple(
        Ellipsoid(
            (rng.uniform(-80, 80), rng.uniform(-12, 12), rng.uniform(-2, 2)),
            tuple(rng.uniform(1.2, 3.5, 3)),
            0.05,
            tuple(rng.uniform(-1, 1, 3)),
        )
        for _ in range(100)
    )


def noisy(absorption, counts, rng):
    transmitted = rng.poisson(np.exp(-absorption) * counts) / counts
    return -np.log(np.maximum(transmitted, 1e-3))


@pytest.mark.parametrize("center", [31.5, 35.2, 27.75, 22.0])
@pytest.mark.parametrize("specimen", [ASYMMETRIC, layer(1)], ids=["inside", "wider_than_field"])
def test_pair_gives_the_centre_to_a_hundredth(specimen, center):
    pair = project(specimen, ANGLES[[0, -1]], SHAPE, PIXEL_UM, center)
    found = find_rotation_center(*pair)
    assert found.column == pytest.approx(center, abs=0.01)
    assert found.standard_error < 0.01


def test_pair_is_unbiased_in_noise_and_knows_its_error():
    rng = np.random.default_rng(4)
    center = 35.2
    pair = project(ASYMMETRIC, ANGLES[[0, -1]], SHAPE, PIXEL_UM, center)
    found = [find_rotation_center(*noisy(pair, 300, rng)) for _ in range(40)]
    errors = np.array([f.column for f in found]) - center
    stated = np.mean([f.standard_error for f in found])
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(len(errors)) + 0.01
    assert 0.5 < stated / errors.std() < 2


def test_beam_drift_between_the_pair_does_not_matter():
    pair = project(ASYMMETRIC, ANGLES[[0, -1]], SHAPE, PIXEL_UM, 35.2)
    pair[1] += 0.15
    assert find_rotation_center(*pair).column == pytest.approx(35.2, abs=0.02)


def test_runout_across_the_axis_does_not_matter():
    pair = project(ASYMMETRIC, ANGLES[[0, -1]], SHAPE, PIXEL_UM, 35.2)
    pair[1] = np.roll(pair[1], 1, axis=0)
    assert find_rotation_center(*pair).column == pytest.approx(35.2, abs=0.02)


@pytest.mark.parametrize("content", ["noise", "empty"])
def test_pair_without_structure_is_refused(content):
    rng = np.random.default_rng(1)
    pair = rng.normal(size=(2, *SHAPE)) if content == "noise" else np.zeros((2, *SHAPE))
    with pytest.raises(RotationCenterError, match="no common structure"):
        find_rotation_center(*pair)


def test_real_scan_comes_out_where_others_find_it():
    if not REAL_SCAN.exists():
        pytest.skip(f"real data is not here: {REAL_SCAN}")
    with h5py.File(REAL_SCAN) as file:
        absorption = normalize(
            file["exchange/data"][:], file["exchange/data_white"][:], file["exchange/data_dark"][:]
        )
        angles = np.deg2rad(file["exchange/theta"][:])
    by_pair = find_center(absorption, angles)
    assert 85.5 < by_pair.column < 85.9
    assert by_pair.standard_error < 0.05
    refined = refine_rotation_center(absorption, angles, 80.0)  # outside its first search
    assert refined.column == pytest.approx(by_pair.column, abs=0.3)


@pytest.mark.parametrize("center", [35.2, 27.75])
def test_refinement_agrees_with_the_truth_within_its_error(center):
    rng = np.random.default_rng(6)
    scan = noisy(project(layer(2), ANGLES, SHAPE, PIXEL_UM, center, 2), 500, rng)
    found = refine_rotation_center(scan, ANGLES, 31.5)
    assert found.column == pytest.approx(center, abs=2 * found.standard_error)
    assert found.standard_error < 0.4


def test_scan_without_a_pair_is_searched_as_a_whole():
    angles = ANGLES[1::2][:-1]
    scan = project(ASYMMETRIC, angles, SHAPE, PIXEL_UM, 37.3, 2)
    assert find_center(scan, angles).column == pytest.approx(37.3, abs=0.2)


def test_pair_is_found_in_any_order_and_over_a_full_turn():
    angles = np.random.default_rng(0).permutation(np.deg2rad(np.arange(0, 360, 10.0)))
    scan = project(ASYMMETRIC, angles, SHAPE, PIXEL_UM, 33.6, 2)
    assert find_center(scan, angles).column == pytest.approx(33.6, abs=0.02)


def test_unusable_input_is_refused():
    frames = np.zeros((5, *SHAPE))
    with pytest.raises(ReconstructionError, match="5 projections and 4 angles"):
        find_center(frames, ANGLES[:4])
    with pytest.raises(ReconstructionError, match="shape"):
        find_rotation_center(frames[0], frames[1, :-1])
    with pytest.raises(ReconstructionError, match="pair is two single"):
        find_rotation_center(frames[:2], frames[:2])
    with pytest.raises(ReconstructionError, match="NaN"):
        find_rotation_center(frames[0], np.full(SHAPE, np.nan))
    with pytest.raises(ReconstructionError, match="off the detector"):
        refine_rotation_center(frames, ANGLES[:5], 64.0)
