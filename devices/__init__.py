"""Devices of the microscope, its geometry and its instrument file."""

from .configuration import InstrumentConfiguration
from .errors import AcquisitionError, ConfigurationError, FrameError, ZoneplateError
from .optics import Detector, ZonePlate, check_binning, projections_needed, wavelength_um

__all__ = [
    "AcquisitionError",
    "ConfigurationError",
    "Detector",
    "FrameError",
    "InstrumentConfiguration",
    "ZonePlate",
    "ZoneplateError",
    "check_binning",
    "projections_needed",
    "wavelength_um",
]
