"""The camera over an areaDetector IOC: every frame that is missing is missed.

areaDetector and ophyd together report a dropped frame, a failed file write and a restarted IOC
as success. This camera counts: one trigger is one frame from the driver, one frame in the
file, and no write error, or the trigger fails and says which.
"""

# ophyd leaves its own signatures without types; what pyright infers for them is too narrow.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ophyd import Component, Device, EpicsSignal, Signal
from ophyd.areadetector.cam import CamBase
from ophyd.areadetector.plugins import HDF5Plugin_V34, ImagePlugin_V34, StatsPlugin_V34

from .configuration import CameraConfiguration
from .epics_signals import PairedSetting, Quantity, Setting
from .epics_status import EpicsStatus, Link, clock_of
from .errors import AcquisitionError, ConfigurationError
from .frame_documents import FrameDocuments, new_frame_file
from .microscope import Camera, ImageKey
from .optics import check_binning
from .timing import timeout_s

logger = logging.getLogger(__name__)

ACQUIRING = 1
"""`DetectorState_RBV` while light is being collected."""

FRAME_TYPES = {ImageKey.PROJECTION: 0, ImageKey.DARK: 1, ImageKey.FLAT: 2, ImageKey.INVALID: 3}
"""What a kind of frame is called in `FrameType`: Normal, Background, FlatField, DblCorrelation."""

_IMAGE_KEYS = {number: int(key) for key, number in FRAME_TYPES.items()}

EPICS_EPOCH_S = 631152000
"""1990-01-01 in seconds since 1970: where areaDetector's time stamps begin."""

LATE_AFTER_S = 2.0
"""A frame that is not in the file so long after the camera is idle was dropped."""

PUT_TIMEOUT_S = 10.0

CREATE_LEVELS = -3
"""Folders that the file plugin may create above the file."""

STREAM = 2
"""File write mode in which one file takes any number of frames."""


class _Exposed(Device):
    """Triggers nothing: its status is done when the exposure in progress ends."""

    def trigger(self) -> EpicsStatus:
        """Return the status of the exposure in progress."""
        camera = self.parent
        assert isinstance(camera, EpicsCamera)
        return camera.exposure_status()


class _Frame:
    """One frame on its way from the trigger to the file."""

    def __init__(self, status: EpicsStatus, exposure: EpicsStatus, before: dict[str, Any]) -> None:
        self.status, self.exposure, self.before = status, exposure, before
        self.started = self.ended = False


