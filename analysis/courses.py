"""The course of shifts over a scan: what of it follows the angle, what time, and what neither."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HARMONICS: Final = (2, 3, 4)
"""Of the run-out of a stage; the first is only another place of the sample."""

TELLING: Final = 3.0
"""Views whose shifts have more than so many times the usual error are left out of the mean:
edge-on, material beyond the field hides the particles."""

_ROUNDS: Final = 5
"""Of fitting shifts and finding how much they scatter, in turns."""


def fit(design: Floats, values: Floats, weights: Floats) -> Floats:
    """Return coefficients of a weighted fit."""
    root = np.sqrt(weights)
    found = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)[0]
    return np.asarray(found, dtype=np.float64)


def fit_error(design: Floats, values: Floats, weights: Floats) -> Floats:
    """Return standard errors of a weighted fit, from its residuals or its weights if larger."""
    rest = values - design @ fit(design, values, weights)
    inverse = np.linalg.pinv(design.T @ (weights[:, None] * design))
    # Views that show nothing have no weight.
    spread = np.maximum(rest**2, 1 / np.where(weights > 0, weights, np.inf))
    scores = design * (weights * np.sqrt(spread))[:, None]
    return np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse))


class Course(NamedTuple):
    """A course of shifts: what was fitted to them, and what of it is known how well."""

    values: Floats
    """Fitted shift of each view, with as much of the rest as stands out of its errors."""
    jitter: float
    """Standard deviation of that rest, errors taken off."""
    jitter_error: float
    drift: float
    """From the first view to the last, as far as it is a matter of time and not of the angle."""
    drift_error: float


def follow(values: Floats, errors: Floats, angles_rad: Floats, clock: Floats) -> Course:
    """Fit run-out and drift to shifts, and weigh what is left by how well it is known."""
    terms = [np.ones_like(clock), clock, clock**2, np.cos(angles_rad), np.sin(angles_rad)]
    for harmonic in HARMONICS:
        terms += [np.cos(harmonic * angles_rad), np.sin(harmonic * angles_rad)]
    design = np.stack(terms, axis=1)
    jitter2, fitted = 0.0, np.zeros_like(values)
    weights = 1 / errors**2
    shown = np.isfinite(errors)
    for _ in range(_ROUNDS):
        fitted = design @ fit(design, values, weights)
        excess = (values - fitted)[shown] ** 2 - errors[shown] ** 2
        jitter2 = max(float(np.average(excess, weights=weights[shown] ** 2)), 0.0)
        weights = 1 / (errors**2 + jitter2)
    rest = values - fitted
    # The variance of a mean of squares, each of a normal value of variance 1 / weight.
    spread = math.sqrt(2 * float(np.sum(weights**2))) / float(np.sum(weights**2))
    jitter = math.sqrt(jitter2)
    return Course(
        values=fitted + rest * jitter2 * weights,
        jitter=jitter,
        jitter_error=spread / (2 * max(jitter, math.sqrt(spread / 2))),
        drift=2 * float(fit(design, values, weights)[1]),
        drift_error=2 * float(fit_error(design, values, weights)[1]),
    )


def rms_length(shifts: Floats, errors: Floats) -> tuple[float, float]:
    """Return the root mean square length of shifts, of views that show theirs well."""
    total = np.hypot(errors[:, 0], errors[:, 1])
    telling = total < TELLING * np.median(total)
    length = math.sqrt(float(np.mean(np.sum(shifts[telling] ** 2, axis=1))))
    # Fitted shifts share their errors: those of single views, over the number of fitted terms.
    terms = 5 + 2 * len(HARMONICS)
    noise = math.sqrt(terms / float(np.sum(1 / total[telling] ** 2)))
    return length, noise
