"""Corrections of what a finite field and a finite resolution leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .statistics import Interval

Array = NDArray[np.float64]

MINIMUM_YOUDEN = 0.1
"""Detection probability less false-alarm probability below which a correction amplifies noise
more than ten times."""


def miles_lantuejoul_weights(
    particles: pd.DataFrame,
    *,
    field_height_um: float,
    field_radius_um: float,
    center_um: Sequence[float] = (0.0, 0.0, 0.0),
) -> Array:
    """Weights that undo the loss of large particles at the border of the field.

    A particle counts when it lies wholly inside; a large one has less room to. Its weight is the
    inverse of the share of a ``2 R`` by ``H`` section in which its centre could have been.

    Parameters
    ----------
    particles : DataFrame
        With ``center_z_um``, ``extent_x_um``, ``extent_y_um``, ``extent_z_um``, ``touches_border``.
    field_height_um, field_radius_um : float
        Height ``H`` and radius ``R`` of the reconstruction cylinder (axis along y).
    center_um : (x, y, z)
        Centre of the field.

    Returns
    -------
    (n,) array
        0 for particles that touch the border, 1 or more for the others.

    Notes
    -----
    The powder is a monolayer on a plane of constant z, so that only x and y are sampled by
    chance: ``w = 2 R H / [(H - Fy) * 2 sqrt((R - max(Fx, Fz)/2)**2 - z**2)]``. Excluding without
    weights biases the mean diameter by -4 % and the mean volume by -13 % (65 um field, lognormal,
    median 5.8 um). Miles 1974; Lantuejoul 1980.
    """
    if not (field_height_um > 0 and field_radius_um > 0):
        raise ValueError("field_height_um and field_radius_um must be positive")
    reach = particles[["extent_x_um", "extent_z_um"]].max(axis=1).to_numpy(np.float64) / 2
    off_axis = particles["center_z_um"].to_numpy(np.float64) - center_um[2]
    height = 1 - particles["extent_y_um"].to_numpy(np.float64) / field_height_um
    inner = np.maximum(field_radius_um - reach, 0.0)
    chord = np.sqrt(np.maximum(inner**2 - off_axis**2, 0.0)) / field_radius_um
    share = np.maximum(height, 0.0) * chord
    counts = ~particles["touches_border"].to_numpy(bool) & (share > 0)
    return np.divide(1.0, share, out=np.zeros(len(particles)), where=counts)


def correct_for_detection(
    found: Interval, *, detected: float, false_alarms: float = 0.0
) -> Interval:
    """Frequency as it would be without missed and false voids.

    Parameters
    ----------
    found : Interval
        Frequency of particles in which a void was found.
    detected : float
        Probability that a particle with voids is found to have one, in (0, 1].
    false_alarms : float
        Probability that a particle without is, in [0, 1).

    Returns
    -------
    Interval
        ``(p - false_alarms) / (detected - false_alarms)``, clipped to [0, 1]; the probabilities
        are taken as known exactly.

    Raises
    ------
    ValueError
        When finding a void says next to nothing about there being one.

    References
    ----------
    W. J. Rogan, B. Gladen 1978, doi:10.1093/oxfordjournals.aje.a112510.

    Examples
    --------
    >>> from zoneplate.analysis.statistics import frequency_interval
    >>> found = frequency_interval([True] * 45 + [False] * 55)
    >>> correct_for_detection(found, detected=0.9).value
    0.5
    """
    if not (0 <= false_alarms < 1 and 0 < detected <= 1):
        raise ValueError(
            f"detected must lie in (0, 1] and false_alarms in [0, 1), not {detected} and "
            f"{false_alarms}"
        )
    power = detected - false_alarms
    if power < MINIMUM_YOUDEN:
        raise ValueError(
            f"detected ({detected}) must exceed false_alarms ({false_alarms}) by at least "
            f"{MINIMUM_YOUDEN}: below, the correction is all noise; use a larger void size"
        )

    def corrected(value: float | None) -> float | None:
        return None if value is None else min(max((value - false_alarms) / power, 0.0), 1.0)

    return replace(
        found,
        value=corrected(found.value),
        low=corrected(found.low),
        high=corrected(found.high),
        method=f"{found.method}, corrected for detection (Rogan and Gladen)",
    )
