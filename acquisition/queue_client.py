"""Talks to the queue server: lots in, outcomes out. Messages are JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

from bluesky_queueserver_api.zmq import REManagerAPI

from .campaign_lots import Lot

PLAN = "screen_lot"
LOST = "unknown"
"""Exit status of what a server was doing when it was killed."""
KEPT = ("item_type", "name", "args", "kwargs", "meta")
POLL_S = 0.5
OPEN_TIMEOUT_S = 120.0
REQUEST_TIMEOUT_S = 5.0


class Campaign:
    """A connection to the queue server.

    Parameters
    ----------
    control
        Its 0MQ address.
    group
        User group whose permissions hold.
    """

    def __init__(self, control: str, group: str = "operator") -> None:
        self._api: Any = REManagerAPI(
            zmq_control_addr=control, timeout_recv=REQUEST_TIMEOUT_S, request_fail_exceptions=True
        )
        self._api.user_group = group
        self._lots: list[str] = []
        self._name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def open_environment(self) -> None:
        """Open the environment of the server unless it is open, and wait for it.

        Raises
        ------
        RuntimeError
            If the server does not answer, or cannot open it.
        """
        status = self._api.status(reload=True)
        if not status["worker_environment_exists"]:
            if status["manager_state"] == "idle":
                self._api.environment_open()
            self._api.wait_for_idle_or_running(timeout=OPEN_TIMEOUT_S)
        if not self._api.status(reload=True)["worker_environment_exists"]:
            raise RuntimeError("the environment of the queue server does not open")

    def submit(self, name: str, lots: Sequence[Lot]) -> None:
        """Queue lots as one campaign, all or none, and let the queue run."""
        self.open_environment()
        items = [
            {
                "item_type": "plan",
                "name": PLAN,
                "kwargs": {**lot.model_dump(), "campaign": name},
                "meta": {"campaign": name, "lot": lot.lot},
            }
            for lot in lots
        ]
        self._api.item_add_batch(items)
        self._api.queue_autostart(True)
        self.watch(name, [lot.lot for lot in lots])

    def go_on(self) -> str | None:
        """Let the queue run, with what the server was doing when it died first in it.

        A server that starts has forgotten that its queue was to run, and takes the item that it
        died with for done.

        Returns
        -------
        str or None
            The lot that is taken again.
        """
        lost = [item for item in self.history()[-1:] if item["result"]["exit_status"] == LOST]
        again = None
        for item in lost:
            if all(item["kwargs"] != waiting["kwargs"] for waiting in self.queued()):
                kept = {name: item[name] for name in KEPT if name in item}
                self._api.item_add(kept, pos="front")
            again = str(item["kwargs"].get("lot", ""))
        self._api.queue_autostart(True)
        return again

    def watch(self, name: str, lots: Sequence[str]) -> None:
        """Let `outcomes` speak of a campaign that was submitted before."""
        self._name, self._lots = name, list(lots)

    def outcomes(self) -> Iterator[tuple[str, str]]:
        """Yield (lot, outcome) as lots are done, until all are."""
        missing = dict.fromkeys(self._lots)
        while missing:
            for item in self.history():
                lot = item.get("kwargs", {}).get("lot")
                if item["result"]["exit_status"] == LOST:
                    continue  # it is taken again
                if item.get("kwargs", {}).get("campaign") == self._name and lot in missing:
                    del missing[lot]
                    yield lot, str(item["result"]["exit_status"])
            if missing:
                time.sleep(POLL_S)

    def history(self) -> list[dict[str, Any]]:
        """Return what was done, oldest first."""
        try:
            return list(self._api.history_get()["items"])
        except (self._api.RequestTimeoutError, self._api.RequestFailedError):
            return []  # it restarts: ask again

    def queued(self) -> list[dict[str, Any]]:
        """Return what waits."""
        return list(self._api.queue_get()["items"])
