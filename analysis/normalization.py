"""From camera counts to absorption: flat and dark correction, bad pixels, -ln.

Transmission is T = (projection - dark) / (flat - dark) and absorption -ln T (Beer-Lambert).
References are averaged. Pixels that cannot be trusted (dead, hot, isolated in a reference) take
the mean of their good neighbours, in every projection.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

DEFAULT_MINIMUM_TRANSMISSION: Final = 1e-3
"""Transmissions below this are clipped to it. A thousandth is below one grey level of a 16-bit
camera whose flat is as low as 1000 counts: less than this is noise, not a measurement."""

ISOLATED_SIGMAS: Final = 8.0
"""A reference pixel this many robust standard deviations from the median of its 3 x 3
neighbourhood is an outlier. In a million pixels Gaussian noise does not reach 5; the margin is
for photon noise that varies over the field."""

ISOLATED_FRACTION: Final = 0.25
"""... provided it is also off by this fraction of the local flat: a clean, well-averaged flat has
so little noise that real structure of the illumination would otherwise be called an outlier."""

WARN_STARVED_FRACTION: Final = 1e-3
"""Fraction of clipped pixels from which `normalize` warns."""

_MAD_TO_SIGMA: Final = 1.4826
_NEIGHBOURS: Final = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))


class NormalizationError(ValueError):
    """Projections or references that cannot be used; the message says why."""


class StarvedPixelsWarning(UserWarning):
    """More than a few pixels had no measurable transmission and were clipped."""


class SaturatedPixelsWarning(UserWarning):
    """More than a few pixels were as bright as the camera can say, or brighter."""


@dataclass(frozen=True, eq=False)
class FlatField:
    """Averaged references, ready to correct any number of projections.

    Make one with `FlatField.from_references`; `normalize` and `transmission` do it for you.

    Parameters
    ----------
    dark : ndarray of float32, shape (rows, columns)
        Mean dark frame, counts.
    net : ndarray of float32, shape (rows, columns)
        Mean flat minus mean dark, counts; 1 at bad pixels.
    bad : ndarray of bool, shape (rows, columns)
        Pixels that are replaced by their neighbours.
    full_scale : float
        Counts at which the camera saturates; infinite if nobody knows.
    """

    dark: NDArray[np.float32]
    net: NDArray[np.float32]
    bad: NDArray[np.bool_]
    full_scale: float = math.inf

    @classmethod
    def from_references(
        cls,
        flats: ArrayLike,
        darks: ArrayLike | None = None,
        *,
        full_scale: float | None = None,
        saturated: NDArray[np.bool_] | None = None,
    ) -> FlatField:
        """Average references and find their bad pixels.

        Parameters
        ----------
        flats : array_like, shape (n, rows, columns) or (rows, columns)
            Open-beam frames, counts.
        darks : array_like, shape (n, rows, columns) or (rows, columns), optional
            Frames with the shutter closed; zeros by default.
        full_scale : float, optional
            Counts at which the camera saturates; by default the largest value of 8- and 16-bit
            unsigned flats, and unknown for other types. Pixels that saturate in a flat are bad.
        saturated : ndarray of bool, shape (rows, columns), optional
            Pixels that do, where `flats` are averages that do not show it any more.

        Returns
        -------
        FlatField

        Raises
        ------
        NormalizationError
            If references are missing, not finite, differ in shape, or no flat is above the dark.
        """
        flat = _average(flats, "flats")
        limit = full_scale_of(flats) if full_scale is None else float(full_scale)
        if saturated is None:
            saturated = saturated_in_any(flats, limit)
        dark = np.zeros_like(flat) if darks is None else _average(darks, "darks")
        if dark.shape != flat.shape:
            raise NormalizationError(
                f"flats are {flat.shape} but darks are {dark.shape} (rows, columns)"
            )
        net = flat - dark
        dead = net <= 0
        if dead.all():
            raise NormalizationError(
                "no flat pixel is above the dark: was the beam on, and are flats and darks in "
                "the right order?"
            )
        local = ndimage.median_filter(net, size=3, mode="nearest")
        allowed = ISOLATED_FRACTION * np.maximum(local, float(np.median(net[~dead])) / 100)
        bad = dead | saturated | _isolated(net, allowed) | _isolated(dark, allowed)
        if bad.all():
            raise NormalizationError(
                "every pixel of the references is an outlier or saturated (full scale "
                f"{limit:g}): were the flats overexposed?"
            )
        net[bad] = 1.0
        return cls(dark.astype(np.float32), net.astype(np.float32), bad, limit)

    def transmission(
        self, projections: ArrayLike, flat_scale: ArrayLike = 1.0
    ) -> NDArray[np.float32]:
        """Transmission of projections, not clipped.

        Parameters
        ----------
        projections : array_like, shape (n, rows, columns) or (rows, columns)
            Counts.
        flat_scale : array_like, shape () or (n,)
            Beam intensity during each projection relative to the flats (from an ion chamber, or
            from a region known to be empty), for a source that drifts.

        Returns
        -------
        ndarray of float32, the shape of `projections`

        Raises
        ------
        NormalizationError
            For another shape, values that are not finite, or a scale that is not positive.
        """
        counts = np.asarray(projections)
        if counts.ndim not in (2, 3) or counts.shape[-2:] != self.net.shape:
            raise NormalizationError(
                f"projections are {counts.shape} but the references are {self.net.shape} "
                "(rows, columns)"
            )
        if not np.isfinite(counts).all():
            raise NormalizationError("projections hold NaN or infinite values")
        scale = np.asarray(flat_scale, dtype=np.float32)
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise NormalizationError("flat_scale must be positive and finite")
        if scale.ndim > 1 or (scale.ndim == 1 and scale.shape != counts.shape[:-2]):
            raise NormalizationError(
                f"flat_scale of shape {scale.shape} for projections of shape {counts.shape}"
            )
        result = np.subtract(counts, self.dark, dtype=np.float32)
        result *= 1 / (self.net * scale[..., np.newaxis, np.newaxis])
        _fill(result, self.bad)
        self._fill_saturated(result, counts)
        return result

    def saturated(self, projections: ArrayLike) -> int:
        """Count good pixels of projections that are as bright as the camera can say."""
        counts = np.asarray(projections)
        return int(np.count_nonzero((counts >= self._limit(counts)) & ~self.bad))

    def _limit(self, counts: NDArray[Any]) -> float:
        """Return the full scale; averaged flats do not say it, but raw projections may."""
        return self.full_scale if math.isfinite(self.full_scale) else full_scale_of(counts)

    def _fill_saturated(self, result: NDArray[np.float32], counts: NDArray[Any]) -> None:
        """Let neighbours stand in, frame by frame: what is there is only a lower bound."""
        total = self.saturated(counts)
        if total == 0:
            return
        height, width = self.bad.shape
        limit = self._limit(counts)
        stack = result.reshape(-1, height, width)
        for frame, seen in zip(stack, counts.reshape(stack.shape), strict=True):
            spoiled = self.bad | (seen >= limit)
            if not spoiled.all():
                _fill(frame, spoiled)
        if total > WARN_STARVED_FRACTION * counts.size:
            warnings.warn(
                f"{total} of {counts.size} values are at the camera's full scale of "
                f"{limit:g}: their neighbours stand in for them; expose shorter",
                SaturatedPixelsWarning,
                stacklevel=3,
            )


def _fill(stack: NDArray[np.float32], bad: NDArray[np.bool_]) -> None:
    """Replace bad pixels by the mean of their good neighbours, in place."""
    if not bad.any():
        return
    pixels, neighbours, weights = _repairs(bad)
    flat = stack.reshape(-1, bad.size)
    flat[:, pixels] = (flat[:, neighbours] * weights).sum(axis=-1)


def _repairs(
    bad: NDArray[np.bool_],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Bad pixels, the pixels to take instead of each, and the weights of those."""
    rows, columns = np.nonzero(bad)
    height, width = bad.shape
    steps = np.array(_NEIGHBOURS)
    near_rows = rows[:, np.newaxis] + steps[:, 0]
    near_columns = columns[:, np.newaxis] + steps[:, 1]
    inside = (near_rows >= 0) & (near_rows < height) & (near_columns >= 0) & (near_columns < width)
    near_rows = near_rows.clip(0, height - 1)
    near_columns = near_columns.clip(0, width - 1)
    good = inside & ~bad[near_rows, near_columns]
    lonely = ~good.any(axis=1)  # inside a cluster: take the nearest good pixel instead
    if lonely.any():
        nearest = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
        assert isinstance(nearest, np.ndarray)
        near_rows[lonely, 0] = nearest[0][rows[lonely], columns[lonely]]
        near_columns[lonely, 0] = nearest[1][rows[lonely], columns[lonely]]
        good[lonely, 0] = True
    weights = good / good.sum(axis=1, keepdims=True)
    return rows * width + columns, near_rows * width + near_columns, weights.astype(np.float32)


