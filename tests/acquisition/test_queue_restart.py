"""A campaign goes on after its server was killed, because the queue is not in the server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("bluesky_queueserver", reason="the queue server is not installed")

from zoneplate.acquisition.queue_server import stand_in
from zoneplate.devices.epics_environment import free_port
from zoneplate.simulators import Particle, Specimen

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LOTS = """lot,regions,rows,columns,projections
first,1,1,1,24
second,1,1,1,24
"""
ZONEPLATE = [sys.executable, "-P", "-c", "from zoneplate.acquisition.cli import main; main()"]
PATIENCE_S = 240.0


class Place:
    """A data directory, a stand-in for Redis, and the addresses of a server."""

    def __init__(self, folder: Path, redis: str) -> None:
        self.folder = folder
        self.control, self.info = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        self.specimen = folder / "specimen.csv"
        Specimen((Particle("a", (3, 4, 5), (5, 5, 5)),)).save(self.specimen)
        self.command = [*ZONEPLATE, "queue", "start"]
        self.command += ["--data", str(folder / "data"), "--redis", redis]
        self.command += ["--control", self.control, "--info", self.info]

    @contextlib.contextmanager
    def server(self) -> Iterator[subprocess.Popen[bytes]]:
        log = (self.folder / "server.log").open("ab")
        process = subprocess.Popen(
            self.command,
            env={**os.environ, "ZONEPLATE_SPECIMEN": str(self.specimen)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            log.close()

    def reported(self) -> set[str]:
        return {file.parent.name for file in self.folder.glob("data/reports/*/results.json")}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    server = stand_in(0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Place(tmp_path, f"127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


def until(condition, what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        time.sleep(0.2)


def running(place: Place) -> bool:
    journals = list((place.folder / "data" / "journal").glob("*"))
    return bool(journals) and not place.reported()


def test_campaign_goes_on_after_its_server_was_killed(place: Place):
    lots = place.folder / "lots.csv"
    lots.write_text(LOTS)
    campaign = [*ZONEPLATE, "campaign", str(lots), "--control", place.control]
    with place.server() as server:
        until(lambda: subprocess.run(campaign, check=False).returncode == 0, "a queued campaign")
        until(lambda: running(place), "the first lot")
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert place.reported() == set()
    with place.server():
        until(lambda: place.reported() == {"first", "second"}, "the end of the campaign")
    for lot in ("first", "second"):
        results = json.loads((place.folder / "data/reports" / lot / "results.json").read_text())
        assert results["sample"] == lot
        assert results["tomograms"][0]["projections"] == 24
