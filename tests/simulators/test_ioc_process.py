"""A server is started and stopped without a trace, and refuses what could harm others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import epics
import pytest

from zoneplate.devices import AcquisitionError, ConfigurationError
from zoneplate.devices.epics_environment import free_port, use_simulated_servers
from zoneplate.simulators import Particle, Specimen
from zoneplate.simulators.ioc import ServerProcess
from zoneplate.simulators.ioc.server import ServerOptions

NMC622 = "LiNi0.6Mn0.2Co0.2O2@4.77"
TIMEOUT_S = 10.0
CYCLES = int(os.environ.get("ZONEPLATE_SERVER_CYCLES", "2"))
"""Start/stop cycles, of some 5 s each; `make server-cycles` runs 20."""


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One particle: a server with it starts soon."""
    path = tmp_path_factory.mktemp("specimen") / "specimen.csv"
    Specimen(particles=(Particle("a", (3, 4, 5), (5, 5, 5), material=NMC622),)).save(path)
    return path


def listening(port: int) -> set[str]:
    """Return the local addresses (hexadecimal) that somebody has bound at this port."""
    found: set[str] = set()
    for table in ("tcp", "udp", "tcp6", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, local_port = line.split()[1].split(":")
            connected = line.split()[2].rsplit(":", 1)[1] != "0000"
            if int(local_port, 16) == port and not connected:
                found.add(address)
    return found


needs_proc = pytest.mark.skipif(
    not Path("/proc/net/udp").exists(), reason="only Linux lists its sockets in /proc"
)


@needs_proc
def test_server_listens_on_loopback_only(specimen):
    with ServerProcess(prefix="ZPL:", specimen=specimen) as process:
        assert listening(process.port) == {"0100007F"}


@needs_proc
def test_starting_and_stopping_leaves_no_process_port_or_file(tmp_path, specimen):
    for cycle in range(CYCLES):
        folder = tmp_path / str(cycle)
        process = ServerProcess(prefix="ZPC:", directory=folder, specimen=specimen)
        assert listening(process.port)
        assert process.stop() == 0
        assert not Path(f"/proc/{process.pid}").exists()
        assert not listening(process.port)
        assert list(folder.rglob("*")) == []


def test_taken_port_is_an_error_that_says_so():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "zoneplate.simulators.ioc", f"--port={port}"]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=60, stdin=subprocess.PIPE, check=False
        )
    assert ended.returncode == 1
    assert f"port {port} cannot be used" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"port": 5064}, "real instruments"), ({"interface": "0.0.0.0"}, "other machines")],
)
def test_what_could_be_taken_for_a_real_instrument_needs_a_word(tmp_path, changes, told):
    options = {"prefix": "A:", "port": 0, "interface": "127.0.0.1", "beacon_port": 0}
    options |= {"directory": tmp_path}
    with pytest.raises(ConfigurationError, match=told):
        ServerOptions(**(options | changes)).check()
    ServerOptions(**(options | changes), exposed=True).check()


def test_free_port_is_no_default_port():
    assert free_port() not in (5064, 5065)


def test_server_that_cannot_start_says_why(capfd):
    with pytest.raises(AcquisitionError, match="did not start"):
        ServerProcess(specimen="nowhere.csv")
    assert "nowhere.csv" in capfd.readouterr().err


def test_real_time_takes_its_time_and_sigterm_ends_it(specimen):
    with ServerProcess(
        prefix="ZPT:", speed=1.0, port=use_simulated_servers()[0], specimen=specimen
    ) as process:
        assert process.directory.is_dir()
        seen: list[float] = []
        name = "ZPT:Stage:X"
        readback = epics.PV(f"{name}.RBV", callback=lambda value, **_: seen.append(value))
        assert readback.wait_for_connection(timeout=TIMEOUT_S)
        begin = time.monotonic()
        assert epics.caput(name, 200.0, wait=True, timeout=TIMEOUT_S) == 1
        # 200 um at 500 um/s, 0.1 s to accelerate, 0.1 s to settle
        assert time.monotonic() - begin == pytest.approx(0.6, abs=0.3)
        assert len({round(value, 3) for value in seen}) > 3  # it was seen on its way
        os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + TIMEOUT_S
        while process.running and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not process.running
        assert not process.directory.exists()  # it was the server's own
