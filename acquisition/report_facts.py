"""What only a finished report needs: radii, throughput, and what other settings would cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from zoneplate.analysis.radii import measure_radii, roughness_floor_um
from zoneplate.analysis.roughness import describe_roughness

from .results import Results, field_of
from .tomogram_file import StoredTomogram
from .trade_off import trade_off_of

DEFAULT_SNR = 10.0
"""Signal-to-noise of the study, for a scan that has no particle to measure it on."""


def add_report_facts(results: Results) -> None:
    """Add radii of the fullest region, throughput and trade-off to results.

    They are not needed while a lot is judged, so they are not worked out after each region.
    """
    document = results.document
    results.radii = None
    places = range(len(results.tomograms))
    fullest = max(places, key=lambda place: len(results.tomograms[place].particles), default=None)
    if fullest is not None:
        tomogram = results.tomograms[fullest]
        radii = radii_of(tomogram)
        if radii is not None:
            results.radii = radii.assign(region=fullest)
            document["roughness"] = {
                "region": fullest,
                **describe_roughness(radii, tomogram.particles, floor_of(tomogram)),
            }
    found = throughput_of(results)
    if found is not None:
        document["throughput"] = found
    trade_off = _trade_off(document)
    if trade_off is not None:
        document["trade_off"] = trade_off


def _trade_off(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the trade-off about the first tomogram; None where its settings are not known."""
    arguments = (document["parameters"].get("acquisition") or {}).get("tomography")
    if not arguments or not document["tomograms"]:
        return None
    first = document["tomograms"][0]
    return trade_off_of(
        str(document["source"].get("instrument")),
        binning=int(arguments["binning"]),
        projections=int(first["projections"]),
        exposure_s=float(arguments["exposure_s"]),
        snr=first["snr"],
    )


def radii_of(tomogram: StoredTomogram) -> pd.DataFrame | None:
    """Return radii of the whole particles of a region; None if there is none."""
    if tomogram.particles.empty:
        return None
    whole = tomogram.particles.loc[~tomogram.particles["touches_border"].astype(bool)]
    radii = measure_radii(tomogram.particle_labels, tomogram.voxel_um, center_um=tomogram.center_um)
    chosen = radii.loc[radii["particle_id"].isin(whole["particle_id"].tolist())]
    return chosen.reset_index(drop=True) if len(chosen) else None


def floor_of(tomogram: StoredTomogram) -> float | None:
    """Return what a smooth sphere of typical size would read under the same conditions."""
    snr = tomogram.facts["snr"]
    floor_um = roughness_floor_um(
        float(np.median(tomogram.particles["equivalent_diameter_um"].to_numpy(float))),
        tomogram.voxel_um,
        signal_to_noise=float(snr) if snr else DEFAULT_SNR,
    )
    return floor_um if math.isfinite(floor_um) else None


def throughput_of(results: Results) -> dict[str, Any] | None:
    """Return what is measured in a minute of instrument time; None where no time is known."""
    document = results.document
    timing, mosaic = document.get("timing") or {}, document.get("mosaic") or {}
    minutes = sum(timing.get("tomography_s") or []) / 60
    if not minutes:
        return None
    fields = [field_of(tomogram) for tomogram in results.tomograms]
    map_minutes = float(timing.get("mosaic_s") or 0.0) / 60

    def per_minute(name: str) -> float | None:
        """Return it of the map; a map on which nothing was counted has no number."""
        value = mosaic.get(name)
        return value / map_minutes if map_minutes and value is not None else None

    return {
        "particles_per_min": document["particles"]["count"] / minutes,
        "volume_um3_per_min": sum(math.pi * one.radius_um**2 * one.height_um for one in fields)
        / minutes,
        "map_particles_per_min": per_minute("particles"),
        "map_area_um2_per_min": per_minute("area_um2"),
    }
