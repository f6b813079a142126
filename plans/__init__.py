"""Bluesky plans of the microscope: references, mosaic, tomography, screening, estimates."""

from .alignment import find_axis
from .angles import ordered, projection_angles
from .centering import center_region
from .estimation import Estimate, estimate
from .focus import focus
from .grid import TileGrid
from .limits import check_plan
from .mosaic import mosaic
from .references import darks, flats
from .screening import screen
from .tomography import tomography

__all__ = [
    "Estimate",
    "TileGrid",
    "center_region",
    "check_plan",
    "darks",
    "estimate",
    "find_axis",
    "flats",
    "focus",
    "mosaic",
    "ordered",
    "projection_angles",
    "screen",
    "tomography",
]
