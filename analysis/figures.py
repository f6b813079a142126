"""Every figure of a report: functions that take measured data and return a matplotlib Figure.

One module per family: maps and radiographs, volumes, statistics, surfaces.
"""

from .figures_map import mosaic_figure, radiographs_figure
from .figures_radii import radii_figure, roughness_figure
from .figures_statistics import convergence_figure, histograms_figure
from .figures_style import data_uri
from .figures_surfaces import solid_figure
from .figures_volume import VolumeView, gallery_figure, slices_figure
from .meshes import Mesh, surface_meshes, viewer_payload

__all__ = [
    "Mesh",
    "VolumeView",
    "convergence_figure",
    "data_uri",
    "gallery_figure",
    "histograms_figure",
    "mosaic_figure",
    "radii_figure",
    "radiographs_figure",
    "roughness_figure",
    "slices_figure",
    "solid_figure",
    "surface_meshes",
    "viewer_payload",
]
