"""Open pores: found and measured apart from closed voids, and not where there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.ndimage import gaussian_filter

from zoneplate.analysis import measure_particles, segment
from zoneplate.analysis.open_pores import measure_open_pores

VOXEL_UM = 0.5
BLUR, NOISE = 0.7, 0.1
"""Of a scan at the study's settings, in voxels and as a share of the contrast."""
CENTER_UM = (100.0, -40.0, 7.0)
FINE = 4
"""Sub-samples per voxel edge."""

Y, Z, X = np.moveaxis(np.indices((48 * FINE,) * 3, dtype=np.float32), 0, 0) / FINE - 23.875
"""Coordinates in voxels from the centre, rows down."""


def ball(radius, y=0.0, z=0.0, x=0.0):
    return (Y - y) ** 2 + (Z - z) ** 2 + (X - x) ** 2 <= radius**2


def slit(width, bottom):
    """Space between two planes, open at the top of the volume, down to row `bottom`."""
    return (np.abs(X) <= width / 2) & (bottom >= Y) & (np.abs(Z) <= 6)


def scanned(solid, *, noise=NOISE, seed=0):
    """Return the share of each voxel that is solid, blurred, with noise, and segmented."""
    share = solid.reshape(48, FINE, 48, FINE, 48, FINE).mean(axis=(1, 3, 5), dtype=np.float32)
    grey = gaussian_filter(share, BLUR)
    grey = 0.044 * (grey + np.random.default_rng(seed).normal(0, noise, grey.shape))
    return segment(grey, VOXEL_UM, center_um=CENTER_UM)


def um3(solid):
    return np.count_nonzero(solid) * (VOXEL_UM / FINE) ** 3


@pytest.mark.parametrize("width", [1.5, 2.5])
def test_crack_is_found_measured_and_placed(width):
    crack = ball(12) & slit(width, -3)
    row = measure_open_pores(scanned(ball(12) & ~crack)).iloc[0]
    assert row["open_pore_count"] == 1
    assert row["open_pore_volume_um3"] == pytest.approx(
        um3(crack), abs=2 * row["open_pore_volume_um3_se"]
    )
    assert row["open_pore_volume_um3_se"] < 0.25 * um3(crack)
    # Rows go down, y goes up: half-way between rows -12 and -3.
    place_um = row[["open_pore_x_um", "open_pore_y_um", "open_pore_z_um"]].to_numpy(float)
    assert place_um == pytest.approx([100.0, -40.0 + 7.0 * VOXEL_UM, 7.0], abs=0.8)


def test_open_pores_and_closed_voids_are_counted_apart():
    void = ball(3.5, y=5)
    found = scanned(ball(13) & ~void & ~slit(2.0, -4))
    assert measure_particles(found, VOXEL_UM)["void_count"].tolist() == [1]
    assert measure_open_pores(found)["open_pore_count"].tolist() == [1]


@pytest.mark.parametrize(
    "solid",
    [
        ball(12),
        ball(13) & ~ball(5, y=3),
        ball(7, x=-7) | ball(7, x=6.5),
        ball(12) & ~ball(4, y=-13.5),
    ],
    ids=["ball", "closed void", "two that touch", "dent"],
)
def test_what_is_not_open_or_not_narrow_is_no_open_pore(solid):
    found = scanned(solid)
    assert found.particles.max() >= 1
    assert measure_open_pores(found)["open_pore_count"].sum() == 0


def test_place_that_another_particle_takes_is_no_pore():
    crack = slit(2.5, -3) & ball(12)
    found = scanned(ball(12) & ~crack)
    taken = found.particles.copy()
    taken[(taken == 0) & crack[::FINE, ::FINE, ::FINE]] = 2
    taken[(taken == 0) & (ndimage.distance_transform_edt(taken != 2) < 2)] = 2
    both = replace(found, particles=taken, split=np.array([False, True, True]))
    assert measure_open_pores(found)["open_pore_count"].tolist() == [1]
    assert measure_open_pores(both)["open_pore_count"].tolist()[0] == 0


def test_hollow_behind_a_narrow_mouth_is_open():
    hollow = ball(6) | ((np.abs(X) <= 1.5) & (np.abs(Z) <= 1.5) & (Y < 0))
    found = scanned(ball(14) & ~hollow)
    row = measure_open_pores(found).iloc[0]
    assert found.voids.max() == 0
    assert row["open_pore_count"] == 1
    assert row["open_pore_volume_um3"] == pytest.approx(um3(hollow & ball(14)), rel=0.4)


def test_how_wide_a_pore_may_be_can_be_chosen():
    found = scanned(ball(13) & ~slit(5.5, -4))
    assert measure_open_pores(found)["open_pore_count"].sum() == 0
    wider = measure_open_pores(found, widest_um=4.0)
    assert wider["open_pore_count"].sum() == 1
    deeper = measure_open_pores(found, widest_um=4.0, least_depth_um=7.5)
    assert deeper["open_pore_count"].sum() == 0


def test_sizes_that_are_no_sizes_are_refused():
    found = scanned(ball(5))
    for name in ("widest_um", "least_depth_um", "least_voxels"):
        with pytest.raises(ValueError, match=f"{name} must be positive"):
            measure_open_pores(found, **{name: 0})


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 12)] * 3),
    level=st.sampled_from([0.0, 0.02, 0.044]),
    noise=st.sampled_from([0.0, 0.005, 0.05]),
    seed=st.integers(0, 5),
)
def test_any_volume_gives_a_row_per_particle(size, level, noise, seed):
    grey = level + np.random.default_rng(seed).normal(0, noise, size)
    found = segment(grey, VOXEL_UM)
    table = measure_open_pores(found)
    assert (
        table["particle_id"].tolist() == measure_particles(found, VOXEL_UM)["particle_id"].tolist()
    )
    assert (table["open_pore_volume_um3_se"] >= 0).all()
