"""What is installed and working here, and what to do about what is not."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from zoneplate.devices import InstrumentConfiguration, ZoneplateError

from .data_directory import DataDirectory, check_writable
from .journal import is_finished, journals

NEEDED = (
    "bluesky",
    "ophyd",
    "databroker",
    "tiled",
    "bluesky-tiled-plugins",
    "numpy",
    "numba",
    "h5py",
    "xraydb",
)
OPTIONAL = {
    "tomopy": "engine 'tomopy': conda install -c conda-forge tomopy",
    "astra": "engine 'astra': pip install 'zoneplate[astra]'",
}
LOW_DISK_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name, state
        What, and how it is.
    good
        True: fine. False: something does not work. None: optional, not there.
    remedy
        What to do; empty if nothing.
    """

    name: str
    state: str
    good: bool | None
    remedy: str = ""


def examine(data_dir: Path | None = None, instrument: Path | None = None) -> list[Finding]:
    """Look at everything a session needs; nothing is started and nothing moves.

    Parameters
    ----------
    data_dir
        Data directory; the usual one if None.
    instrument
        Instrument file; the one that ships with zoneplate if None. What it says is found over
        EPICS is asked for.
    """
    data = DataDirectory.choose(data_dir)
    return [
        Finding("python", sys.version.split()[0], True),
        *(_package(name) for name in NEEDED),
        *(_optional(name, remedy) for name, remedy in OPTIONAL.items()),
        Finding("cores", str(len(os.sched_getaffinity(0))), True),
        *_instrument(instrument, data),
        *_data(data),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name), True)
    except PackageNotFoundError:
        return Finding(name, "not installed", False, "pip install zoneplate")


def _optional(name: str, remedy: str) -> Finding:
    if importlib.util.find_spec(name) is not None:
        return Finding(name, "installed", True)
    return Finding(name, "not installed (optional)", None, remedy)


def _instrument(file: Path | None, data: DataDirectory) -> list[Finding]:
    try:
        configuration = InstrumentConfiguration.load(file)
    except ZoneplateError as error:
        remedy = "reinstall zoneplate" if file is None else "docs/instrument-files.md has them all"
        return [Finding("instrument file", str(error), False, remedy)]
    findings = [Finding("instrument file", configuration.name, True)]
    if configuration.epics is not None:
        findings.append(_records(configuration, configuration.epics.prefix, data))
    return findings


def _records(configuration: InstrumentConfiguration, prefix: str, data: DataDirectory) -> Finding:
    # The Channel Access library reads its environment when it is loaded: only who needs it does.
    from zoneplate.devices.epics import epics_microscope

    try:
        microscope = epics_microscope(prefix, directory=data.frames, configuration=configuration)
    except ZoneplateError as error:
        return Finding("instrument", str(error), False, "correct [epics], or start its servers")
    places = (f"{name} {axis.position:g} {axis.egu}" for name, axis in microscope.axes.items())
    state = f"answers: {', '.join(places)}; shutter {microscope.shutter.state.get()}"
    microscope.destroy()
    return Finding("instrument", state, True)


def _data(data: DataDirectory) -> list[Finding]:
    try:
        check_writable(data.root)
    except ZoneplateError as error:
        return [Finding("data directory", str(error), False, "give --data, or set ZONEPLATE_DATA")]
    free = shutil.disk_usage(data.root).free
    findings = [
        Finding("data directory", str(data.root), True),
        Finding(
            "free disk",
            f"{free / 1024**3:.1f} GiB",
            free > LOW_DISK_BYTES,
            "" if free > LOW_DISK_BYTES else "free some space: frames could not be written",
        ),
    ]
    found = journals(data.journal) if data.journal.is_dir() else []
    open_runs = sum(not is_finished(path) for path in found)
    state = f"{len(found)} runs, {open_runs} without an end"
    findings.append(Finding("journal", state, True))
    return findings
