"""A folder of TIFFs with a small ``scan.toml`` that says what they are.

``scan.toml`` (angles are mandatory, the rest may be left out)::

    projections = "proj_*.tif"     # pattern or patterns; sorted by number in the name
    flats = "flat_*.tif"           # default: none
    darks = "dark_*.tif"           # default: none
    start_deg = -90.0              # first angle, and
    stop_deg = 90.0                # last angle, of equal steps; or one per projection:
    # angles_deg = [-90.0, -88.7, ...]
    pixel_um = 0.5
    energy_kev = 5.4
    exposure_s = 1.0
    sample = "nmc622"
    center_um = [0.0, 0.0, 0.0]    # stage x, y, z
    absorption = false             # true: pixels are -log(transmission) already

A file holds one frame or, as a multi-page TIFF, several.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .scan import Frames, Scan, ScanFormatError

SIDECAR = "scan.toml"
_NUMBERS = ("start_deg", "stop_deg", "pixel_um", "energy_kev", "exposure_s")
_OTHERS = ("projections", "flats", "darks", "angles_deg", "sample", "center_um", "absorption")
_KEYS = {*_NUMBERS, *_OTHERS}


def open_tiff(folder: Path) -> Scan:
    """Open a folder of TIFFs described by its ``scan.toml`` (see the module).

    Raises
    ------
    ScanFormatError
        No or a wrong ``scan.toml``, no files for a pattern, frames of different sizes.
    """
    settings = _settings(folder)
    patterns = _patterns(settings.get("projections", ["*.tif", "*.tiff"]))
    flat_paths = _files(folder, _patterns(settings.get("flats", [])), "flats")
    dark_paths = _files(folder, _patterns(settings.get("darks", [])), "darks")
    references = {*flat_paths, *dark_paths}
    paths = [p for p in _files(folder, patterns, "projections") if p not in references]
    if not paths:
        raise ScanFormatError(folder, "every TIFF in it is a reference", "correct the patterns")
    projections = _stack(folder, paths)
    none = Frames.none(*projections.shape[1:], projections.dtype)
    n = len(projections)
    center = settings.get("center_um", [0.0, 0.0, 0.0])
    if not (isinstance(center, list) and len(center) == 3):
        raise _wrong(folder, "center_um must be three numbers")
    return Scan(
        projections=projections,
        flats=_stack(folder, flat_paths) if flat_paths else none,
        darks=_stack(folder, dark_paths) if dark_paths else none,
        angles_deg=_angles(folder, settings, n),
        source=folder,
        format="tiff",
        pixel_um=settings.get("pixel_um"),
        energy_kev=settings.get("energy_kev"),
        exposure_s=settings.get("exposure_s"),
        sample=str(settings.get("sample", "")),
        positions_um=np.tile(np.asarray(center, dtype=np.float64), (n, 1)),
        already_normalized=bool(settings.get("absorption", False)),
        metadata={"files": [p.name for p in paths]},
    )


def _settings(folder: Path) -> dict[str, Any]:
    """Read the sidecar, checked for unknown names and for numbers that are none."""
    sidecar = folder / SIDECAR
    if not sidecar.exists():
        raise ScanFormatError(
            folder,
            f"a folder without {SIDECAR}",
            "write one with start_deg and stop_deg (or angles_deg) and pixel_um",
        )
    try:
        settings = tomllib.loads(sidecar.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(folder, str(error)) from error
    if unknown := sorted(set(settings) - _KEYS):
        raise _wrong(folder, f"unknown {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}")
    for key in _NUMBERS:
        if key in settings and not isinstance(settings[key], int | float):
            raise _wrong(folder, f"{key} must be a number, not {settings[key]!r}")
    return settings


def _angles(folder: Path, settings: dict[str, Any], n: int) -> NDArray[np.float64]:
    if "angles_deg" in settings:
        try:
            return np.asarray(settings["angles_deg"], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise _wrong(folder, "angles_deg must be a list of numbers") from error
    if "start_deg" in settings and "stop_deg" in settings:
        return np.linspace(settings["start_deg"], settings["stop_deg"], n)
    raise _wrong(folder, "it gives no angles: angles_deg, or start_deg and stop_deg")


def _patterns(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _files(folder: Path, patterns: list[str], what: str) -> list[Path]:
    """Files of the patterns, pattern by pattern, in the order of the numbers in their names."""
    found: list[Path] = []
    for pattern in patterns:
        found += sorted((p for p in folder.glob(pattern) if p not in found), key=_natural)
    if patterns and not found:
        raise ScanFormatError(
            folder, f"no {what} match {', '.join(patterns)}", f"correct them in {SIDECAR}"
        )
    return found


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key that puts ``p_2.tif`` before ``p_10.tif``."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def _stack(folder: Path, paths: list[Path]) -> Frames:
    """Frames of the files; headers are read now, pixels later."""
    pages: list[tuple[Path, int]] = []
    kind: tuple[tuple[int, ...], np.dtype[Any]] | None = None
    for path in paths:
        try:
            with tifffile.TiffFile(path) as tiff:
                first = tiff.pages.first
                shape, dtype, count = first.shape, first.dtype, len(tiff.pages)
        except (OSError, tifffile.TiffFileError) as error:
            raise ScanFormatError(path, f"not a readable TIFF ({error})", "remove it") from error
        if len(shape) != 2 or dtype is None:
            raise ScanFormatError(path, f"a frame of shape {shape}", "grey images are needed")
        if kind is not None and (shape, dtype) != kind:
            raise ScanFormatError(
                path, f"{shape} {dtype}, the frames before it {kind[0]} {kind[1]}", "remove it"
            )
        kind = (shape, dtype)
        pages += [(path, page) for page in range(count)]
    assert kind is not None  # callers give at least one path
    (rows, columns), dtype = kind
    read: Callable[[int], NDArray[Any]] = lambda i: tifffile.imread(  # noqa: E731
        pages[i][0], key=pages[i][1]
    )
    return Frames.each((len(pages), rows, columns), dtype, read)


def _wrong(folder: Path, problem: str) -> ScanFormatError:
    return ScanFormatError(folder / SIDECAR, problem, "correct it")
