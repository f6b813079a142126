"""What a plan will cost, found by walking its messages through the timing model."""

from dataclasses import dataclass
from typing import Any

from bluesky.utils import Msg, MsgGenerator

from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.microscope import Microscope
from zoneplate.devices.states import ImageKey
from zoneplate.devices.timing import move_time_s

from .screening import CHOOSE_REGIONS

BYTES_PER_PIXEL = 2
BYTES_PER_VOXEL = 4


@dataclass(frozen=True)
class Estimate:
    """The cost of a plan.

    Attributes
    ----------
    time_s
        Instrument time.
    beam_s
        Of that, time with frames being exposed in an open beam.
    frames
        Number of frames.
    dose_photons_per_um2
        Detected photons per um2 that the most exposed field would give with nothing in it.
    disk_bytes
        Size of the frames.
    memory_bytes
        Of one reconstructed volume and the filtered projections it is kept up to date with.
    """

    time_s: float
    beam_s: float
    frames: int
    dose_photons_per_um2: float
    disk_bytes: int
    memory_bytes: int


def axis_name(microscope: Microscope, device: Any) -> str | None:
    """Return the name of an axis in the instrument file; None if it is none."""
    for name, axis in microscope.axes.items():
        if axis is device:
            return name
    return None


class _Walk:
    """The state of the instrument while messages pass by."""

    def __init__(self) -> None:
        self.now_s = self.beam_s = self.field_s = self.longest_field_s = 0.0
        self.frames = self.disk_bytes = self.projections = self.most_projections = 0
        self.pixels: tuple[int, int] = (0, 0)
        self.exposure_s, self.binning, self.key = 1.0, 8, ImageKey.PROJECTION
        self.ready_s: dict[Any, float] = {}
        self.exposure_start_s = self.exposure_end_s = 0.0
        self.targets: dict[str, float] = {}
        self.arrival_s: dict[str, float] = {}
        self.soft: dict[Any, float] = {}
        self.shutter: Any = None

    def wait_for(self, group: Any, until_s: float) -> None:
        self.ready_s[group] = max(self.ready_s.get(group, self.now_s), until_s)

    def set(self, message: Msg, microscope: Microscope) -> None:
        value, group = message.args[0], message.kwargs.get("group")
        device, camera = message.obj, microscope.camera
        configuration = microscope.configuration
        if device is microscope.shutter:
            travel_s = configuration.shutter.travel_s if value != self.shutter else 0.0
            self.shutter = value
            self.wait_for(group, self.now_s + travel_s)
        elif (name := axis_name(microscope, device)) is not None:
            axis = configuration.axis(name)
            distance = float(value) - self.targets.get(name, 0.0)
            if distance:
                self.targets[name] = float(value)
                self.arrival_s[name] = (
                    self.now_s
                    + move_time_s(distance, axis.velocity, axis.acceleration_s)
                    + axis.settle_s
                )
            self.wait_for(group, self.arrival_s.get(name, self.now_s))
        elif device in (microscope.sweep.stop_deg, microscope.sweep.velocity_deg_s):
            self.soft[device] = float(value)
        elif device is camera.exposure_s:
            self.exposure_s = float(value)
        elif device is camera.binning:
            self.binning = int(value)
        elif device is camera.image_key:
            self.key = ImageKey(value)

    def turn(self, message: Msg, microscope: Microscope) -> None:
        """Start a turn at constant velocity, from where the stage stands."""
        axis = microscope.configuration.stage.theta
        sweep = microscope.sweep
        stop_deg = self.soft.get(sweep.stop_deg, 0.0)
        velocity = self.soft.get(sweep.velocity_deg_s, axis.velocity)
        distance = stop_deg - self.targets.get("theta", 0.0)
        self.targets["theta"] = stop_deg
        turning_s = move_time_s(distance, velocity, axis.acceleration_s)
        self.arrival_s["theta"] = self.now_s + turning_s + axis.settle_s

    def reading(self, message: Msg, microscope: Microscope) -> Any:
        """Answer what plans ask on their way: where an axis was told to go."""
        for name, axis in microscope.axes.items():
            if message.obj is axis.user_setpoint:
                value = self.targets.get(name, 0.0)
                return {message.obj.name: {"value": value, "timestamp": self.now_s}}
        if message.obj is microscope.camera.exposure_start_s:
            return {message.obj.name: {"value": self.exposure_start_s, "timestamp": self.now_s}}
        return None

    def trigger(self, message: Msg, microscope: Microscope) -> None:
        configuration, group = microscope.configuration, message.kwargs.get("group")
        if message.obj is microscope.camera.exposed:
            self.wait_for(group, self.exposure_end_s)
        elif message.obj is microscope.camera:
            self.exposure_start_s = self.now_s
            self.exposure_end_s = self.now_s + self.exposure_s
            self.wait_for(group, self.exposure_end_s + configuration.camera.readout_s[self.binning])
            self.count_frame(configuration)

    def count_frame(self, configuration: InstrumentConfiguration) -> None:
        rows, columns = configuration.camera.detector.shape(self.binning)
        self.pixels = rows, columns
        self.frames += 1
        self.disk_bytes += rows * columns * BYTES_PER_PIXEL
        if self.key != ImageKey.DARK:
            self.beam_s += self.exposure_s
        if self.key == ImageKey.PROJECTION:
            self.projections += 1
            self.field_s += self.exposure_s
            self.most_projections = max(self.most_projections, self.projections)
            self.longest_field_s = max(self.longest_field_s, self.field_s)


