"""Everything of the simulated microscope that is neither stage nor camera, as PVs."""

from __future__ import annotations

import asyncio
import json

from zoneplate.devices.errors import ConfigurationError
from zoneplate.devices.states import SHUTTER_CLOSED, SHUTTER_OPEN
from zoneplate.simulators.faults import FaultBus
from zoneplate.simulators.instrument import SimulatedInstrument

from .channels import Database

LOG_LENGTH = 16384
"""Bytes of the list of faults that happened."""

SHUTTER_STATES = (SHUTTER_CLOSED, SHUTTER_OPEN)


class SourcePVs:
    """`Source:Current`, the relative intensity, and the photon energy."""

    def __init__(self, database: Database, instrument: SimulatedInstrument) -> None:
        self._database = database
        database.before_news.append(self._show_current)
        self._source = instrument.source
        self._lock = instrument.clock.lock
        self._current = database.number(
            "Source:Current", self._source.current, on_put=self._put_current
        )
        energy_kev = instrument.configuration.source.energy_kev
        database.number("Source:Energy_RBV", energy_kev, units="keV", read_only=True)

    async def _put_current(self, value: float) -> None:
        if not value >= 0:
            raise ConfigurationError(f"a beam of intensity {value:g} is not possible: 0 or more")
        with self._lock:
            self._source.intensity = value

    async def _show_current(self, time_s: float) -> None:
        """Post the intensity if it has changed by itself."""
        await self._database.post({self._current: self._source.current}, time_s)


class ShutterPVs:
    """`Shutter:Command` and `Shutter:State_RBV`; a put is complete when the blade has arrived."""

    def __init__(self, database: Database, instrument: SimulatedInstrument) -> None:
        self._database = database
        self._shutter = instrument.shutter
        now = SHUTTER_STATES.index(self._shutter.state)
        self._command = database.enum(
            "Shutter:Command", SHUTTER_STATES, now, on_put=self._put_command
        )
        self._state = database.enum("Shutter:State_RBV", SHUTTER_STATES, now, read_only=True)
        self._waiting: list[asyncio.Future[None]] = []
        database.before_news.append(self._show_state)

    async def _show_state(self, time_s: float) -> None:
        """Post the state if an interlock has changed it."""
        if not self._waiting:
            await self._database.post({self._state: self._shutter.state}, time_s)

    async def _put_command(self, value: str) -> None:
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(arrived)
        with self._database.clock.lock:
            self._shutter.go(value, lambda: self._database.tell(self._show))
        await arrived

    async def _show(self, time_s: float) -> None:
        # Posted even if it was there already: whoever commanded it waits for news.
        await self._database.post({self._state: self._shutter.state}, time_s, always=True)
        waiting, self._waiting = self._waiting, []
        for arrived in waiting:
            if not arrived.done():
                arrived.set_result(None)


class EnvironmentPVs:
    """`Environment:Temperature_RBV`."""

    def __init__(self, database: Database, instrument: SimulatedInstrument) -> None:
        self._database, self._instrument = database, instrument
        self._temperature = database.number(
            "Environment:Temperature_RBV", instrument.temperature_c, units="degC", read_only=True
        )
        database.before_news.append(self._show)

    async def _show(self, time_s: float) -> None:
        await self._database.post({self._temperature: self._instrument.temperature_c}, time_s)


class OpticsPVs:
    """Constants of zone plate and magnification."""

    def __init__(self, database: Database, instrument: SimulatedInstrument) -> None:
        configuration = instrument.configuration
        energy_kev, zone_plate = configuration.source.energy_kev, configuration.optics.zone_plate
        for name, value, units in (
            ("OuterZoneWidth", zone_plate.outer_zone_width_nm, "nm"),
            ("Diameter", zone_plate.diameter_um, "um"),
            ("Resolution", zone_plate.resolution_um, "um"),
            ("FocalLength", zone_plate.focal_length_um(energy_kev), "um"),
            ("DepthOfFocus", zone_plate.depth_of_focus_um(energy_kev), "um"),
            ("UnbinnedPixel", configuration.camera.pixel_um, "um"),
        ):
            database.number(f"Optics:{name}_RBV", value, units=units, read_only=True)


