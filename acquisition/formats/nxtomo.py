"""NXtomo (NeXus): all frames in one dataset, in time order, told apart by ``image_key``.

Layout: https://manual.nexusformat.org/classes/applications/NXtomo.html. It is what the
microscope writes, what ESRF (nabu, tomwer) and Diamond (httomo, Savu) read and write. Their
variants differ in where things are: Diamond nests the definition (``entry1/tomo_entry``) or leaves
it out and keeps the angles beside the data of each detector (``entry/imaging/gts_theta_value``),
with pixels in files of their own; ESRF has the pixel size of the sample in ``sample``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .scan import Frames, Scan, ScanFormatError, convert

PROJECTION, FLAT, DARK, INVALID = 0, 1, 2, 3
"""Values of ``image_key``; anything else is left out like INVALID."""

ALIGNMENT = -1
"""ESRF's ``image_key_control`` of frames taken again at the end to see motion."""

# HDF5 file format specification, II.A (superblock versions 2 and 3): byte 8 is the version, 9 the
# size of addresses, 11 holds the consistency flags (bit 0: open for writing, bit 2: for SWMR
# writing); three addresses follow, of which the third is the end of the file.
_SUPERBLOCK_BYTES = 48
_FIRST_VERSION_WITH_FLAGS = 3
_WRITING = 0b101

