"""Darks and flats of a scan: at which exposure, and when, each was taken.

A scan may take its flats again and again, because the illumination drifts, and may expose its
projections longer at some angles than at others. Here its references become what each projection
needs: the dark at the exposure of that projection, and the flat at its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .normalization import (
    WARN_STARVED_FRACTION,
    FlatField,
    NormalizationError,
    full_scale_of,
    saturated_in_any,
)

SMOOTH_SHARE: Final = 1 / 16
"""Standard deviation, as a share of the field, over which the change of the illumination is
smoothed: what drifts is the beam, which is smooth. The fine pattern is averaged over all flats,
so that taking them often adds no noise."""

SHARP_CHANGE: Final = 4.0
"""Where a flat differs from that smooth change by more than so many times its own noise (in mean
square), the pattern itself has moved, and flats are interpolated pixel by pixel."""

SAME_EXPOSURE: Final = 1e-3
"""Relative difference of exposures that are meant to be the same."""


@dataclass(frozen=True, eq=False)
class ReferenceFrame:
    """One dark or flat.

    Attributes
    ----------
    counts : ndarray, shape (rows, columns)
        As the camera gave it.
    time_s
        When it was taken, on the clock of the projections; None if nobody knows.
    exposure_s
        How long it was exposed; None if nobody knows.
    """

    counts: NDArray[Any]
    time_s: float | None = None
    exposure_s: float | None = None


@dataclass(frozen=True)
class FlatDrift:
    """How the open beam changed between the references of a scan.

    Attributes
    ----------
    times_s
        Mean time of each block of flats, from the first block on.
    intensities
        Mean of each block relative to the first.
    pattern_rms
        Largest change of the pattern of the illumination against the first block, at equal mean:
        root mean square over the field, its fine grain and noise smoothed away.
    sharp
        Whether the pattern itself moved, so that flats are interpolated pixel by pixel.
    """

    times_s: tuple[float, ...]
    intensities: tuple[float, ...]
    pattern_rms: float
    sharp: bool

    @property
    def largest(self) -> float:
        """Largest change of the intensity against the first block, as a fraction."""
        return max(abs(value - 1.0) for value in self.intensities)

    def as_dict(self) -> dict[str, Any]:
        """Return it as `results.json` holds it."""
        return {
            "blocks": len(self.times_s),
            "times_s": [round(value, 3) for value in self.times_s],
            "intensities": [round(value, 6) for value in self.intensities],
            "largest": round(self.largest, 6),
            "pattern_rms": round(self.pattern_rms, 6),
            "interpolation": "pixels" if self.sharp else "smooth",
        }


class ReferenceSeries:
    """References of a scan, ready to correct any projection of it.

    Parameters
    ----------
    flats, darks : sequence of ReferenceFrame
        The references; without darks they count as zero.
    projection_times_s : array_like
        When projections were taken: flats with none between them make one block.

    Attributes
    ----------
    drift : FlatDrift or None
        How the flats changed; None with a single block.

    Raises
    ------
    NormalizationError
        If references are missing or unusable.

    Examples
    --------
    A beam that loses a fifth of its intensity, and a projection in the middle, exposed twice:

    >>> import numpy as np
    >>> flats = [ReferenceFrame(np.full((8, 8), 100.0), 0.0, 1.0),
    ...          ReferenceFrame(np.full((8, 8), 80.0), 10.0, 1.0)]
    >>> series = ReferenceSeries(flats, [], [5.0])
    >>> float(series.transmission(np.full((1, 8, 8), 90.0), [5.0], [2.0])[0, 4, 4])
    0.5
    """

    def __init__(
        self,
        flats: Sequence[ReferenceFrame],
        darks: Sequence[ReferenceFrame],
        projection_times_s: ArrayLike = (),
    ) -> None:
        if not flats:
            raise NormalizationError("there are no flats: take some, or give their file")
        _check_shapes(flats, darks)
        base, per_s, at_s = _dark_model(darks, flats[0].counts.shape)
        self._dark_base, self._dark_per_s, self._dark_exposure_s = base, per_s, at_s
        exposures = [frame.exposure_s for frame in flats if frame.exposure_s]
        self._exposure_s = float(np.median(exposures)) if exposures else None
        blocks = _blocks(flats, np.asarray(projection_times_s, dtype=np.float64))
        nets = [np.mean([self._net(frame) for frame in block], axis=0) for block in blocks]
        counts = np.array([len(block) for block in blocks], dtype=np.float64)
        mean = np.tensordot(counts / counts.sum(), np.stack(nets), axes=1)
        dark = self._dark(self._exposure_s)
        limit = full_scale_of(flats[0].counts)
        # In the mean of many flats a pixel that saturated in some is only a little too dark.
        self._saturated = saturated_in_any(np.stack([frame.counts for frame in flats]), limit)
        self.field = FlatField.from_references(
            (mean + dark)[np.newaxis],
            dark[np.newaxis],
            full_scale=limit,
            saturated=self._saturated,
        )
        self.drift: FlatDrift | None = None
        self._times_s = np.zeros(1)
        self._ratios: NDArray[np.float32] | None = None
        if len(blocks) > 1:
            self._follow(blocks, nets, mean)

    def transmission(
        self,
        projections: ArrayLike,
        times_s: Sequence[float | None] | None = None,
        exposures_s: Sequence[float | None] | None = None,
    ) -> NDArray[np.float32]:
        """Transmission of projections, not clipped.

        Parameters
        ----------
        projections : array_like, shape (n, rows, columns)
            Counts.
        times_s, exposures_s
            When each was taken, and for how long; where that is not known, the mean flat and the
            exposure of the flats.

        Raises
        ------
        NormalizationError
            For another shape, or values that are not finite.
        """
        stack = np.asarray(projections)
        result = np.array(self.field.transmission(stack), dtype=np.float32)
        for number in range(len(stack)):
            exposure_s = exposures_s[number] if exposures_s is not None else None
            factor = 1.0
            if exposure_s and self._exposure_s:
                factor = exposure_s / self._exposure_s
                if self._dark_per_s is not None:
                    more = self._dark_per_s * (exposure_s - self._exposure_s)
                    result[number] -= np.where(self.field.bad, 0.0, more / self.field.net)
            ratio = self._ratio(times_s[number] if times_s is not None else None)
            if ratio is not None:
                result[number] /= ratio
            if abs(factor - 1.0) > SAME_EXPOSURE:
                result[number] /= np.float32(factor)
        return result

    @property
    def saturated_note(self) -> str | None:
        """What a reader must know about pixels that saturate in flats; None if they are few."""
        count = int(np.count_nonzero(self._saturated))
        if count <= WARN_STARVED_FRACTION * self._saturated.size:
            return None
        return (
            f"{count} of {self._saturated.size} pixels are at the camera's full scale of "
            f"{self.field.full_scale:g} in some flats: their neighbours stand in for them in all "
            "projections; expose flats shorter"
        )

    def without_dark(self, exposures_s: Sequence[float | None]) -> list[float]:
        """Return exposures of projections for which the dark is only that of another exposure."""
        if self._dark_per_s is not None or self._dark_exposure_s is None:
            return []
        known = {round(value, 6) for value in exposures_s if value}
        return sorted(
            value for value in known if abs(value / self._dark_exposure_s - 1.0) > SAME_EXPOSURE
        )

    def _dark(self, exposure_s: float | None) -> NDArray[np.float64]:
        if self._dark_per_s is None or exposure_s is None:
            return self._dark_base
        return self._dark_base + self._dark_per_s * exposure_s

    def _net(self, frame: ReferenceFrame) -> NDArray[np.float64]:
        """Return a flat without its dark, as if it had been exposed like all flats."""
        net = np.asarray(frame.counts, dtype=np.float64) - self._dark(frame.exposure_s)
        if frame.exposure_s and self._exposure_s:
            net *= self._exposure_s / frame.exposure_s
        return net

    def _follow(
        self,
        blocks: Sequence[Sequence[ReferenceFrame]],
        nets: Sequence[NDArray[np.float64]],
        mean: NDArray[np.float64],
    ) -> None:
        """Find how the flats change from block to block."""
        good = ~self.field.bad & (mean > 0)
        safe = np.where(good, mean, 1.0)
        raw = [np.where(good, net / safe, 1.0) for net in nets]
        smooth = [_smoothed(ratio, good) for ratio in raw]
        sharp = _changed_sharply(blocks, raw, smooth, mean, good)
        ratios = np.stack(raw if sharp else smooth).astype(np.float32)
        # A block that was nearly dark here and there must not blow a pixel up.
        self._ratios = np.maximum(ratios, np.float32(1e-3))
        times = [float(np.mean([frame.time_s or 0.0 for frame in block])) for block in blocks]
        self._times_s = np.array(times)
        levels = [float(ratio[good].mean()) for ratio in smooth]
        patterns = [ratio / level for ratio, level in zip(smooth, levels, strict=True)]
        self.drift = FlatDrift(
            times_s=tuple(time - times[0] for time in times),
            intensities=tuple(level / levels[0] for level in levels),
            pattern_rms=max(
                float(np.sqrt(np.mean((one[good] - patterns[0][good]) ** 2))) for one in patterns
            ),
            sharp=sharp,
        )

    def _ratio(self, time_s: float | None) -> NDArray[np.float32] | None:
        """Return the flat at a time relative to the mean flat; the nearest before and after all."""
        if self._ratios is None or time_s is None:
            return None
        after = int(np.searchsorted(self._times_s, time_s))
        if after == 0:
            return self._ratios[0]
        if after == len(self._times_s):
            return self._ratios[-1]
        begin_s, end_s = self._times_s[after - 1 : after + 1]
        share = np.float32((time_s - begin_s) / (end_s - begin_s))
        return self._ratios[after - 1] * (1 - share) + self._ratios[after] * share


def _check_shapes(flats: Sequence[ReferenceFrame], darks: Sequence[ReferenceFrame]) -> None:
    wanted = flats[0].counts.shape
    for kind, frames in (("flat", flats), ("dark", darks)):
        for frame in frames:
            if frame.counts.shape != wanted:
                raise NormalizationError(
                    f"a {kind} is {frame.counts.shape} but the first flat is {wanted} (rows, "
                    "columns): take all references with the same binning and region"
                )


def _dark_model(
    darks: Sequence[ReferenceFrame], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, float | None]:
    """Return the dark as (constant, per second, exposure): counts grow evenly with exposure.

    With darks of one exposure, or of exposures that nobody knows, the second is None and the
    first is their mean, at the exposure that comes third.
    """
    if not darks:
        return np.zeros(shape), None, None
    sets: dict[float | None, list[NDArray[Any]]] = {}
    for frame in darks:
        key = round(frame.exposure_s, 6) if frame.exposure_s else None
        sets.setdefault(key, []).append(np.asarray(frame.counts))
    exposures = [value for value in sets if value is not None]
    if len(exposures) < 2 or len(exposures) < len(sets):
        every = [frame for found in sets.values() for frame in found]
        only = exposures[0] if len(sets) == 1 and exposures else None
        return np.stack(every).mean(axis=0, dtype=np.float64), None, only
    means = np.stack([np.mean(sets[value], axis=0, dtype=np.float64) for value in exposures])
    weights = np.array([len(sets[value]) for value in exposures], dtype=np.float64)
    weights /= weights.sum()
    times = np.array(exposures) - weights @ np.array(exposures)
    per_s = np.tensordot(weights * times, means, axes=1) / float(weights @ times**2)
    base = np.tensordot(weights, means, axes=1) - per_s * float(weights @ np.array(exposures))
    return base, per_s, None


def _blocks(
    flats: Sequence[ReferenceFrame], projection_times_s: NDArray[np.float64]
) -> list[list[ReferenceFrame]]:
    """Return flats in order of time; where a projection lies between two, a new block begins."""
    if any(frame.time_s is None for frame in flats):
        return [list(flats)]
    ordered = sorted(flats, key=lambda frame: frame.time_s or 0.0)
    times = np.sort(projection_times_s)
    found = [[ordered[0]]]
    for before, after in pairwise(ordered):
        between = np.searchsorted(times, [before.time_s or 0.0, after.time_s or 0.0])
        if between[0] != between[1]:
            found.append([])
        found[-1].append(after)
    return found


def _smoothed(ratio: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    sigma = [max(size * SMOOTH_SHARE, 1.0) for size in ratio.shape]
    weight = ndimage.gaussian_filter(good.astype(np.float64), sigma, mode="nearest")
    total = ndimage.gaussian_filter(np.where(good, ratio, 0.0), sigma, mode="nearest")
    return np.where(weight > 1e-6, total / np.maximum(weight, 1e-6), 1.0)


def _changed_sharply(
    blocks: Sequence[Sequence[ReferenceFrame]],
    raw: Sequence[NDArray[np.float64]],
    smooth: Sequence[NDArray[np.float64]],
    mean: NDArray[np.float64],
    good: NDArray[np.bool_],
) -> bool:
    """Return whether flats differ by more than a smooth change and their noise."""
    for block, ratio, even in zip(blocks, raw, smooth, strict=True):
        if len(block) < 2:
            continue  # nothing says how noisy it is
        stack = np.stack([np.asarray(frame.counts, dtype=np.float64) for frame in block])
        noise = stack.var(axis=0, ddof=1)[good] / len(block) / mean[good] ** 2
        left = (ratio - even)[good] ** 2
        if float(np.median(left)) > SHARP_CHANGE * float(np.median(noise)):
            return True
    return False
