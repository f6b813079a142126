"""The in-process camera device: triggers the camera model and announces its frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ophyd import Component

from zoneplate.devices.errors import AcquisitionError, FrameError
from zoneplate.devices.frame_documents import FrameDocuments, new_frame_file
from zoneplate.devices.microscope import Camera, Part
from zoneplate.devices.states import ImageKey
from zoneplate.devices.timing import timeout_s, warn_if_late

from .camera_model import CameraModel
from .clock import VirtualClock
from .signals import InstrumentStatus, ModelSignal

logger = logging.getLogger(__name__)

SATURATED_SHARE = 0.005
"""Share of saturated pixels above which a frame is spoiled; hot pixels are a fiftieth of that."""


class _Exposed(Part):
    """Triggers nothing: its status is done when the exposure in progress ends."""

    def trigger(self) -> InstrumentStatus:
        """Return the status of the exposure in progress."""
        camera = self.parent
        assert isinstance(camera, SimulatedCamera)
        return camera.exposure_status()


class SimulatedCamera(Camera):
    """The camera as a device.

    `trigger` takes a frame into the HDF5 file that `stage` named; the documents say where it is
    (`zoneplate.devices.frame_documents`). Unstaged, it takes frames without keeping them: good
    for looking, not for measuring.
    """

    exposure_s = Component(ModelSignal, kind="config", units="s")
    binning = Component(ModelSignal, kind="config")
    image_key = Component(ModelSignal, kind="config")
    frame_number = Component(ModelSignal, kind="normal")
    exposure_start_s = Component(ModelSignal, kind="normal", units="s")
    mean_counts = Component(ModelSignal, kind="hinted", units="counts")
    maximum_counts = Component(ModelSignal, kind="normal", units="counts")
    angle_deg = Component(ModelSignal, kind="normal", units="deg")
    frame_exposure_s = Component(ModelSignal, kind="normal", units="s")
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
        self.angle_deg.bind(clock, lambda: model.angle_deg)
        self.frame_exposure_s.bind(clock, lambda: model.frame_exposure_s)
        self.file_path.bind(clock, lambda: str(self._frames.path or ""))
        self._frames = FrameDocuments(self.image_name)
        self._status: InstrumentStatus | None = None
        self._exposure: InstrumentStatus | None = None

    @property
    def image_name(self) -> str:
        """The data key of the frames."""
        return f"{self.name}_image"

    def stage(self) -> list[Any]:
        """Name a new file; refuses if its folder cannot be written."""
        path = new_frame_file(self._directory, self._clock.now())
        self._model.arm(path)
        self._frames.begin(path)
        return super().stage()

    def unstage(self) -> list[Any]:
        """Stop what is going on and close the file."""
        with self._clock.lock:
            # A plan that ended for another reason has left this frame; failing its status now
            # would hide that reason behind this one.
            self._let_go()
            self._discard_unannounced()
            self._model.disarm()
        self._frames.end()
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
            began_s, expected_s = self._clock.now(), model.exposure_s + model.readout_s
            patience_s = timeout_s(expected_s)

            def give_up() -> None:
                # A frame that was thrown away leaves its deadline behind: not one for the next.
                if self._status is status:
                    self._fail(f"did not finish within {patience_s:.1f} s")

            def exposed() -> None:
                if not exposure.done:
                    exposure.set_finished()

            def done(error: Exception | None) -> None:
                deadline.cancel()
                if status.done:
                    return
                error = error or self._spoiled(index)
                warn_if_late(self.name, self._clock.now() - began_s, expected_s)
                if error is None:
                    status.set_finished()
                else:
                    status.set_exception(error)

            model.acquire(exposed, done)
            deadline = self._clock.call_later(patience_s, give_up)
            self._status, self._exposure = status, exposure
            self._discard_unannounced()
            index = len(model.file) if model.file is not None else 0
            self._frames.triggered(index)
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
        """Throw away the frame in progress; it is taken again after the pause.

        Its statuses end well: a failure would reach the plan after the pause, which replays the
        trigger and knows nothing of the frame that was thrown away.
        """
        with self._clock.lock:
            self._model.abort()
            self._let_go()
            self._discard_unannounced()

    def _let_go(self) -> None:
        """End what is not done yet without a failure: nobody waits for it any more."""
        for status in (self._status, self._exposure):
            if status is not None and not status.done:
                status.set_finished()

    def resume(self) -> None:
        """Go on after a pause."""

    # ophyd declares a type variable as the type of the keys.
    def describe(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Describe the scalars, and the frames when they are kept."""
        scalars: Any = super().describe()
        return scalars | self._frames.describe(self._shape)

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Announce the frame taken since the last call."""
        key = int(self._model.image_key)
        yield from self._frames.announce(image_key=key, shape=self._shape)

    @property
    def _shape(self) -> tuple[int, int]:
        return self._model.configuration.detector.shape(self._model.binning)

    def _spoiled(self, index: int) -> FrameError | None:
        """Say what is wrong with the frame that should now be number `index` of the file."""
        model, number = self._model, self._model.frame_number
        if model.dead_rows:
            rows = ", ".join(str(row) for row in model.dead_rows)
            return FrameError(
                f"frame {number}: row {rows} of the camera reads nothing; restart the camera if it "
                "stays so"
            )
        if model.saturated_fraction > SATURATED_SHARE:
            return FrameError(
                f"frame {number}: {model.saturated_fraction:.0%} of the pixels are saturated "
                f"(allowed: {SATURATED_SHARE:.1%}); shorten the exposure"
            )
        misplaced = self.misplaced(model.angle_deg)
        if misplaced is not None:
            return FrameError(f"frame {number}: {misplaced}")
        if self._frames.path is None:
            return None
        stored = len(model.file) - index if model.file is not None else 0
        if stored < 1:
            return FrameError(
                f"frame {number} is not in {self._frames.path.name}: the camera dropped it; check "
                "the link to the camera if it happens again"
            )
        if stored > 1 and model.file is not None:
            logger.warning("frame %d was stored %d times; one is used", number, stored)
            for copy in range(index + 1, index + stored):
                model.file.mark_invalid(copy, ImageKey.INVALID)
        return None

    def _discard_unannounced(self) -> None:
        """Mark a stored frame that no event speaks of: a pause or an error came in between."""
        index, file = self._frames.forget(), self._model.file
        if index is not None and file is not None and len(file) > index:
            file.mark_invalid(index, ImageKey.INVALID)

    def _fail(self, what: str) -> None:
        for status in (self._status, self._exposure):
            if status is not None and not status.done:
                status.set_exception(
                    AcquisitionError(
                        f"{self.name} {what}: the frame in progress is lost; take it again"
                    )
                )
