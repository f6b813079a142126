"""The microscope over EPICS: the same tree, names, kinds and units as the one in process."""

# ophyd leaves its own signatures without types; what pyright infers for them is too narrow.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ophyd import Component, Signal

from .configuration import AXES, InstrumentConfiguration, ShutterWords
from .epics_axis import EpicsAxis
from .epics_camera import EpicsCamera
from .epics_clock import EpicsClock
from .epics_names import Constant, Named
from .epics_signals import Quantity, Setting
from .epics_status import Link, SettingStatus
from .errors import AcquisitionError, ConfigurationError
from .microscope import Environment, Microscope, Optics, Shutter, Source, Stage
from .states import SHUTTER_CLOSED, SHUTTER_OPEN
from .timing import timeout_s

logger = logging.getLogger(__name__)

CONNECTION_TIMEOUT_S = 10.0
SECOND_TRY_S = 2.0


class EpicsStage(Stage):
    """The stage over four motor records."""

    x = Named(EpicsAxis, "X", kind="hinted")
    y = Named(EpicsAxis, "Y", kind="hinted")
    z = Named(EpicsAxis, "Z", kind="hinted")
    theta = Named(EpicsAxis, "Theta", kind="hinted")


class EpicsOptics(Optics):
    """The optics: constants of the instrument file, and the motor record of the focus."""

    zone_plate_z = Named(EpicsAxis, "ZonePlateZ", kind="normal")


class EpicsShutter(Shutter):
    """The shutter as a device."""

    state = Named(
        Setting,
        "State_RBV",
        write_pv="Command",
        string=True,
        advice="check the shutter and its supply",
        takes_time=True,
        kind="normal",
    )
    travel_s = Component(Signal, value=0.0, kind="omitted")

    def use_words(self, words: ShutterWords) -> None:
        """Call the two positions what the records call them."""
        theirs = {SHUTTER_OPEN: words.open, SHUTTER_CLOSED: words.closed}
        ours = {word: position for position, word in theirs.items()}
        # In between it is neither: said as the record says it.
        self.state.translate(lambda word: ours.get(word, word), theirs.__getitem__)

    def check_value(self, value: str) -> None:
        """Refuse anything but the two positions a shutter has.

        Raises
        ------
        ConfigurationError
            If `value` is neither.
        """
        if value not in (SHUTTER_OPEN, SHUTTER_CLOSED):
            raise ConfigurationError(
                f"{self.name} cannot be set to {value!r}: use {SHUTTER_OPEN!r} or "
                f"{SHUTTER_CLOSED!r}"
            )

    def _travel_s(self) -> float:
        travel_s: Any = self.travel_s.get()
        return travel_s

    def set(self, value: str, **kwargs: Any) -> SettingStatus:
        """Open or close; the status is done when the blade has arrived."""
        self.check_value(value)
        self.told = value
        return self.state.set(value, patience_s=timeout_s(self._travel_s()))


class EpicsSource(Source):
    """The source as a device."""

    energy_kev = Named(Quantity, "Energy_RBV", units="keV", kind="config")
    current = Named(Setting, "Current", kind="normal")


class EpicsEnvironment(Environment):
    """The air around the microscope."""

    temperature_c = Named(Quantity, "Temperature_RBV", units="degC", kind="normal")


