"""Bluesky plans of the microscope: references, mosaic, tomography, screening, estimates."""

from .alignment import find_axis
from .angles import ordered, projection_angles
from .estimation import Estimate, estimate
from .grid import TileGrid
from .mosaic import mosaic
from .references import darks, flats
from .screening import screen
from .tomography import tomography

__all__ = [
    "Estimate",
    "TileGrid",
    "darks",
    "estimate",
    "find_axis",
    "flats",
    "mosaic",
    "ordered",
    "projection_angles",
    "screen",
    "tomography",
]
