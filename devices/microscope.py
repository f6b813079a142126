"""The device tree that plans and users see, whichever face of the instrument is behind it.

The classes here name the parts, say what they are, and hold what does not depend on how the
hardware is reached. The in-process simulator and the EPICS devices derive from them with real
components, so a plan written for `Microscope` runs on both.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from ophyd import Component, Device, Signal
from ophyd.status import StatusBase

from .configuration import InstrumentConfiguration
from .optics import check_binning


class ImageKey(IntEnum):
    """What a frame is, with the codes of the NeXus application definition NXtomo."""

    PROJECTION = 0
    FLAT = 1
    DARK = 2
    INVALID = 3


SHUTTER_OPEN = "open"
SHUTTER_CLOSED = "closed"


class Stage(Device):
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


class Camera(Device):
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


class Shutter(Device):
    """The beam shutter: `set("open")` or `set("closed")`."""

    state: Any

    def set(self, value: str) -> StatusBase:
        """Open or close; the status is done when the blade has arrived."""
        raise NotImplementedError


class Optics(Device):
    """Zone plate and magnification: constants of the run, read once per descriptor."""

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


class Source(Device):
    """The X-ray source."""

    energy_kev: Any
    current: Any
    """Relative beam intensity, 1 when all is well; what a beam-loss suspender watches."""


class Microscope(Device):
    """A zone-plate X-ray microscope.

    Attributes
    ----------
    stage, camera, optics, source, shutter
        The parts.
    configuration
        The instrument file it was made from: limits, field, timing.
    """

    sample_stage: Any
    camera: Any
    optics: Any
    source: Any
    shutter: Any

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

    # ophyd reserves the attribute `stage` for the method of the Bluesky protocol; the Stage
    # device is callable and does that job too (docs/decisions/0001-microscope-stage.md).
    @property
    def stage(self) -> Stage:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The sample stage; calling it stages the microscope."""
        return self.sample_stage
