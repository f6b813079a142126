"""The areaDetector file plugin: opens the file of a run, closes it, and puts things back."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from .errors import ConfigurationError

logger = logging.getLogger(__name__)

PUT_TIMEOUT_S = 10.0

CREATE_LEVELS = -3
"""Folders that the plugin may create above the file."""

SINGLE_IMAGE, INTERNAL_TRIGGER = 0, 0
STREAM = 2
"""File write mode in which one file takes any number of frames."""


def put(signal: Any, value: Any) -> None:
    """Put a value and wait until the server has dealt with it."""
    signal.put(value, use_complete=True, wait=True, timeout=PUT_TIMEOUT_S, force=True)


class FrameWriter:
    """Prepares driver and plugins for frames that are kept.

    Parameters
    ----------
    camera
        The device with `cam`, `hdf1`, `image1` and `stats1`.
    """

    def __init__(self, camera: Any) -> None:
        self._camera = camera
        self._restore: list[tuple[Any, Any]] = []
        self.can_mark = False
        """Whether the server can mark frames as invalid; ordinary ones cannot."""

    def open(self, path: Path) -> None:
        """Let the plugin write to `path`.

        Raises
        ------
        ConfigurationError
            If it cannot.
        """
        camera = self._camera
        cam, hdf1 = camera.cam, camera.hdf1
        driver: list[tuple[Any, Any]] = [
            (cam.image_mode, SINGLE_IMAGE),
            (cam.num_images, 1),
            (cam.trigger_mode, INTERNAL_TRIGGER),
            (cam.array_callbacks, 1),
        ]
        self._restore = [(signal, signal.get(use_monitor=False)) for signal, _ in driver]
        for signal, value in (
            (cam.acquire, 0),
            *driver,
            (camera.stats1.enable, 1),
            (camera.image1.enable, 1),
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
            put(signal, value)
        self._check(path)

    def _check(self, path: Path) -> None:
        hdf1 = self._camera.hdf1
        name = ""
        # Twice: soon after connecting, pyepics may take an answer meant for the metadata of the PV,
        # which asks for its first letter only, for that to our question.
        for _ in range(2):
            name = hdf1.full_file_name.get(use_monitor=False)
            if hdf1.capture.get(use_monitor=False) and Path(name) == path:
                return
        message = hdf1.write_message.get(use_monitor=False) or f"the plugin would write {name!r}"
        raise ConfigurationError(
            f"frames cannot be written to {path.parent}: {message}; choose another folder or "
            "free it"
        )

    def close(self) -> None:
        """Close the file and put the driver back as it was."""
        put(self._camera.hdf1.capture, 0)
        for signal, value in self._restore:
            put(signal, value)
        self._restore = []

    def mark_invalid(self, index: int) -> None:
        """Mark a frame of the open file that must not be used."""
        if self.can_mark:
            self._camera.invalid_frame.put(index, force=True)
        else:
            logger.warning("frame %d of the file of %s is to be ignored", index, self._camera.name)
