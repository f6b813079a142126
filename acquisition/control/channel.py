"""The door through which a running scan is steered: JSON lines on the loopback interface.

Whoever may read `control.json` in the data directory (its owner alone) knows the port and the
secret. A request is one line, the answer another; both are JSON and short. Everything that is
asked for is written into `control.jsonl`, whether it was done or refused.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import os
import secrets
import socket
import socketserver
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from .steering import Steering
from .wishes import Action, ControlRefused, Role, Wish

logger = logging.getLogger(__name__)

ADDRESS_FILE, LOG_FILE = "control.json", "control.jsonl"
LONGEST_LINE = 4096
TIMEOUT_S = 5.0
LOOPBACK = "127.0.0.1"
SECRET_BYTES = 32


class ControlServer:
    """Lets others steer the scans of a session.

    Parameters
    ----------
    root
        The data directory.
    steering
        Does what is asked for.
    """

    def __init__(self, root: Path, steering: Steering) -> None:
        self._address, self._log = root / ADDRESS_FILE, root / LOG_FILE
        self._steering = steering
        self._secret = secrets.token_urlsafe(SECRET_BYTES)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Open the door; nothing if it is open."""
        if self._server is not None:
            return
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()
        _write_private(
            self._address,
            {"port": self._server.server_address[1], "secret": self._secret, "pid": os.getpid()},
        )

    def close(self) -> None:
        """Close the door; idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        if self._thread is not None:
            self._thread.join(TIMEOUT_S)
        known = read_address(self._address.parent)
        if known is not None and known.get("secret") == self._secret:
            self._address.unlink(missing_ok=True)

    def answer(self, line: bytes) -> dict[str, Any]:
        """Return the answer to a request."""
        try:
            request = json.loads(line)
            secret = str(request["secret"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"ok": False, "says": "not a request"}
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            return {"ok": False, "says": "wrong secret"}
        if request.get("ask") == "state":
            return {"ok": True, **self._steering.state()}
        return self._act(request)

    def _act(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            who = str(request["who"])[:80]
            wish = Wish(Action(request["action"]), who, Role(request["role"]))
        except (KeyError, ValueError, TypeError) as error:
            return {"ok": False, "says": f"not a request: {error}"}
        try:
            answer = {"ok": True, "says": self._steering.request(wish)}
        except ControlRefused as refusal:
            answer = {"ok": False, "says": str(refusal)}
        self._note(wish, str(request.get("via", ""))[:80], answer)
        return answer

    def _note(self, wish: Wish, via: str, answer: dict[str, Any]) -> None:
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": wish.who,
            "role": wish.role.value,
            "via": via,
            "action": wish.action.value,
            "done": answer["ok"],
            "says": answer["says"],
        }
        with self._lock, self._log.open("ab") as file:
            file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, owner: ControlServer) -> None:
        self.owner = owner
        super().__init__((LOOPBACK, 0), _Request)


class _Request(socketserver.StreamRequestHandler):
    timeout = TIMEOUT_S

    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        with contextlib.suppress(OSError):  # whoever asked has gone
            line = self.rfile.readline(LONGEST_LINE + 1)
            if len(line) > LONGEST_LINE:
                answer: dict[str, Any] = {"ok": False, "says": "the request is too long"}
            else:
                answer = self.server.owner.answer(line)
            self.wfile.write(orjson.dumps(answer) + b"\n")


def read_address(root: Path) -> dict[str, Any] | None:
    """Return port and secret of the session of a data directory; None if there is none."""
    try:
        found = orjson.loads((root / ADDRESS_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "port" in found and "secret" in found else None


def ask_state(root: Path) -> dict[str, Any]:
    """Return the state of the session of a data directory; `{}` if there is none."""
    try:
        return _ask(root, {"ask": "state"})
    except ControlRefused:
        return {}


def ask(root: Path, action: Action, who: str, role: Role, via: str) -> str:
    """Ask the session of a data directory for something.

    Parameters
    ----------
    root
        The data directory.
    action, who, role
        What, by whom.
    via
        How it was asked for: the page and an address, the command line.

    Returns
    -------
    str
        What happens now.

    Raises
    ------
    ControlRefused
        If it is not done; the message says why.
    """
    request = {"ask": "do", "action": action.value, "who": who, "role": role.value, "via": via}
    answer = _ask(root, request)
    if not answer.get("ok"):
        raise ControlRefused(str(answer.get("says", "no answer")))
    return str(answer.get("says", ""))


def _ask(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    address = read_address(root)
    if address is None:
        raise ControlRefused(f"no session scans into {root} just now")
    line = orjson.dumps({"secret": address["secret"], **request}) + b"\n"
    try:
        with socket.create_connection((LOOPBACK, int(address["port"])), TIMEOUT_S) as connection:
            connection.sendall(line)
            with connection.makefile("rb") as file:
                answer = orjson.loads(file.readline(2 * LONGEST_LINE))
    except (OSError, ValueError) as error:
        raise ControlRefused(f"the session does not answer: {error}") from None
    return answer if isinstance(answer, dict) else {}


def _write_private(path: Path, content: dict[str, Any]) -> None:
    """Write a file that only its owner can read, in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(content))
    temporary.replace(path)
