"""Particles are not cut in two along a crack, and two that touch are not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from zoneplate.analysis.cut_cracks import LEAST_ONE_SIDED, gap_between, rejoin_cracked
from zoneplate.analysis.splitting import split_touching

SHAPE = (44, 44, 60)
Y, Z, X = (np.indices(SHAPE) - np.array([21.5, 21.5, 29.5])[:, None, None, None]).astype(float)


def ellipsoid(x=0.0, a=10.0, b=10.0, c=10.0):
    return ((X - x) / a) ** 2 + (Y / b) ** 2 + (Z / c) ** 2 <= 1


def crack(width, bottom):
    return (X > -1) & (width - 1 > X) & (bottom >= Y)


@pytest.mark.parametrize("axes", [(10, 10, 10), (13, 9, 10)])
@pytest.mark.parametrize(("width", "bottom"), [(2, -3), (3, -3), (2, 0), (3, 0), (2, 2)])
def test_particle_with_a_deep_crack_stays_one(axes, width, bottom):
    solid = ellipsoid(0, *axes) & ~crack(width, bottom)
    labels, split = split_touching(solid)
    assert labels.max() == 1
    assert not split.any()


@pytest.mark.parametrize("overlap", [1, 2, 3])
@pytest.mark.parametrize("radii", [(10, 10), (11, 6), (5, 5)])
def test_particles_that_touch_stay_two(overlap, radii):
    first, second = radii
    apart = first + second - overlap
    pair = ellipsoid(-apart / 2, *[first] * 3) | ellipsoid(apart / 2, *[second] * 3)
    labels, split = split_touching(pair)
    assert labels.max() == 2
    assert split.tolist() == [False, True, True]


def test_three_pieces_of_one_particle_are_joined():
    solid = ellipsoid(0, 14, 10, 10) & ~((np.abs(np.abs(X) - 5) <= 1) & (Y <= 0))
    pieces = np.where(solid, 1 + (X > -5) + (X > 5), 0).astype(np.int32)
    joined = rejoin_cracked(pieces, ~solid)
    assert np.unique(joined).tolist() == [0, 1]
    assert ((joined > 0) == solid).all()


def test_gap_of_a_crack_is_one_sided_and_that_of_a_contact_goes_around():
    cracked = ellipsoid() & ~crack(2, 2)
    pieces = np.where(cracked, 1 + (X > 0), 0).astype(np.int32)
    assert gap_between(pieces, 1, 2, ~cracked).one_sided > LEAST_ONE_SIDED
    neck = ellipsoid(-8.5) | ellipsoid(8.5)
    pieces = np.where(neck, 1 + (X > 0), 0).astype(np.int32)
    around = gap_between(pieces, 1, 2, ~neck)
    assert around.aside < 0.05
    assert around.one_sided < LEAST_ONE_SIDED / 2


def test_pieces_that_make_no_convex_particle_are_left_apart():
    """Two plates that stand on each other: what is open lies on one side of their contact, too."""
    lying = (np.abs(Y - 9) <= 5) & (np.abs(X) <= 14) & (np.abs(Z) <= 10)
    standing = (np.abs(Y + 8) < 12) & (np.abs(X + 8) <= 6) & (np.abs(Z) <= 10)
    pieces = np.where(lying, 1, np.where(standing, 2, 0)).astype(np.int32)
    assert gap_between(pieces, 1, 2, pieces == 0).one_sided > LEAST_ONE_SIDED
    assert np.array_equal(rejoin_cracked(pieces, pieces == 0), pieces)


def test_pieces_that_are_flat_or_alone_are_left_alone():
    flat = np.zeros((3, 8, 8), dtype=np.int32)
    flat[1, :, :4], flat[1, :, 4:] = 1, 2
    assert np.array_equal(rejoin_cracked(flat, flat == 0), flat)
    assert np.array_equal(rejoin_cracked(flat * 0, flat >= 0), flat * 0)