def estimate(plan: MsgGenerator[Any]) -> Estimate:
    """Return what a plan will cost, without running it.

    Parameters
    ----------
    plan
        A plan that was not started; it is used up.

    Returns
    -------
    Estimate
        Time, dose, disk and memory.

    Raises
    ------
    ConfigurationError
        If the plan refuses its arguments.

    Examples
    --------
    ::

        estimate(tomography(microscope)).time_s
    """
    walk = _Walk()
    microscope: Microscope | None = None
    answer: Any = None
    while True:
        try:
            message = plan.send(answer)
        except StopIteration:
            break
        answer = None
        root = getattr(message.obj, "root", None)
        if isinstance(root, Microscope):
            microscope = root
        if message.command == "set" and microscope is not None:
            walk.set(message, microscope)
        elif message.command == "trigger" and microscope is not None:
            walk.trigger(message, microscope)
        elif message.command == "kickoff" and microscope is not None:
            walk.turn(message, microscope)
        elif message.command == "complete":
            walk.wait_for(message.kwargs.get("group"), walk.arrival_s.get("theta", walk.now_s))
        elif message.command == "wait":
            group = message.args[0] if message.args else message.kwargs.get("group")
            walk.now_s = max(walk.now_s, walk.ready_s.pop(group, walk.now_s))
        elif message.command == "sleep":
            walk.now_s += float(message.args[0])
        elif message.command == "open_run":
            walk.projections, walk.field_s = 0, 0.0
        elif message.command in ("read", "locate") and microscope is not None:
            answer = walk.reading(message, microscope)
        elif message.command == CHOOSE_REGIONS:
            answer = [(0.0, 0.0, 0.0)] * int(message.args[1])
    flux = microscope.configuration.source.flux_per_um2_s if microscope is not None else 0.0
    rows, columns = walk.pixels
    volume_bytes = rows * columns * columns * BYTES_PER_VOXEL
    return Estimate(
        time_s=walk.now_s,
        beam_s=walk.beam_s,
        frames=walk.frames,
        dose_photons_per_um2=flux * walk.longest_field_s,
        disk_bytes=walk.disk_bytes,
        memory_bytes=volume_bytes + walk.most_projections * rows * columns * BYTES_PER_VOXEL,
    )
