from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from phantoms import Ellipsoid, grey_volume, noisy_powder, powder, sphere
from scipy import ndimage

from zoneplate.analysis.engines import reconstruct
from zoneplate.analysis.normalization import normalize
from zoneplate.analysis.particles import measure_particles, measure_voids
from zoneplate.analysis.radii import measure_radii
from zoneplate.analysis.segmentation import Segmentation, SegmentationError, cylinder_mask, segment
from zoneplate.analysis.summary import summarize

VOXEL_UM = 0.512
SHAPE = (40, 48, 56)


def centers_of(labels: np.ndarray) -> np.ndarray:
    found = range(1, labels.max() + 1)
    return np.array(ndimage.center_of_mass(labels > 0, labels, found)).reshape(-1, 3)


def detected(found: Segmentation, voids: list[Ellipsoid]) -> tuple[int, int]:
    """How many true voids were found, and how many found ones are not true."""
    centers = centers_of(found.voids)
    truth = np.array([void.center for void in voids]).reshape(-1, 3)
    radii = np.array([void.semi_axes[0] for void in voids])
    apart = np.linalg.norm(centers[:, None] - truth[None], axis=2) < radii
    return int(apart.any(axis=0).sum()), int((~apart.any(axis=1)).sum())


@pytest.mark.parametrize("fill", [0.03, 0.25])
@pytest.mark.parametrize("signal_to_noise", [5, 10, np.inf])
def test_threshold_stays_between_the_phases_whatever_the_fill(fill, signal_to_noise):
    if fill < 0.1:
        shape, solids = (96, 80, 80), powder(2, (96, 80, 80), count=12, radii=(5, 8))[0]
    else:  # nine touching-free large spheres in a low volume
        shape = (30, 96, 96)
        grid = [(z, x) for z in (24, 48, 72) for x in (24, 48, 72)]
        solids = [sphere((14.5, z + 0.3, x + 0.2), 11.5) for z, x in grid]
    volume = grey_volume(shape, solids, signal_to_noise=signal_to_noise, background_per_um=0.002)
    found = segment(volume, VOXEL_UM)
    occupied = sum(body.volume for body in solids) / found.field.sum()
    assert occupied == pytest.approx(fill, abs=0.35 * fill)
    assert found.background_level == pytest.approx(0.002, abs=0.001)
    assert found.solid_level == pytest.approx(0.044, abs=0.001)
    share = (found.threshold - found.background_level) / found.phases.contrast
    assert 0.4 < share < 0.52
    assert found.half_contrast_threshold == pytest.approx(0.023, abs=0.001)


def test_mean_diameter_of_a_noisy_powder_is_within_two_per_cent():
    ratios = []
    for seed in range(3):
        solids, _, volume = noisy_powder(seed)
        found = segment(volume, VOXEL_UM)
        table = measure_particles(found, VOXEL_UM)
        assert len(table) == len(solids)
        truth = np.mean([body.equivalent_diameter for body in solids]) * VOXEL_UM
        ratios.append(table["equivalent_diameter_um"].mean() / truth)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.015)
    assert np.ptp(ratios) < 0.02


@pytest.mark.parametrize("diameter_um", [1.8, 2.3, 3.0])
def test_voids_from_the_detection_limit_are_found_and_none_is_invented(diameter_um):
    hits = truth = false = 0
    for seed in range(3):
        _, voids, volume = noisy_powder(10 + seed, (6.5, 9.0), diameter_um / 2 / VOXEL_UM)
        seen, wrong = detected(segment(volume, VOXEL_UM), voids)
        hits, truth, false = hits + seen, truth + len(voids), false + wrong
    assert truth > 30
    assert hits >= 0.9 * truth
    assert false == 0


def test_solid_particles_have_no_false_voids():
    false = particles = 0
    for seed in range(5):
        _, _, volume = noisy_powder(seed)
        found = segment(volume, VOXEL_UM)
        false += found.voids.max()
        particles += found.particles.max()
    assert particles > 100
    assert false == 0


