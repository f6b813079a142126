"""Where the rotation axis is, from two views half a turn apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .rotation_axis import find_rotation_center


@dataclass(frozen=True)
class AxisOffset:
    """Distance of the rotation axis from the middle of the field.

    Attributes
    ----------
    offset_um, standard_error_um
        Towards larger columns, with its standard error.
    column
        Column of the axis.
    """

    offset_um: float
    standard_error_um: float
    column: float


def axis_offset(projection_0: ArrayLike, projection_180: ArrayLike, pixel_um: float) -> AxisOffset:
    """Return where the rotation axis is, from two views half a turn apart.

    Parameters
    ----------
    projection_0, projection_180 : array_like, shape (rows, columns)
        Absorption at theta and theta + 180 degrees.
    pixel_um
        Pixel size at the sample.

    Raises
    ------
    RotationCenterError
        If the two have no common structure.

    Examples
    --------
    >>> rows, columns = np.mgrid[:24, :40]
    >>> def blob(column):
    ...     return np.exp(-((columns - column) ** 2 + (rows - 10) ** 2) / 18)
    >>> round(axis_offset(blob(20.7 + 5), blob(20.7 - 5), 0.5).offset_um, 2)  # 1.2 columns off
    0.6
    """
    columns = np.asarray(projection_0).shape[1]
    found = find_rotation_center(projection_0, projection_180)
    return AxisOffset(
        (found.column - (columns - 1) / 2) * pixel_um,
        found.standard_error * pixel_um,
        found.column,
    )
