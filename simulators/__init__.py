"""The simulated microscope: specimens, physics, clock, and the devices over them."""

from .clock import VirtualClock, attach
from .defects import Defects
from .faults import FAULTS, FaultBus
from .imperfections import Imperfections
from .microscope import SimulatedMicroscope, simulated_microscope
from .powders import nmc622, nmc811
from .specimen import Particle, Specimen, Support, Void
from .surfaces import Roughness

__all__ = [
    "FAULTS",
    "Defects",
    "FaultBus",
    "Imperfections",
    "Particle",
    "Roughness",
    "SimulatedMicroscope",
    "Specimen",
    "Support",
    "VirtualClock",
    "Void",
    "attach",
    "nmc622",
    "nmc811",
    "simulated_microscope",
]
