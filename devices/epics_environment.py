"""Where this process looks for EPICS servers, settled before the first PV.

The Channel Access library reads its environment when it looks for the first PV and never
again. So a process settles once on one loopback port for simulated servers; they may come and
go there. Real instruments need none of this: their addresses are in the environment already.
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

_REGISTER, _CONFIRM, _BEACON = 24, 17, 13
_HEADER = struct.Struct(">HHHHII")

_lock = threading.Lock()
_settled: LoopbackRepeater | None = None
_port = 0


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
    """Let this process look for EPICS servers on one loopback port only.

    Returns
    -------
    tuple
        The port for the server and that of the repeater its beacons go to: the same on every
        call.

    Raises
    ------
    ConfigurationError
        If this process already talks to other servers.
    """
    global _settled, _port
    with _lock:
        if _settled is None:
            if _channels_exist():
                raise ConfigurationError(
                    "this process already talks to EPICS servers elsewhere, and cannot look for "
                    "simulated ones too: use a new process"
                )
            _settled, _port = LoopbackRepeater(), free_port()
            os.environ.update(
                EPICS_CA_ADDR_LIST=f"{LOOPBACK}:{_port}",
                EPICS_CA_AUTO_ADDR_LIST="NO",
                EPICS_CA_SERVER_PORT=str(_port),
                EPICS_CA_REPEATER_PORT=str(_settled.port),
                EPICS_CA_CONN_TMO=str(CONNECTION_TIMEOUT_S),
            )
        return _port, _settled.port


def _channels_exist() -> bool:
    from epics import ca

    return any(ca._cache.values())
