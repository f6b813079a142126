"""How the sample moved in the images during a scan, and where the axis is, from all projections.

Run-out of the stage, thermal drift and vibration shift each image a little. The particles of the
volume are projected again at every angle, and each measured image is laid over its reprojection.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .axis_tilt import turned
from .courses import fit, fit_error, follow, rms_length
from .reconstruction import StreamingReconstruction
from .reprojection import reproject
from .rings import ring_pattern
from .view_registration import particles_of, register
from .workers import available_threads

Floats = NDArray[np.float64]

FEWEST_VIEWS: Final = 40
"""Fewer views do not show what is a movement and what is a bad reconstruction."""

LEAST_ERROR_PIXELS: Final = 0.02
"""Shifts are not known better than this, however quiet the images are (measured)."""

CENTER_ERROR_COLUMNS: Final = 0.06
"""Systematic error of the rotation centre, measured on simulated specimens that reach far beyond
the field; included in its standard error."""

LEAST_PIXELS: Final = 0.12
"""Smaller movements do not show in shapes: see `benchmarks/geometry_correction.py`."""

LEAST_SIGMAS: Final = 5.0
"""... nor are smaller ones, in standard errors, believed."""

TRIED_SIGMAS: Final = 2.0
"""Views are shifted back on trial from so many on: a large movement blurs the particles that it is
measured by, and is certain only when most of it is corrected."""

SETTLED_PIXELS: Final = 0.05
MOST_PASSES: Final = 5
"""Volume and shifts are found in turns until the shifts change by less: each pass leaves about an
eighth of what was wrong."""


@dataclass(frozen=True, eq=False)
class Motion:
    """How the sample moved in the images.

    Attributes
    ----------
    shifts
        (n, 2): of each view along (u, v), to larger columns and upwards, in pixels, beyond what a
        rigid sample on a perfect stage shows.
    rms, rms_error
        Root mean square length of the shifts and its standard error.
    jitter, jitter_error
        Of it, what follows neither the angle nor time smoothly.
    drift, drift_error
        Length of the part that grows with time, over the scan; its error is large where angles
        were taken in order, because it is then no other than run-out.
    column, column_error
        Column of the rotation axis that fits all views best.
    agreement
        Correlation of the images with their reprojections, before and after they were shifted
        back; the same twice where they were not.
    """

    shifts: Floats
    rms: float
    rms_error: float
    jitter: float
    jitter_error: float
    drift: float
    drift_error: float
    column: float
    column_error: float
    agreement: tuple[float, float]

    def matters(self, least_pixels: float = LEAST_PIXELS) -> bool:
        """Whether it is certain, and large enough to show in shapes."""
        return self.rms > max(least_pixels, LEAST_SIGMAS * self.rms_error)

    def scaled(self, factor: float) -> Motion:
        """Return the same in pixels that are so many times smaller."""
        lengths = ("rms", "jitter", "drift")
        values = {name: getattr(self, name) * factor for name in lengths}
        values |= {f"{name}_error": getattr(self, f"{name}_error") * factor for name in lengths}
        return replace(
            self,
            shifts=self.shifts * factor,
            column=(self.column + 0.5) * factor - 0.5,
            column_error=self.column_error * factor,
            **values,
        )


def find_motion(
    frames: NDArray[np.float32],
    angles_rad: Floats,
    column: float,
    times: ArrayLike,
    *,
    volume: NDArray[np.float32] | None = None,
    least_pixels: float = LEAST_PIXELS,
    threads: int | None = None,
) -> Motion | None:
    """Lay each view over the reprojection of the particles; repeat with views shifted back.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, rows, columns)
        Absorption.
    angles_rad : ndarray of float64, shape (n,)
        Angles in radians.
    column : float
        Column of the rotation axis.
    times : array_like, shape (n,)
        When they were taken, in any unit.
    volume : ndarray of float32, optional
        [y, z, x], what was reconstructed from them, in any unit; made if it is not given.
    least_pixels : float
        Movements that are smaller are measured once, and views are not shifted back.
    threads : int, optional
        Threads, never more than the cores this process may use (the default).

    Returns
    -------
    Motion or None
        None with too few views, or without particles to go by.
    """
    if len(frames) < FEWEST_VIEWS:
        return None
    clock = np.asarray(times, dtype=np.float64)
    clock = 2 * (clock - clock.min()) / max(float(np.ptp(clock)), 1e-12) - 1
    known: Motion | None = None
    for _ in range(MOST_PASSES):
        moved = known.shifts if known is not None else np.zeros((len(frames), 2))
        current = known.column if known is not None else column
        still = frames if known is None else shifted_back(frames, moved, 0.0, threads)
        if volume is None:
            volume = _reconstructed(still, angles_rad, current, threads)
        found = _register_all(still, angles_rad, current, volume, threads)
        if found is None:
            return known
        shifts, errors, agreement = found
        if np.count_nonzero(np.isfinite(errors).all(axis=1)) < FEWEST_VIEWS:
            return known
        # Against the column that the search began with, which the axis may have left.
        shifts = shifts + moved + [current - column, 0.0]
        before = agreement if known is None else known.agreement[0]
        fresh = _motion(shifts, errors, angles_rad, clock, column, (before, agreement))
        if known is not None and agreement < known.agreement[1]:
            return known  # what was found before did not make it better: no reason to go on
        change = fresh.shifts - moved
        known, volume = fresh, None
        doubtful = fresh.rms < max(least_pixels, TRIED_SIGMAS * fresh.rms_error)
        if doubtful or np.sqrt(np.mean(change**2)) < SETTLED_PIXELS:
            break
    return known


def shifted_back(
    frames: NDArray[np.float32],
    shifts: Floats,
    tilt_rad: float,
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return views as they would be seen if nothing had moved and the axis were upright.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, rows, columns)
        Absorption.
    shifts : ndarray of float64, shape (n, 2)
        How far each has moved along (u, v), in pixels.
    tilt_rad
        By which the axis is turned in the image, its upper end towards larger columns.
    threads : int, optional
        Threads, never more than the cores this process may use (the default).
    out : ndarray of float32, shape (n, rows, columns), optional
        Where to put them; may be `frames`.
    """
    result = np.empty_like(frames) if out is None else out

    def work(number: int) -> None:
        u, v = shifts[number]
        result[number] = turned(frames[number], tilt_rad, (float(u), float(v)))

    with ThreadPoolExecutor(available_threads(threads)) as pool:
        list(pool.map(work, range(len(frames))))  # the list lets an error come out
    return result


