"""Writers of scans: NXtomo, DXchange, TIFF folder. One frame is in memory at a time.

What they write, `zoneplate.acquisition.formats.open_scan` reads back to the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from .nxtomo import DARK, FLAT, PROJECTION
from .scan import Frames, Scan, ScanFormatError
from .tiff import SIDECAR

COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Lossless, and every HDF5 has it."""

EXPOSURE_TOLERANCE_S = 1e-3

Tick = Callable[[int, int], None]


def write_nxtomo(path: Path, scan: Scan, tick: Tick = lambda *_: None) -> None:
    """Write a scan as NXtomo: darks, flats, projections, each with its key and angle.

    Parameters
    ----------
    path
        The file to make.
    scan
        An open scan.
    tick
        Called with (frames written, frames in all).
    """
    parts = ((DARK, scan.darks), (FLAT, scan.flats), (PROJECTION, scan.projections))
    keys = np.concatenate([np.full(len(frames), key, np.int32) for key, frames in parts])
    before = len(scan.darks) + len(scan.flats)
    angles = np.concatenate([np.zeros(before), scan.angles_deg])
    # References are taken with the sample away; where, no scan tells: they get the scan's place.
    places = np.concatenate([np.tile(scan.center_um, (before, 1)), scan.positions_um])
    with h5py.File(path, "w", libver=("v110", "v114")) as file:
        file.attrs["default"] = "entry"
        entry = _group(file, "entry", "NXentry")
        entry.attrs["default"] = "data"
        entry["definition"] = "NXtomo"
        entry["title"] = scan.sample or scan.source.stem
        for name in ("start_time", "end_time"):
            if text := scan.metadata.get(name):
                entry[name] = str(text)
        instrument = _group(entry, "instrument", "NXinstrument")
        instrument["name"] = str(scan.metadata.get("instrument") or "unknown")
        source = _group(instrument, "source", "NXsource")
        source["probe"] = "x-ray"
        if scan.energy_kev is not None:
            beam = _group(instrument, "beam", "NXbeam")
            _quantity(beam, "incident_energy", scan.energy_kev, "keV")
        detector = _group(instrument, "detector", "NXdetector")
        data = _stack(detector, "data", scan.projections, len(keys))
        for place, frame in enumerate(_frames(*(frames for _, frames in parts))):
            data[place] = frame
            tick(place + 1, len(keys))
        data.attrs["units"] = "counts"
        detector["image_key"] = keys
        if scan.pixel_um is not None:
            for axis in "xy":
                _quantity(detector, f"{axis}_pixel_size", scan.pixel_um * 1e-6, "m")
        exposures_s = _in_order(scan.exposures_s)
        if exposures_s is None and scan.exposure_s is not None:
            exposures_s = np.full(len(keys), scan.exposure_s)
        for name, values in (("count_time", exposures_s), ("start_time", _in_order(scan.times_s))):
            if values is not None:
                _quantity(detector, name, values, "s")
        sample = _group(entry, "sample", "NXsample")
        sample["name"] = scan.sample or scan.source.stem
        _quantity(sample, "rotation_angle", angles, "degree")
        for axis, values in zip("xyz", places.T, strict=True):
            _quantity(sample, f"{axis}_translation", values, "um")
        links = _group(entry, "data", "NXdata")
        links.attrs["signal"] = "data"
        for linked in (data, detector["image_key"], sample["rotation_angle"]):
            linked.attrs["target"] = linked.name
            links[str(linked.name).rsplit("/", 1)[-1]] = linked


