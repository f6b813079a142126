"""From results to `report.html`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from zoneplate.analysis.figures_volume import VolumeView
from zoneplate.analysis.radii import measure_radii, roughness_floor_um
from zoneplate.analysis.report import RadiographSeries, write_report

from .map_analysis import MapResult
from .results import Results
from .tomogram_file import StoredTomogram

REPORT_NAME = "report.html"

DEFAULT_SNR = 10.0
"""Signal-to-noise of the study, for a scan that has no particle to measure it on."""


def write_results_report(out: Path, results: Results, map_result: MapResult | None) -> Path:
    """Write the report of results into a folder and return its path."""
    several = len(results.tomograms) > 1
    volumes: list[VolumeView] = []
    radiographs: list[RadiographSeries] = []
    for number, tomogram in enumerate(results.tomograms):
        title = f"Region {number + 1}" if several else "The region"
        volumes.append(
            VolumeView(
                volume=tomogram.volume,
                particles=tomogram.particle_labels,
                voids=tomogram.void_labels,
                voxel_um=tomogram.voxel_um,
                center_um=tomogram.center_um,
                title=title,
                region=number,
            )
        )
        radiographs.append(
            RadiographSeries(
                tomogram.radiographs, tomogram.radiograph_angles_deg, tomogram.voxel_um, title
            )
        )
    fullest = max(results.tomograms, key=lambda one: len(one.particles), default=None)
    radii = _radii(fullest) if fullest is not None else None
    live = next((curve for curve in results.live if len(curve) > 1), None)
    return write_report(
        out / REPORT_NAME,
        results.document,
        particles=results.particles,
        voids=results.voids,
        mosaic=map_result.mosaic if map_result is not None else None,
        map_particles=map_result.particles if map_result is not None else None,
        regions=map_result.regions if map_result is not None else None,
        volumes=volumes,
        radii=radii,
        roughness_floor_um=_floor(fullest, radii) if fullest is not None else None,
        radiographs=radiographs,
        convergence=live,
    )


def _radii(tomogram: StoredTomogram) -> pd.DataFrame | None:
    """Return radii of the whole particles of a region; None if there is none."""
    if tomogram.particles.empty:
        return None
    whole = tomogram.particles.loc[~tomogram.particles["touches_border"].astype(bool)]
    radii = measure_radii(tomogram.particle_labels, tomogram.voxel_um)
    chosen = radii.loc[radii["particle_id"].isin(whole["particle_id"].tolist())]
    return chosen if len(chosen) else None


def _floor(tomogram: StoredTomogram, radii: pd.DataFrame | None) -> float | None:
    """Return what a smooth sphere of typical size would read under the same conditions."""
    if radii is None:
        return None
    snr = tomogram.facts["snr"]
    floor_um = roughness_floor_um(
        float(np.median(tomogram.particles["equivalent_diameter_um"].to_numpy(float))),
        tomogram.voxel_um,
        signal_to_noise=float(snr) if snr else DEFAULT_SNR,
    )
    return floor_um if math.isfinite(floor_um) else None
