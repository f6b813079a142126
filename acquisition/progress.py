"""Progress of a scan for people at a terminal: how far, what is seen so far, time left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from zoneplate.plans.stopping import DECISIONS

REFRESH_S = 0.2
PLAIN_WIDTH = 120
"""Columns of a log file, which has no width of its own."""

FRAMELESS = frozenset({"baseline", DECISIONS})
"""Streams whose events are no frames."""


class ScanProgress:
    """Shows a bar per run, in instrument time, with the live counts beside it.

    Parameters
    ----------
    session
        The session whose scans to show.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._console = Console(stderr=True)
        if not self._console.is_terminal:
            self._console.width = PLAIN_WIDTH
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[seen]}"),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            refresh_per_second=round(1 / REFRESH_S),
        )
        self._task: Any = None
        self._uid = ""
        self._streams: dict[str, str] = {}
        self._runs: dict[str, int] = {}
        self._planned = 0
        self._done = 0
        self._start_s = 0.0
        self._stopped = threading.Event()
        self._refresher = threading.Thread(target=self._refresh, daemon=True)
        self._token: Any = None

    def __enter__(self) -> Self:
        self._token = self._session.RE.subscribe(self)
        self._bars.start()
        self._refresher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.RE.unsubscribe(self._token)
        self._stopped.set()
        self._refresher.join()
        self._bars.stop()

    def step(self, what: str) -> None:
        """Show what is being done after the scan."""
        self._bars.console.print(f"  {what} ...", style="dim", highlight=False)

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take a document: a few assignments, nothing slow."""
        if name == "start":
            self._begin(doc)
        elif name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        elif name == "event" and self._streams.get(doc["descriptor"]) not in FRAMELESS:
            self._done += 1
            self._bars.update(self._task, completed=self._done, left=self._left(doc["time"]))
        elif name == "stop":
            took_s = doc["time"] - self._start_s
            self._bars.update(
                self._task,
                seen=self._seen(),
                left=f"[green]{took_s:.0f} s with references",
            )

    def _begin(self, doc: dict[str, Any]) -> None:
        kind = str(doc.get("plan_name", "scan"))
        self._runs[kind] = self._runs.get(kind, 0) + 1
        self._uid, self._start_s = doc["uid"], doc["time"]
        self._done, self._planned = 0, sum(doc.get("frames", {}).values()) or 1
        screening = doc.get("screening")
        title = f"{kind} {screening['region'] + 1}/{screening['of']}" if screening else kind
        self._task = self._bars.add_task(f"{title:<15}", total=self._planned, seen="", left="")

    def _left(self, now_s: float) -> str:
        per_frame_s = (now_s - self._start_s) / max(self._done, 1)
        left_s = per_frame_s * max(self._planned - self._done, 0)
        return f"{left_s // 60:.0f}:{left_s % 60:02.0f} left"

    def _seen(self) -> str:
        live = self._session.live
        latest = live.latest(self._uid) if live is not None else None
        if latest is None:
            return ""
        return f"[cyan]{latest['particles']:.0f} particles, {latest['with_voids']:.0f} with voids"

    def _refresh(self) -> None:
        while not self._stopped.wait(REFRESH_S):
            if self._task is not None:
                self._bars.update(self._task, seen=self._seen())


@contextmanager
def steps() -> Generator[Callable[[str], None]]:
    """Show what is being done, one line at a time."""
    console = Console(stderr=True)
    with console.status("starting ...") as status:

        def step(what: str) -> None:
            status.update(f"{what} ...")
            if not console.is_terminal:
                console.print(f"  {what} ...", style="dim", highlight=False)

        yield step


@contextmanager
def counted(what: str) -> Generator[Callable[[int, int], None]]:
    """Show a bar with the time left; what is yielded is told how many are done, and of how many."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield tell
