"""A server of the simulated microscope as a child process."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from zoneplate.devices.errors import AcquisitionError

START_TIMEOUT_S = 60.0
"""A server that is not ready by then, even on a busy machine, will not be."""

STOP_TIMEOUT_S = 10.0


class ServerProcess:
    """A running server; stop it, or use it as a context manager.

    It ends with this process too, however this process ends: it watches its standard input.

    Parameters
    ----------
    prefix
        Begin of every PV name.
    directory
        Folder below which frames are written.
    port
        UDP and TCP port on the loopback interface; 0 chooses a free one.
    beacon_port
        Port of the Channel Access repeater that announces a restarted server; 0: none.
    specimen
        Specimen file; `sample` counts if None.
    sample
        A name in `zoneplate.simulators.SAMPLES`.
    seed
        Seed of everything random.
    instrument
        Instrument file; the one that ships with zoneplate if None.
    imperfections
        Changes of `Imperfections`, by name.
    speed
        None: as fast as can be computed, 1: real time.
    epoch_s
        Instrument time at the start; now if None.
    grace_s
        Wall time without a client's write after which time passes, if no client leads; the
        default of the server if None.

    Attributes
    ----------
    port, prefix, instance, pid
        Where it is, what it answers to, who it is.

    Raises
    ------
    AcquisitionError
        If the server does not start.
    """

    def __init__(
        self,
        *,
        prefix: str = "ZP:",
        directory: str | Path | None = None,
        port: int = 0,
        beacon_port: int = 0,
        specimen: str | Path | None = None,
        sample: str = "nmc622",
        seed: int = 0,
        instrument: str | Path | None = None,
        imperfections: dict[str, Any] | None = None,
        speed: float | None = None,
        epoch_s: float | None = None,
        grace_s: float | None = None,
    ) -> None:
        command = [sys.executable, "-m", "zoneplate.simulators.ioc"]
        options = {
            "prefix": prefix,
            "port": port,
            "beacon-port": beacon_port,
            "seed": seed,
            "directory": directory,
            "specimen": specimen,
            "sample": sample if specimen is None else None,
            "instrument": instrument,
            "imperfections": json.dumps(imperfections) if imperfections else None,
            "speed": speed,
            "grace": grace_s,
            "epoch": repr(epoch_s) if epoch_s is not None else None,
        }
        for name, value in options.items():
            if value is not None:
                command.append(f"--{name}={value}")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self._first_line()
        self.prefix: str = line["prefix"]
        self.port: int = line["port"]
        self.instance: str = line["instance"]
        self.pid: int = line["pid"]
        self.directory = Path(line["directory"])

    def _first_line(self) -> dict[str, Any]:
        lines: queue.Queue[str] = queue.Queue()
        stdout = self._process.stdout
        assert stdout is not None
        reader = threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True)
        reader.start()
        try:
            line = lines.get(timeout=START_TIMEOUT_S)
        except queue.Empty:
            line = ""
        if not line:
            self.kill()
            raise AcquisitionError(
                "the EPICS server of the simulated microscope did not start: see its message "
                "above, or run `python -m zoneplate.simulators.ioc` to see more"
            )
        return json.loads(line)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def stop(self) -> int:
        """Ask the server to end, wait for it, and return its exit code; idempotent."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with contextlib.suppress(OSError):
            stdin.close()
        try:
            code = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(STOP_TIMEOUT_S)
        stdout.close()
        return code

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._process.kill()
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
