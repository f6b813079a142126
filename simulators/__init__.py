"""The simulated microscope: specimens, physics, clock, and the devices over them.

Everything is imported when it is first used: who only starts a server, or builds a specimen, does
not wait for the devices.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "FAULTS": "faults",
    "SAMPLES": "powders",
    "Crack": "parts",
    "Defects": "defects",
    "FaultBus": "faults",
    "Imperfections": "imperfections",
    "Mesh": "meshes",
    "Particle": "parts",
    "Roughness": "surfaces",
    "SimulatedMicroscope": "microscope",
    "Specimen": "specimen",
    "Support": "parts",
    "VirtualClock": "clock",
    "Void": "parts",
    "attach": "clock",
    "nmc622": "powders",
    "nmc622_bad": "powders",
    "nmc811": "powders",
    "simulated_microscope": "microscope",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
