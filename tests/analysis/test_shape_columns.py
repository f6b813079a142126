"""Uncertainties of Feret diameters, axes and solidity follow what makes them wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zoneplate.analysis.shape_columns import add_shapes, shapes_of_labels

LABEL = np.array([1])


def measured(radius: float, *, noise: float = 0.0, cut: bool = False) -> dict[str, float]:
    """Return the row of a ball (voxels of 1 um) with this noise of single boundary points."""
    half = int(radius) + 4
    grid = np.mgrid[-half : half + 1, -half : half + 1, -half : half + 1]
    shapes = shapes_of_labels((np.square(grid).sum(axis=0) <= radius**2).astype(np.int32))
    calipers = replace(
        shapes.calipers, point_noise=np.full(2, noise), touching=np.array([False, cut])
    )
    table: dict[str, Any] = {}
    add_shapes(table, LABEL, replace(shapes, calipers=calipers), 1.0)
    return {name: float(values[0]) for name, values in table.items()}


@pytest.mark.parametrize("name", ["feret_max_um", "feret_min_um", "semi_axis_b_um"])
def test_boundary_is_as_uncertain_as_the_grey_values_say(name):
    quiet, noisy, labels = (measured(10.0, noise=noise)[f"{name}_se"] for noise in (0.05, 0.2, 0))
    # Labels have no grey values: their surface scatters by a tenth of a voxel.
    assert quiet < labels < noisy


def test_a_cut_leaves_large_particles_nearly_as_certain():
    def added(radius: float, name: str) -> float:
        whole, cut = (measured(radius, noise=0.05, cut=cut)[f"{name}_se"] for cut in (False, True))
        return float(np.sqrt(cut**2 - whole**2))

    for name in ("feret_min_um", "semi_axis_c_um"):  # a flat spot: its share of the surface falls
        assert added(12.0, name) == pytest.approx(added(4.0, name) / 3, rel=0.1)
    assert added(12.0, "solidity") == pytest.approx(added(4.0, "solidity") / 9, rel=0.1)
    # The longest width ends at the neck that the blur bridges, whatever the size.
    assert added(12.0, "feret_max_um") == pytest.approx(added(4.0, "feret_max_um"), rel=0.1)
