"""What the simulated source gives."""

from __future__ import annotations

from zoneplate.devices.configuration import SourceConfiguration

from .faults import FaultBus


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