_READBACK = re.compile(r"\w*(theta|rot|angle)\w*_value")
"""Datasets of measured angles beside the data of a detector (Diamond)."""


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, also while it is being written or after a crash.

    Raises
    ------
    ScanFormatError
        It is damaged or was left open by a writer without SWMR.
    """
    unfinished, complete = _superblock(path)
    if not complete:
        # HDF5 itself would look for the rest for ever if it believes that somebody writes.
        raise _truncated(path)
    try:
        # Without locks: a reader must never stop the camera, nor need a writable disk.
        return h5py.File(path, "r", libver="latest", swmr=unfinished, locking=False)
    except OSError as error:
        text = str(error)
        if "truncated" in text:
            raise _truncated(path) from error
        if unfinished:
            problem = "another program has it open for writing, or died while it had"
            remedy = "wait for it, or run `h5clear -s` on a copy"
        else:
            problem, remedy = f"HDF5 cannot open it ({text})", "check the file"
        raise ScanFormatError(path, problem, remedy) from error


def is_unfinished(path: Path) -> bool:
    """Whether an HDF5 file is being written, or its writer died without closing it."""
    return _superblock(path)[0]


def superblock_end(path: Path) -> int | None:
    """Length that an HDF5 file says it has, bytes; 0 if it is of an older kind, None if no HDF5."""
    with path.open("rb") as file:
        head = file.read(_SUPERBLOCK_BYTES)
    if len(head) < _SUPERBLOCK_BYTES or not head.startswith(b"\x89HDF"):
        return None
    version, address = head[8], head[9]
    if version < _FIRST_VERSION_WITH_FLAGS:
        return 0
    return int.from_bytes(head[12 + 2 * address : 12 + 3 * address], "little")


def _superblock(path: Path) -> tuple[bool, bool]:
    """Whether the file is open for writing, and whether it is as long as it says."""
    end = superblock_end(path)
    if not end:
        # Older ones are never open for SWMR, and HDF5 checks their length.
        return False, end is not None
    with path.open("rb") as file:
        flags = file.read(12)[11]
    return bool(flags & _WRITING), path.stat().st_size >= end


def _truncated(path: Path) -> ScanFormatError:
    return ScanFormatError(
        path, "the HDF5 file is truncated", "copy it again from where it was made"
    )


def find_detector(file: h5py.File) -> h5py.Group | None:
    """Find the detector group of the first entry that is an NXtomo; None if there is none.

    An entry that says so (``definition``) comes before one that merely looks like it; entries
    may be nested once, as at Diamond (``entry1/tomo_entry``).
    """
    entries: list[h5py.Group] = []
    for entry in _groups(file):
        entries += [entry, *_groups(entry)]
    entries.sort(key=lambda one: text_of(one.get("definition")) != "NXtomo")  # stable
    absent: h5py.Group | None = None
    for entry in entries:
        instrument = entry.get("instrument")
        if not isinstance(instrument, h5py.Group):
            continue
        for detector in _groups(instrument):
            if "image_key" not in detector:
                continue
            if isinstance(detector.get("data"), h5py.Dataset):
                return detector
            # A link to pixels that are not here: the reader says what is missing.
            if absent is None and detector.get("data", getlink=True) is not None:
                absent = detector
    return absent


def read_nxtomo(path: Path, file: h5py.File, detector: h5py.Group) -> Scan:
    """Scan of an open NXtomo file; `Scan.close` closes it.

    Missing units are taken as NeXus tools take them (degrees, metres, keV, seconds), with a
    warning. Frames with ``image_key`` 3 are left out, whatever their angle: a frame taken again
    replaces one marked invalid, and two valid frames at one angle both stay.
    """
    # What HDF5 holds under a name is only known when it is read: h5py's types do not help.
    data: Any = _pixels(path, detector)
    entry: Any = detector.parent.parent
    sample: Any = entry.get("sample", {})
    image_key: Any = detector["image_key"]
    image_key_control: Any = detector.get("image_key_control")
    if data.ndim != 3:
        raise ScanFormatError(
            path, f"detector data have {data.ndim} axes", "frames, rows, columns are needed"
        )
    warnings: list[str] = []
    keys: NDArray[np.int_] = np.asarray(image_key[()]).astype(int)
    n = len(data)
    angles = _angles(path, entry, detector, n, warnings)
    unfinished = is_unfinished(path)
    if unfinished:
        # Datasets of a file that is being written do not grow at the same instant.
        n = min(n, len(keys), len(angles))
        warnings.append(f"the file was not closed by its writer; {n} complete frames are read")
    elif not n == len(keys) == len(angles):
        raise ScanFormatError(
            path,
            f"{n} frames, {len(keys)} image_key, {len(angles)} rotation_angle",
            "they must be equally many",
        )
    keys, angles = keys[:n].copy(), angles[:n]
    if image_key_control is not None and len(image_key_control) >= n:
        keys[np.asarray(image_key_control[:n]) == ALIGNMENT] = INVALID
    index = {k: np.flatnonzero(keys == k) for k in (PROJECTION, FLAT, DARK)}
    projections = index[PROJECTION]

    positions = np.zeros((n, 3))
    for axis, name in enumerate("xyz"):
        found = _values(path, sample, f"{name}_translation", "length", "m", warnings)
        if found is None:
            continue
        if found.size == 1 or found.size == n or (unfinished and found.size > n):
            positions[:, axis] = found[:n] if found.ndim else found
        else:
            warnings.append(f"{found.size} {name}_translation for {n} frames: not used")
    exposure = _values(path, detector, "count_time", "time", "s", warnings)
    kinds = {"projections": projections, "flats": index[FLAT], "darks": index[DARK]}
    exposures_s = _by_kind(exposure, kinds, n)
    starts: Any = detector.get("start_time")
    numeric = isinstance(starts, h5py.Dataset) and starts.dtype.kind == "f" and units_of(starts)
    start_s = _values(path, detector, "start_time", "time", "s", warnings) if numeric else None
    times_s = _by_kind(start_s, kinds, n)
    if exposure is not None and exposure.size > 1:
        exposure = exposure[projections[projections < exposure.size]]
    # At ESRF the detector may have its own pixels, and the sample those that count.
    pixel = _values(path, sample, "x_pixel_size", "length", "m", warnings)
    if pixel is None:
        pixel = _values(path, detector, "x_pixel_size", "length", "m", warnings)
    return Scan(
        projections=Frames.of_hdf5(data, projections),
        flats=Frames.of_hdf5(data, index[FLAT]),
        darks=Frames.of_hdf5(data, index[DARK]),
        angles_deg=angles[projections],
        source=path,
        format="nxtomo",
        pixel_um=None if pixel is None else float(pixel.flat[0]),
        energy_kev=_energy(path, entry, warnings),
        exposure_s=None if exposure is None or not exposure.size else float(np.median(exposure)),
        sample=text_of(sample.get("name")),
        positions_um=positions[projections],
        exposures_s=exposures_s,
        times_s=times_s,
        invalid=n - sum(map(len, index.values())),
        metadata={
            "title": text_of(entry.get("title")),
            "start_time": text_of(entry.get("start_time")),
            "end_time": text_of(entry.get("end_time")),
            "instrument": text_of(entry.get("instrument/name")),
            "unfinished": unfinished,
            "image_key": keys,
            "warnings": warnings,
        },
        on_close=file.close,
    )


def _by_kind(
    values: NDArray[np.float64] | None, kinds: dict[str, NDArray[np.intp]], n: int
) -> dict[str, NDArray[np.float64]]:
    """Return values of frames by their kind; nothing unless there is one for each frame."""
    if values is None or values.ndim != 1 or len(values) < n:
        return {}
    return {kind: values[which] for kind, which in kinds.items()}


def text_of(dataset: Any) -> str:
    """Text of a string dataset (bytes or str, scalar or of length 1); empty when absent."""
    if not isinstance(dataset, h5py.Dataset):
        return ""
    value = dataset[()]
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else b""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def units_of(dataset: h5py.Dataset) -> str | None:
    """Read the units attribute as text; None when absent or empty."""
    units = dataset.attrs.get("units")
    if isinstance(units, np.ndarray):
        units = units.flat[0] if units.size else None
    if isinstance(units, bytes):
        units = units.decode("utf-8", "replace")
    return str(units) if units else None


def _groups(parent: h5py.Group) -> list[h5py.Group]:
    return [child for child in parent.values() if isinstance(child, h5py.Group)]


def _values(
    path: Path, group: Any, name: str, quantity: str, default: str, warnings: list[str]
) -> NDArray[np.float64] | None:
    """Read a dataset in house units; None when the group lacks it."""
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        return None
    if dataset.dtype.kind not in "iuf":
        warnings.append(f"{dataset.name} is {text_of(dataset)!r}, not a number: not used")
        return None
    units = units_of(dataset)
    if units is None:
        warnings.append(f"{dataset.name} has no units; {default} assumed")
    return convert(dataset[()], quantity, units, default, path)


def _pixels(path: Path, detector: h5py.Group) -> h5py.Dataset:
    """Return the frames, once it is sure that all of them are here."""
    data = detector.get("data")
    link = detector.get("data", getlink=True)
    if not isinstance(data, h5py.Dataset):
        place = getattr(link, "filename", "") or getattr(link, "path", "") or "nowhere"
        raise ScanFormatError(
            path, f"its frames are in {place}, which is not here", "put that file beside it"
        )
    for source in data.virtual_sources() if data.is_virtual else ():
        # HDF5 reads the frames of an absent file as zeros, without a word.
        if source.file_name != "." and not (path.parent / source.file_name).exists():
            raise ScanFormatError(
                path,
                f"some of its frames are in {source.file_name}, which is not here",
                "put that file where it refers to",
            )
    return data


def _angles(
    path: Path, entry: Any, detector: h5py.Group, n: int, warnings: list[str]
) -> NDArray[np.float64]:
    """Angle of every frame, from the places where NeXus files keep it."""
    name = str(detector.name).rsplit("/", 1)[-1]
    for place in ("sample", "data", name):
        group = entry.get(place)
        if isinstance(group, h5py.Group):
            found = _values(path, group, "rotation_angle", "angle", "deg", warnings)
            if found is not None:
                return found
    beside = entry.get(name)
    for field in sorted(beside) if isinstance(beside, h5py.Group) else ():
        dataset: Any = beside.get(field)
        if _READBACK.fullmatch(field) and isinstance(dataset, h5py.Dataset) and len(dataset) == n:
            warnings.append(f"angles taken from {dataset.name}")
            found = _values(path, beside, field, "angle", "deg", warnings)
            assert found is not None  # it is a dataset
            return found
    raise ScanFormatError(
        path, "no sample/rotation_angle in it", "an NXtomo file has one angle per frame"
    )


def _energy(path: Path, entry: h5py.Group, warnings: list[str]) -> float | None:
    """Photon energy in keV from the places where NeXus files keep the beam."""
    for place in ("instrument/beam", "beam", "sample/beam", "instrument/monochromator"):
        group = entry.get(place)
        if not isinstance(group, h5py.Group):
            continue
        for name in ("incident_energy", "energy"):
            found = _values(path, group, name, "energy", "keV", warnings)
            if found is not None and found.size:
                return float(found.flat[0])
    return None