class ClockPVs:
    """The instrument clock, for clients that let time stand still while they work.

    `Clock:Time_RBV` is the instrument time of the last news, posted before them,
    `Clock:News_RBV` their number, posted after them;
    `Clock:Hold` stops the time for so many wall seconds;
    `Clock:Go` lets it pass, with the number of the news that the client has heard;
    `Clock:GoThrough` the same, for a client that waits for no end of an exposure: time does not
    stop there;
    `Clock:Sleep` is complete after so many instrument seconds;
    `Clock:Speed_RBV` is 0 for a clock that jumps from event to event, 1 for real time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = database.clock
        database.clock_channels("Clock:Time_RBV", "Clock:News_RBV")
        database.number("Clock:Speed_RBV", self._clock.speed or 0.0, read_only=True)
        database.number("Clock:Hold", 0.0, units="s", on_put=self._put_hold)
        database.integer("Clock:Go", 0, on_put=self._put_go)
        database.integer("Clock:GoThrough", 0, on_put=self._put_go_through)
        database.number("Clock:Sleep", 0.0, units="s", on_put=self._put_sleep)

    async def _put_hold(self, value: float) -> None:
        self._database.pacing.hold(value)

    async def _put_go(self, value: int) -> None:
        self._database.pacing.go(value)

    async def _put_go_through(self, value: int) -> None:
        self._database.pacing.go(value, through=True)

    async def _put_sleep(self, value: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def news(time_s: float) -> None:
            over.set_result(None)

        self._clock.call_later(value, lambda: self._database.tell(news))
        await over


class FaultPVs:
    """Faults on demand, over Channel Access.

    `Fault:Arm` takes the arguments of `FaultBus.arm` as a JSON object, such as
    ``{"name": "frame_dropped", "at_frame": 40}``; `Fault:Clear` disarms everything;
    `Fault:Fired_RBV` counts what happened, `Fault:Log_RBV` lists it as JSON, newest last, as much
    as fits.
    """

    def __init__(self, database: Database, bus: FaultBus) -> None:
        self._database, self._bus = database, bus
        database.text("Fault:Arm", on_put=self._put_arm)
        database.integer("Fault:Clear", 0, on_put=self._put_clear)
        self._fired = database.integer("Fault:Fired_RBV", 0, read_only=True)
        self._log = database.text("Fault:Log_RBV", length=LOG_LENGTH, read_only=True)
        database.before_news.append(self._show_log)
        bus.watch(lambda: database.tell(self._show_log))

    async def _put_arm(self, value: str) -> None:
        try:
            arguments = json.loads(value)
            with self._database.clock.lock:
                self._bus.arm(**arguments)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"fault {value!r} cannot be armed: {error}") from error

    async def _put_clear(self, value: int) -> None:
        with self._database.clock.lock:
            self._bus.clear()

    async def _show_log(self, time_s: float) -> None:
        log = self._bus.log
        if len(log) == self._fired.value:
            return
        entries = [{"name": e.name, "time_s": e.time_s, "what": e.what} for e in log]
        while len(json.dumps(entries)) > LOG_LENGTH:
            del entries[0]
        await self._database.post({self._log: json.dumps(entries), self._fired: len(log)}, time_s)


class IdentityPVs:
    """Which server this is, and what is on its stage."""

    def __init__(
        self, database: Database, instrument: SimulatedInstrument, instance_id: str
    ) -> None:
        database.string("Instance_RBV", instance_id, read_only=True)
        database.string("Sample_RBV", instrument.sample_name, read_only=True)
        database.string("Instrument_RBV", instrument.configuration.name, read_only=True)
