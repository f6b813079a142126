"""Arrays in, tables out: stitching, reconstruction, segmentation, metrology, statistics, report.

Nothing here knows a device or a plan. Names are imported when they are first used, because
compiling back-projection and drawing figures need libraries that take their time to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engines import reconstruct
    from .mosaic import Mosaic, stitch
    from .normalization import normalize, transmission
    from .particles import measure_particles, measure_voids
    from .quality import signal_to_noise, transmission_statistics
    from .radii import measure_radii, roughness_floor_um, roughness_proxy
    from .radiograph import find_particles_2d
    from .reconstruction import StreamingReconstruction
    from .regions import choose_regions
    from .report import write_report
    from .rotation_axis import find_center, find_rotation_center, refine_rotation_center
    from .segmentation import Segmentation, segment
    from .summary import summarize
    from .tomogram import Tomogram, TomogramAnalysis

__all__ = [
    "Mosaic",
    "Segmentation",
    "StreamingReconstruction",
    "Tomogram",
    "TomogramAnalysis",
    "choose_regions",
    "find_center",
    "find_particles_2d",
    "find_rotation_center",
    "measure_particles",
    "measure_radii",
    "measure_voids",
    "normalize",
    "reconstruct",
    "refine_rotation_center",
    "roughness_floor_um",
    "roughness_proxy",
    "segment",
    "signal_to_noise",
    "stitch",
    "summarize",
    "transmission",
    "transmission_statistics",
    "write_report",
]

_HOMES = {
    "Mosaic": "mosaic",
    "Segmentation": "segmentation",
    "StreamingReconstruction": "reconstruction",
    "Tomogram": "tomogram",
    "TomogramAnalysis": "tomogram",
    "choose_regions": "regions",
    "find_center": "rotation_axis",
    "find_particles_2d": "radiograph",
    "find_rotation_center": "rotation_axis",
    "measure_particles": "particles",
    "measure_radii": "radii",
    "measure_voids": "particles",
    "normalize": "normalization",
    "reconstruct": "engines",
    "refine_rotation_center": "rotation_axis",
    "roughness_floor_um": "radii",
    "roughness_proxy": "radii",
    "segment": "segmentation",
    "signal_to_noise": "quality",
    "stitch": "mosaic",
    "summarize": "summary",
    "transmission": "normalization",
    "transmission_statistics": "quality",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
