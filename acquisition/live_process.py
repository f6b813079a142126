"""The live analysis as the session sees it: a child process that may be killed at any time."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from typing import Any

from .data_directory import DataDirectory
from .journal import journals

logger = logging.getLogger(__name__)

STOP_S = 10.0
"""How long the worker may take to end before it is killed."""

ENDED = frozenset({"finished", "failed"})


class LiveAnalysis:
    """Starts the live worker and listens to what it says.

    Parameters
    ----------
    data
        The data directory of the session.
    """

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._condition = threading.Condition()
        self._latest: dict[str, dict[str, Any]] = {}
        self._ended: dict[str, dict[str, Any]] = {}
        known = journals(data.journal)
        # Only what begins from now on is live; older runs are for `analyze`.
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "zoneplate.acquisition.live_worker",
                "--data",
                str(data.root),
                "--since",
                known[-1].name if known else "",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._listener = threading.Thread(target=self._listen, name="live-analysis", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._process.poll() is None

    def latest(self, uid: str) -> dict[str, Any] | None:
        """Return the newest preview of a run; None if there was none."""
        with self._condition:
            return self._latest.get(uid)

    def wait(self, uid: str, timeout_s: float) -> bool:
        """Wait until the analysis of a run has ended.

        Returns
        -------
        bool
            True if its results are there; False if it failed, was killed, or takes longer.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._condition:
            while uid not in self._ended:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._listener.is_alive():
                    return False
                self._condition.wait(min(left_s, 0.5))
            return self._ended[uid]["what"] == "finished"

    def close(self) -> None:
        """End the worker; idempotent."""
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            logger.warning("The live analysis did not end within %.0f s: killing it", STOP_S)
            process.kill()
            process.wait(STOP_S)
        self._listener.join(STOP_S)
        if process.stdout is not None:
            process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                message = json.loads(line)
            except json.JSONDecodeError:
                continue
            with self._condition:
                uid = message.get("uid", "")
                if message["what"] == "preview":
                    self._latest[uid] = message
                elif message["what"] in ENDED:
                    self._ended[uid] = message
                self._condition.notify_all()
        with self._condition:
            self._condition.notify_all()
