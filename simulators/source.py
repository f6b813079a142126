"""The X-ray source of the simulated microscope."""

from __future__ import annotations

from ophyd import Component

from zoneplate.devices.configuration import SourceConfiguration
from zoneplate.devices.microscope import Source

from .clock import VirtualClock
from .faults import FaultBus
from .signals import ModelSignal


class SourceModel:
    """A source whose intensity can be changed, and that can trip."""

    def __init__(self, configuration: SourceConfiguration, faults: FaultBus) -> None:
        self.configuration = configuration
        self.intensity = 1.0
        self.faults = faults

    @property
    def current(self) -> float:
        """Relative intensity now."""
        return 0.0 if self.faults.lasts("beam_trip") else self.intensity


class SimulatedSource(Source):
    """The source as a device."""

    energy_kev = Component(ModelSignal, kind="config", units="keV")
    current = Component(ModelSignal, kind="normal")

    def bind(self, clock: VirtualClock, model: SourceModel) -> None:
        """Connect the device to its model."""

        def set_current(value: float) -> None:
            model.intensity = float(value)

        self.energy_kev.bind(clock, lambda: model.configuration.energy_kev)
        self.current.bind(clock, lambda: model.current, set_current)
        model.faults.watch(self.current.changed)