class EpicsCamera(Camera):
    """The camera as a device.

    `trigger` takes a frame into the HDF5 file that `stage` named; the documents say where it is
    (`zoneplate.devices.frame_documents`). Unstaged, it takes frames without keeping them.
    """

    cam = Component(CamBase, "cam1:", kind="omitted")
    image1 = Component(ImagePlugin_V34, "image1:", kind="omitted")
    hdf1 = Component(HDF5Plugin_V34, "HDF1:", kind="omitted")
    stats1 = Component(StatsPlugin_V34, "Stats1:", kind="omitted")

    exposure_s = Component(
        Setting,
        "cam1:AcquireTime_RBV",
        write_pv="cam1:AcquireTime",
        units="s",
        kind="config",
    )
    binning = Component(
        PairedSetting,
        "cam1:BinX_RBV",
        write_pv="cam1:BinX",
        also_pv="cam1:BinY",
        add_prefix=("suffix", "write_pv", "also_pv"),
        kind="config",
    )
    image_key = Component(
        Setting,
        "cam1:FrameType_RBV",
        write_pv="cam1:FrameType",
        convert=_IMAGE_KEYS.__getitem__,
        invert=FRAME_TYPES.__getitem__,
        kind="config",
    )
    frame_number = Component(Quantity, "cam1:ArrayCounter_RBV", kind="normal")
    exposure_start_s = Component(
        Quantity,
        "image1:TimeStamp_RBV",
        convert=lambda stamp_s: stamp_s + EPICS_EPOCH_S,
        units="s",
        kind="normal",
    )
    mean_counts = Component(Quantity, "Stats1:MeanValue_RBV", units="counts", kind="hinted")
    maximum_counts = Component(
        Quantity, "Stats1:MaxValue_RBV", convert=int, units="counts", kind="normal"
    )
    file_path = Component(Signal, value="", kind="omitted")
    exposed = Component(_Exposed, kind="omitted")
    invalid_frame = Component(EpicsSignal, "HDF1:InvalidFrame", kind="omitted", lazy=True)

    def __init__(self, prefix: str = "", *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        # We set what we need when staged, with deadlines, and check it.
        for part in (self.cam, self.image1, self.hdf1, self.stats1):
            part.stage_sigs.clear()
        self._lock = threading.RLock()
        self._latest: dict[str, Any] = {}
        self._frame: _Frame | None = None
        self._losses = 0
        self._restore: list[tuple[Any, Any]] = []
        self._frames = FrameDocuments(self.image_name)
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
        for name, signal in (
            ("counter", cam.array_counter),
            ("captured", hdf1.num_captured),
            ("write_status", hdf1.write_status),
            ("state", cam.detector_state),
            ("acquiring", cam.acquire),
        ):
            signal.wait_for_connection(timeout=connection_timeout_s)
            self._latest[name] = signal.get()
            signal.subscribe(lambda value, key=name, **_: self._follow(key, value), run=False)

    def _check_exposure(self, value: float) -> None:
        low, high = self._configuration.exposure_min_s, self._configuration.exposure_max_s
        if not low <= value <= high:
            raise ConfigurationError(
                f"exposure of {value:g} s is not possible: the camera exposes {low:g} to {high:g} s"
            )

    def _check_binning(self, value: int) -> None:
        binning = check_binning(value)
        if self._frames.path is not None and binning != self.binning.get() and self._captured:
            raise ConfigurationError(
                f"binning cannot change to {binning} now: the open file holds frames of binning "
                f"{self.binning.get()}; change it before the camera is staged"
            )

    @property
    def _captured(self) -> int:
        """Frames in the open file, as far as we have heard."""
        return self._latest["captured"]

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
        clock: Any = clock_of(self)
        path = new_frame_file(self._directory, clock.now() if clock is not None else time.time())
        with self._link.required():
            self._losses = self._link.losses
            self._remember_and_put(
                (self.cam.acquire, 0),
                (self.cam.image_mode, 0),
                (self.cam.num_images, 1),
                (self.cam.trigger_mode, 0),
                (self.cam.array_callbacks, 1),
            )
            hdf1 = self.hdf1
            for signal, value in (
                (self.stats1.enable, 1),
                (self.image1.enable, 1),
                (hdf1.enable, 1),
                (hdf1.capture, 0),
                (hdf1.create_directory, CREATE_LEVELS),
                (hdf1.file_path, f"{path.parent}/"),
                (hdf1.file_name, path.stem),
                (hdf1.file_template, f"%s%s{path.suffix}"),
                (hdf1.auto_increment, 0),
                (hdf1.file_write_mode, STREAM),
                (hdf1.num_capture, 0),
                (hdf1.lazy_open, 1),
                (hdf1.swmr_mode, 1),
                (hdf1.capture, 1),
            ):
                self._put(signal, value)
            self._check_file(path)
        self._latest["captured"] = 0
        self._frames.begin(path)
        self.file_path.put(str(path))
        return super().stage()

    def _check_file(self, path: Path) -> None:
        hdf1 = self.hdf1
        capturing = hdf1.capture.get(use_monitor=False)
        name = hdf1.full_file_name.get(use_monitor=False)
        if capturing and Path(name) == path:
            return
        message = hdf1.write_message.get(use_monitor=False) or f"the plugin would write {name!r}"
        raise ConfigurationError(
            f"frames cannot be written to {path.parent}: {message}; choose another folder or "
            "free it"
        )

    def _remember_and_put(self, *settings: tuple[Any, Any]) -> None:
        """Put values that unstaging puts back."""
        self._restore = [(signal, signal.get(use_monitor=False)) for signal, _ in settings]
        for signal, value in settings:
            self._put(signal, value)

    def _put(self, signal: Any, value: Any) -> None:
        signal.put(value, use_complete=True, wait=True, timeout=PUT_TIMEOUT_S, force=True)

    def unstage(self) -> list[Any]:
        """Stop what is going on, close the file, and put the camera back as it was.

        Without a server there is nothing to close; that is logged, not raised, so that the rest
        of the clean-up happens.
        """
        if self._frames.path is not None:
            self._fail("was unstaged")
            try:
                self._link.check()
                with self._link.required():
                    self._abort()
                    self._put(self.hdf1.capture, 0)
                    for signal, value in self._restore[1:]:
                        self._put(signal, value)
            except AcquisitionError:
                logger.exception("%s could not be unstaged", self.name)
        self._restore = []
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
        patience_s = timeout_s(
            self.exposure_s.get() + self._configuration.readout_s[int(self.binning.get())]
        )
        with self._lock:
            if self._frame is not None and not self._frame.status.done:
                raise AcquisitionError(
                    "the camera was triggered while a frame is in progress: wait for it first"
                )
            self._discard_unannounced(self._captured)
            status = EpicsStatus(self, call_stop_on_failure=False)
            exposure = EpicsStatus(self, call_stop_on_failure=False)
            frame = self._frame = _Frame(status, exposure, dict(self._latest))
            for waiting in (status, exposure):
                waiting.guard(self._link, patience_s, lambda: self._give_up(frame), clock_of(self))
            self._frames.triggered(self._captured)
            with self._link.required():
                self.cam.acquire.put(1, wait=False, force=True)
        return status

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

    def _follow(self, key: str, value: Any) -> None:
        """Take note of what the camera says; the frame is over when everything is there."""
        with self._lock:
            self._latest[key] = value
            frame = self._frame
            if frame is None or frame.status.done:
                return
            if key == "acquiring":
                frame.started = frame.started or bool(value)
                frame.ended = frame.started and not value
            if frame.started and (frame.ended or self._latest["state"] != ACQUIRING):
                self._exposure_over(frame, key)
            if not frame.ended:
                return
            if self._complaint(frame) is None:
                frame.status.succeed()
            elif key == "acquiring":
                # Plugins have threads of their own: the file may be a moment behind.
                frame.status.hurry(LATE_AFTER_S)

    def _exposure_over(self, frame: _Frame, key: str) -> None:
        # The state before ours is old news: only what came after the start of the frame counts.
        if key == "state" or frame.ended:
            frame.exposure.succeed()

    def _complaint(self, frame: _Frame) -> str | None:
        """Return what is wrong with a frame that has ended; None if nothing is."""
        before, latest = frame.before, self._latest
        frames = latest["counter"] - before["counter"]
        if frames != 1:
            return f"took {frames} frames instead of one"
        if self._frames.path is None:
            return None
        stored = latest["captured"] - before["captured"]
        if latest["write_status"]:
            return f"has a frame that could not be written to {self._frames.path}"
        if stored != 1:
            return f"has a frame that is not in {self._frames.path} ({stored} arrived)"
        return None

    def _give_up(self, frame: _Frame) -> None:
        what = self._complaint(frame) if frame.ended else None
        self._fail(what or "did not finish in time")

    def stop(self, *, success: bool = False) -> None:
        """Throw away the frame in progress.

        Raises
        ------
        AcquisitionError
            If the server is gone.
        """
        self._link.check()
        self._fail("was stopped")
        with self._link.required():
            self._abort()

    def _abort(self) -> None:
        if self._latest["acquiring"]:
            self._put(self.cam.acquire, 0)
        if self._frames.path is not None:
            self._discard_unannounced(int(self.hdf1.num_captured.get(use_monitor=False)))

    def pause(self) -> None:
        """Throw away the frame in progress; it is taken again after the pause."""
        self.stop()

    def resume(self) -> None:
        """Go on after a pause."""

    def _fail(self, what: str) -> None:
        frame = self._frame
        if frame is not None:
            for status in (frame.status, frame.exposure):
                status.fail(
                    f"{self.name} {what}: the frame in progress is lost; check the camera and "
                    "the disk of its server, then take it again"
                )

    def _discard_unannounced(self, stored: int) -> None:
        """Mark a stored frame that no event speaks of: a pause or an error came in between."""
        index = self._frames.forget()
        if index is None or index >= stored:
            return
        try:
            self._put(self.invalid_frame, index)
        except (TimeoutError, ConnectionError):
            logger.warning(
                "Frame %d of %s belongs to no event and could not be marked invalid",
                index,
                self._frames.path,
            )

    # Documents

    def read(self) -> dict[str, Any]:
        """Return the readings.

        Raises
        ------
        AcquisitionError
            If the server is gone.
        """
        with self._link.required():
            return super().read()

    def describe(self) -> dict[str, Any]:
        """Describe the scalars, and the frames when they are kept."""
        with self._link.required():
            return super().describe() | self._frames.describe(self._shape)

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Announce the frame taken since the last call."""
        yield from self._frames.announce(image_key=int(self.image_key.get()), shape=self._shape)
