"""The process of the live page: `zoneplate live`.

Panel makes the page and keeps it up to date; in front of it stands the gate.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import panel as pn
from tornado.ioloop import IOLoop

from zoneplate.acquisition.control.wishes import Role, this_user
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.devices import ConfigurationError

from .access import Access, parse_user
from .app import TITLE, page
from .board import Board
from .gate import gate_rule

LOOPBACK = "127.0.0.1"
NICENESS = 5
"""The scan comes first where both want the processor."""

QUIET = ("tornado.access", "bokeh.server.util", "bokeh.server.views.ws")
"""They would log addresses, warn of origins that the gate looks after, and of viewers that went."""

LARGEST_MESSAGE = 1 << 20
"""Bytes a browser may send: clicks have some hundred."""


class LivePage:
    """Serves the page of one data directory.

    Parameters
    ----------
    data
        The data directory.
    host, port
        Where to listen; port 0 takes a free one.
    lot
        Uid of the lot to show; the newest if empty.

    Attributes
    ----------
    access
        Who may come in.
    """

    def __init__(
        self, data: DataDirectory, *, host: str = LOOPBACK, port: int = 0, lot: str = ""
    ) -> None:
        self.access = Access()
        self.board = Board(data, lot)
        self._host = host
        pn.extension(raw_css=["body{margin:0;background:#f3f5f7}"])
        pn.config.reconnect = True
        try:
            self._server: Any = pn.io.server.get_server(
                {"/": page(self.board, self.access, lambda: self.port)},
                port=port,
                address=host,
                websocket_origin="*",  # the gate compares origins, whatever the host is called
                title={"/": TITLE},
                websocket_max_message_size=LARGEST_MESSAGE,
                session_token_expiration=3600,
                keep_alive_milliseconds=10_000,
                check_unused_sessions_milliseconds=5_000,
                unused_session_lifetime_milliseconds=30_000,
            )
        except OSError as error:
            raise ConfigurationError(
                f"the page cannot listen at {host}:{port}: {error.strerror or error}; choose "
                "another with --host and --port"
            ) from None
        self._server._tornado.add_handlers(r".*", [gate_rule(self.access, self.port)])

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.port)

    def address(self, token: str) -> str:
        """Return the address for somebody with a token."""
        host = socket.getfqdn() if self._host in ("0.0.0.0", "::") else self._host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/?token={token}"

    def run(self) -> None:
        """Serve until `stop`."""
        self.board.start()
        self._server.start()
        try:
            self._server.io_loop.start()
        finally:
            with contextlib.suppress(Exception):  # bokeh objects to a loop that has ended
                self._server.stop()
            self.board.close()

    def stop(self) -> None:
        """End `run`, from any thread."""
        loop: IOLoop = self._server.io_loop
        loop.add_callback(loop.stop)


def main(arguments: Sequence[str] | None = None, say: Callable[[str], Any] | None = None) -> None:
    """Serve the page until interrupted, or until standard input closes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lot", default="")
    parser.add_argument("--user", action="append", default=[])
    parser.add_argument("--with-parent", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)
    users = [parse_user(text) for text in options.user]
    data = DataDirectory(Path(options.data))
    live = LivePage(data, host=options.host, port=options.port, lot=options.lot)
    tell = say or _tell
    tell(f"watch:  {live.address(live.access.admit('anybody', Role.OBSERVER))}")
    tell(f"steer:  {live.address(live.access.admit(this_user(), Role.EXPERT))}")
    for name, role in users:
        tell(f"{name} ({role.value}):  {live.address(live.access.admit(name, role))}")
    if options.with_parent:
        threading.Thread(target=_watch_parent, args=(live,), daemon=True).start()
    live.run()


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _watch_parent(live: LivePage) -> None:
    sys.stdin.buffer.read()
    live.stop()


if __name__ == "__main__":
    main()
