"""The camera over an areaDetector IOC: every frame that is missing is missed."""

# ophyd leaves its own signatures without types; what pyright infers for them is too narrow.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ophyd import (
    Component,
    EpicsSignal,
    EpicsSignalRO,
    Signal,
    do_not_wait_for_lazy_connection,
)
from ophyd.areadetector.cam import CamBase
from ophyd.areadetector.plugins import HDF5Plugin_V34, ImagePlugin_V34, StatsPlugin_V34

from .configuration import CameraConfiguration
from .epics_capture import FrameWriter, put
from .epics_frame import CameraNews, FrameInProgress
from .epics_names import Named
from .epics_signals import PairedSetting, Quantity, Setting
from .epics_status import EpicsStatus, Link, clock_of
from .errors import AcquisitionError, ConfigurationError
from .frame_documents import FrameDocuments, new_frame_file
from .microscope import Camera, Part
from .optics import check_binning
from .states import ImageKey
from .timing import timeout_s, warn_if_late

logger = logging.getLogger(__name__)

FRAME_TYPES = {ImageKey.PROJECTION: 0, ImageKey.DARK: 1, ImageKey.FLAT: 2, ImageKey.INVALID: 3}
"""What a kind of frame is called in `FrameType`: Normal, Background, FlatField, DblCorrelation."""

_IMAGE_KEYS = {number: int(key) for key, number in FRAME_TYPES.items()}

EPICS_EPOCH_S = 631152000
"""1990-01-01 in seconds since 1970: where areaDetector's time stamps begin."""

OPTIONAL_TIMEOUT_S = 2.0
"""How long to look for PVs that only our server has."""


class _Exposed(Part):
    """Triggers nothing: its status is done when the exposure in progress ends."""

    def trigger(self) -> EpicsStatus:
        """Return the status of the exposure in progress."""
        camera = self.parent
        assert isinstance(camera, EpicsCamera)
        return camera.exposure_status()


class FrameAngle(Signal):
    """The mean angle of the stage during an exposure.

    A server that latches the encoder says it (`cam1:Angle_RBV`); otherwise it is the mean of the
    readbacks when the frame was triggered and when its exposure ended.
    """

    def describe(self) -> dict[str, Any]:
        """Return the data key, with its unit."""
        description: dict[str, Any] = super().describe()
        description[self.name]["units"] = "deg"
        return description


