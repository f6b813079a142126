"""Devices of the microscope, its geometry and its instrument file."""

from .configuration import InstrumentConfiguration
from .errors import AcquisitionError, ConfigurationError, ZoneplateError
from .optics import Detector, ZonePlate, check_binning, projections_needed, wavelength_um

__all__ = [
    "AcquisitionError",
    "ConfigurationError",
    "Detector",
    "InstrumentConfiguration",
    "ZonePlate",
    "ZoneplateError",
    "check_binning",
    "projections_needed",
    "wavelength_um",
]
