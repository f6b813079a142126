"""Zeiss Xradia ``.txrm`` (tomography), ``.xrm`` (radiograph, mosaic) and ``.txm`` files.

An OLE2 compound file: numbers under ``ImageInfo``, image i (from 1) in the stream
``ImageData{(i-1)//100 + 1}/Image{i}``. The format is not published; the names and types are those
that dxchange (doi:10.1107/S160057751401604X) reads, checked on real files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import olefile
from numpy.typing import NDArray

from .scan import Frames, Scan, ScanFormatError

_PIXEL_TYPES = {3: np.dtype("u1"), 5: np.dtype("<u2"), 10: np.dtype("<f4")}
"""``DataType`` codes."""

_IMAGES_PER_GROUP = 100
_UNITS = {
    "Angles": "degree",
    "PixelSize": "um",
    "XPosition": "um",
    "YPosition": "um",
    "ZPosition": "um",
    "ExpTimes": "s",
}
"""Units of the streams; the files do not state them, and the controller offers no others."""

_DATE_BYTES = 40

_EV_ABOVE = 200.0
"""Synchrotron files give the energy in eV, others in keV; no such microscope has 200 keV."""


def open_xradia(path: Path) -> Scan:
    """Open a ``.txrm`` or ``.xrm`` file.

    The image reference stored in the file, if any, becomes the flat. Frames keep the order and
    the orientation of the file. Of a mosaic, which is stored as one stitched image, rows, columns
    and position, time and exposure of every tile, in the order in which they were taken, are noted
    in ``metadata``.

    Raises
    ------
    ScanFormatError
        The file is truncated, has no images, or has pixels of an unknown type.
    """
    try:
        ole = olefile.OleFileIO(str(path))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    try:
        return _read(path, ole)
    except (OSError, ValueError) as error:
        ole.close()
        raise error if isinstance(error, ScanFormatError) else _damaged(path, error) from error


def _read(path: Path, ole: olefile.OleFileIO) -> Scan:
    _check_sectors(path, ole)
    info = _Streams(ole, "ImageInfo")
    rows, columns = info.integer("ImageHeight"), info.integer("ImageWidth")
    code, named = info.integer("DataType"), info.integer("NoOfImages")
    if not rows or not columns or not named:
        raise ScanFormatError(
            path, "an OLE file without Xradia images", "give a .txrm or .xrm file"
        )
    dtype = _PIXEL_TYPES.get(code or 0)
    if dtype is None:
        raise ScanFormatError(
            path, f"unknown pixel type {code}", f"known are {sorted(_PIXEL_TYPES)}"
        )
    mosaic = (info.integer("MosiacRows") or 0, info.integer("MosiacColumns") or 0)
    # A scan that was stopped holds fewer images than were asked for; a mosaic holds one.
    n = 1 if all(mosaic) else min(named, info.integer("ImagesTaken") or named)
    bytes_per_image = rows * columns * dtype.itemsize

    def image(index: int) -> NDArray[Any]:
        return _pixels(path, ole, _image_stream(index), bytes_per_image, dtype, rows, columns)

    names = [_image_stream(i) for i in range(n)]
    missing = [s for s in names if not ole.exists(s) or ole.get_size(s) < bytes_per_image]
    if missing:
        raise _damaged(path, f"{len(missing)} of {n} images are missing")
    warnings: list[str] = []
    if n < named and not all(mosaic):
        warnings.append(f"the scan was stopped after {n} of {named} images")
    angles = info.floats("Angles")
    if len(angles) < n:
        raise ScanFormatError(
            path, f"{n} images but {len(angles)} angles", "one angle per image is needed"
        )
    tiles = np.stack([_padded(info.floats(f"{a}Position"), n) for a in "XYZ"], axis=1)
    energy = float(info.floats("Energy")[:1].sum())
    pixel = float(info.floats("PixelSize")[:1].sum())
    exposures = info.floats("ExpTimes")[:n]
    reference = _Streams(ole, "ReferenceData")
    metadata: dict[str, Any] = {
        "start_time": info.text("Date"),
        "units": dict(_UNITS),
        "objective": info.text("ObjectiveName"),
        "camera": info.text("CameraName"),
        "binning": info.integer("HorizontalBin"),
        "images_planned": named,
        "warnings": warnings,
    }
    alignment = _Streams(ole, "Alignment")
    for name, key in (("X-Shifts", "alignment_x_px"), ("Y-Shifts", "alignment_y_px")):
        if len(shifts := alignment.floats(name)) >= n:
            metadata[key] = shifts[:n]
    if all(mosaic):
        metadata["mosaic_rows"], metadata["mosaic_columns"] = mosaic
        metadata["tile_positions_um"] = _positions(info)
        metadata["tile_exposures_s"] = info.floats("ExpTimes")
        metadata["tile_times"] = info.texts("Date", _DATE_BYTES)
        metadata["tile_shape"] = (rows // mosaic[0], columns // mosaic[1])
        warnings.append("a mosaic that was stitched by the instrument: one image, tile positions")
    flats = Frames.none(rows, columns, dtype)
    if reference.has("Image"):
        flats, metadata["flat_exposure_s"] = _reference(path, reference, rows, columns)
    return Scan(
        projections=Frames.each((n, rows, columns), dtype, image),
        flats=flats,
        darks=Frames.none(rows, columns, dtype),
        angles_deg=angles[:n],
        source=path,
        format="xradia",
        pixel_um=pixel or None,
        energy_kev=(energy / 1000.0 if energy > _EV_ABOVE else energy) or None,
        exposure_s=float(np.median(exposures)) if len(exposures) else None,
        sample=_Streams(ole, "SampleInfo").text("SampleID"),
        positions_um=tiles,
        metadata=metadata,
        on_close=ole.close,
    )


class _Streams:
    """Numbers and texts of one storage of the file; absent ones read as nothing."""

    def __init__(self, ole: olefile.OleFileIO, storage: str) -> None:
        self.ole, self.storage = ole, storage

    def has(self, name: str) -> bool:
        return bool(self.ole.exists(f"{self.storage}/{name}"))

    def bytes(self, name: str) -> bytes:
        if not self.has(name):
            return b""
        with self.ole.openstream(f"{self.storage}/{name}") as stream:
            return stream.read()

    def floats(self, name: str) -> NDArray[np.float64]:
        raw = self.bytes(name)
        return np.frombuffer(raw[: len(raw) // 4 * 4], "<f4").astype(np.float64)

    def integer(self, name: str) -> int | None:
        raw = self.bytes(name)[:4]
        return int.from_bytes(raw, "little", signed=True) if len(raw) == 4 else None

    def text(self, name: str) -> str:
        return self.bytes(name).split(b"\0", 1)[0].decode("latin-1").strip()

    def texts(self, name: str, width: int) -> list[str]:
        """Texts of a fixed number of bytes each."""
        raw = self.bytes(name)
        parts = [raw[first : first + width] for first in range(0, len(raw), width)]
        return [part.split(b"\0", 1)[0].decode("latin-1").strip() for part in parts]


def _image_stream(index: int) -> str:
    return f"ImageData{index // _IMAGES_PER_GROUP + 1}/Image{index + 1}"


def _check_sectors(path: Path, ole: Any) -> None:
    """Refuse a file whose allocation table points behind its end, without reading images."""
    table = np.asarray(ole.fat, dtype=np.uint32)  # cut by olefile to the sectors that are there
    is_sector = table < olefile.MAXREGSECT
    beyond = np.count_nonzero(table[is_sector] >= len(table))
    # Streams below the cutoff are numbered in another table, inside the root stream.
    large = [e for e in ole.direntries if e is not None and e.size >= ole.minisectorcutoff]
    starts = [e.isectStart for e in large]
    beyond += sum(len(table) <= start < olefile.MAXREGSECT for start in starts)
    partial = path.stat().st_size % ole.sector_size
    if beyond or partial:
        raise _damaged(path, "its end is missing")


def _pixels(
    path: Path,
    ole: olefile.OleFileIO,
    name: str,
    size: int,
    dtype: np.dtype[Any],
    rows: int,
    columns: int,
) -> NDArray[Any]:
    try:
        with ole.openstream(name) as stream:
            raw = stream.read(size)
    except OSError as error:
        raise _damaged(path, error) from error
    if len(raw) < size:
        raise _damaged(path, f"{name} ends after {len(raw)} of {size} bytes")
    return np.frombuffer(raw, dtype).reshape(rows, columns)


def _reference(
    path: Path, reference: _Streams, rows: int, columns: int
) -> tuple[Frames, float | None]:
    """Read the reference image of the file as a flat, and its exposure."""
    dtype = _PIXEL_TYPES.get(reference.integer("DataType") or 0)
    size = len(reference.bytes("Image"))
    if dtype is None or size != rows * columns * dtype.itemsize:
        raise ScanFormatError(
            path, "its reference image does not fit the images", "take the reference anew"
        )
    ole = reference.ole
    flat = Frames.each(
        (1, rows, columns),
        dtype,
        lambda _: _pixels(path, ole, "ReferenceData/Image", size, dtype, rows, columns),
    )
    exposure = reference.floats("ExpTime")
    return flat, float(exposure[0]) if len(exposure) else None


def _positions(info: _Streams) -> NDArray[np.float64]:
    """Positions x, y, z of all tiles (tiles, 3)."""
    axes = [info.floats(f"{a}Position") for a in "XYZ"]
    return np.stack([_padded(axis, max(map(len, axes))) for axis in axes], axis=1)


def _padded(values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Exactly n values: cut, or filled up with zeros."""
    return np.pad(values[:n], (0, max(0, n - len(values))))


def _damaged(path: Path, reason: object) -> ScanFormatError:
    return ScanFormatError(
        path, f"a truncated or damaged Xradia file ({reason})", "copy it again from the instrument"
    )
