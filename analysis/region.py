"""A part of a volume, and projections at reduced resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoneplate.analysis.backprojection import Circle
from zoneplate.analysis.projections import ReconstructionError, as_frames


@dataclass(frozen=True)
class Region:
    """A box of whole voxels in the volume of a scan.

    Attributes
    ----------
    rows
        Rows of the projections that it needs.
    shape
        (rows, depth, width).
    circle
        Where the rotation axis is in it, and the part of a slice that every view sees.
    """

    rows: slice
    shape: tuple[int, int, int]
    circle: Circle

    @classmethod
    def of(cls, region: tuple[slice, slice, slice] | None, shape: tuple[int, int]) -> Region:
        """Return the region of a volume, all of it for None.

        Parameters
        ----------
        region
            [y, z, x] in voxels, without steps.
        shape
            (rows, columns) of a projection.

        Raises
        ------
        ReconstructionError
            If it is empty or skips voxels.
        """
        rows, columns = shape
        whole = (slice(0, rows), slice(0, columns), slice(0, columns))
        found: list[range] = []
        for part, size in zip(region or whole, (rows, columns, columns), strict=True):
            voxels = range(*part.indices(size))
            if not voxels or voxels.step != 1:
                raise ReconstructionError(
                    f"region {part} of {size} voxels: give slices with a step of 1 that hold at "
                    "least one voxel"
                )
            found.append(voxels)
        y, z, x = found
        middle = (columns - 1) / 2
        return cls(
            rows=slice(y.start, y.stop),
            shape=(len(y), len(z), len(x)),
            circle=Circle(middle - z.start, middle - x.start, middle),
        )


def bin_frames(projections: ArrayLike, factor: int) -> NDArray[np.float32]:
    """Average projections over squares of pixels, for a preview of a large scan.

    A volume of the result has `factor` times larger voxels and ``factor**3`` times fewer; give
    `pixel_um` times `factor`. The column c of the rotation axis becomes
    ``(c + 0.5) / factor - 0.5``.

    Parameters
    ----------
    projections : array_like, shape (n, rows, columns) or (rows, columns)
        Absorption.
    factor : int
        Side of the squares; rows and columns must be multiples of it.

    Returns
    -------
    ndarray of float32, shape (n, rows // factor, columns // factor)

    Raises
    ------
    ReconstructionError
        If they are not.

    Examples
    --------
    >>> bin_frames([[1.0, 3.0], [5.0, 7.0]], 2)
    array([[[4.]]], dtype=float32)
    """
    frames = as_frames(projections)
    count, rows, columns = frames.shape
    if factor < 1 or rows % factor or columns % factor:
        raise ReconstructionError(
            f"projections of {rows} x {columns} pixels cannot be binned by {factor}: both sides "
            "must be multiples of it"
        )
    squares = frames.reshape(count, rows // factor, factor, columns // factor, factor)
    return squares.mean(axis=(2, 4), dtype=np.float32)


def preview_factor(shape: tuple[int, int], columns: int) -> int:
    """Return by how much to bin frames so that at most so many columns are left; 1 if not at all.

    Examples
    --------
    >>> preview_factor((1024, 1024), 256), preview_factor((128, 128), 256)
    (4, 1)
    """
    wanted = -(-shape[1] // columns)
    fitting = (n for n in range(wanted, 2 * wanted + 1) if not (shape[0] % n or shape[1] % n))
    return next(fitting, 1)