def _in_order(values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """Return a value per frame, darks first, then flats; None unless each kind has its own."""
    kinds = ("darks", "flats", "projections")
    if any(kind not in values for kind in kinds):
        return None
    return np.concatenate([values[kind] for kind in kinds])


def _check_one_exposure(scan: Scan) -> None:
    """Refuse a format that has one exposure for all frames, where the frames have several."""
    exposures_s = _in_order(scan.exposures_s)
    if exposures_s is not None and np.ptp(exposures_s) > EXPOSURE_TOLERANCE_S:
        raise ScanFormatError(
            scan.source,
            f"its frames were exposed {exposures_s.min():g} to {exposures_s.max():g} s, and this "
            "format has one exposure for all of them",
            "export it as nxtomo, which has one for each frame",
        )


def write_dxchange(path: Path, scan: Scan, tick: Tick = lambda *_: None) -> None:
    """Write a scan as DXchange; parameters as for `write_nxtomo`.

    Raises
    ------
    ScanFormatError
        If its frames differ in exposure.
    """
    _check_one_exposure(scan)
    total = len(scan.projections) + len(scan.flats) + len(scan.darks)
    done = 0
    with h5py.File(path, "w", libver=("v110", "v114")) as file:
        file["implements"] = "exchange:measurement:process"
        exchange = file.create_group("exchange")
        for name, label, frames in (
            ("data", "theta", scan.projections),
            ("data_white", "theta_white", scan.flats),
            ("data_dark", "theta_dark", scan.darks),
        ):
            data = _stack(exchange, name, frames, len(frames))
            for place, frame in enumerate(frames):
                data[place] = frame
                done += 1
                tick(done, total)
            data.attrs["axes"], data.attrs["units"] = f"{label}:y:x", "counts"
        exchange["data"].attrs["description"] = (
            "absorption" if scan.already_normalized else "transmission"
        )
        _quantity(exchange, "theta", scan.angles_deg, "deg")
        exchange["title"] = scan.sample or scan.source.stem
        measurement = file.create_group("measurement")
        measurement["sample/name"] = scan.sample
        instrument = measurement.create_group("instrument")
        instrument["name"] = str(scan.metadata.get("instrument") or "")
        if scan.pixel_um is not None:
            objective = instrument.create_group("detection_system/objective")
            _quantity(objective, "resolution", scan.pixel_um, "um")
        if scan.energy_kev is not None:
            _quantity(instrument.create_group("monochromator"), "energy", scan.energy_kev, "keV")
        if scan.exposure_s is not None:
            _quantity(instrument.create_group("detector"), "exposure_time", scan.exposure_s, "s")
        stage = instrument.create_group("sample_motor_stack/setup")
        for axis, value in zip("xyz", scan.center_um, strict=True):
            _quantity(stage, axis, value * 1e-3, "mm")
        if text := scan.metadata.get("start_time"):
            file["process/acquisition/start_date"] = str(text)


def write_tiff(folder: Path, scan: Scan, tick: Tick = lambda *_: None) -> None:
    """Write a scan as a folder of TIFFs with its ``scan.toml``; see `write_dxchange`."""
    _check_one_exposure(scan)
    total = len(scan.projections) + len(scan.flats) + len(scan.darks)
    done = 0
    settings: dict[str, Any] = {"sample": scan.sample}
    for kind, frames in (
        ("projections", scan.projections),
        ("flats", scan.flats),
        ("darks", scan.darks),
    ):
        if len(frames):
            settings[kind] = f"{kind}_*.tif"
        for place, frame in enumerate(frames):
            tifffile.imwrite(folder / f"{kind}_{place:05d}.tif", frame, **_resolution(scan))
            done += 1
            tick(done, total)
    settings["angles_deg"] = scan.angles_deg.tolist()
    settings["center_um"] = list(scan.center_um)
    settings["absorption"] = scan.already_normalized
    for name in ("pixel_um", "energy_kev", "exposure_s"):
        if (value := getattr(scan, name)) is not None:
            settings[name] = value
    # Of these kinds of values, JSON and TOML write the same.
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (folder / SIDECAR).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _resolution(scan: Scan) -> dict[str, Any]:
    if scan.pixel_um is None:
        return {}
    per_cm = 1e4 / scan.pixel_um
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}


def _frames(*stacks: Frames) -> Iterator[Any]:
    for stack in stacks:
        yield from stack


def _stack(group: Any, name: str, like: Frames, count: int) -> Any:
    """Dataset of `count` frames, a chunk each."""
    rows, columns = like.shape[1:]
    chunks = (1, rows, columns) if count else None
    options = COMPRESSION if count else {}
    return group.create_dataset(
        name, (count, rows, columns), dtype=like.dtype, chunks=chunks, **options
    )


def _group(parent: Any, name: str, nexus_class: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def _quantity(group: Any, name: str, value: Any, unit: str) -> None:
    group[name] = value
    group[name].attrs["units"] = unit