def _average(frames: ArrayLike, name: str) -> NDArray[np.float64]:
    stack = np.asarray(frames)
    if stack.ndim == 2:
        stack = stack[np.newaxis]
    if stack.ndim != 3 or stack.size == 0:
        raise NormalizationError(
            f"{name} of shape {stack.shape}: expected (n, rows, columns) or (rows, columns), "
            "with at least one frame"
        )
    if not np.isfinite(stack).all():
        raise NormalizationError(f"{name} hold NaN or infinite values")
    return stack.mean(axis=0, dtype=np.float64)


def saturated_in_any(frames: ArrayLike, full_scale: float) -> NDArray[np.bool_]:
    """Return which pixels (rows, columns) are as bright as the camera can say, in any frame.

    Parameters
    ----------
    frames : array_like, shape (n, rows, columns) or (rows, columns)
        Counts.
    full_scale : float
        Counts at which the camera saturates.

    Examples
    --------
    >>> saturated_in_any(np.array([[[9, 255]], [[255, 8]]]), 255)
    array([[ True,  True]])
    """
    stack = np.asarray(frames)
    return np.asarray((stack.reshape(-1, *stack.shape[-2:]) >= full_scale).any(axis=0))


def full_scale_of(frames: ArrayLike) -> float:
    """Return the counts at which a camera of this type saturates; infinite if it does not say."""
    kind = np.asarray(frames).dtype
    known = kind.kind == "u" and kind.itemsize <= 2  # cameras; wider types are sums or copies
    return float(np.iinfo(kind).max) if known else math.inf


