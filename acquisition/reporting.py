"""From results to `report.html`."""

from __future__ import annotations

from pathlib import Path

from zoneplate.analysis.figures_volume import VolumeView
from zoneplate.analysis.report import write_report
from zoneplate.analysis.report_pictures import RadiographSeries

from .map_analysis import MapResult
from .results import Results

REPORT_NAME = "report.html"


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
    return write_report(
        out / REPORT_NAME,
        results.document,
        particles=results.particles,
        voids=results.voids,
        mosaic=map_result.mosaic if map_result is not None else None,
        map_particles=map_result.particles if map_result is not None else None,
        regions=map_result.regions if map_result is not None else None,
        volumes=volumes,
        radii=results.radii,
        radiographs=radiographs,
        convergence=next((curve for curve in results.live if len(curve) > 1), None),
    )