def _reconstructed(
    frames: NDArray[np.float32], angles_rad: Floats, column: float, threads: int | None
) -> NDArray[np.float32]:
    live = StreamingReconstruction(
        (frames.shape[1], frames.shape[2]), angles_rad, column, threads=threads
    )
    live.add(frames, angles_rad)
    return live.volume


def _register_all(
    frames: NDArray[np.float32],
    angles_rad: Floats,
    column: float,
    volume: NDArray[np.float32],
    threads: int | None,
) -> tuple[Floats, Floats, float] | None:
    """Return shifts (n, 2), their errors, and the correlation with the reprojections."""
    particles = particles_of(volume)
    if particles is None:
        return None
    images = reproject(particles, angles_rad, column, frames.shape[2], threads)
    # What a camera adds to every image does not move, and would hold the particles back.
    fixed = [ring_pattern(stack.mean(axis=0, dtype=np.float64)) for stack in (frames, images)]
    with ThreadPoolExecutor(available_threads(threads)) as pool:
        pairs = zip(frames, images, strict=True)
        found = list(pool.map(lambda pair: register(pair[0] - fixed[0], pair[1] - fixed[1]), pairs))
    shifts, errors, products = (np.array(part) for part in zip(*found, strict=True))
    product, measured, projected = products.sum(axis=0)
    agreement = float(product / math.sqrt(max(measured * projected, 1e-30)))
    return shifts, np.hypot(errors, LEAST_ERROR_PIXELS), agreement


def _motion(
    shifts: Floats,
    errors: Floats,
    angles_rad: Floats,
    clock: Floats,
    column: float,
    agreement: tuple[float, float],
) -> Motion:
    """Tell run-out, drift and jitter from where the sample is and from the place of the axis."""
    across, up = (follow(shifts[:, k], errors[:, k], angles_rad, clock) for k in (0, 1))
    # A sample that lies elsewhere on the stage moves along a sine; upwards, it just lies higher.
    rigid = np.stack([np.ones_like(clock), np.cos(angles_rad), np.sin(angles_rad)], axis=1)
    weights = 1 / errors**2
    place = fit(rigid, across.values, weights[:, 0])
    height = np.average(up.values, weights=weights[:, 1])
    moved = np.stack([across.values - rigid @ place, up.values - height], axis=1)
    rms, rms_error = rms_length(moved, errors)
    column_error = fit_error(rigid, across.values, weights[:, 0])[0]
    return Motion(
        shifts=moved,
        rms=rms,
        rms_error=rms_error,
        jitter=math.hypot(across.jitter, up.jitter),
        jitter_error=math.hypot(across.jitter_error, up.jitter_error),
        drift=math.hypot(across.drift, up.drift),
        drift_error=math.hypot(across.drift_error, up.drift_error),
        column=column + float(place[0]),
        column_error=math.hypot(column_error, CENTER_ERROR_COLUMNS),
        agreement=agreement,
    )
