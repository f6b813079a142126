"""Whether the sample jumped in the images during a scan.

A sample that slips on its mount, or a stage that is knocked, shifts all images that follow. No
encoder sees it, every frame is good, and the volume is doubled. Neighbouring angles show almost
the same, so the shift between neighbours that were taken before and after a jump is the jump;
between all others it is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

FEWEST_VIEWS: Final = 20
"""Fewer neighbours do not tell what is usual."""

WIDEST_STEP_DEG: Final = 4.0
"""Views further apart show too different things to be laid over each other."""

WIDEST_PIXELS: Final = 256
"""Larger images are binned to at most this before they are compared: a jump that matters is
larger than a pixel."""

BACKGROUND_PIXELS: Final = 6.0
"""Standard deviation of what is subtracted as background: particles are what moves."""

TREND_PAIRS: Final = 7
"""Turning shifts the images too, evenly: the median over so many neighbouring pairs is that."""

LEAST_PIXELS: Final = 1.5
"""A smaller jump is not told: see `benchmarks/drift_jump.py` for what comes without any."""

LEAST_SIGMAS: Final = 6.0
"""... nor one that is less than so many standard errors."""

FEWEST_PAIRS: Final = 4
"""... nor one that fewer pairs of neighbours agree on. In sequential order there is only one pair
for each moment, and its shift may be that of a view that shows little: nothing is told then."""

LEAST_SIGMA_PIXELS: Final = 0.05
"""Shifts are not known better than this, however quiet the images are."""

_MAD_TO_SIGMA: Final = 1.4826


@dataclass(frozen=True)
class Jump:
    """The most likely jump in a scan.

    Attributes
    ----------
    after
        How many views were taken before it.
    pixels
        How far the images jumped along (u, v), to larger columns and upwards.
    pairs
        Pairs of neighbours with the jump between them.
    sigmas
        Its length over its standard error.
    """

    after: int
    pixels: tuple[float, float]
    pairs: int
    sigmas: float

    @property
    def length(self) -> float:
        """How far, in pixels."""
        return float(np.hypot(*self.pixels))

    def note(self, pixel_um: float, views: int) -> str:
        """Say in words what it means for a scan of so many views."""
        return (
            f"the sample jumped by {self.length * pixel_um:.1f} um in the images after "
            f"{self.after} of {views} projections: shapes and sizes are not to be trusted; "
            "see that the sample sits firmly and repeat the scan"
        )

    @property
    def certain(self) -> bool:
        """Whether it is more than what is seen without any jump."""
        agreed = self.pairs >= FEWEST_PAIRS
        return agreed and self.length >= LEAST_PIXELS and self.sigmas >= LEAST_SIGMAS


def likeliest_jump(views: NDArray[Any], angles_deg: ArrayLike, times: ArrayLike) -> Jump | None:
    """Return the most likely jump, certain or not; None with too few views to tell.

    Parameters
    ----------
    views : ndarray, shape (n, rows, columns)
        Absorption.
    angles_deg, times : array_like, shape (n,)
        Of each; times in any unit.
    """
    angles = np.asarray(angles_deg, dtype=np.float64)
    order = np.argsort(angles, kind="stable")
    close = np.flatnonzero(np.diff(angles[order]) <= WIDEST_STEP_DEG)
    if len(close) < FEWEST_VIEWS:
        return None
    pairs = np.stack([order[close], order[close + 1]], axis=1)
    factor = -(-max(views.shape[1:]) // WIDEST_PIXELS)
    shape = _structure(views[0], factor).shape
    shifts = np.empty((len(pairs), 2))
    last, spectrum = -1, np.empty(0)
    for number, (before, after) in enumerate(pairs.tolist()):  # one spectrum at a time
        if before != last:
            spectrum = np.fft.rfft2(_structure(views[before], factor))
        following = np.fft.rfft2(_structure(views[after], factor))
        shifts[number] = _shift(spectrum, following, shape)
        last, spectrum = after, following
    shifts *= factor
    shifts -= ndimage.median_filter(shifts, size=(TREND_PAIRS, 1), mode="nearest")
    rank = np.argsort(np.argsort(np.asarray(times, dtype=np.float64), kind="stable"))
    taken = rank[pairs]
    least, best = np.inf, None
    for after in range(1, len(angles)):
        sign = (taken[:, 0] < after).astype(int) - (taken[:, 1] < after)
        crossing = np.flatnonzero(sign)
        if not crossing.size:
            continue
        jump = np.median(sign[crossing, None] * shifts[crossing], axis=0)
        left = np.abs(shifts - sign[:, None] * jump)
        if left.sum() >= least:
            continue
        least = left.sum()
        # What is left without the jump is how well shifts are known at all.
        sigma = np.maximum(_MAD_TO_SIGMA * np.median(left, axis=0), LEAST_SIGMA_PIXELS * factor)
        sigmas = float(np.hypot(*(jump / sigma)) * np.sqrt(crossing.size))
        best = Jump(after, (float(jump[0]), float(jump[1])), int(crossing.size), sigmas)
    return best


def _structure(view: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Return the particles of a view without its background, fading out to its edges."""
    rows, columns = (size // factor for size in view.shape)
    cut = np.asarray(view[: rows * factor, : columns * factor], dtype=np.float32)
    small = cut.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    small -= ndimage.gaussian_filter(small, BACKGROUND_PIXELS)
    return small * np.hanning(rows)[:, None].astype(np.float32) * np.hanning(columns)


def _shift(
    before: NDArray[Any], after: NDArray[Any], shape: tuple[int, ...]
) -> tuple[float, float]:
    """Return how far (u, v) the second image is shifted, to a fraction of a pixel."""
    correlation = np.fft.irfft2(after * before.conj(), s=shape)
    peak = np.unravel_index(int(correlation.argmax()), shape)
    place: list[float] = []
    for axis, index in enumerate(int(one) for one in peak):
        size = shape[axis]
        near = np.take(correlation, [index - 1, index, index + 1], axis=axis, mode="wrap")
        other = int(peak[1 - axis])
        left, top, right = (float(one) for one in np.take(near, other, axis=1 - axis))
        bend = left - 2 * top + right
        offset = 0.5 * (left - right) / bend if bend else 0.0
        value = index + offset
        place.append(value - size if value > size / 2 else value)
    return place[1], -place[0]
