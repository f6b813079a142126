"""The Channel Access server: caproto's, with its traps closed.

What is different from caproto's asyncio server (measured in a trial, before and after):
no delay for small packets (a zero-time `EpicsMotor.move` took 48 ms, then 7.5 ms), events sent
within a millisecond (monitor latency 14 ms, then 5 ms), and a taken port is an error instead of
a silent other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import caproto.server.common
from caproto.asyncio.server import Context, VirtualCircuit
from caproto.asyncio.utils import _TransportWrapper

from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.devices.epics_environment import DEFAULT_PORTS, free_port
from zoneplate.devices.errors import AcquisitionError, ConfigurationError
from zoneplate.simulators.clock import VirtualClock
from zoneplate.simulators.imperfections import Imperfections
from zoneplate.simulators.instrument import SimulatedInstrument
from zoneplate.simulators.specimen import Specimen

from .area_detector import DRIVER_PORT, AreaDetector
from .beamline import (
    ClockPVs,
    EnvironmentPVs,
    FaultPVs,
    IdentityPVs,
    OpticsPVs,
    ShutterPVs,
    SourcePVs,
)
from .channels import Database
from .file_plugin import FilePlugin
from .motor_record import MotorRecord
from .pacing import GRACE_S, ClientPacing

logger = logging.getLogger(__name__)

MOTOR_RECORDS = {
    "x": "Stage:X",
    "y": "Stage:Y",
    "z": "Stage:Z",
    "theta": "Stage:Theta",
    "zone_plate_z": "Optics:ZonePlateZ",
}
"""The record of each axis."""

EVENT_LATENCY_S = 0.0005
"""How long an event may wait for others to share its packet."""


@dataclass(frozen=True)
class ServerOptions:
    """What a server is started with.

    Attributes
    ----------
    prefix
        Begin of every PV name.
    port
        UDP and TCP port; 0 chooses a free one.
    interface
        Address to listen at.
    beacon_port
        Where to announce the server, so that clients that lost it find it soon; 0 announces
        nothing.
    directory
        Folder below which frames are written.
    exposed
        Allow the default EPICS ports, and interfaces that others can reach.
    """

    prefix: str
    port: int
    interface: str
    beacon_port: int
    directory: Path
    exposed: bool = False

    def check(self) -> None:
        """Refuse what could be taken for, or reach, a real instrument.

        Raises
        ------
        ConfigurationError
            If the port is a default one, or the interface is not loopback, and that was not
            asked for.
        """
        if self.exposed:
            return
        if self.port in DEFAULT_PORTS:
            raise ConfigurationError(
                f"port {self.port} belongs to real instruments: choose another, or say --exposed "
                "if you mean it"
            )
        if not ip_address(self.interface).is_loopback:
            raise ConfigurationError(
                f"interface {self.interface} can be reached from other machines, and Channel "
                "Access knows no users: use 127.0.0.1, or say --exposed if you mean it"
            )


class _Circuit(VirtualCircuit):
    """caproto's connection to one client, which sends what there is at once and in one packet.

    caproto sends the first event alone, then waits a moment for more before it sends those. News
    are posted in one go: when the first is here, so are the others.
    """

    _handed_out = False

    async def get_from_sub_queue(self, timeout: float | None = None) -> Any:
        if timeout is not None and self._handed_out and self.subscription_queue.empty():
            self._handed_out = False
            return None  # what was handed out is sent
        event = await self.subscription_queue.get()
        self._handed_out = True
        return event


class _Context(Context):
    """caproto's server context, bound to one port and without Nagle's algorithm."""

    CircuitClass = _Circuit
    announces = False

    # pyright takes caproto's loop without an end for one that must have none.
    async def broadcast_beacon_loop(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.announces:
            await super().broadcast_beacon_loop()

    async def server_accept_loop(self, sock: socket.socket) -> None:
        def new_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = _TransportWrapper(reader, writer)
            self.server_tasks.create(self.tcp_handler(transport, transport.getpeername()))

        await asyncio.start_server(new_client, sock=sock)

    async def _bind_tcp_sockets_with_consistent_port_number(
        self, make_socket: Callable[[str, int], Any]
    ) -> tuple[int, dict[str, socket.socket]]:
        port: Any = self.ca_server_port
        try:
            sockets = {
                interface: await make_socket(interface, port) for interface in self.interfaces
            }
        except OSError as error:
            raise AcquisitionError(
                f"port {port} cannot be used: {error.strerror}; stop what uses it or choose another"
            ) from error
        return port, sockets


class MicroscopeServer:
    """The simulated microscope on the network.

    Parameters
    ----------
    options
        Where and under which names.
    configuration, specimen, imperfections, seed
        What is simulated, as `zoneplate.simulators.simulated_microscope` takes it.
    speed
        None: time passes while clients wait, as fast as it can be computed; 1: real time.
    epoch_s
        Instrument time at the start, seconds since 1970; now if None.
    grace_s
        Wall time without a client's write after which time passes.

    Raises
    ------
    ConfigurationError
        If the options are not safe.
    """

    def __init__(
        self,
        options: ServerOptions,
        configuration: InstrumentConfiguration,
        specimen: Specimen,
        imperfections: Imperfections,
        seed: int,
        *,
        speed: float | None = None,
        epoch_s: float | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        options.check()
        self.options = options
        self.port = options.port or free_port(options.interface)
        self.instance_id = uuid.uuid4().hex
        pacing = ClientPacing(grace_s=grace_s)
        clock = VirtualClock(epoch_s, speed, idleness=pacing if speed is None else None)
        pacing.wake = clock.wake
        self.instrument = SimulatedInstrument(configuration, specimen, clock, imperfections, seed)
        database = self._database = Database(options.prefix, clock, pacing)
        IdentityPVs(database, self.instrument, self.instance_id)
        ClockPVs(database)
        for name, record in MOTOR_RECORDS.items():
            MotorRecord(database, record, self.instrument.axes[name])
        file_plugin = FilePlugin(database, self.instrument.camera, options.directory, DRIVER_PORT)
        self._camera = AreaDetector(database, self.instrument, file_plugin)
        SourcePVs(database, self.instrument)
        ShutterPVs(database, self.instrument)
        EnvironmentPVs(database, self.instrument)
        OpticsPVs(database, self.instrument)
        FaultPVs(database, self.instrument.faults)

    @property
    def pv_names(self) -> list[str]:
        """The names of all PVs."""
        return sorted(self._database.channels)

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled; `ready` is called when clients can connect."""
        self._set_environment()
        self._database.start()
        await self._camera.start()
        context = _Context(self._database.channels, [self.options.interface])
        context.announces = self.options.beacon_port > 0

        async def started(_: Any) -> None:
            ready()

        try:
            await context.run(startup_hook=started)
        finally:
            self.instrument.clock.close()
            self.instrument.camera.disarm()

    def _set_environment(self) -> None:
        """Tell caproto, which asks the environment, where to listen and what to announce."""
        caproto.server.common.HIGH_LOAD_TIMEOUT = EVENT_LATENCY_S
        os.environ.update(
            EPICS_CA_SERVER_PORT=str(self.port),
            EPICS_CAS_SERVER_PORT=str(self.port),
            EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
            EPICS_CAS_BEACON_ADDR_LIST=self.options.interface,
            EPICS_CAS_BEACON_PORT=str(self.options.beacon_port or self.port),
        )


async def run_until_told(
    server: MicroscopeServer, ready: Callable[[], None], *, watch_stdin: bool
) -> None:
    """Serve until SIGTERM or SIGINT, or until standard input closes.

    Parameters
    ----------
    server
        What to serve.
    ready
        Called when clients can connect.
    watch_stdin
        End when standard input closes, as it does when the process that started this one is
        gone, however it went.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no such handlers
            loop.add_signal_handler(number, told.set)
    serving = asyncio.create_task(server.serve(ready))
    telling: asyncio.Task[Any] = asyncio.create_task(told.wait())
    others: list[asyncio.Task[Any]] = [telling]
    if watch_stdin:
        others.append(asyncio.create_task(_tell_when_stdin_closes(told)))
    await asyncio.wait({serving, telling}, return_when=asyncio.FIRST_COMPLETED)
    for task in (*others, serving):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _tell_when_stdin_closes(told: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    told.set()