def test_void_belongs_to_its_particle_and_is_filled_in():
    bodies = [sphere((20, 24, 15), 9.0), sphere((20, 24, 41), 9.0)]
    holes = [sphere((20, 24, 15), 3.0), sphere((20, 21, 41), 3.0), sphere((20, 28, 41), 3.0)]
    found = segment(
        grey_volume(SHAPE, bodies, holes, signal_to_noise=12), VOXEL_UM, field_radius_um=50
    )
    assert found.voids.max() == 3
    for hole in holes:
        index = tuple(round(value) for value in hole.center)
        assert found.parent[found.voids[index]] == found.particles[index] > 0
    assert found.parent[0] == 0


def test_cavity_open_to_the_outside_is_no_void():
    body, hole = sphere((20, 24, 28), 12.0), sphere((20, 24, 28), 4.0)
    volume = grey_volume(SHAPE, [body], [hole])
    closed = segment(volume, VOXEL_UM)
    volume[19:22, 23:26, 28:] = 0  # a channel to the surface
    opened = segment(volume, VOXEL_UM)
    assert (closed.voids.max(), opened.voids.max()) == (1, 0)


def test_cavity_that_meets_the_outside_only_at_an_edge_is_closed():
    volume = np.zeros(SHAPE)
    volume[10:30, 14:34, 18:38] = 0.044
    volume[14:26, 20:28, 24:32] = 0.0
    volume[10:14, 14:20, 30] = 0.0  # a notch whose end shares an edge, no face, with the cavity
    assert segment(volume, VOXEL_UM).voids.max() == 1


def test_cavity_cut_by_the_border_is_no_void():
    volume = grey_volume(SHAPE, [sphere((0, 24, 28), 12.0)], [sphere((0, 24, 28), 4.0)])
    found = segment(volume, VOXEL_UM)
    assert found.voids.max() == 0
    assert found.touches_border[1]


def test_speck_and_tiny_void_are_dropped_below_their_minimum():
    volume = grey_volume(SHAPE, [sphere((20, 24, 28), 10.0)], blur=0.3)
    volume[5:7, 24:26, 28:30] = 0.044
    volume[20, 24, 28:30] = 0.0
    default = segment(volume, VOXEL_UM)
    everything = segment(volume, VOXEL_UM, minimum_particle_voxels=1, minimum_void_voxels=1)
    assert (default.particles.max(), default.voids.max()) == (1, 0)
    assert (everything.particles.max(), everything.voids.max()) == (2, 1)


def test_support_tape_is_background():
    solids, _ = powder(5, count=15)
    volume = grey_volume((96, 80, 96), solids, signal_to_noise=10)
    taped = volume.copy()
    taped[:, :40] += 0.003
    bare, supported = segment(volume, VOXEL_UM), segment(taped, VOXEL_UM)
    assert supported.particles.max() == bare.particles.max() == len(solids)
    change = (supported.particles > 0).sum() / (bare.particles > 0).sum()
    assert change == pytest.approx(1, abs=0.03)


def test_tape_alone_is_no_particle():
    volume = np.zeros((40, 64, 64), dtype=np.float32)
    volume[:, :30] = 0.003
    noisy = volume + np.random.default_rng(0).normal(0, 0.0044, volume.shape)
    assert segment(noisy, VOXEL_UM).particles.max() == 0
    assert segment(volume, VOXEL_UM, minimum_contrast_per_um=0.01).particles.max() == 0


def test_cupping_and_offset_of_interior_tomography_do_not_matter():
    solids, _ = powder(6, count=15)
    volume = grey_volume((96, 80, 96), solids, signal_to_noise=10, background_per_um=0.004)
    z, x = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 96), indexing="ij")
    found = segment(volume + 0.006 * (z**2 + x**2), VOXEL_UM)
    assert found.particles.max() == len(solids)


