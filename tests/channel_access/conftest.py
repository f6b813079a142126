"""One server and its microscope for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bluesky import RunEngine
from rig_over_epics import NMC622, engine, start

from zoneplate.acquisition.runs import RunRecord
from zoneplate.devices.epics import EpicsMicroscope, epics_microscope
from zoneplate.simulators import Particle, Specimen
from zoneplate.simulators.ioc import ServerProcess


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One particle: a server with it starts soon."""
    path = tmp_path_factory.mktemp("specimen") / "specimen.csv"
    Specimen(particles=(Particle("a", (3, 4, 5), (5, 5, 5), material=NMC622),)).save(path)
    return path


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, specimen: Path
) -> Iterator[ServerProcess]:
    """Under a prefix of its own: libca is slow to look for names again that it has lost."""
    with start(tmp_path_factory.mktemp("frames"), specimen, request.module.PREFIX) as process:
        yield process


@pytest.fixture(scope="module")
def epics(server: ServerProcess) -> Iterator[EpicsMicroscope]:
    device = epics_microscope(server.prefix, directory=server.directory, simulated=True)
    yield device
    device.destroy()


@pytest.fixture
def RE(epics: EpicsMicroscope) -> RunEngine:
    return engine(epics)


@pytest.fixture
def record(RE: RunEngine) -> RunRecord:
    record = RunRecord()
    RE.subscribe(lambda name, doc: record(name, doc) and None)
    return record
