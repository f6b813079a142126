"""The live page as a command sees it: a process that may end without anybody's harm."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
import threading
from typing import Any

from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.devices import ConfigurationError

logger = logging.getLogger(__name__)

STOP_S = 10.0
START_S = 60.0
ADDRESSES = 2
"""Lines the page says before it serves: one to watch, one to steer."""


def require_panel() -> None:
    """Refuse to start a page without its libraries.

    Raises
    ------
    ConfigurationError
        If they are not installed.
    """
    if importlib.util.find_spec("panel") is None:
        raise ConfigurationError(
            "the live page needs Panel: install it with `pip install 'zoneplate[live]'`"
        )


def command(data: DataDirectory, *options: str) -> list[str]:
    """Return the command line of a page."""
    # -P: a file in the current folder must not stand in for a module.
    module = "zoneplate.acquisition.page.server"
    return [sys.executable, "-P", "-m", module, "--data", str(data.root), *options]


class PageProcess:
    """Starts a page, and ends it when it is closed.

    Parameters
    ----------
    data
        The data directory.
    host, port
        Where it listens.

    Attributes
    ----------
    addresses
        What it said: a line for each token.
    """

    def __init__(self, data: DataDirectory, host: str = "127.0.0.1", port: int = 0) -> None:
        require_panel()
        self.addresses: list[str] = []
        self._process: subprocess.Popen[str] = subprocess.Popen(
            command(data, "--host", host, "--port", str(port), "--with-parent"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C at the scan must not end its page
        )
        self._ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Process id of the page."""
        return self._process.pid

    def wait_ready(self, timeout_s: float = START_S) -> bool:
        """Wait until the page serves; False if it does not."""
        self._ready.wait(timeout_s)
        return len(self.addresses) >= ADDRESSES

    def close(self) -> None:
        """End the page; idempotent."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        self._listener.join(STOP_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> PageProcess:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.addresses.append(line.rstrip())
            if len(self.addresses) >= ADDRESSES:
                self._ready.set()
        self._ready.set()