@pytest.mark.parametrize(("radius", "signal_to_noise"), [(3.5, 5), (3.5, 8), (5.0, 8)])
def test_lone_small_particle_in_an_empty_field_is_found(radius, signal_to_noise):
    body = sphere((48, 48, 48), radius)
    volume = grey_volume((96, 96, 96), [body], signal_to_noise=signal_to_noise)
    found = segment(volume, VOXEL_UM)
    assert found.particles.max() == 1
    assert (found.particles > 0).sum() == pytest.approx(body.volume, rel=0.15)


@pytest.mark.parametrize(("times_denser", "metal_radius"), [(4, 5.0), (9, 5.0), (8, 16.0)])
def test_dense_metal_particle_does_not_hide_the_powder(times_denser, metal_radius):
    metal = sphere((48, 40, 48), metal_radius)
    solids = [
        body
        for body in powder(7, count=20)[0]
        if np.linalg.norm(np.subtract(body.center, metal.center))
        > body.semi_axes[0] + metal_radius + 3
    ]
    volume = grey_volume((96, 80, 96), solids, signal_to_noise=10)
    volume += times_denser * grey_volume((96, 80, 96), [metal])
    found = segment(volume, VOXEL_UM)
    assert found.particles.max() == len(solids) + 1
    assert found.solid_level == pytest.approx(0.044, rel=0.05)


@pytest.mark.parametrize(
    ("center", "touches"),
    [
        ((20, 24, 28), False),
        ((8, 24, 28), True),  # first slice
        ((31.5, 24, 28), True),  # last slice
        ((20, 24, 44), True),  # cylinder wall, inside the array
        ((20, 9, 28), True),
        ((20, 16, 28), False),
    ],
)
def test_border_flag(center, touches):
    found = segment(grey_volume(SHAPE, [sphere(center, 9.0)]), VOXEL_UM)
    assert found.touches_border.tolist() == [False, touches]


def test_nothing_outside_the_field_counts():
    volume = grey_volume(SHAPE, [sphere((20, 24, 28), 8.0)])
    outside = ~cylinder_mask(SHAPE, 24)
    volume[outside] = np.nan
    found = segment(volume, VOXEL_UM)
    assert found.particles.max() == 1
    assert not found.particles[outside].any()


def test_narrow_field_is_in_micrometres():
    volume = grey_volume(SHAPE, [sphere((20, 24, 20), 4.0), sphere((20, 24, 40), 4.0)])
    whole = segment(volume, VOXEL_UM, field_radius_um=30 * VOXEL_UM)
    narrow = segment(volume, VOXEL_UM, field_radius_um=6 * VOXEL_UM)
    assert whole.particles.max() == 2
    assert narrow.field_radius_um == pytest.approx(6 * VOXEL_UM)
    assert narrow.particles.max() <= 1


def test_threshold_can_be_given_and_methods_differ_as_named():
    volume = grey_volume(SHAPE, [sphere((20, 24, 28), 10.0)], signal_to_noise=20)
    assert segment(volume, VOXEL_UM, threshold=0.03).threshold == 0.03
    half = segment(volume, VOXEL_UM, method="half-contrast")
    assert half.threshold == half.half_contrast_threshold
    assert segment(volume, VOXEL_UM).threshold < half.threshold


def test_threshold_sensitivity_foretells_the_change_of_volume():
    volume = grey_volume(SHAPE, [sphere((20, 24, 28), 11.0)], signal_to_noise=20)
    found = segment(volume, VOXEL_UM)
    step = 0.002
    volumes = [
        (segment(volume, VOXEL_UM, threshold=found.threshold + shift).particles > 0).sum()
        for shift in (-step, step)
    ]
    slope = (volumes[1] - volumes[0]) * VOXEL_UM**3 / (2 * step)
    assert found.threshold_sensitivity == pytest.approx(slope, rel=0.1)
    assert slope < 0


def test_noise_over_many_seeds_gives_no_particles():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, 0.004, (40, 48, 48))
        assert segment(noise, VOXEL_UM).particles.max() == 0
        assert segment(noise + 0.04, VOXEL_UM).particles.max() == 0