class EpicsMicroscope(Microscope):
    """A microscope behind EPICS.

    Make it with `epics_microscope`, which connects it too.

    Attributes
    ----------
    clock
        The instrument clock, if the instrument is simulated; None for a real one.
    """

    sample_stage = Named(EpicsStage, "Stage:")
    camera = Named(EpicsCamera, "")
    optics = Named(EpicsOptics, "Optics:", kind="config")
    source = Named(EpicsSource, "Source:")
    shutter = Named(EpicsShutter, "Shutter:")
    environment = Named(EpicsEnvironment, "Environment:")

    clock: EpicsClock | None = None

    def connect(self, directory: Path, timeout_s: float = CONNECTION_TIMEOUT_S) -> None:
        """Wait for the PVs and take the constants of the instrument file.

        Parameters
        ----------
        directory
            Folder for frames, under the same name here and where the file plugin runs.
        timeout_s
            How long to wait.

        Raises
        ------
        AcquisitionError
            If the server does not answer.
        """
        try:
            self._wait_for_all(timeout_s)
            self.camera.configure_camera(self.configuration.camera, directory, timeout_s)
            if self.clock is not None:
                self.clock.wait_for_connection(timeout=timeout_s)
        except TimeoutError as error:
            raise AcquisitionError(
                f"the EPICS server of {self.prefix!r} does not answer: start it, or check the "
                f"prefix and EPICS_CA_ADDR_LIST ({error})"
            ) from error
        for name in AXES:
            axis: EpicsAxis = self.axes[name]
            axis.configure_axis(self.configuration.axis(name))
        self._stand_in()
        self.shutter.told = self.shutter.state.get()
        self.shutter.travel_s.put(self.configuration.shutter.travel_s)
        self.camera.binning.subscribe(
            lambda value, **_: self.optics.use_binning(int(value)), run=True
        )

    def _wait_for_all(self, timeout_s: float) -> None:
        """Wait for all PVs, and ask for each that is late once more.

        ophyd asks for what is known about a PV once, in the background, and among a thousand on a
        busy computer an answer is lost now and then.
        """
        try:
            self.wait_for_connection(timeout=timeout_s)
        except TimeoutError as error:
            late = [walk.item for walk in self.walk_signals() if not walk.item.connected]
            for signal in late:
                try:
                    signal.wait_for_connection(timeout=SECOND_TRY_S)
                except TimeoutError:
                    raise error from None
            logger.warning("%d PVs answered late: %s", len(late), late[0].name)

    def _stand_in(self) -> None:
        """Let the file speak for what the instrument does not have, or calls otherwise."""
        configuration = self.configuration
        air = configuration.environment
        for signal, value in (
            (self.source.energy_kev, configuration.source.energy_kev),
            (self.source.current, 1.0),
            (self.environment.temperature_c, air.temperature_c if air is not None else 0.0),
        ):
            if isinstance(signal, Constant):
                signal.put(value)
        if configuration.epics is not None:
            self.shutter.use_words(configuration.epics.shutter_words)

    def destroy(self) -> None:
        """Let go of all channels, those of the clock as well.

        libca looks ever more seldom for channels that are left behind, and for whoever asks for
        the same names again.
        """
        super().destroy()
        if self.clock is not None:
            self.clock.close()

    @property
    def link(self) -> Link:
        """The connection to the server of the camera."""
        return self.camera._link


def epics_microscope(
    prefix: str,
    *,
    directory: str | Path,
    configuration: InstrumentConfiguration | None = None,
    simulated: bool = False,
    name: str = "microscope",
    timeout_s: float = CONNECTION_TIMEOUT_S,
) -> EpicsMicroscope:
    """Return a connected microscope.

    Parameters
    ----------
    prefix
        Begin of its PV names, such as `"ZP:"`.
    directory
        Folder for frames, under the same name here and where the file plugin runs.
    configuration
        The instrument file; the one that ships with zoneplate if None. Its section `[epics]` may
        give other names for some PVs; `prefix` counts, not the one there.
    simulated
        Whether the server is the simulated microscope, whose clock is to be led.
    name
        Name of the device, prefix of its data keys.
    timeout_s
        How long to wait for the connection.

    Raises
    ------
    AcquisitionError
        If the server does not answer.

    Examples
    --------
    ::

        port, beacon_port = use_simulated_servers()
        server = ServerProcess(port=port, beacon_port=beacon_port, directory=folder)
        microscope = epics_microscope("ZP:", directory=folder, simulated=True)
        attach(RE, microscope.clock)
    """
    microscope = EpicsMicroscope(
        prefix, name=name, configuration=configuration or InstrumentConfiguration.load()
    )
    if simulated:
        microscope.clock = EpicsClock(f"{prefix}Clock:", name=f"{name}_clock")
    try:
        microscope.connect(Path(directory), timeout_s)
    except AcquisitionError:
        microscope.destroy()
        raise
    return microscope