def _isolated(image: NDArray[np.float64], allowed: NDArray[np.float64]) -> NDArray[np.bool_]:
    excess = np.abs(image - ndimage.median_filter(image, size=3, mode="nearest"))
    sigma = _MAD_TO_SIGMA * float(np.median(excess))
    return (excess > ISOLATED_SIGMAS * sigma) & (excess > allowed)


def transmission(
    projections: ArrayLike,
    flats: ArrayLike,
    darks: ArrayLike | None = None,
    *,
    flat_scale: ArrayLike = 1.0,
) -> NDArray[np.float32]:
    """Flat- and dark-corrected transmission, not clipped.

    The place to take statistics from: values at or below zero are pixels that nothing reached,
    `np.count_nonzero(t < minimum)` is how many of them `normalize` clips.

    Parameters
    ----------
    projections : array_like, shape (n, rows, columns) or (rows, columns)
        Counts.
    flats, darks, flat_scale : array_like
        See `FlatField`.

    Returns
    -------
    ndarray of float32, the shape of `projections`

    Raises
    ------
    NormalizationError
        See `FlatField`.

    Examples
    --------
    >>> import numpy as np
    >>> transmission(np.full((2, 3), 60), flats=np.full((4, 2, 3), 110), darks=np.full((2, 3), 10))
    array([[0.5, 0.5, 0.5],
           [0.5, 0.5, 0.5]], dtype=float32)
    """
    return FlatField.from_references(flats, darks).transmission(projections, flat_scale)


