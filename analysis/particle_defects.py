"""What is wrong with single particles, counted: hollow, cracked, or far from round."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .open_pores import COUNT as OPEN_COUNT
from .open_pores import VOLUME as OPEN_VOLUME
from .statistics import frequency_interval, ratio_of_sums_interval
from .summary import MINIMUM_VOID_UM, VOID_COUNT, VOID_VOLUME, count_voids

HOLLOW_FRACTION = 0.25
"""Share of its volume that is void from which a particle is called hollow. In the study's powder,
simulated, 1 of 94 whole particles is; in a bad lot with shells 10 of 152 (`make examples`)."""
MISSHAPEN_SPHERICITY = 0.85
"""Sphericity from grey values below which a particle is called misshapen: 2 of 94 and 9 of 152 of
the same. A wide opening adds surface; voids inside do not, nor a crack of two voxels, which blur
closes: those are open pores, counted apart."""
SHAPE = "sphericity_grey"

Json = dict[str, Any]


def find_defects(
    particles: pd.DataFrame, voids: pd.DataFrame, *, minimum_void_um: float = MINIMUM_VOID_UM
) -> pd.DataFrame:
    """Return the whole particles, and whether each is hollow, cracked or misshapen.

    Parameters
    ----------
    particles, voids
        As for `summarize`.
    minimum_void_um
        Equivalent diameter from which a void counts.

    Returns
    -------
    DataFrame
        With the columns ``hollow`` and ``misshapen``; without a sphericity from grey values a
        particle is not called misshapen. Where open pores were looked for
        (`zoneplate.analysis.open_pores`) also ``cracked`` (it has some) and
        ``void_or_open_pore``.
    """
    whole, _ = count_voids(particles, voids, minimum_void_um=minimum_void_um)
    volume = _numbers(whole, "volume_um3")
    found = whole.assign(
        hollow=_numbers(whole, VOID_VOLUME) > HOLLOW_FRACTION * volume,
        misshapen=_numbers(whole, SHAPE) < MISSHAPEN_SPHERICITY,
    )
    if OPEN_COUNT in whole:
        cracked = _numbers(whole, OPEN_COUNT) > 0
        found = found.assign(
            cracked=cracked, void_or_open_pore=cracked | (_numbers(whole, VOID_COUNT) > 0)
        )
    return found


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in table:
        return np.full(len(table), np.nan)
    return table[name].to_numpy(np.float64)


def describe_defects(
    particles: pd.DataFrame, voids: pd.DataFrame, *, minimum_void_um: float = MINIMUM_VOID_UM
) -> Json:
    """Return how many whole particles are hollow, cracked and misshapen.

    Parameters
    ----------
    particles, voids, minimum_void_um
        As for `find_defects`.

    Returns
    -------
    dict
        ``hollow`` and ``misshapen``: a share with its interval, the count ``k``, and a definition.
        Where open pores were looked for also ``cracked`` and ``void_or_open_pore``, and
        ``open_pore_fraction``, volume of pores over volume of particles.

    Examples
    --------
    >>> table = pd.DataFrame({"particle_id": [1, 2], "volume_um3": [113.0, 113.0],
    ...                       "equivalent_diameter_um": [6.0, 6.0], "sphericity_grey": [0.7, 0.99]})
    >>> describe_defects(table, pd.DataFrame())["misshapen"]["k"]
    1
    """
    found = find_defects(particles, voids, minimum_void_um=minimum_void_um)
    region = found["region"].tolist() if "region" in found else None
    definitions = {
        "hollow": f"more than {HOLLOW_FRACTION:.0%} of the volume of the particle is void",
        "misshapen": f"sphericity from grey values below {MISSHAPEN_SPHERICITY:g}: broken, "
        "widely open, or a piece of a shell that is open",
    }
    if OPEN_COUNT in found:
        definitions["cracked"] = "at least one open pore: narrow, deep, and open to the outside"
        definitions["void_or_open_pore"] = "an internal void that counts, or an open pore"
    shares: Json = {
        name: {
            **asdict(frequency_interval(found[name].to_numpy(bool), region=region)),
            "k": int(np.count_nonzero(found[name].to_numpy(bool))),
            "definition": definition,
        }
        for name, definition in definitions.items()
    }
    if OPEN_COUNT in found:
        open_um3, volume_um3 = _numbers(found, OPEN_VOLUME), _numbers(found, "volume_um3")
        shares["open_pore_fraction"] = {
            **asdict(ratio_of_sums_interval(open_um3, volume_um3, region=region)),
            "definition": "volume of open pores over volume of particles, no part of it",
        }
    return shares
