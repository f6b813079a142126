"""The documents that say where frames are, the same for every camera of ours.

A `stream_resource` per uninterrupted block of frames of one kind (a view of the one file that
begins at the block's first frame) and a `stream_datum` per event, as Bluesky's document model
has them (https://blueskyproject.io/event-model).
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

DATA_PATH = "/entry/instrument/detector/data"
"""Where NXtomo keeps the frames."""


def new_frame_file(directory: Path, time_s: float) -> Path:
    """Return a name that no file has: a folder per day, instrument time and a random tail.

    Parameters
    ----------
    directory
        Folder of the frames.
    time_s
        Seconds since 1970.
    """
    now = datetime.datetime.fromtimestamp(time_s, datetime.UTC)
    folder = directory / now.strftime("%Y-%m-%d")
    return folder / f"{now:%Y%m%dT%H%M%S}_{uuid.uuid4().hex[:8]}.nxs"


class FrameDocuments:
    """Keeps account of the frames in a file and announces them.

    Parameters
    ----------
    data_key
        The data key of the frames.

    Examples
    --------
    >>> documents = FrameDocuments("camera_image")
    >>> documents.begin(Path("/data/scan.nxs"))
    >>> documents.triggered(0)
    >>> [name for name, _ in documents.announce(image_key=0, shape=(128, 128))]
    ['stream_resource', 'stream_datum']
    >>> documents.triggered(1)
    >>> [name for name, _ in documents.announce(image_key=0, shape=(128, 128))]
    ['stream_datum']
    """

    def __init__(self, data_key: str) -> None:
        self.data_key = data_key
        self._path: Path | None = None
        self._end_block()

    @property
    def path(self) -> Path | None:
        """The file that frames go into; None if they are not kept."""
        return self._path

    def begin(self, path: Path) -> None:
        """Go on in a new file."""
        self._path = path
        self._end_block()

    def end(self) -> None:
        """Frames are not kept any more."""
        self._path = None
        self._end_block()

    def triggered(self, index: int) -> None:
        """Note that a frame is being taken that will have this index in the file."""
        self._triggered: int | None = index

    def forget(self) -> int | None:
        """Return the index of the frame that no event will speak of, if there is one.

        It will be taken again, so it must not count twice; the uninterrupted block ends.
        """
        index = self._triggered
        if index is not None:
            self._end_block()
        return index

    def describe(self, shape: tuple[int, int]) -> dict[str, Any]:
        """Return the data key of frames of (rows, columns); empty if they are not kept."""
        if self._path is None:
            return {}
        return {
            self.data_key: {
                "source": "file",
                "dtype": "array",
                "dtype_numpy": "<u2",
                "shape": list(shape),
                "external": "STREAM:",
                "units": "counts",
            }
        }

    def announce(
        self, *, image_key: int, shape: tuple[int, int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the documents of the frame triggered last, once.

        Parameters
        ----------
        image_key
            What kind of frame it is; another kind begins another block.
        shape
            (rows, columns).
        """
        if self._triggered is None or self._path is None:
            return
        index, self._triggered = self._triggered, None
        if self._block is None or (self._block_key, self._block_next) != (image_key, index):
            self._block, self._block_key, self._block_first = str(uuid.uuid4()), image_key, index
            yield (
                "stream_resource",
                {
                    "uid": self._block,
                    "data_key": self.data_key,
                    "mimetype": "application/x-hdf5",
                    "uri": f"file://localhost{quote(str(self._path.resolve()))}",
                    "run_start": "",
                    "parameters": {
                        "dataset": DATA_PATH,
                        "chunk_shape": [1, *shape],
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

    def _end_block(self) -> None:
        self._block: str | None = None
        self._block_key = self._block_first = self._block_next = -1
        self._triggered = None
