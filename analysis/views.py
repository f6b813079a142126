"""Frames of a tomogram and its references, put together to what each angle shows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .normalization import SaturatedPixelsWarning, StarvedPixelsWarning, absorption
from .references import FlatDrift, ReferenceFrame, ReferenceSeries

Frame = NDArray[Any]

SAME_ANGLE_SHARE: Final = 0.02
"""Angles that differ by less than this share of the smallest step are one angle, read twice."""

PIXEL_WARNINGS: Final = (StarvedPixelsWarning, SaturatedPixelsWarning)

MOST_TOGETHER: Final = 100
"""Frames at one angle that are looked for."""


@dataclass(frozen=True, eq=False)
class Projection:
    """One frame of the sample: counts (rows, columns), where, when and for how long."""

    counts: Frame
    angle_deg: float
    time_s: float | None = None
    exposure_s: float | None = None


class Views:
    """What a scan shows at each angle, from one frame or several, and its references.

    Parameters
    ----------
    already_normalized
        Projections are absorption: references are not needed.
    frames_per_view
        Frames that make a view whole.

    Attributes
    ----------
    raw
        Projections by their number.
    members
        For each view, the numbers of its frames.
    """

    def __init__(self, *, already_normalized: bool = False, frames_per_view: int = 1) -> None:
        self.already_normalized = already_normalized
        self.raw: dict[int, Projection] = {}
        self.members: dict[int, list[int]] = {}
        self._frames_per_view = max(frames_per_view, 1)
        self._references: dict[str, dict[int, ReferenceFrame]] = {"dark": {}, "flat": {}}
        self._series: ReferenceSeries | None = None

    @property
    def has_references(self) -> bool:
        """Whether projections can be corrected."""
        return self.already_normalized or bool(self._references["flat"])

    @property
    def fresh(self) -> bool:
        """Whether the references in use are all that were taken."""
        return self.already_normalized or self._series is not None

    @property
    def flat_drift(self) -> FlatDrift | None:
        """How the open beam changed; None if flats were taken once."""
        return self._series.drift if self._series is not None else None

    def add_reference(self, kind: str, number: int, frame: ReferenceFrame) -> None:
        """Take a `"dark"` or a `"flat"`; the same number again replaces it."""
        self._references[kind][number] = frame
        self._series = None

    def add_projection(self, number: int, view: int, projection: Projection) -> bool:
        """Take a frame of a view, or replace it; return whether the view is now whole."""
        self.raw[number] = projection
        numbers = self.members.setdefault(view, [])
        if number not in numbers:
            numbers.append(number)
        return len(numbers) >= self._frames_per_view

    def angle_deg(self, view: int) -> float:
        """Return the mean angle at which a view was taken."""
        return float(np.mean([self.raw[number].angle_deg for number in self.members[view]]))

    def time_s(self, view: int) -> float | None:
        """Return when a view was taken, on average; None if nobody knows."""
        times = [self.raw[number].time_s for number in self.members[view]]
        return None if None in times else float(np.mean([time or 0.0 for time in times]))

    def absorption(self, views: Sequence[int], notes: list[str] | None = None) -> Frame:
        """Return the absorption of views (n, rows, columns).

        Frames of one view are added up before the logarithm, which would make noise a bias.

        Parameters
        ----------
        views
            Which.
        notes
            Takes what a reader must know, in words.
        """
        numbers = [number for view in views for number in self.members[view]]
        raw = np.stack([self.raw[number].counts for number in numbers])
        exposures_s = [self.raw[number].exposure_s for number in numbers]
        if self.already_normalized:
            return self._averaged(views, raw.astype(np.float32), exposures_s)
        series = self._current_series()
        times_s = [self.raw[number].time_s for number in numbers]
        with warnings.catch_warnings(record=True) as caught:
            for kind in PIXEL_WARNINGS:
                warnings.simplefilter("always", kind)
            transmission = series.transmission(raw, times_s, exposures_s)
            result = absorption(self._averaged(views, transmission, exposures_s))
        if notes is not None:
            notes.extend(
                str(warning.message)
                for warning in caught
                if issubclass(warning.category, PIXEL_WARNINGS)
            )
            if series.saturated_note is not None:
                notes.append(series.saturated_note)
            unknown = series.without_dark(exposures_s)
            if unknown:
                notes.append(
                    f"there are no darks for exposures of {unknown[0]:g} to {unknown[-1]:g} s: "
                    "the dark current is that of another exposure, and absorption is off where "
                    "little light arrives; take darks of two exposures"
                )
        return result

    def _current_series(self) -> ReferenceSeries:
        if self._series is None:
            times_s = [one.time_s for one in self.raw.values() if one.time_s is not None]
            flats, darks = (list(self._references[kind].values()) for kind in ("flat", "dark"))
            self._series = ReferenceSeries(flats, darks, times_s)
        return self._series

    def _averaged(
        self, views: Sequence[int], frames: Frame, exposures_s: Sequence[float | None]
    ) -> Frame:
        """Average the frames of each view by their exposure: as if their counts were added."""
        if len(frames) == len(views):
            return frames
        result = np.empty((len(views), *frames.shape[1:]), dtype=np.float32)
        begin = 0
        for place, view in enumerate(views):
            end = begin + len(self.members[view])
            weights = [value or 1.0 for value in exposures_s[begin:end]]
            result[place] = np.average(frames[begin:end], axis=0, weights=weights)
            begin = end
        return result


def same_angle_views(angles_deg: ArrayLike) -> list[int]:
    """Return for each frame the number of its view, where only the angles are known.

    Where the stage regularly stands for the same number of frames, those are one view.

    Parameters
    ----------
    angles_deg : array_like, shape (n,)
        In the order of time.

    Examples
    --------
    >>> same_angle_views([0.0, 0.01, 5.0, 5.0, 10.0, 9.99])
    [0, 0, 1, 1, 2, 2]
    >>> same_angle_views([0.0, 0.1, 5.0, 5.1, 5.2])
    [0, 1, 2, 3, 4]
    """
    angles = np.asarray(angles_deg, dtype=np.float64)
    steps = np.abs(np.diff(angles))
    for together in range(2, min(angles.size // 2, MOST_TOGETHER) + 1):
        to_the_next = steps[together - 1 :: together]
        standing = np.delete(steps, np.s_[together - 1 :: together])
        if standing.max() < SAME_ANGLE_SHARE * to_the_next.min():
            return (np.arange(angles.size) // together).tolist()
    return list(range(angles.size))
