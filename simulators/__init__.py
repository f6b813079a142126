"""The simulated microscope: specimens, physics, clock, and the devices over them."""

from .clock import VirtualClock, attach
from .defects import Defects
from .faults import FAULTS, FaultBus
from .imperfections import Imperfections
from .meshes import Mesh
from .microscope import SimulatedMicroscope, simulated_microscope
from .parts import Crack, Particle, Support, Void
from .powders import SAMPLES, nmc622, nmc622_bad, nmc811
from .specimen import Specimen
from .surfaces import Roughness

__all__ = [
    "FAULTS",
    "SAMPLES",
    "Crack",
    "Defects",
    "FaultBus",
    "Imperfections",
    "Mesh",
    "Particle",
    "Roughness",
    "SimulatedMicroscope",
    "Specimen",
    "Support",
    "VirtualClock",
    "Void",
    "attach",
    "nmc622",
    "nmc622_bad",
    "nmc811",
    "simulated_microscope",
]
