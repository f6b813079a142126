"""The instrument model: one state, one clock, one physics, whatever face talks to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoneplate.devices.configuration import InstrumentConfiguration

from .axis import SimulatedAxis
from .camera_model import CameraModel, Pose
from .clock import VirtualClock
from .detector import SimulatedDetector
from .faults import FaultBus
from .frame_file import FrameFile
from .imaging import ImagingModel
from .imperfections import Imperfections
from .shutter import ShutterModel
from .source import SourceModel
from .specimen import Specimen

AXES = ("x", "y", "z", "theta")


class SimulatedInstrument:
    """A zone-plate microscope without a control system.

    Parameters
    ----------
    configuration
        The instrument file.
    specimen
        What is on the stage.
    clock
        The instrument clock.
    imperfections
        What is not ideal about it.
    seed
        Seed of everything random: the same seed and the same scan give the same frames.

    Attributes
    ----------
    faults
        What may go wrong on demand.
    """

    def __init__(
        self,
        configuration: InstrumentConfiguration,
        specimen: Specimen,
        clock: VirtualClock,
        imperfections: Imperfections,
        seed: int,
    ) -> None:
        self.configuration = configuration
        self.specimen = specimen
        self.clock = clock
        self.imperfections = imperfections
        self.sample_name = specimen.name
        self._start_s = clock.now()
        self.faults = FaultBus(clock)
        streams = np.random.SeedSequence(seed).spawn(len(AXES))
        self.axes = {
            name: SimulatedAxis(
                name,
                getattr(configuration.stage, name),
                clock,
                np.random.default_rng(stream) if imperfections.stage_repeatability else None,
                self.faults,
            )
            for name, stream in zip(AXES, streams, strict=True)
        }
        self.shutter = ShutterModel(configuration.shutter, clock, self.faults)
        self.source = SourceModel(configuration.source, self.faults)
        self.camera = CameraModel(configuration.camera, self, clock, self._new_file, self.faults)
        self._imaging = ImagingModel(specimen, configuration, imperfections)
        self._detector = SimulatedDetector(
            configuration.camera, configuration.source, imperfections, seed
        )

    def pose(self) -> Pose:
        """Return what the encoders read: x, y, z in um, theta in degrees."""
        x, y, z, theta = (self.axes[name].readback() for name in AXES)
        return x, y, z, theta

    def frame(self, exposure_s: float, binning: int, number: int) -> NDArray[np.uint16]:
        """Return what the camera records of an exposure that is half over now."""
        x, y, z, theta_deg = self.pose()
        elapsed_s = self.clock.now() - self._start_s
        du_um, dv_um = self.imperfections.displacement(theta_deg, elapsed_s)
        jump = self.faults.lasts("drift_jump")
        if jump is not None:
            du_um += jump.magnitude
        transmission = self._imaging.transmission(
            (x, y, z), theta_deg, binning=binning, displacement_um=(du_um, dv_um)
        )
        return self._detector.expose(
            self.source.current * transmission,
            exposure_s=exposure_s,
            binning=binning,
            time_s=elapsed_s,
            shutter_open=self.shutter.is_open,
            frame_number=number,
        )

    def _new_file(self, path: Path, binning: int) -> FrameFile:
        detector = self.configuration.camera.detector
        return FrameFile(
            path,
            detector.shape(binning),
            pixel_um=detector.binned_pixel_um(binning),
            energy_kev=self.configuration.source.energy_kev,
            sample_name=self.sample_name,
            instrument_name=self.configuration.name,
            start_s=self.clock.now(),
        )