class EpicsCamera(Camera):
    """The camera as a device.

    `trigger` takes a frame into the HDF5 file that `stage` named; the documents say where it is
    (`zoneplate.devices.frame_documents`). Unstaged, it takes frames without keeping them.
    """

    cam = Named(CamBase, "cam1:", kind="omitted")
    image1 = Named(ImagePlugin_V34, "image1:", kind="omitted")
    hdf1 = Named(HDF5Plugin_V34, "HDF1:", kind="omitted")
    stats1 = Named(StatsPlugin_V34, "Stats1:", kind="omitted")

    exposure_s = Named(
        Setting,
        "cam1:AcquireTime_RBV",
        write_pv="cam1:AcquireTime",
        units="s",
        kind="config",
    )
    binning = Named(
        PairedSetting,
        "cam1:BinX_RBV",
        write_pv="cam1:BinX",
        also_pv="cam1:BinY",
        add_prefix=("suffix", "write_pv", "also_pv"),
        kind="config",
    )
    image_key = Named(
        Setting,
        "cam1:FrameType_RBV",
        write_pv="cam1:FrameType",
        convert=_IMAGE_KEYS.__getitem__,
        invert=FRAME_TYPES.__getitem__,
        kind="config",
    )
    frame_number = Named(Quantity, "cam1:ArrayCounter_RBV", kind="normal")
    exposure_start_s = Named(
        Quantity,
        "image1:TimeStamp_RBV",
        convert=lambda stamp_s: stamp_s + EPICS_EPOCH_S,
        units="s",
        kind="normal",
    )
    mean_counts = Named(Quantity, "Stats1:MeanValue_RBV", units="counts", kind="hinted")
    maximum_counts = Named(
        Quantity, "Stats1:MaxValue_RBV", convert=int, units="counts", kind="normal"
    )
    angle_deg = Component(FrameAngle, value=0.0, kind="normal")
    frame_exposure_s = Named(Quantity, "cam1:AcquireTime_RBV", units="s", kind="normal")
    file_path = Component(Signal, value="", kind="omitted")
    exposed = Component(_Exposed, kind="omitted")
    invalid_frame = Named(EpicsSignal, "HDF1:InvalidFrame", kind="omitted", lazy=True)
    saturated_fraction = Named(
        EpicsSignalRO, "cam1:SaturatedFraction_RBV", kind="omitted", lazy=True
    )
    dead_rows = Named(EpicsSignalRO, "cam1:DeadRows_RBV", string=True, kind="omitted", lazy=True)
    angle_of_server = Named(EpicsSignalRO, "cam1:Angle_RBV", kind="omitted", lazy=True)

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        # We set what we need when staged, with deadlines, and check it.
        for part in (self.cam, self.image1, self.hdf1, self.stats1):
            part.stage_sigs.clear()
        self._lock = threading.RLock()
        self._news = CameraNews()
        self._frame: FrameInProgress | None = None
        self._losses = 0
        self._frames = FrameDocuments(self.image_name)
        self._writer = FrameWriter(self)
        self._link = Link(self.name, [self.frame_number, self.exposure_s])

    @property
    def image_name(self) -> str:
        """The data key of the frames."""
        return f"{self.name}_image"

    def configure_camera(
        self, configuration: CameraConfiguration, directory: Path, connection_timeout_s: float
    ) -> None:
        """Take the constants of an instrument file and follow what the camera does.

        Parameters
        ----------
        configuration
            Format, readout and exposure range.
        directory
            Folder for frames, under the same name here and where the file plugin runs.
        connection_timeout_s
            How long to wait for the PVs.
        """
        self._configuration, self._directory = configuration, directory
        self.exposure_s.allow = self._check_exposure
        self.binning.allow = self._check_binning
        cam, hdf1 = self.cam, self.hdf1
        self._hear(
            connection_timeout_s,
            counter=self.frame_number,
            captured=hdf1.num_captured,
            write_status=hdf1.write_status,
            state=cam.detector_state,
            acquiring=cam.acquire,
        )
        try:
            with do_not_wait_for_lazy_connection(self):
                optional = {
                    "saturated": self.saturated_fraction,
                    "dead_rows": self.dead_rows,
                    "angle_deg": self.angle_of_server,
                }
                invalid_frame = self.invalid_frame
            invalid_frame.wait_for_connection(timeout=OPTIONAL_TIMEOUT_S)
            self._hear(OPTIONAL_TIMEOUT_S, **optional)
            self._writer.can_mark = True
        except TimeoutError:
            logger.warning("%s cannot mark frames, nor say which are saturated", self.name)

    def _hear(self, connection_timeout_s: float, **signals: Any) -> None:
        """Keep the news of the camera up to date with these signals."""
        for name, signal in signals.items():
            signal.wait_for_connection(timeout=connection_timeout_s)
            setattr(self._news, name, signal.get())
            signal.subscribe(lambda value, key=name, **_: self._follow(key, value), run=False)

    def _follow(self, key: str, value: Any) -> None:
        with self._lock:
            setattr(self._news, key, value)
            frame = self._frame
            if frame is None or frame.status.done:
                return
            frame.follow(key)
            if frame.status.done and frame.status.success:
                for index in frame.copies:
                    logger.warning("a frame of %s was stored twice; one is used", self.name)
                    self._writer.mark_invalid(index)

    def _check_exposure(self, value: float) -> None:
        low, high = self._configuration.exposure_min_s, self._configuration.exposure_max_s
        if not low <= value <= high:
            raise ConfigurationError(
                f"exposure of {value:g} s is not possible: the camera exposes {low:g} to {high:g} s"
            )

    def _check_binning(self, value: int) -> None:
        binning, now = check_binning(value), int(self.binning.get())
        if self._frames.path is not None and binning != now and self._news.captured:
            raise ConfigurationError(
                f"binning cannot change to {binning} now: the open file holds frames of binning "
                f"{now}; change it before the camera is staged"
            )

    @property
    def _shape(self) -> tuple[int, int]:
        return self._configuration.detector.shape(int(self.binning.get()))

    # Staging

    def stage(self) -> list[Any]:
        """Name a new file and let the plugin open it.

        Raises
        ------
        ConfigurationError
            If the file plugin cannot write there.
        AcquisitionError
            If the server is gone.
        """
        self._link.check()
        clock = clock_of(self)
        path = new_frame_file(self._directory, clock.now() if clock is not None else time.time())
        with self._link.required():
            self._losses = self._link.losses
            self._writer.open(path)
        with self._lock:
            self._news.captured = 0
        self._frames.begin(path)
        self.file_path.put(str(path))
        return super().stage()

    def unstage(self) -> list[Any]:
        """Stop what is going on, close the file, and put the camera back as it was.

        Without a server there is nothing to close; that is logged, not raised, so that the rest
        of the clean-up happens.
        """
        if self._frames.path is not None:
            # A plan that ended for another reason has left this frame; failing its status now
            # would hide that reason behind this one.
            if self._frame is not None:
                self._frame.let_go()
            try:
                self._link.check()
                with self._link.required():
                    self._abort()
                    self._writer.close()
            except AcquisitionError as error:
                logger.warning("%s could not be unstaged: %s", self.name, error)
        self._frames.end()
        self.file_path.put("")
        return super().unstage()

    # Taking frames

    def trigger(self) -> EpicsStatus:
        """Take one frame; done when it is in the file.

        Raises
        ------
        AcquisitionError
            If a frame is in progress, or the server is gone or was restarted since staging.
        """
        self._link.check()
        if self._frames.path is not None and self._link.losses != self._losses:
            raise AcquisitionError(
                f"{self.name}: its EPICS server was restarted during the scan, and the file and "
                "the positions it had are gone: repeat the scan"
            )
        readout_s = self._configuration.readout_s[int(self.binning.get())]
        expected_s = float(self.exposure_s.get()) + readout_s
        patience_s = timeout_s(expected_s)
        late = f"{self.name} did not finish within {patience_s:.1f} s"
        with self._lock:
            if self._frame is not None and not self._frame.status.done:
                raise AcquisitionError(
                    "the camera was triggered while a frame is in progress: wait for it first"
                )
            self._discard_unannounced(self._news.captured)
            status = EpicsStatus(self, call_stop_on_failure=False)
            exposure = EpicsStatus(self, call_stop_on_failure=False)
            exposure.halfway = True
            frame = FrameInProgress(status, exposure, self._news, self._frames.path, self._judge)
            began_deg = self._theta_deg()
            exposure.add_callback(lambda _: self._estimate_angle(began_deg))
            began_s = self._now_s()
            status.add_callback(
                lambda _: warn_if_late(self.name, self._now_s() - began_s, expected_s)
            )
            for waiting in (status, exposure):
                waiting.guard(
                    self._link,
                    patience_s,
                    lambda: frame.give_up(f"{late}; check the camera, then take the frame again"),
                    clock_of(self),
                    f"{self.name} did not finish",
                )
            self._frame = frame
            self._frames.triggered(self._news.captured)
            with self._link.required():
                self.cam.acquire.put(1, wait=False, force=True)
        return status

    def _theta_deg(self) -> float:
        owner: Any = self.parent
        return float(owner.sample_stage.theta.position)

    def _estimate_angle(self, began_deg: float) -> None:
        if math.isnan(self._news.angle_deg):
            self.angle_deg.put((began_deg + self._theta_deg()) / 2)

    def _judge(self) -> str | None:
        """Say what is wrong with the place where the frame was taken."""
        if not math.isnan(self._news.angle_deg):
            self.angle_deg.put(self._news.angle_deg)
        angle_deg: Any = self.angle_deg.get()
        return self.misplaced(angle_deg)

    def _now_s(self) -> float:
        clock = clock_of(self)
        return clock.now() if clock is not None else time.monotonic()

    def exposure_status(self) -> EpicsStatus:
        """Return a status that is done when the exposure in progress ends.

        Raises
        ------
        AcquisitionError
            If the camera was not triggered.
        """
        if self._frame is None:
            raise AcquisitionError(
                f"{self.name} was not triggered: there is no exposure to wait for"
            )
        return self._frame.exposure

    def stop(self, *, success: bool = False) -> None:
        """Throw away the frame in progress.

        Raises
        ------
        AcquisitionError
            If the server is gone.
        """
        self._link.check()
        if self._frame is not None:
            self._frame.fail(
                f"{self.name} was stopped: the frame in progress is lost; take it again"
            )
        with self._link.required():
            self._abort()

    def _abort(self) -> None:
        if self._news.acquiring:
            put(self.cam.acquire, 0)
        if self._frames.path is not None:
            self._discard_unannounced(int(self.hdf1.num_captured.get(use_monitor=False)))

    def pause(self) -> None:
        """Throw away the frame in progress; it is taken again after the pause.

        Its statuses end well: a failure would reach the plan after the pause, which replays the
        trigger and knows nothing of the frame that was thrown away.
        """
        self._link.check()
        if self._frame is not None:
            self._frame.let_go()
        with self._link.required():
            self._abort()

    def resume(self) -> None:
        """Go on after a pause."""

    def _discard_unannounced(self, stored: int) -> None:
        """Mark a stored frame that no event speaks of: a pause or an error came in between."""
        index = self._frames.forget()
        if index is not None and index < stored:
            self._writer.mark_invalid(index)

    # Documents

    def read(self) -> dict[str, Any]:
        """Return the readings.

        Raises
        ------
        AcquisitionError
            If the server is gone.
        """
        with self._link.required():
            reading: Any = super().read()
            return reading

    def describe(self) -> dict[str, Any]:
        """Describe the scalars, and the frames when they are kept."""
        with self._link.required():
            scalars: Any = super().describe()
            return scalars | self._frames.describe(self._shape)

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Announce the frame taken since the last call."""
        yield from self._frames.announce(image_key=int(self.image_key.get()), shape=self._shape)
