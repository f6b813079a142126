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
    """Starts the live worker when the first run begins, and listens to what it says.

    Parameters
    ----------
    data
        The data directory of the session.
    """

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._condition = threading.Condition()
        self._previews: dict[str, list[dict[str, Any]]] = {}
        self._ended: dict[str, dict[str, Any]] = {}
        known = journals(data.journal)
        # Only what begins from now on is live; older runs are for `analyze`.
        self._since = known[-1].name if known else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None

    def start(self) -> None:
        """Start the worker unless it runs; returns at once.

        One that has died is started again, and begins with the newest run.
        """
        if self.alive:
            return
        if self._process is not None:
            logger.warning("The live analysis had ended: it is started again with this run")
            self.close()
            known = journals(self._data.journal)
            self._since = known[-2].name if len(known) > 1 else ""
        # -P: a file in the current folder must not stand in for a module.
        command = [sys.executable, "-P", "-m", "zoneplate.acquisition.live_worker"]
        command += ["--data", str(self._data.root), "--since", self._since]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the scan must not end its analysis
        )
        self._listener = threading.Thread(
            target=self._listen, args=(self._process,), name="live-analysis", daemon=True
        )
        self._listener.start()

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None before it was started."""
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._process is not None and self._process.poll() is None

    def latest(self, uid: str) -> dict[str, Any] | None:
        """Return the newest preview of a run; None if there was none."""
        with self._condition:
            return next(reversed(self._previews.get(uid, [])), None)

    def previews(self, uid: str, projections: int, timeout_s: float) -> list[dict[str, Any]]:
        """Wait for the preview of so many projections of a run.

        Returns
        -------
        list of dict
            The previews of the run up to that one; empty if it does not come: the analysis
            failed, was killed, sees too little, or takes longer.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._condition:
            while True:
                known = self._previews.get(uid, [])
                if any(preview["projections"] == projections for preview in known):
                    return [one for one in known if one["projections"] <= projections]
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or uid in self._ended or not self._listening:
                    return []
                self._condition.wait(min(left_s, 0.5))

    @property
    def _listening(self) -> bool:
        return self._listener is not None and self._listener.is_alive()

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
                if left_s <= 0 or not self._listening:
                    return False
                self._condition.wait(min(left_s, 0.5))
            return self._ended[uid]["what"] == "finished"

    def close(self) -> None:
        """End the worker; idempotent."""
        process, listener = self._process, self._listener
        if process is None or listener is None:
            return
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            logger.warning("The live analysis did not end within %.0f s: killing it", STOP_S)
            process.kill()
            process.wait(STOP_S)
        listener.join(STOP_S)
        if process.stdout is not None:
            process.stdout.close()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                message = json.loads(line)
            except json.JSONDecodeError:
                continue
            with self._condition:
                uid = message.get("uid", "")
                if message["what"] == "preview":
                    self._previews.setdefault(uid, []).append(message)
                elif message["what"] in ENDED:
                    self._ended[uid] = message
                self._condition.notify_all()
        with self._condition:
            self._condition.notify_all()
