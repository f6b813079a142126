"""Where this process looks for EPICS servers, settled before the first PV.

The Channel Access library reads its environment when it looks for the first PV and never
again. So a process settles once on a few loopback ports for simulated servers; they may come
and go there. Real instruments need none of this: their addresses are in the environment.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading

from .errors import ConfigurationError

LOOPBACK = "127.0.0.1"

DEFAULT_PORTS = (5064, 5065)
"""Where real instruments are found: a simulator must not be looked for there."""

CONNECTION_TIMEOUT_S = 5.0
"""A server that sends no sign of life for so long is taken for gone (Channel Access: 30 s)."""

SIMULATED_SERVERS = 4
"""How many simulated servers one process can talk to at a time."""

_REGISTER, _CONFIRM, _BEACON = 24, 17, 13
_HEADER = struct.Struct(">HHHHII")

_lock = threading.Lock()
_repeater: LoopbackRepeater | None = None
_ports: tuple[int, ...] = ()


class LoopbackRepeater:
    """A Channel Access repeater that only this machine can talk to.

    The library asks it for beacons; without one, a client that lost its server finds it again
    only after a search that backs off to minutes (a trial: 46 s instead of 5 s). pyepics brings
    none, and others listen to the whole network.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        self._clients: set[tuple[str, int]] = set()
        threading.Thread(target=self._run, name="ca-repeater", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(1024)
            except OSError:
                return
            command = _HEADER.unpack_from(data)[0] if len(data) >= _HEADER.size else _REGISTER
            if command == _REGISTER:
                self._clients.add(sender)
                address = int.from_bytes(socket.inet_aton(LOOPBACK), "big")
                self._send(_HEADER.pack(_CONFIRM, 0, 0, 0, 0, address), sender)
            elif command == _BEACON:
                for client in tuple(self._clients):
                    self._send(data, client)

    def _send(self, data: bytes, client: tuple[str, int]) -> None:
        try:
            self._socket.sendto(data, client)
        except OSError:
            self._clients.discard(client)


def free_port(interface: str = LOOPBACK) -> int:
    """Return a port that is free for TCP and UDP now, and no default EPICS port."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind((interface, 0))
            port = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind((interface, port))
                if port not in DEFAULT_PORTS:
                    return port


def use_simulated_servers() -> tuple[int, int]:
    """Let this process look for EPICS servers on a few loopback ports only.

    Returns
    -------
    tuple
        One of these ports that no server uses now, and the port of the repeater that the
        beacons of a server there go to.

    Raises
    ------
    ConfigurationError
        If this process already talks to other servers, or all ports are taken.
    """
    global _repeater, _ports
    with _lock:
        if _repeater is None:
            if _channels_exist():
                raise ConfigurationError(
                    "this process already talks to EPICS servers elsewhere, and cannot look for "
                    "simulated ones too: use a new process"
                )
            _repeater = LoopbackRepeater()
            _ports = tuple(free_port() for _ in range(SIMULATED_SERVERS))
            os.environ.update(
                EPICS_CA_ADDR_LIST=" ".join(f"{LOOPBACK}:{port}" for port in _ports),
                EPICS_CA_AUTO_ADDR_LIST="NO",
                EPICS_CA_SERVER_PORT=str(_ports[0]),
                EPICS_CA_REPEATER_PORT=str(_repeater.port),
                EPICS_CA_CONN_TMO=str(CONNECTION_TIMEOUT_S),
            )
        for port in _ports:
            if _is_free(port):
                return port, _repeater.port
    raise ConfigurationError(
        f"{SIMULATED_SERVERS} simulated EPICS servers run already for this process: stop one, or "
        "use a new process"
    )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        # As the server does: connections of a server that was killed do not block its port.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind((LOOPBACK, port))
            tcp.listen()
        except OSError:
            return False
        return True


def _channels_exist() -> bool:
    from epics import ca

    return any(ca._cache.values())
