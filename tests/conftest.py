"""Fixtures that several layers share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

# One analysis per test worker and core: numba must not start a thread per core in each.
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from bluesky import RunEngine
from pages import ROOT, run_blocks

from zoneplate.simulators import (
    Imperfections,
    Particle,
    SimulatedMicroscope,
    Specimen,
    Void,
    attach,
    simulated_microscope,
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NMC622 = "LiNi0.6Mn0.2Co0.2O2@4.77"
EPOCH_S = 1_800_000_000.0


@pytest.fixture(scope="session")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script of the README ran: a screening at the study's settings, seed 1.

    Once for all test processes: the second waits for the first.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / "readme", base / "readme" / "printed"
    with (base / "readme.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir(exist_ok=True)
            done.write_text(run_blocks(ROOT / "README.md", folder))
    return folder


@pytest.fixture
def asymmetric_specimen() -> Specimen:
    """Five particles that no symmetry operation maps onto each other, two with a void."""
    return Specimen(
        particles=(
            Particle("a", (14.0, 9.0, 5.0), (5.0, 5.0, 5.0), material=NMC622),
            Particle(
                "b",
                (-11.0, -4.0, 6.0),
                (6.0, 5.0, 5.5),
                material=NMC622,
                voids=(Void("b1", (-10.0, -5.0, 7.0), (1.6, 1.6, 1.6)),),
            ),
            Particle("c", (3.0, -16.0, 3.5), (3.5, 3.5, 3.5), material=NMC622),
            Particle(
                "d",
                (-4.0, 17.0, 4.0),
                (4.0, 4.0, 4.0),
                material=NMC622,
                voids=(Void("d1", (-4.0, 17.5, 4.0), (1.4, 1.4, 1.4)),),
            ),
            Particle("e", (18.0, -9.0, 3.0), (3.0, 3.0, 3.0), material=NMC622),
        ),
        name="asymmetric",
    )


@pytest.fixture
def microscope(tmp_path: Path, asymmetric_specimen: Specimen) -> Iterator[SimulatedMicroscope]:
    """A simulated microscope with the asymmetric specimen; sharp, which takes half the time."""
    device = simulated_microscope(
        asymmetric_specimen,
        seed=3,
        imperfections=Imperfections(blur=False),
        directory=tmp_path / "frames",
        epoch_s=EPOCH_S,
    )
    yield device
    device.clock.close()


@pytest.fixture
def RE(microscope: SimulatedMicroscope) -> RunEngine:
    """A RunEngine that passes the microscope's time."""
    engine = RunEngine({}, context_managers=[])
    attach(engine, microscope.clock)
    return engine


@pytest.fixture
def shared_data() -> Path:
    """The folder of real measurements; skips loudly where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real measurements are not at {SHARED_DATA}")
    return SHARED_DATA
