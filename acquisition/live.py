"""Documents in, tomogram out: the analysis that follows a scan, and replays a stored one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoneplate.analysis.summary import MINIMUM_VOID_UM
from zoneplate.analysis.tomogram import Preview, Tomogram, TomogramAnalysis

from .formats import ScanFormatError
from .formats.nxtomo import open_hdf5
from .journal import Document
from .runs import FrameReference, RunRecord

PREVIEW_INTERVAL_S = 2.0
"""Wall time after which new projections are worth another preview, which takes some tenths of a
second."""

PREVIEW_SHARE = 1 / 8
"""Share of the planned projections after which there is one in any case."""

STARTED = "_camera_exposure_start_s"
EXPOSURE = "_camera_frame_exposure_s"
"""Endings of the names of the readings that say when a frame was exposed, and for how long."""

MOST_WAITING = 2
"""Frames that may wait before previews are left out: the volume comes first."""

FRAMES_PATH = "/entry/instrument/detector/data"


class FrameReader:
    """Reads frames from NXtomo files that are still being written."""

    def __init__(self) -> None:
        self._files: dict[Path, Any] = {}

    def read(self, reference: FrameReference) -> NDArray[np.uint16]:
        """Return one frame (rows, columns).

        Raises
        ------
        OSError
            If the file is gone or has no such frame.
        """
        try:
            return self._read(reference)
        except (OSError, KeyError, RuntimeError):
            # The handle may be stale (a file server that came back): once more with a new one.
            self._forget(reference.file)
        try:
            return self._read(reference)
        except (KeyError, RuntimeError) as error:
            raise OSError(f"{reference.file} cannot be read: {error}") from error

    def _read(self, reference: FrameReference) -> NDArray[np.uint16]:
        file = self._files.get(reference.file)
        if file is None:
            file = open_hdf5(reference.file)
            self._files[reference.file] = file
        dataset: Any = file[FRAMES_PATH]
        if reference.number >= dataset.shape[0]:
            dataset.refresh()
        if reference.number >= dataset.shape[0]:
            raise OSError(f"{reference.file} has no frame {reference.number}")
        return dataset[reference.number]

    def _forget(self, path: Path) -> None:
        file = self._files.pop(path, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()
        self._files.clear()


class LiveTomogram:
    """Follows one tomography run.

    Parameters
    ----------
    on_preview
        Called with a `Preview` now and then while the scan goes on.
    on_frame
        Called with the analysis after each projection that went into it.
    previews
        Whether to make previews at all.
    preview_interval_s
        Wall time after which there is another preview, if there are new projections; there is
        one after each eighth of the planned ones in any case, and at the end of each pass of an
        adaptive scan.
    minimum_void_um
        Equivalent diameter from which a void counts.
    correct_geometry
        Whether a tilted axis and a sample that moved are corrected.
    waiting
        How many frames were announced and are not taken yet: while there are several, previews
        are left out.
    root
        The data directory, where frames are looked for that are not where they were written.

    Attributes
    ----------
    record
        The run so far.
    analysis
        The analysis so far; None before the start document.
    lag_frames
        How many frames were waiting when somebody last looked.
    previews_left_out
        Previews that were due and left out because frames were waiting.
    """

    def __init__(
        self,
        on_preview: Callable[[Preview], None] = lambda _: None,
        *,
        previews: bool = True,
        preview_interval_s: float = PREVIEW_INTERVAL_S,
        minimum_void_um: float = MINIMUM_VOID_UM,
        correct_geometry: bool = True,
        waiting: Callable[[], int] = lambda: 0,
        on_frame: Callable[[TomogramAnalysis], None] = lambda _: None,
        root: Path | None = None,
    ) -> None:
        self.record = RunRecord(root=root)
        self.lag_frames = 0
        self.previews_left_out = 0
        self._waiting = waiting
        self._missing: dict[tuple[str, int], tuple[FrameReference, str]] = {}
        self.analysis: TomogramAnalysis | None = None
        self._on_preview = on_preview
        self._on_frame = on_frame
        self._previews = previews
        self._interval_s = preview_interval_s
        self._minimum_void_um = minimum_void_um
        self._correct_geometry = correct_geometry
        self._last_preview_s = -float("inf")
        self._previewed = 0
        self._reader = FrameReader()

    def __call__(self, name: str, doc: Document) -> None:
        """Take a document."""
        frames = self.record(name, doc)
        if name == "start":
            self.analysis = self._new_analysis(doc)
        for frame in frames:
            self._take(frame)

    def finish(self, progress: Callable[[str], None] = lambda _: None) -> Tomogram:
        """Analyse what was taken.

        Raises
        ------
        ValueError
            If there is nothing to analyse.
        """
        try:
            if self.analysis is None:
                raise ValueError("no tomogram: the run has no start document")
            self._take_missing()
            try:
                tomogram = self.analysis.finish(progress)
            except ValueError as error:
                raise ValueError("; ".join([str(error), *self._losses()])) from error
            tomogram.warnings.extend(self._losses())
            return tomogram
        finally:
            self._reader.close()

    def _new_analysis(self, start: Document) -> TomogramAnalysis:
        acquisition, plan = start["acquisition"], start["tomography"]
        rows, columns = acquisition["frame_shape"]
        x_um, y_um, z_um = plan["center_um"]
        return TomogramAnalysis(
            (rows, columns),
            acquisition["pixel_um"],
            planned_angles_deg=plan["angles_deg"],
            center_um=(x_um, y_um, z_um),
            minimum_void_um=self._minimum_void_um,
            frames_per_view=plan.get("frames_per_angle", 1),
            correct_geometry=self._correct_geometry,
        )

    def _take_missing(self) -> None:
        """Try frames again that could not be read: the disk may be back."""
        missing, self._missing = self._missing, {}
        for frame, _ in missing.values():
            self._take(frame)

    def _losses(self) -> list[str]:
        """Say in words which frames could not be read."""
        if not self._missing:
            return []
        reasons = [reason for _, reason in self._missing.values()]
        return [f"{len(reasons)} frames could not be read and are not in the volume ({reasons[0]})"]

    def _take(self, frame: FrameReference) -> None:
        analysis, stream = self.analysis, frame.stream
        assert analysis is not None
        key = (stream, frame.seq_num)
        self._missing.pop(key, None)
        try:
            pixels = self._reader.read(frame)
        except (OSError, ScanFormatError) as error:
            # One frame less must not end the analysis of the others.
            self._missing[key] = (frame, str(error))
            return
        if stream in ("dark", "flat"):
            analysis.add_reference(
                stream,
                frame.seq_num,
                pixels,
                time_s=middle_s(frame),
                exposure_s=reading(frame, EXPOSURE),
            )
        elif stream == "primary":
            together = int(self.record.start["tomography"].get("frames_per_angle", 1))
            analysis.add_projection(
                frame.seq_num,
                pixels,
                angle_of(frame),
                view=(frame.seq_num - 1) // together,
                time_s=middle_s(frame),
                exposure_s=reading(frame, EXPOSURE),
            )
            analysis.process()
            self._on_frame(analysis)
            if self._previews:
                self._preview_if_due(analysis)

    def _preview_if_due(self, analysis: TomogramAnalysis) -> None:
        fresh = analysis.projections - self._previewed
        asked_for = analysis.projections in self.record.start["tomography"].get("pass_ends", ())
        if fresh < 1 or (
            not asked_for
            and fresh < PREVIEW_SHARE * analysis.planned
            and time.monotonic() - self._last_preview_s < self._interval_s
        ):
            return
        self.lag_frames = self._waiting()
        if self.lag_frames > MOST_WAITING and not asked_for:
            self.previews_left_out += 1
            return
        preview = analysis.preview()
        if preview is not None:
            self._on_preview(preview)
            self._previewed = preview.projections
            self._last_preview_s = time.monotonic()


def reading(frame: FrameReference, ending: str) -> float | None:
    """Return the reading whose name ends so; None if the event has none."""
    for name, value in frame.data.items():
        if name.endswith(ending):
            return float(value)
    return None


def middle_s(frame: FrameReference) -> float:
    """Return when the middle of an exposure was, on the clock of the instrument.

    Where the camera does not say, when the event was made.
    """
    start_s, exposure_s = reading(frame, STARTED), reading(frame, EXPOSURE)
    return frame.time_s if start_s is None else start_s + (exposure_s or 0.0) / 2


def angle_of(frame: FrameReference) -> float:
    """Return the angle in degrees at which the frame of an event was taken.

    The mean during the exposure if the camera says it (the stage may turn meanwhile), otherwise
    what the stage reads.

    Raises
    ------
    KeyError
        If the event has none.
    """
    for ending in ("_camera_angle_deg", "_stage_theta"):
        value = reading(frame, ending)
        if value is not None:
            return value
    raise KeyError("the event has no reading of the rotation stage")


def replay(
    documents: Iterable[tuple[str, Document]],
    on_preview: Callable[[Preview], None] = lambda _: None,
    **options: Any,
) -> Tomogram:
    """Run stored documents through the live analysis.

    Parameters
    ----------
    documents
        Pairs of name and document, such as `read_journal` or a catalog's `documents()` give.
    on_preview
        Called with a `Preview` now and then.
    options
        Passed on to `LiveTomogram`.
    """
    live = LiveTomogram(on_preview, **options)
    for name, doc in documents:
        live(name, doc)
    return live.finish()
