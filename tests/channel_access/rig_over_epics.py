"""A server with one particle and the microscope over Channel Access, for the tests beside this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bluesky import RunEngine
from ophyd.status import Status

from zoneplate.devices.epics import EpicsMicroscope
from zoneplate.devices.epics_environment import use_simulated_servers
from zoneplate.plans import tomography
from zoneplate.simulators import attach
from zoneplate.simulators.ioc import ServerProcess

NMC622 = "LiNi0.6Mn0.2Co0.2O2@4.77"
SEED = 3
EPOCH_S = 1_800_000_000.0


def start(directory: Path, specimen: Path, prefix: str, **options: Any) -> ServerProcess:
    port, beacon_port = use_simulated_servers()
    return ServerProcess(
        specimen=specimen,
        prefix=prefix,
        directory=directory,
        port=port,
        beacon_port=beacon_port,
        seed=SEED,
        epoch_s=EPOCH_S,
        **options,
    )


def engine(microscope: Any) -> RunEngine:
    RE = RunEngine({}, context_managers=[])
    attach(RE, microscope.clock)
    return RE


def pass_time(microscope: EpicsMicroscope, seconds: float) -> None:
    """Let so much instrument time pass, and no more."""
    over = Status()
    microscope.clock.call_later(seconds, over.set_finished)
    with microscope.clock.waiting_for(over):
        over.wait(5)


def scan(microscope: EpicsMicroscope) -> Any:
    return tomography(microscope, center_um=(0, 0, 4), projections=6, dark_frames=1, flat_frames=2)