def edge_scale(transmissions: NDArray[np.float32], columns: int = 8) -> NDArray[np.float32]:
    """Beam intensity of each projection relative to the flats, from the edges of its field.

    For specimens that leave both edges empty at every angle, and a source that drifted since the
    flats: pass the result to `normalize` as `flat_scale`. Not for a layer wider than the field.

    Parameters
    ----------
    transmissions : ndarray of float32, shape (n, rows, columns)
        See `transmission`.
    columns : int
        Columns to take at either edge.

    Returns
    -------
    ndarray of float32, shape (n,)

    Raises
    ------
    NormalizationError
        If the edges overlap.
    """
    if transmissions.ndim != 3 or not 0 < 2 * columns <= transmissions.shape[2]:
        raise NormalizationError(
            f"cannot take {columns} columns at either edge of transmissions of shape "
            f"{transmissions.shape}: expected (n, rows, columns)"
        )
    edges = np.concatenate([transmissions[..., :columns], transmissions[..., -columns:]], axis=-1)
    return np.median(edges, axis=(1, 2)).astype(np.float32)


def absorption(
    transmissions: NDArray[np.float32],
    minimum_transmission: float = DEFAULT_MINIMUM_TRANSMISSION,
) -> NDArray[np.float32]:
    """Absorption -ln T, with transmissions below a floor clipped to it.

    Parameters
    ----------
    transmissions : ndarray of float32
        See `transmission`.
    minimum_transmission : float
        The floor, between 0 and 1.

    Returns
    -------
    ndarray of float32, the same shape

    Raises
    ------
    NormalizationError
        If the floor is not between 0 and 1.

    Warns
    -----
    StarvedPixelsWarning
        If more than a thousandth of the values were clipped: the attenuation behind them is
        underestimated.
    """
    if not 0 < minimum_transmission < 1:
        raise NormalizationError(
            f"minimum_transmission must be between 0 and 1, got {minimum_transmission}"
        )
    starved = np.count_nonzero(transmissions < minimum_transmission)
    if starved > WARN_STARVED_FRACTION * transmissions.size:
        warnings.warn(
            f"{starved} of {transmissions.size} values are below a transmission of "
            f"{minimum_transmission:g} and were clipped to it: absorption is underestimated there",
            StarvedPixelsWarning,
            stacklevel=2,
        )
    result = np.maximum(transmissions, np.float32(minimum_transmission))
    np.log(result, out=result)
    return np.negative(result, out=result)


def normalize(
    projections: ArrayLike,
    flats: ArrayLike,
    darks: ArrayLike | None = None,
    *,
    minimum_transmission: float = DEFAULT_MINIMUM_TRANSMISSION,
    flat_scale: ArrayLike = 1.0,
) -> NDArray[np.float32]:
    """Absorption -ln((projection - dark) / (flat - dark)).

    Parameters
    ----------
    projections : array_like, shape (n, rows, columns) or (rows, columns)
        Counts, any integer or float type.
    flats : array_like, shape (n, rows, columns) or (rows, columns)
        Open-beam frames; averaged.
    darks : array_like, shape (n, rows, columns) or (rows, columns), optional
        Frames with the shutter closed; averaged, zeros by default.
    minimum_transmission : float
        Floor for starved pixels; `transmission` tells how many there are.
    flat_scale : array_like, shape () or (n,)
        Beam intensity during each projection relative to the flats.

    Returns
    -------
    ndarray of float32, the shape of `projections`

    Raises
    ------
    NormalizationError
        For shapes that do not match, values that are not finite, missing or unusable references.

    Warns
    -----
    StarvedPixelsWarning
        If more than a thousandth of the pixels were clipped.
    SaturatedPixelsWarning
        If more than a thousandth of the pixels were at the full scale of the camera.

    Examples
    --------
    >>> import numpy as np
    >>> flats, darks = np.full((4, 2, 3), 110), np.full((2, 3), 10)
    >>> normalize(np.full((2, 3), 60), flats, darks).round(3)
    array([[0.693, 0.693, 0.693],
           [0.693, 0.693, 0.693]], dtype=float32)
    """
    field = FlatField.from_references(flats, darks)
    return absorption(field.transmission(projections, flat_scale), minimum_transmission)
