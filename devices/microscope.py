"""The device tree that plans and users see, whichever face of the instrument is behind it.

The classes here name the parts, say what they are, and hold what does not depend on how the
hardware is reached. The in-process simulator and the EPICS devices derive from them with real
components, so a plan written for `Microscope` runs on both.
"""

from __future__ import annotations

import math
from typing import Any

from ophyd import Component, Device, Signal
from ophyd.status import DeviceStatus, StatusBase

from .configuration import AXES, FOCUS, AxisConfiguration, InstrumentConfiguration
from .envelope import WATCHED, Envelope, Span
from .optics import check_binning
from .states import SHUTTER_CLOSED
from .sweep import Note, Sweep


class Part(Device):
    """A device that says in short what it is.

    Bluesky writes out what each message is about; ophyd names every signal in it, which for a
    microscope takes longer than the message.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.prefix!r}, name={self.name!r})"


class Stage(Part):
    """The sample stage: `x`, `y`, `z` in micrometres on top of the rotation `theta` in degrees.

    The position (x, y, z) is the point of the sample, in its own frame, that sits on the
    rotation axis at the centre of the field: driving the stage to the centre of a particle
    puts that particle in the middle of the image at every angle.

    Calling the stage stages the microscope it belongs to. The name `stage` means two things
    here, the table under the sample and Bluesky's "get ready to acquire"; ophyd reserves it
    for the second, `Microscope.stage` answers to both.
    """

    # Parts are declared as Any: ophyd's Component has no type that a derived class may refine.
    x: Any
    y: Any
    z: Any
    theta: Any

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        # The component is called `sample_stage` (see above); its data keys say `stage`.
        super().__init__(prefix, name=name.replace("_sample_stage", "_stage"), **kwargs)

    def __call__(self) -> list[Any]:
        """Stage the microscope this stage belongs to (Bluesky's `Stageable`)."""
        owner = self.parent if self.parent is not None else self
        return Device.stage(owner)


class Camera(Part):
    """The camera: triggered, it takes one frame and appends it to the file of the run.

    Pixels go straight into an NXtomo HDF5 file; documents carry only where they are.
    """

    exposure_s: Any
    binning: Any
    image_key: Any
    frame_number: Any
    mean_counts: Any
    exposed: Any
    """Triggered right after the camera, done when the exposure ends and the readout starts:
    waiting for it lets the next move overlap the readout."""
    angle_deg: Any
    """Mean angle of the stage during the exposure of the last frame."""
    frame_exposure_s: Any
    """How long the last frame was exposed."""
    planned_angle_deg = Component(Note, value=math.nan, kind="omitted")
    angle_tolerance_deg = Component(Note, value=0.0, kind="omitted")
    """Where the next frame is to be taken: one that was taken elsewhere is spoiled. With a planned
    angle of NaN a frame may be taken anywhere."""

    def stage(self) -> list[Any]:
        """Get ready; frames may be taken anywhere until a plan says where."""
        self.planned_angle_deg.put(math.nan)
        return super().stage()

    def misplaced(self, angle_deg: float) -> str | None:
        """Say what is wrong with the angle of a frame; None if nothing is.

        A stage that turns while frames are taken may have been stopped, or may have been kept
        waiting for the camera.
        """
        planned: Any = self.planned_angle_deg.get()
        tolerance: Any = self.angle_tolerance_deg.get()
        if math.isnan(planned) or abs(angle_deg - planned) <= tolerance:
            return None
        return (
            f"it was taken at {angle_deg:.3f} deg instead of {planned:.3f} (allowed: +- "
            f"{tolerance:.3f}): the stage was stopped, or the camera was late"
        )


class Shutter(Part):
    """The beam shutter: `set("open")` or `set("closed")`."""

    state: Any
    told = SHUTTER_CLOSED
    """What it was last told to be: a shutter that is told to be open and is closed was closed by
    somebody else, such as an interlock."""

    def set(self, value: str) -> StatusBase:
        """Open or close; the status is done when the blade has arrived."""
        raise NotImplementedError


class Optics(Part):
    """Zone plate and magnification: constants, read once per descriptor, and the focus."""

    zone_plate_z: Any
    """The zone plate along the beam: what is in focus moves with it, downstream for larger values;
    0 is where the rotation axis is in focus on a well-aligned instrument."""

    energy_kev = Component(Signal, kind="config")
    outer_zone_width_nm = Component(Signal, kind="config")
    resolution_um = Component(Signal, kind="config")
    focal_length_um = Component(Signal, kind="config")
    depth_of_focus_um = Component(Signal, kind="config")
    unbinned_pixel_um = Component(Signal, kind="config")
    pixel_um = Component(Signal, kind="config")

    def apply(self, configuration: InstrumentConfiguration) -> None:
        """Take the constants of an instrument file."""
        energy_kev = configuration.source.energy_kev
        zone_plate = configuration.optics.zone_plate
        self._detector = configuration.camera.detector
        self.energy_kev.put(energy_kev)
        self.outer_zone_width_nm.put(zone_plate.outer_zone_width_nm)
        self.resolution_um.put(zone_plate.resolution_um)
        self.focal_length_um.put(zone_plate.focal_length_um(energy_kev))
        self.depth_of_focus_um.put(zone_plate.depth_of_focus_um(energy_kev))
        self.unbinned_pixel_um.put(self._detector.pixel_um)
        self.use_binning(1)

    def use_binning(self, binning: int) -> None:
        """Tell the optics how the camera bins, so that `pixel_um` is what a frame shows."""
        self.pixel_um.put(self._detector.binned_pixel_um(check_binning(binning)))


class Source(Part):
    """The X-ray source."""

    energy_kev: Any
    current: Any
    """Relative beam intensity, 1 when all is well."""
    lowest = Component(Signal, value=1.0, kind="normal")
    """Lowest intensity since the source was triggered: a beam that was away during a part of an
    exposure is back when the exposure ends."""

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.current.subscribe(self._current_changed, run=False)

    def _current_changed(self, value: Any, **_: Any) -> None:
        if value < self._lowest():
            self.lowest.put(float(value))

    def _lowest(self) -> float:
        lowest: Any = self.lowest.get()
        return lowest

    def trigger(self) -> DeviceStatus:
        """Begin to watch the intensity anew; done at once."""
        self.lowest.put(float(self.current.get()))
        status = DeviceStatus(self)
        status.set_finished()
        return status


class Environment(Part):
    """What is around the microscope: warm air moves its parts, and the image with them."""

    temperature_c: Any


def _span(axis: Any, limits: AxisConfiguration) -> Span:
    """Return everywhere an axis may be: on its way, or anywhere if nobody knows."""
    known = [v for v in (float(axis.position), float(axis.user_setpoint.get())) if v == v]
    return (min(known), max(known)) if known else (limits.low, limits.high)


class Microscope(Part):
    """A zone-plate X-ray microscope.

    Attributes
    ----------
    stage, camera, optics, source, shutter, environment
        The parts.
    sweep
        The flyer that turns the sample at constant velocity.
    configuration
        The instrument file it was made from: limits, field, timing.
    """

    sample_stage: Any
    camera: Any
    optics: Any
    source: Any
    shutter: Any
    environment: Any
    sweep = Component(Sweep, kind="omitted")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str = "microscope",
        configuration: InstrumentConfiguration,
        **kwargs: Any,
    ) -> None:
        self.configuration = configuration
        super().__init__(prefix, name=name, **kwargs)
        self.optics.apply(configuration)
        self.envelope = Envelope(configuration)

    @property
    def axes(self) -> dict[str, Any]:
        """Everything that moves, by its name in the instrument file."""
        return {
            name: getattr(self.optics if name == FOCUS else self.sample_stage, name)
            for name in AXES
        }

    def check_clearance(self, axis: Any, target: float) -> None:
        """Refuse to move an axis where parts of the microscope would come too near.

        Asked by every axis before it moves. The others are taken to be anywhere between where
        they are and where they were sent.

        Raises
        ------
        CollisionError
            If they would.
        """
        places = {name: _span(one, self.configuration.axis(name)) for name, one in self._watched()}
        if axis.attr_name not in places:
            return
        low, high = places[axis.attr_name]
        way = (min(low, target), max(high, target))
        self.envelope.check(
            {**places, axis.attr_name: way}, axis=axis.attr_name, target=target, start=low
        )

    def _watched(self) -> list[tuple[str, Any]]:
        axes = self.axes
        return [(name, axes[name]) for name in WATCHED]

    # ophyd reserves the attribute `stage` for the method of the Bluesky protocol; the Stage
    # device is callable and does that job too (docs/decisions/0001-microscope-stage.md).
    @property
    def stage(self) -> Stage:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The sample stage; calling it stages the microscope."""
        return self.sample_stage
