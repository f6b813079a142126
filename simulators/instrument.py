"""The instrument model: one state, one clock, one physics, whatever face talks to it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoneplate.devices.configuration import AXES, FOCUS, InstrumentConfiguration

from .axis import SimulatedAxis
from .camera_model import CameraModel, Pose
from .clock import VirtualClock
from .detector import SimulatedDetector
from .faults import FaultBus
from .frame_file import FrameFile
from .images_ahead import Exposure, ImagesAhead, Question
from .imaging import ImagingModel
from .imperfections import Imperfections
from .shutter_model import ShutterModel
from .source_model import SourceModel
from .specimen import Specimen

STAGE_AXES = ("x", "y", "z", "theta")

EXPOSURES_PER_PIXEL = 2.0
"""An exposure in motion is the average of this many for each pixel that the image moves at the
edge of the field: half a pixel apart they cannot be told from a continuous smear."""

MOST_EXPOSURES = 24
"""A frame that is smeared over more than a dozen pixels shows nothing worth computing finely."""

_MEAN_INSTANTS = 16
"""Instants over which the encoders are averaged; exact where the velocity is constant."""

ROOM_C = 23.0
"""Temperature around an instrument whose file says none."""


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
                configuration.axis(name),
                clock,
                np.random.default_rng(stream) if imperfections.stage_repeatability else None,
                self.faults,
                self._move_started,
            )
            for name, stream in zip(AXES, streams, strict=True)
        }
        environment = configuration.environment
        self.usual_temperature_c = environment.temperature_c if environment else ROOM_C
        self.shutter = ShutterModel(configuration.shutter, clock, self.faults)
        self.source = SourceModel(configuration.source, self.faults)
        self.camera = CameraModel(configuration.camera, self, clock, self._new_file, self.faults)
        self._imaging = ImagingModel(specimen, configuration, imperfections)
        self._detector = SimulatedDetector(
            configuration.camera, configuration.source, imperfections, seed
        )
        self._ahead = ImagesAhead(self._imaging, self._expose)

    def pose(self, exposure_s: float = 0.0) -> Pose:
        """Return what the encoders read: x, y, z in um, theta in degrees.

        Parameters
        ----------
        exposure_s
            On average during an exposure of that length that is half over now.
        """
        instants = self._instants(exposure_s, _MEAN_INSTANTS)
        x, y, z, theta = (
            sum(self.axes[name].readback(ahead_s) for ahead_s in instants) / len(instants)
            for name in STAGE_AXES
        )
        return x, y, z, theta

    def _place(self, ahead_s: float) -> Pose:
        x, y, z, theta = (self.axes[name].load(ahead_s) for name in STAGE_AXES)
        return x, y, z, theta

    def _instants(self, exposure_s: float, count: int) -> list[float]:
        """Return the middles of equal parts of an exposure, counted from its own; 0 if all stands.

        Four parts of one second: -0.375, -0.125, 0.125 and 0.375.
        """
        if not any(axis.moving for axis in self.axes.values()):
            return [0.0]
        return [((part + 0.5) / count - 0.5) * exposure_s for part in range(count)]

    def _smear_pixels(self, exposure_s: float, binning: int) -> float:
        """Return how far the image moves during an exposure, at the edge of the field."""
        detector = self.configuration.camera.detector
        begin, end = (np.array(self._place(sign * exposure_s / 2)) for sign in (-1, 1))
        way = np.abs(end - begin)
        turned_um = np.radians(way[3]) * detector.field_um()[1] / 2
        return float(way[:3].max() + turned_um) / detector.binned_pixel_um(binning)

    @property
    def temperature_c(self) -> float:
        """Temperature of the air."""
        fault = self.faults.lasts("temperature")
        return self.usual_temperature_c + (fault.magnitude if fault is not None else 0.0)

    def frame(self, exposure_s: float, binning: int, number: int) -> NDArray[np.uint16]:
        """Return what the camera records of an exposure that is half over now.

        While the stage moves it is the average of what is seen on the way.
        """
        smear = self._smear_pixels(exposure_s, binning)
        count = min(max(math.ceil(EXPOSURES_PER_PIXEL * smear), 1), MOST_EXPOSURES)
        exposure = self._exposure(exposure_s, 0.0, binning, number)
        instants = self._instants(exposure_s, count)
        if len(instants) == 1:
            return self._ahead.frame(exposure)
        transmission = self._ahead.image(self._question(instants[0], binning))
        for ahead_s in instants[1:]:
            transmission = transmission + self._ahead.image(self._question(ahead_s, binning))
        return self._expose(transmission / np.float32(len(instants)), exposure)

    def expect_frame(self, exposure_s: float, binning: int, number: int) -> None:
        """Begin to compute the frame whose exposure begins now.

        While a client is still busy with what it asked for, its frame is made. Only where time
        jumps and nothing moves: otherwise nobody knows yet what will be seen.
        """
        if self.clock.speed is None and not any(axis.moving for axis in self.axes.values()):
            self._ahead.expect(self._exposure(exposure_s, exposure_s / 2, binning, number))

    def _exposure(self, exposure_s: float, ahead_s: float, binning: int, number: int) -> Exposure:
        """Return what a frame depends on whose exposure is half over so much later than now."""
        return Exposure(
            self._question(ahead_s, binning),
            current=self.source.current,
            exposure_s=exposure_s,
            time_s=self.clock.now() + ahead_s - self._start_s,
            shutter_open=self.shutter.is_open,
            number=number,
        )

    def _expose(self, transmission: NDArray[np.float32], exposure: Exposure) -> NDArray[np.uint16]:
        return self._detector.expose(
            exposure.current * transmission,
            exposure_s=exposure.exposure_s,
            binning=exposure.question.binning,
            time_s=exposure.time_s,
            shutter_open=exposure.shutter_open,
            frame_number=exposure.number,
        )

    def _move_started(self) -> None:
        """Guess the frame that will be taken as soon as all stands and the camera is free."""
        if self.clock.speed is not None:
            return
        rests = {
            name: rest for name, axis in self.axes.items() if (rest := axis.rest()) is not None
        }
        if len(rests) < len(self.axes):
            return
        start_s = max(self.camera.free_s, *(rest.when_s for rest in rests.values()))
        x, y, z, theta_deg = (rests[name].load for name in STAGE_AXES)
        self._ahead.guess(
            self._question_at(
                (x, y, z, theta_deg),
                rests[FOCUS].place,
                start_s + self.camera.exposure_s / 2,
                self.camera.binning,
            )
        )

    def _question(self, ahead_s: float, binning: int) -> Question:
        """Return what an image so much later depends on."""
        focus_um = self.axes[FOCUS].place(ahead_s)
        return self._question_at(
            self._place(ahead_s), focus_um, self.clock.now() + ahead_s, binning
        )

    def _question_at(self, place: Pose, focus_um: float, time_s: float, binning: int) -> Question:
        x, y, z, theta_deg = place
        du_um, dv_um = self.imperfections.displacement(theta_deg, time_s - self._start_s)
        jump = self.faults.lasts("drift_jump")
        if jump is not None:
            du_um += jump.magnitude
        return Question(
            (x, y, z),
            theta_deg,
            binning=binning,
            displacement_um=(du_um, dv_um),
            defocus_um=self.imperfections.focus_um - focus_um,
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
