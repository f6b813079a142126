"""The X-ray source of the simulated microscope."""

from __future__ import annotations

from ophyd import Component

from zoneplate.devices.microscope import Source

from .clock import VirtualClock
from .signals import ModelSignal
from .source_model import SourceModel


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