def test_smooth_gradient_gives_no_particles():
    gradient = np.broadcast_to(np.linspace(0, 0.04, 64), (32, 64, 64))
    assert segment(gradient, VOXEL_UM).particles.max() == 0


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_broken_voxels_are_refused(broken):
    volume = np.zeros(SHAPE)
    volume[3, 24, 28] = broken
    with pytest.raises(SegmentationError, match="1 voxels inside the field are not finite"):
        segment(volume, VOXEL_UM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voxel_um": 0}, "voxel_um must be positive"),
        ({"voxel_um": 1, "field_radius_um": -1}, "field_radius_um must be positive"),
        ({"voxel_um": 1, "minimum_void_voxels": 0}, "minimum_void_voxels must be at least 1"),
        ({"voxel_um": 1, "method": "yen"}, "method must be"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        segment(np.zeros(SHAPE), **arguments)


def test_flat_image_is_refused():
    with pytest.raises(ValueError, match="three axes"):
        segment(np.zeros((4, 5)), 1.0)


VOLUMES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9),
    elements=st.sampled_from([-1.0, 0.0, 0.0, 0.02, 0.044, 0.044, 5.0]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(VOLUMES, st.booleans())
def test_no_volume_breaks_the_chain(volume, given_threshold):
    threshold = 0.02 if given_threshold else None
    found = segment(
        volume, VOXEL_UM, threshold=threshold, minimum_particle_voxels=1, minimum_void_voxels=1
    )
    particles = measure_particles(found, VOXEL_UM)
    voids = measure_voids(found, VOXEL_UM)
    assert len(particles) == found.particles.max()
    assert len(voids) == found.voids.max() == len(found.parent) - 1
    assert len(measure_radii(found, VOXEL_UM, mode="subvoxel")) == 24 * len(particles)
    numbers = particles.select_dtypes("number")
    assert np.isfinite(numbers.loc[:, ~numbers.columns.str.contains("grey")].to_numpy()).all()
    assert not np.isinf(numbers.to_numpy()).any()  # what is too small has no grey surface: NaN
    summarize(particles, voids)


@pytest.mark.parametrize(
    "volume",
    [
        np.zeros((12, 14, 16)),
        np.full((12, 14, 16), 0.044),
        np.zeros((1, 1, 1)),
        np.ones((1, 1, 1)),
        np.zeros((1, 30, 30)),
    ],
    ids=["empty", "full", "one empty voxel", "one full voxel", "one empty slice"],
)
def test_volume_of_one_phase_gives_empty_tables(volume):
    found = segment(volume, VOXEL_UM)
    assert found.particles.shape == volume.shape
    assert found.particles.dtype == found.voids.dtype == np.int32
    assert measure_particles(found, VOXEL_UM).empty
    assert measure_voids(found, VOXEL_UM).empty
    assert np.isnan(found.threshold)


def test_particles_on_the_border_only_are_found_and_flagged():
    bodies = [sphere((0, 24, 28), 7.0), sphere((39, 24, 28), 7.0)]
    found = segment(grey_volume(SHAPE, bodies, signal_to_noise=10), VOXEL_UM)
    assert found.touches_border.tolist() == [False, True, True]


def test_real_scan_has_closed_voids_beside_a_dense_inclusion():
    file = Path(__file__).parents[3] / "shared" / "data" / "dls_24737_bubbles.h5"
    if not file.exists():
        pytest.skip(f"the real scan {file.name} is not there")
    with h5py.File(file) as scan:
        data, white, dark = (
            scan[f"exchange/{name}"][:] for name in ("data", "data_white", "data_dark")
        )
        angles = np.deg2rad(scan["exchange/theta"][:])
    volume = reconstruct(normalize(data, white, dark), angles, center=85.8)
    found = segment(volume, 1.0)
    assert 0.008 < found.solid_level < 0.016  # not the inclusion's 0.09
    voids = measure_voids(found, 1.0)
    assert (voids["voxels"] > 12).sum() >= 2
    largest = voids.loc[voids["voxels"].idxmax()]
    assert found.voids.max() < 40
    assert 700 < largest["voxels"] < 1500
    assert largest["center_y_um"] == pytest.approx(-37, abs=4)
