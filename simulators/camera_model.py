"""The camera of the instrument model: exposure, readout, and the file its frames go into."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zoneplate.devices.configuration import CameraConfiguration
from zoneplate.devices.errors import AcquisitionError, ConfigurationError
from zoneplate.devices.optics import check_binning
from zoneplate.devices.states import ImageKey

from .clock import Event, VirtualClock
from .faults import FaultBus
from .frame_file import FrameFile, FrameRecord

Pose = tuple[float, float, float, float]
"""x, y, z in um and theta in degrees."""


class Scene(Protocol):
    """What the camera looks at."""

    def pose(self, exposure_s: float) -> Pose:
        """Return what the encoders read on average during an exposure that is half over now."""
        ...

    def expect_frame(self, exposure_s: float, binning: int, number: int) -> None:
        """Take note that an exposure begins now."""
        ...

    def frame(self, exposure_s: float, binning: int, number: int) -> NDArray[np.uint16]:
        """Return what the camera records of an exposure that is half over now."""
        ...


class CameraModel:
    """A camera that takes one frame at a time.

    Parameters
    ----------
    configuration
        Format, readout and exposure range.
    scene
        What it looks at.
    clock
        The instrument clock.
    new_file
        Creates the file for frames of a given path and binning.
    faults
        What may go wrong.

    Attributes
    ----------
    mean_counts, maximum_counts, saturated_fraction, dead_rows
        Of the last frame: mean and maximum, share of pixels at full well, rows that read nothing.
    last_frame
        The last frame that was read out.
    angle_deg, frame_exposure_s
        Mean angle of the stage during its exposure, and how long that was.
    """

    def __init__(
        self,
        configuration: CameraConfiguration,
        scene: Scene,
        clock: VirtualClock,
        new_file: Callable[[Path, int], FrameFile],
        faults: FaultBus,
    ) -> None:
        self._faults = faults
        self.saturated_fraction = 0.0
        self.dead_rows: list[int] = []
        self.last_frame: NDArray[np.uint16] | None = None
        self.configuration = configuration
        self.exposure_s = 1.0
        self.binning = 8
        self.image_key = ImageKey.PROJECTION
        self.frame_number = 0
        self.mean_counts = 0.0
        self.maximum_counts = 0
        self.angle_deg = self.frame_exposure_s = 0.0
        self.exposure_start_s = clock.now()
        self.file: FrameFile | None = None
        self._path: Path | None = None
        self._file_binning = 0
        self._scene = scene
        self._clock = clock
        self._new_file = new_file
        self._pending: list[Event] = []

    @property
    def busy(self) -> bool:
        """Whether a frame is being exposed or read out."""
        return bool(self._pending)

    @property
    def free_s(self) -> float:
        """Instrument time from which on the camera can take a frame."""
        return self._pending[-1].due_s if self._pending else self._clock.now()

    @property
    def readout_s(self) -> float:
        """Readout time at the current binning."""
        return self.configuration.readout_s[self.binning]

    def set_exposure_s(self, value: float) -> None:
        """Set the exposure time.

        Raises
        ------
        ConfigurationError
            If it is outside what the camera can do.
        """
        low, high = self.configuration.exposure_min_s, self.configuration.exposure_max_s
        if not low <= value <= high:
            raise ConfigurationError(
                f"exposure of {value:g} s is not possible: the camera exposes {low:g} to {high:g} s"
            )
        self.exposure_s = float(value)

    def set_binning(self, value: int) -> None:
        """Set the on-chip binning.

        Raises
        ------
        ConfigurationError
            If the camera cannot bin so, or frames of another binning are in the open file.
        """
        binning = check_binning(value)
        if self.file is not None and binning != self._file_binning:
            raise ConfigurationError(
                f"binning cannot change to {binning} now: the open file holds frames of binning "
                f"{self._file_binning}; change it before the camera is staged"
            )
        self.binning = binning

    def set_image_key(self, value: int) -> None:
        """Say what the next frames are (0 projection, 1 flat, 2 dark)."""
        self.image_key = ImageKey(value)

    def arm(self, path: Path) -> None:
        """Name the file for the frames to come; it is created with the first of them.

        Raises
        ------
        ConfigurationError
            If the folder cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            probe = path.with_suffix(".probe")
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"frames cannot be written to {path.parent}: {error.strerror}; choose another "
                "folder or free it"
            ) from error
        self._path = path

    def disarm(self) -> None:
        """Stop what is going on and close the file."""
        self.abort()
        if self.file is not None:
            self.file.close()
        self.file = self._path = None

    def abort(self) -> None:
        """Throw away the frame in progress."""
        for event in self._pending:
            event.cancel()
        self._pending.clear()

    def acquire(
        self, exposed: Callable[[], None], done: Callable[[Exception | None], None]
    ) -> None:
        """Take one frame: `exposed` is called when the light is in, `done` when it is stored.

        Raises
        ------
        AcquisitionError
            If a frame is in progress.
        """
        if self.busy:
            raise AcquisitionError(
                "the camera was triggered while a frame is in progress: wait for it first"
            )
        start_s = self._clock.now()
        exposure_s, key, binning = self.exposure_s, self.image_key, self.binning
        self.frame_number += 1
        number = self.frame_number
        taken: list[tuple[NDArray[np.uint16], Pose]] = []

        def middle() -> None:
            pose = self._scene.pose(exposure_s)
            taken.append((self._scene.frame(exposure_s, binning, number), pose))

        def end() -> None:
            exposed()

        def read_out() -> None:
            self._pending.clear()
            frame, pose = taken[0]
            self.angle_deg, self.frame_exposure_s = pose[3], exposure_s
            try:
                self._store(
                    frame, FrameRecord(int(key), pose[3], *pose[:3], exposure_s, start_s, number)
                )
            except Exception as error:  # noqa: BLE001 - whoever waits for the frame must hear of it
                done(error)
            else:
                self.exposure_start_s = start_s
                done(None)

        delays = (self._faults.fires(what, frame=number) for what in ("frame_late", "slow_disk"))
        readout_s = self.readout_s + sum(delay.magnitude for delay in delays if delay is not None)
        self._scene.expect_frame(exposure_s, binning, number)
        self._pending = [
            self._clock.call_later(exposure_s / 2, middle),
            self._clock.call_later(exposure_s, end),
            self._clock.call_later(exposure_s + readout_s, read_out),
        ]

    def _store(self, frame: NDArray[np.uint16], record: FrameRecord) -> None:
        number = record.number
        if self._faults.fires("frame_saturated", frame=number):
            frame = np.full_like(frame, np.iinfo(frame.dtype).max)
        if self._faults.fires("dead_row", frame=number):
            frame = frame.copy()
            frame[len(frame) // 2] = 0
        self.last_frame = frame
        self.mean_counts = float(frame.mean())
        self.maximum_counts = int(frame.max())
        self.saturated_fraction = float((frame >= self.configuration.full_well_adu).mean())
        # The offset of the camera keeps a living row above zero, dark or not.
        self.dead_rows = [int(row) for row in np.flatnonzero(frame.max(axis=1) == 0)]
        if self._path is None:
            return
        copies = 1
        if self._faults.fires("frame_dropped", frame=number):
            copies = 0
        elif self._faults.fires("frame_duplicated", frame=number):
            copies = 2
        if self.file is None:
            self.file = self._new_file(self._path, self.binning)
            self._file_binning = self.binning
        try:
            if self._faults.fires("disk_full", frame=number):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            for _ in range(copies):
                self.file.append(frame, record)
        except OSError as error:
            raise AcquisitionError(
                f"frame {record.number} could not be written to {self._path}: {error}; check the "
                "disk, then repeat the scan"
            ) from error
