"""A camera for tests: writes frames to one HDF5 file and announces them as stream documents."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ophyd.status import Status

DATASET = "/entry/instrument/detector/data"
ROWS, COLUMNS = 6, 8


class StreamCamera:
    """Frame k of the file holds the value k in every pixel."""

    name = "camera"
    parent = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kind = "projection"
        self.path = folder
        self._file: h5py.File | None = None
        self._frames = 0
        self._block: dict[str, Any] | None = None
        self._first = 0
        self._announced: list[tuple[str, dict[str, Any]]] = []

    def stage(self) -> list[Any]:
        self.path = self.folder / f"{uuid.uuid4()}.h5"
        self._file = h5py.File(self.path, "w", libver="latest", locking=False)
        self._file.create_dataset(
            DATASET,
            (0, ROWS, COLUMNS),
            "u2",
            maxshape=(None, ROWS, COLUMNS),
            chunks=(1, ROWS, COLUMNS),
        )
        self._file.swmr_mode = True
        self._frames, self._block = 0, None
        return [self]

    def unstage(self) -> list[Any]:
        assert self._file is not None
        self._file.close()
        self._file = None
        return [self]

    def expose(self, kind: str) -> None:
        """Frames from now on are of this kind: a new block."""
        self.kind, self._block = kind, None

    def trigger(self) -> Status:
        assert self._file is not None
        data = self._file[DATASET]
        data.resize(self._frames + 1, axis=0)
        data[self._frames] = self._frames
        data.flush()
        if self._block is None:
            self._first = self._frames
            self._block = {
                "uid": str(uuid.uuid4()),
                "data_key": "camera_image",
                "mimetype": "application/x-hdf5",
                "uri": f"file://localhost{self.path}",
                "run_start": "",
                "parameters": {
                    "dataset": DATASET,
                    "chunk_shape": [1, ROWS, COLUMNS],
                    "swmr": True,
                    "slice": f"{self._first}:",
                },
            }
            self._announced.append(("stream_resource", self._block))
        index = self._frames - self._first
        datum = {
            "uid": f"{self._block['uid']}/{index}",
            "stream_resource": self._block["uid"],
            "descriptor": "",
            "indices": {"start": index, "stop": index + 1},
            "seq_nums": {"start": 0, "stop": 0},
        }
        self._announced.append(("stream_datum", datum))
        self._frames += 1
        status = Status()
        status.set_finished()
        return status

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        announced, self._announced = self._announced, []
        yield from announced

    def describe(self) -> dict[str, Any]:
        image = {"source": "test", "dtype": "array", "shape": [ROWS, COLUMNS]}
        image |= {"dtype_numpy": np.dtype("u2").str, "external": "STREAM:"}
        return {
            "camera_image": image,
            "camera_mean": {"source": "test", "dtype": "number", "shape": []},
        }

    def read(self) -> dict[str, Any]:
        return {"camera_mean": {"value": float(self._frames - 1), "timestamp": time.time()}}

    def describe_configuration(self) -> dict[str, Any]:
        return {}

    def read_configuration(self) -> dict[str, Any]:
        return {}
