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


def examine(data_dir: Path | None = None) -> list[Finding]:
    """Look at everything a session needs; nothing is started and nothing moves."""
    return [
        Finding("python", sys.version.split()[0], True),
        *(_package(name) for name in NEEDED),
        *(_optional(name, remedy) for name, remedy in OPTIONAL.items()),
        Finding("cores", str(len(os.sched_getaffinity(0))), True),
        _instrument_file(),
        *_data(DataDirectory.choose(data_dir)),
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


def _instrument_file() -> Finding:
    try:
        configuration = InstrumentConfiguration.load()
    except ZoneplateError as error:
        return Finding("instrument file", str(error), False, "reinstall zoneplate")
    return Finding("instrument file", configuration.name, True)


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
