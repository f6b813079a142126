"""The catalog process as its owner sees it: started, listened to, ended."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import threading
from pathlib import Path
from typing import IO, Any

CLOSE_S = 40.0
"""Longest time that it may take to finish when it is ended."""

logger = logging.getLogger(__name__)


class CatalogProcess:
    """One catalog process, and what it said.

    Parameters
    ----------
    command
        How it is started.
    secret
        Environment variables with what must not stand in a command line.
    log
        File for what it writes to standard error.

    Attributes
    ----------
    ready
        Set once it serves.
    failed
        Why runs could not be entered, by uid.
    uri, key
        Its address and API key, once it is ready.
    last_error
        The newest problem it reported.
    """

    def __init__(self, command: list[str], secret: dict[str, str], log: Path) -> None:
        self.ready = threading.Event()
        self.failed: dict[str, str] = {}
        self.uri = ""
        self.key = ""
        self.last_error = ""
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **secret},
                start_new_session=True,  # Ctrl-C at the scan must not end the catalog
                text=True,
            )
        assert self._process.stdout is not None
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """Let it finish, for a bounded time."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            logger.error("the catalog process did not end and is killed")
            self._process.kill()
            self._process.wait()

    def _listen(self, stdout: IO[str]) -> None:
        for line in stdout:
            try:
                said: dict[str, Any] = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut off by a crash
            if "failed" in said:
                self.failed[said["failed"]] = said["error"]
                logger.error("run %s is not in the catalog: %s", said["failed"], said["error"])
            self.last_error = said.get("error", self.last_error)
            if "ready" in said:
                self.uri, self.key = said["ready"], said.get("key", "")
                self.ready.set()
        stdout.close()
