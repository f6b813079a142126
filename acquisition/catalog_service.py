"""The catalog process: serves Tiled and enters journalled runs into it.

Started by `zoneplate.acquisition.catalog` as ``python -m zoneplate.acquisition.catalog_service
--data-dir DIR``, never inside the scanning process: entering an event can cost 100 ms, and a
server has threads of its own. It

- serves the catalog in ``DIR/catalog`` (SQLite, DuckDB, files) on the loopback interface, on a
  free port, behind the API key in the environment variable ``ZONEPLATE_CATALOG_KEY``; with a
  PostgreSQL database in ``ZONEPLATE_CATALOG_DATABASE``, the one in there; or, with ``--uri``,
  uses a Tiled server that runs elsewhere;
- enters every run of ``DIR/journal`` once its stop document is there, in the order of the starts.
  A run that is there only in part is deleted and entered again; a run whose process died is
  closed in the journal first. ``DIR/catalog`` may be deleted: it is built again;
- prints a JSON line when it is ready (``{"ready": uri}``) and one per run (``{"entered": uid}``
  or ``{"failed": uid, "error": ...}``), and lists entered runs in a file, for any process;
- ends when standard input closes, at SIGTERM, or when its parent is gone, after entering what
  is finished by then, for a bounded time.

A catalog has one writer. A second process on the same folder hands out the address of the first,
and ends with it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn
from tiled.client import from_uri
from tiled.client.container import Container
from tiled.commandline._catalog import init as make_tables
from tiled.server.app import build_app_from_config
from tiled.structures.core import Spec

from .catalog import DATABASE_VARIABLE, KEY_VARIABLE, CatalogFolder, analyses_of
from .catalog_database import Storage, storage_of
from .catalog_writer import enter_run
from .journal import close_abandoned, is_finished, journals, uid_of
from .runs import is_analysis

GRACE_S = 30.0
"""Time for entering what is finished, after the process was told to end."""

_KILL_AFTER_S = GRACE_S + 15.0
_POLL_S = 0.1
_RELIST_S = 2.0
_STARTUP_S = 60.0
_SERVER_SHUTDOWN_S = 5
_LOOPBACK = "127.0.0.1"
_CATALOG_SPEC = Spec("CatalogOfBlueskyRuns", "3.0")

Report = Callable[[dict[str, Any]], None]


def main(arguments: list[str] | None = None) -> int:
    """Serve and write until told to end; returns the exit code."""
    parser = argparse.ArgumentParser(description="Serve Tiled and enter journalled runs.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--uri", help="a Tiled server that runs elsewhere")
    parser.add_argument("--container", default="raw", help="container of the runs")
    parser.add_argument("--readable", type=Path, action="append", default=[])
    options = parser.parse_args(arguments)

    report = _take_stdout()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_watch_parent, args=(stop, os.getppid()), daemon=True).start()

    database = os.environ.get(DATABASE_VARIABLE, "")
    folder = CatalogFolder(options.data_dir, options.uri or database or None)
    with folder.lock.open("a") as lock:
        if not _try_lock(lock.fileno()):
            return _attach(folder, lock.fileno(), report, stop)
        folder.address.unlink(missing_ok=True)
        key = os.environ[KEY_VARIABLE]
        if options.uri:
            return _enter_until(stop, folder, options.uri, key, options.container, report)
        readable = [options.data_dir, *options.readable]
        with _serve(storage_of(folder.path, database), readable, key) as uri:
            return _enter_until(stop, folder, uri, key, options.container, report)


def _enter_until(
    stop: threading.Event, folder: CatalogFolder, uri: str, key: str, name: str, report: Report
) -> int:
    """Announce the catalog, then enter runs until told to end and for the grace time after."""
    scans, analyses = (_container(uri, key, one) for one in (name, analyses_of(name)))
    # The key of a shared server is not ours to leave on the disk.
    folder.write_address(uri, key if _is_loopback(uri) else "")
    report({"ready": uri})
    entering = _Entering(folder, scans, analyses, report)
    while not stop.wait(_POLL_S):
        entering.all_finished(stop.is_set)
    deadline = time.monotonic() + GRACE_S
    entering.all_finished(lambda: time.monotonic() > deadline)
    folder.address.unlink(missing_ok=True)
    return 0


class _Entering:
    """Enters finished journals, each once."""

    def __init__(
        self, folder: CatalogFolder, scans: Container, analyses: Container, report: Report
    ) -> None:
        self._folder, self._report = folder, report
        self._scans, self._analyses = scans, analyses
        self._done = set(folder.read_entered())
        self._todo: list[Path] = []
        self._listed_at = -_RELIST_S
        self._stamp = -1
        folder.journal.mkdir(parents=True, exist_ok=True)

    def all_finished(self, should_end: Callable[[], bool]) -> None:
        """Enter what is finished and not yet entered, in the order of the starts."""
        self._list()
        for path in list(self._todo):
            if should_end():
                return
            if not is_finished(path) and not close_abandoned(path):
                continue  # the run goes on
            try:
                enter_run(self._analyses if is_analysis(path) else self._scans, path)
            except httpx.TransportError as error:
                # The server is away: nothing is wrong with the run, so try again.
                self._report({"waiting": uid_of(path), "error": repr(error)})
                return
            except Exception as error:  # noqa: BLE001  one bad run must not keep out the others
                self._report({"failed": uid_of(path), "error": f"{type(error).__name__}: {error}"})
            else:
                self._folder.add_entered(uid_of(path))
                self._report({"entered": uid_of(path)})
            self._done.add(uid_of(path))
            self._todo.remove(path)

    def _list(self) -> None:
        """Look for new journals, cheaply when there are none however many are entered."""
        stamp, now = self._folder.journal.stat().st_mtime_ns, time.monotonic()
        if stamp != self._stamp or now - self._listed_at > _RELIST_S:
            self._stamp, self._listed_at = stamp, now
            self._todo = [p for p in journals(self._folder.journal) if uid_of(p) not in self._done]


def _container(uri: str, key: str, name: str) -> Container:
    """Client of the container of the runs, which is made if there is none."""
    root = from_uri(uri, api_key=key, trust_env=not _is_loopback(uri))
    if name not in root:
        root.create_container(name, specs=[_CATALOG_SPEC])
    return root[name]


def _is_loopback(uri: str) -> bool:
    """Whether proxies from the environment must be kept out."""
    return urlsplit(uri).hostname in (_LOOPBACK, "localhost", "::1")


@contextmanager
def _serve(storage: Storage, readable: list[Path], key: str) -> Generator[str]:
    """Tiled on a free port of the loopback interface, in a thread; gives its address."""
    # Here, not by `init_if_not_exists`: that starts one more interpreter for the same call.
    make_tables(storage.catalog, if_not_exists=True)
    app = build_app_from_config(
        {
            "trees": [
                {
                    "path": "/",
                    "tree": "catalog",
                    "args": {
                        "uri": storage.catalog,
                        "writable_storage": [storage.files, storage.tables],
                        "readable_storage": [str(path.resolve()) for path in readable],
                    },
                }
            ],
            "authentication": {"single_user_api_key": key, "allow_anonymous_access": False},
            "media_types": {
                "BlueskyRun": {
                    "application/json-seq": "bluesky_tiled_plugins.exporters:json_seq_exporter"
                }
            },
        }
    )
    listener = socket.create_server((_LOOPBACK, 0))
    uri = f"http://{_LOOPBACK}:{listener.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_SERVER_SHUTDOWN_S,
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        _wait_healthy(uri, thread)
        yield f"{uri}/api/v1"
    finally:
        server.should_exit = True
        thread.join(2 * _SERVER_SHUTDOWN_S)
        listener.close()


def _wait_healthy(uri: str, thread: threading.Thread) -> None:
    """Wait until the server answers; a socket listens long before it does."""
    deadline = time.monotonic() + _STARTUP_S
    with httpx.Client(trust_env=False, timeout=1.0) as client:
        while thread.is_alive() and time.monotonic() < deadline:
            try:
                if client.get(f"{uri}/healthz").is_success:
                    return
            except httpx.RequestError:
                pass
            time.sleep(_POLL_S)
    raise RuntimeError(f"Tiled did not start within {_STARTUP_S:.0f} s")


def _attach(folder: CatalogFolder, lock: int, report: Report, stop: threading.Event) -> int:
    """Hand out the address of the process that has the catalog, and end when that one ends."""
    announced = False
    while not stop.wait(_POLL_S):
        if _try_lock(lock):
            return 0
        address = folder.read_address()
        if address and not announced:
            report({"ready": address["uri"], "key": address["key"], "attached": True})
            announced = True
    return 0


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _watch_parent(stop: threading.Event, parent: int) -> None:
    """Set `stop` when standard input closes or the parent is gone; never let it be ignored."""
    while not stop.is_set():
        ready, _, _ = select.select([sys.stdin.fileno()], [], [], _POLL_S)
        if (ready and not os.read(sys.stdin.fileno(), 4096)) or os.getppid() != parent:
            stop.set()
    time.sleep(_KILL_AFTER_S)
    os._exit(1)


def _take_stdout() -> Report:
    """Keep standard output for reports; what libraries print goes to the log."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(line: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # the parent is gone; the watcher ends this process
            out.write(json.dumps(line) + "\n")

    return report


if __name__ == "__main__":
    sys.exit(main())
