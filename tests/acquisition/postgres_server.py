"""A real PostgreSQL for tests: made, started, stopped and started again in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

_DEBIAN = Path("/usr/lib/postgresql")
_START_S = 30


def _program(name: str) -> str:
    found = shutil.which(name)
    if found:
        return os.path.realpath(found)
    newest = sorted(_DEBIAN.glob(f"*/bin/{name}"))
    if newest:
        return str(newest[-1])
    pytest.skip(f"POSTGRESQL ABSENT: no {name}; apt-get install postgresql")


class PostgresServer:
    """On a free port of the loopback interface, with a password, as a user who is not root."""

    def __init__(self) -> None:
        self._pg_ctl, initdb = _program("pg_ctl"), _program("initdb")
        self._folder = Path(tempfile.mkdtemp(prefix="zoneplate-pg-"))
        self._user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses root
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(self._folder, self._user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        password = self._folder / "password"
        password.write_text("not-secret\n")
        if self._user is not None:
            shutil.chown(password, self._user)
        self._data = self._folder / "data"
        self._run(initdb, "-D", str(self._data), "-U", "zoneplate", "-A", "scram-sha-256")
        self._options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self._folder}"
        self.uri = f"postgresql://zoneplate:not-secret@127.0.0.1:{port}/runs"

    def start(self) -> None:
        command = (self._pg_ctl, "start", "-w", "-D", str(self._data), "-o", self._options)
        self._run(*command, "-l", str(self._folder / "log"))

    def stop(self) -> None:
        self._run(self._pg_ctl, "stop", "-w", "-m", "immediate", "-D", str(self._data))

    def remove(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder)

    def _run(self, *command: str) -> None:
        if command[0].endswith("initdb"):
            command = (*command, "--pwfile", str(self._folder / "password"), "-N")
        result = subprocess.run(
            command,
            cwd="/",
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if "start" not in command else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=_START_S,
            check=False,
            text=True,
        )
        assert result.returncode == 0, result.stdout
