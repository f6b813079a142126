"""The HDF5 file that the simulated camera writes: one NXtomo per staging, readable as it grows.

All frames stand in time order with their `image_key`, as the NeXus application definition
NXtomo asks (https://manual.nexusformat.org/classes/applications/NXtomo.html), and the file is
in single-writer-multiple-reader mode from the first frame on, flushed after each.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zoneplate.devices.frame_documents import DATA_PATH


@dataclass(frozen=True)
class FrameRecord:
    """What is written beside the pixels of one frame."""

    image_key: int
    rotation_angle_deg: float
    x_um: float
    y_um: float
    z_um: float
    exposure_s: float
    start_s: float
    number: int


class FrameFile:
    """An NXtomo file open for writing.

    Parameters
    ----------
    path
        The file to create; its folder must exist.
    shape
        (rows, columns) of every frame.
    pixel_um, energy_kev, sample_name, instrument_name
        Constants of the file.
    start_s
        Instrument time of the start, seconds since 1970.

    Raises
    ------
    OSError
        If the file cannot be created, or exists.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        *,
        pixel_um: float,
        energy_kev: float,
        sample_name: str,
        instrument_name: str,
        start_s: float,
    ) -> None:
        self.path = path
        self.shape = shape
        # Locking is off so that a reader that crashed or hangs can never block the camera.
        self._file = h5py.File(path, "x", libver="latest", locking=False)
        entry = _group(self._file, "entry", "NXentry")
        self._file.attrs["default"] = "entry"
        entry.attrs["default"] = "data"
        entry["definition"] = "NXtomo"
        entry["title"] = sample_name
        entry["start_time"] = datetime.datetime.fromtimestamp(start_s, datetime.UTC).isoformat()

        instrument = _group(entry, "instrument", "NXinstrument")
        instrument["name"] = instrument_name
        source = _group(instrument, "source", "NXsource")
        source["name"] = instrument_name
        source["type"] = "Fixed Tube X-ray"
        source["probe"] = "x-ray"
        beam = _group(instrument, "beam", "NXbeam")
        _quantity(beam, "incident_energy", energy_kev, "keV")

        detector = _group(instrument, "detector", "NXdetector")
        rows, columns = shape
        frames = detector.create_dataset(
            "data",
            shape=(0, rows, columns),
            maxshape=(None, rows, columns),
            chunks=(1, rows, columns),
            dtype=np.uint16,
        )
        frames.attrs["units"] = "counts"
        frames.attrs["target"] = DATA_PATH
        self._frames = frames
        _quantity(detector, "x_pixel_size", pixel_um * 1e-6, "m")
        _quantity(detector, "y_pixel_size", pixel_um * 1e-6, "m")
        self._image_key = _growing(detector, "image_key", np.int32)
        self._count_time = _growing(detector, "count_time", np.float64, "s")
        self._start_time = _growing(detector, "start_time", np.float64, "s")
        self._start_time.attrs["start"] = str(entry["start_time"].asstr()[()])
        self._sequence_number = _growing(detector, "sequence_number", np.uint32)

        sample = _group(entry, "sample", "NXsample")
        sample["name"] = sample_name
        self._rotation_angle = _growing(sample, "rotation_angle", np.float64, "degree")
        self._translations = {
            axis: _growing(sample, f"{axis}_translation", np.float64, "um") for axis in "xyz"
        }

        data = _group(entry, "data", "NXdata")
        data.attrs["signal"] = "data"
        for name, target in (
            ("data", frames),
            ("image_key", self._image_key),
            ("rotation_angle", self._rotation_angle),
        ):
            data[name] = target
        self._start_s = start_s
        self._file.swmr_mode = True

    def __len__(self) -> int:
        """Return the number of frames in the file."""
        return int(self._frames.shape[0])

    def append(self, frame: NDArray[np.uint16], record: FrameRecord) -> int:
        """Write one frame, flush, and return its index in the file.

        The pixels go last: a reader that sees frame n sees everything about it.
        """
        index = len(self)
        values: list[tuple[Any, float]] = [
            (self._image_key, record.image_key),
            (self._count_time, record.exposure_s),
            (self._start_time, record.start_s - self._start_s),
            (self._sequence_number, record.number),
            (self._rotation_angle, record.rotation_angle_deg),
            (self._translations["x"], record.x_um),
            (self._translations["y"], record.y_um),
            (self._translations["z"], record.z_um),
        ]
        for dataset, value in values:
            _append(dataset, index, np.asarray(value, dataset.dtype))
        _append(self._frames, index, np.ascontiguousarray(frame, self._frames.dtype))
        return index

    def mark_invalid(self, index: int, invalid_key: int) -> None:
        """Change the image key of a frame that is in the file but must not be used."""
        self._image_key[index] = invalid_key
        self._image_key.flush()

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file.id.valid:
            self._file.close()


def _group(parent: Any, name: str, nexus_class: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def _quantity(group: Any, name: str, value: float, unit: str) -> None:
    group[name] = value
    group[name].attrs["units"] = unit


def _growing(group: Any, name: str, dtype: Any, unit: str | None = None) -> Any:
    dataset = group.create_dataset(name, shape=(0,), maxshape=(None,), chunks=(256,), dtype=dtype)
    if unit is not None:
        dataset.attrs["units"] = unit
    dataset.attrs["target"] = dataset.name
    return dataset


def _append(dataset: Any, index: int, value: NDArray[Any]) -> None:
    """Let a dataset grow by one entry, and flush it.

    Through h5py's low-level interface: indexing a dataset takes four times as long, for each of
    nine datasets of each frame.
    """
    dataset.id.set_extent((index + 1, *value.shape))
    place = dataset.id.get_space()
    place.select_hyperslab((index,) + (0,) * value.ndim, (1, *value.shape))
    dataset.id.write(h5py.h5s.create_simple((1, *value.shape)), place, value)
    dataset.id.flush()
