"""Frame files after a crash: closed properly, lost frames marked, nothing thrown away.

A file whose writer died says "open for writing" for ever, and other people's readers refuse it.
A file whose end never reached the disk (power cut) is refused by HDF5 altogether, although all
frames but the last are there.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .formats.nxtomo import INVALID, find_detector, is_unfinished, open_hdf5, superblock_end
from .formats.scan import ScanFormatError

DAMAGED = ".damaged"
"""Added to the name of an original that a repaired file replaces."""

_SCRATCH = ".recovering"


@dataclass(frozen=True)
class FrameFileState:
    """What is left of a frame file.

    Attributes
    ----------
    path
        The file.
    frames
        Frames in it, lost ones included.
    lost
        Numbers of frames whose pixels or angles are gone; they are marked invalid.
    repaired
        What was done, in words; empty if nothing was.
    problem
        Why it cannot be read; empty if it can.
    """

    path: Path
    frames: int = 0
    lost: tuple[int, ...] = field(default=())
    repaired: str = ""
    problem: str = ""


def repair_frame_file(path: Path) -> FrameFileState:
    """Make a frame file readable for everybody; must not be called while it is written.

    A file that was never closed is copied as it is into a closed one. Of a file whose end is
    missing, frames are kept in their places; those that are not whole get ``image_key`` 3, and
    the original stays beside it with ``.damaged`` added to its name.

    Parameters
    ----------
    path
        An NXtomo file of ours.

    Returns
    -------
    FrameFileState
    """
    if not path.exists():
        return FrameFileState(path, problem="it does not exist")
    end, size = superblock_end(path), path.stat().st_size
    if end is None:
        return FrameFileState(path, problem="it has no HDF5 header")
    truncated, unclosed = size < end, is_unfinished(path)
    if not truncated and not unclosed:
        return _whole(path)
    holder = _holder(path)
    if holder is not None:
        return FrameFileState(path, problem=f"process {holder} has it open: end that first")
    scratch, fresh = (path.with_name(path.name + one) for one in (_SCRATCH, ".part"))
    try:
        shutil.copyfile(path, scratch)
        if truncated:
            os.truncate(scratch, end)  # what is gone reads as zeros
        frames, lost = _copy_closed(scratch, fresh, size)
        # The header of a file that was never closed may be older than its end.
        truncated = truncated or bool(lost)
        if truncated:
            path.rename(path.with_name(path.name + DAMAGED))
        fresh.replace(path)
    except (OSError, RuntimeError, KeyError, ScanFormatError) as error:
        return FrameFileState(path, problem=f"it cannot be repaired ({error})")
    finally:
        for leftover in (scratch, fresh):
            leftover.unlink(missing_ok=True)
    done = "its end was missing" if truncated else "it was not closed"
    return FrameFileState(path, frames, lost, repaired=done)


def _whole(path: Path) -> FrameFileState:
    try:
        with open_hdf5(path) as file:
            detector: Any = find_detector(file)
            if detector is None:
                return FrameFileState(path, problem="there are no frames in it")
            return FrameFileState(path, len(detector["data"]))
    except (OSError, ScanFormatError) as error:
        return FrameFileState(path, problem=str(error))


def _copy_closed(scratch: Path, fresh: Path, size: int) -> tuple[int, tuple[int, ...]]:
    """Copy what was readable of a file of `size` bytes; gives frames and which are lost."""
    with open_hdf5(scratch) as damaged, h5py.File(fresh, "w", libver=("v110", "v114")) as whole:
        detector: Any = find_detector(damaged)
        if detector is None:
            raise KeyError("there are no frames in it")
        sample: Any = detector.parent.parent["sample"]
        data: Any = detector["data"]
        per_frame = [detector["image_key"], sample["rotation_angle"]]
        # Datasets do not grow at the same instant; pixels grow last.
        frames = min(len(one) for one in (data, *per_frame))
        lost = {k for k in range(frames) if _chunk_end(data, (k, 0, 0)) > size}
        for dataset in per_frame:
            lost |= {k for k in range(frames) if _chunk_end(dataset, (k,)) > size}
        for name, value in damaged.attrs.items():
            whole.attrs[name] = value
        for name in damaged:
            damaged.copy(name, whole)  # one object with many links stays one
        _cut(whole, len(data), frames)
        key: Any = whole[str(detector.name)]["image_key"]  # pyright: ignore[reportIndexIssue]
        for k in lost:
            key[k] = INVALID
        whole.flush()
        _sync(fresh)
    return frames, tuple(sorted(lost))


def _cut(file: h5py.File, longest: int, frames: int) -> None:
    """Give everything that grows with the frames the same length."""
    grown: list[Any] = []

    def look(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.maxshape and item.maxshape[0] is None:
            grown.append(item)

    file.visititems(look)
    for dataset in grown:
        if len(dataset) > frames or len(dataset) == longest:
            dataset.resize(frames, axis=0)


def _chunk_end(dataset: Any, element: tuple[int, ...]) -> int:
    """Where in the file the chunk of an element ends; beyond everything if it has none."""
    corner = tuple(
        int(index // edge * edge) for index, edge in zip(element, dataset.chunks, strict=True)
    )
    info = dataset.id.get_chunk_info_by_coord(corner)
    if info.byte_offset is None:
        return np.iinfo(np.int64).max
    return int(info.byte_offset + info.size)


def _holder(path: Path) -> int | None:
    """Return a process that has the file open for writing, where the system tells."""
    target = str(path.resolve())
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for link in folder.iterdir():
                if os.readlink(link) == target and _writes(folder.parent, link.name):
                    return int(folder.parent.name)
    return None


def _writes(process: Path, descriptor: str) -> bool:
    for line in (process / "fdinfo" / descriptor).read_text().splitlines():
        if line.startswith("flags:"):
            return bool(int(line.split()[1], 8) & (os.O_WRONLY | os.O_RDWR))
    return False


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
