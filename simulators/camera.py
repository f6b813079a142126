"""The in-process camera device: triggers the camera model and announces its frames."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ophyd import Component, Device

from zoneplate.devices.errors import AcquisitionError
from zoneplate.devices.microscope import Camera, ImageKey
from zoneplate.devices.timing import timeout_s

from .camera_model import CameraModel
from .clock import VirtualClock
from .frame_file import DATA_PATH
from .signals import InstrumentStatus, ModelSignal


class _Exposed(Device):
    """Triggers nothing: its status is done when the exposure in progress ends."""

    def trigger(self) -> InstrumentStatus:
        """Return the status of the exposure in progress."""
        camera = self.parent
        assert isinstance(camera, SimulatedCamera)
        return camera.exposure_status()


class SimulatedCamera(Camera):
    """The camera as a device.

    `trigger` takes a frame into the HDF5 file that `stage` named; the documents get a
    `stream_resource` per uninterrupted block of frames (a view of the one file that begins at
    the block's first frame) and a `stream_datum` per event. Unstaged, it takes frames without
    keeping them: good for looking, not for measuring.
    """

    exposure_s = Component(ModelSignal, kind="config", units="s")
    binning = Component(ModelSignal, kind="config")
    image_key = Component(ModelSignal, kind="config")
    frame_number = Component(ModelSignal, kind="normal")
    exposure_start_s = Component(ModelSignal, kind="normal", units="s")
    mean_counts = Component(ModelSignal, kind="hinted", units="counts")
    maximum_counts = Component(ModelSignal, kind="normal", units="counts")
    file_path = Component(ModelSignal, kind="omitted")
    exposed = Component(_Exposed, kind="omitted")

    def bind(self, clock: VirtualClock, model: CameraModel, directory: Path) -> None:
        """Connect the device to its model; frames go below `directory`."""
        self._clock, self._model, self._directory = clock, model, directory
        self.exposure_s.bind(clock, lambda: model.exposure_s, model.set_exposure_s)
        self.binning.bind(clock, lambda: model.binning, model.set_binning)
        self.image_key.bind(clock, lambda: int(model.image_key), model.set_image_key)
        self.frame_number.bind(clock, lambda: model.frame_number)
        self.exposure_start_s.bind(clock, lambda: model.exposure_start_s)
        self.mean_counts.bind(clock, lambda: model.mean_counts)
        self.maximum_counts.bind(clock, lambda: model.maximum_counts)
        self.file_path.bind(clock, lambda: str(self._path or ""))
        self._path: Path | None = None
        self._status: InstrumentStatus | None = None
        self._exposure: InstrumentStatus | None = None
        self._end_block()

    @property
    def image_name(self) -> str:
        """The data key of the frames."""
        return f"{self.name}_image"

    def stage(self) -> list[Any]:
        """Name a new file; refuses if its folder cannot be written."""
        now = datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC)
        folder = self._directory / now.strftime("%Y-%m-%d")
        path = folder / f"{now:%Y%m%dT%H%M%S}_{uuid.uuid4().hex[:8]}.nxs"
        self._model.arm(path)
        self._path = path
        self._end_block()
        return super().stage()

    def unstage(self) -> list[Any]:
        """Stop what is going on and close the file."""
        with self._clock.lock:
            self._fail("was unstaged")
            self._discard_unannounced()
            self._model.disarm()
        self._path = None
        return super().unstage()

    def trigger(self) -> InstrumentStatus:
        """Take one frame; done when it is in the file.

        Raises
        ------
        AcquisitionError
            If a frame is in progress.
        """
        model = self._model
        with self._clock.lock:
            status = InstrumentStatus(self, self._clock)
            exposure = InstrumentStatus(self, self._clock)
            patience_s = timeout_s(model.exposure_s + model.readout_s)

            def give_up() -> None:
                self._fail(f"did not finish within {patience_s:.1f} s")

            def exposed() -> None:
                if not exposure.done:
                    exposure.set_finished()

            def done(error: Exception | None) -> None:
                deadline.cancel()
                if status.done:
                    return
                if error is None:
                    status.set_finished()
                else:
                    status.set_exception(error)

            model.acquire(exposed, done)
            deadline = self._clock.call_later(patience_s, give_up)
            self._status, self._exposure = status, exposure
            self._discard_unannounced()
            self._taken = len(model.file) if model.file is not None else 0
        return status

    def exposure_status(self) -> InstrumentStatus:
        """Return a status that is done when the exposure in progress ends.

        Raises
        ------
        AcquisitionError
            If the camera was not triggered.
        """
        if self._exposure is None:
            raise AcquisitionError(
                f"{self.name} was not triggered: there is no exposure to wait for"
            )
        return self._exposure

    def stop(self, *, success: bool = False) -> None:
        """Throw away the frame in progress."""
        with self._clock.lock:
            self._model.abort()
            self._fail("was stopped")
            self._discard_unannounced()

    def pause(self) -> None:
        """Throw away the frame in progress; it is taken again after the pause."""
        self.stop()

    def resume(self) -> None:
        """Go on after a pause."""

    def describe(self) -> dict[str, Any]:
        """Describe the scalars, and the frames when they are kept."""
        description = super().describe()
        if self._path is not None:
            rows, columns = self._model.configuration.detector.shape(self._model.binning)
            description[self.image_name] = {
                "source": "file",
                "dtype": "array",
                "dtype_numpy": "<u2",
                "shape": [rows, columns],
                "external": "STREAM:",
                "units": "counts",
            }
        return description

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Announce the frame taken since the last call."""
        if self._taken is None or self._path is None:
            return
        index, self._taken = self._taken, None
        key = int(self._model.image_key)
        if self._block is None or self._block_key != key or index != self._block_next:
            self._block, self._block_key = str(uuid.uuid4()), key
            self._block_first = self._block_next = index
            rows, columns = self._model.configuration.detector.shape(self._model.binning)
            yield (
                "stream_resource",
                {
                    "uid": self._block,
                    "data_key": self.image_name,
                    "mimetype": "application/x-hdf5",
                    "uri": f"file://localhost{quote(str(self._path.resolve()))}",
                    "run_start": "",
                    "parameters": {
                        "dataset": DATA_PATH,
                        "chunk_shape": [1, rows, columns],
                        "swmr": True,
                        "slice": f"{index}:",
                    },
                },
            )
        within = index - self._block_first
        self._block_next = index + 1
        yield (
            "stream_datum",
            {
                "uid": f"{self._block}/{within}",
                "stream_resource": self._block,
                "descriptor": "",
                "indices": {"start": within, "stop": within + 1},
                "seq_nums": {"start": 0, "stop": 0},
            },
        )

    def _discard_unannounced(self) -> None:
        """Mark a stored frame that no event speaks of: a pause or an error came in between.

        It will be taken again, so it must not count twice; the uninterrupted block ends.
        """
        file = self._model.file
        if self._taken is not None and file is not None and len(file) > self._taken:
            file.mark_invalid(self._taken, ImageKey.INVALID)
        if self._taken is not None:
            self._end_block()

    def _end_block(self) -> None:
        self._block: str | None = None
        self._block_key = self._block_first = self._block_next = -1
        self._taken: int | None = None

    def _fail(self, what: str) -> None:
        for status in (self._status, self._exposure):
            if status is not None and not status.done:
                status.set_exception(
                    AcquisitionError(
                        f"{self.name} {what}: the frame in progress is lost; take it again"
                    )
                )
