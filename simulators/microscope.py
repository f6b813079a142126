"""The simulated microscope as ophyd devices in this process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ophyd import Component

from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.microscope import Environment, Microscope, Optics, Stage

from .camera import SimulatedCamera
from .clock import VirtualClock
from .imperfections import Imperfections
from .instrument import SimulatedInstrument
from .motor import SimulatedMotor
from .powders import nmc622
from .shutter import SimulatedShutter
from .signals import ModelSignal
from .source import SimulatedSource
from .specimen import Specimen


class SimulatedStage(Stage):
    """The stage over four simulated axes."""

    x = Component(SimulatedMotor, kind="hinted")
    y = Component(SimulatedMotor, kind="hinted")
    z = Component(SimulatedMotor, kind="hinted")
    theta = Component(SimulatedMotor, kind="hinted")


class SimulatedOptics(Optics):
    """The optics with the simulated axis of the zone plate."""

    zone_plate_z = Component(SimulatedMotor, kind="normal")


class SimulatedEnvironment(Environment):
    """The air around the simulated microscope."""

    temperature_c = Component(ModelSignal, kind="normal", units="degC")


class SimulatedMicroscope(Microscope):
    """A microscope whose parts are connected to an instrument model.

    Attributes
    ----------
    instrument
        The model behind the devices: specimen, truth, clock and faults.
    """

    sample_stage = Component(SimulatedStage)
    camera = Component(SimulatedCamera)
    optics = Component(SimulatedOptics, kind="config")
    source = Component(SimulatedSource)
    shutter = Component(SimulatedShutter)
    environment = Component(SimulatedEnvironment)

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str = "microscope",
        instrument: SimulatedInstrument,
        directory: Path,
        **kwargs: Any,
    ) -> None:
        self.instrument = instrument
        configuration = instrument.configuration
        super().__init__(prefix, name=name, configuration=configuration, **kwargs)
        clock = instrument.clock
        for name, axis in self.axes.items():
            axis.bind(clock, instrument.axes[name])
        self.camera.bind(clock, instrument.camera, directory)
        self.shutter.bind(clock, instrument.shutter)
        self.source.bind(clock, instrument.source)
        self.environment.temperature_c.bind(clock, lambda: instrument.temperature_c)
        self.optics.use_binning(instrument.camera.binning)
        self.camera.binning.subscribe(lambda value, **_: self.optics.use_binning(value), run=False)

    @property
    def clock(self) -> VirtualClock:
        """The instrument clock."""
        return self.instrument.clock


def simulated_microscope(
    specimen: Specimen | None = None,
    *,
    seed: int = 0,
    configuration: InstrumentConfiguration | None = None,
    imperfections: Imperfections | None = None,
    directory: str | Path | None = None,
    speed: float | None = None,
    epoch_s: float | None = None,
    name: str = "microscope",
) -> SimulatedMicroscope:
    """Return a simulated microscope with a specimen on its stage.

    Parameters
    ----------
    specimen
        What to look at; `nmc622(seed)` if None.
    seed
        Seed of everything random.
    configuration
        The instrument file; the one that ships with zoneplate if None.
    imperfections
        What is not ideal; the documented defaults if None.
    directory
        Folder for the frames; a new temporary one if None.
    speed
        None runs as fast as frames can be computed, 1 in real time.
    epoch_s
        Instrument time at the start, seconds since 1970; now if None.
    name
        Name of the device, prefix of its data keys.

    Examples
    --------
    Attach its clock to a RunEngine, so that waiting passes instrument time::

        microscope = simulated_microscope()
        attach(RE, microscope.clock)
    """
    instrument = SimulatedInstrument(
        configuration or InstrumentConfiguration.load(),
        specimen if specimen is not None else nmc622(seed),
        VirtualClock(epoch_s, speed),
        imperfections or Imperfections(seed=seed),
        seed,
    )
    folder = (
        Path(directory) if directory is not None else Path(tempfile.mkdtemp(prefix="zoneplate-"))
    )
    return SimulatedMicroscope(name=name, instrument=instrument, directory=folder)
