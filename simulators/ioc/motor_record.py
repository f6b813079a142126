"""A simulated axis as an EPICS motor record.

Fields and behaviour after the EPICS motor record (https://epics-motor.readthedocs.io): what
clients such as ophyd's `EpicsMotor`, SPEC or a GUI rely on. User coordinates are dial
coordinates times the direction plus the offset; the model's axis is the dial.
"""

from __future__ import annotations

import asyncio
from typing import Any

from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators.axis import SimulatedAxis

from .channels import Database

STOP, PAUSE, MOVE, GO = range(4)
"""States of SPMG."""

USE, SET = range(2)
"""States of SET: a value put is a target, or the new name of where the axis is."""

MSTA_DIRECTION = 1 << 0
MSTA_DONE = 1 << 1
MSTA_PLUS_SWITCH = 1 << 2
MSTA_POSITION = 1 << 5
MSTA_SLIP_STALL = 1 << 6
MSTA_PRESENT = 1 << 8
MSTA_PROBLEM = 1 << 9
MSTA_MOVING = 1 << 10
MSTA_MINUS_SWITCH = 1 << 13
MSTA_HOMED = 1 << 14

STEPS_PER_DEADBAND = 10
"""Motor steps in a deadband (assumed): what RVAL and MRES show."""

SWITCH_MARGIN = 0.02
"""The limit switches are this fraction of the travel beyond the soft limits (assumed)."""

READBACK_PERIOD_S = 0.1
"""How often the readback is posted during a move when the instrument runs in real time."""

_POSITION_FIELDS = ("VAL", "DVAL", "RBV", "DRBV")


class MotorRecord:
    """The record of one axis.

    Parameters
    ----------
    database
        Where its PVs go.
    name
        Name of the record, without the prefix of the server.
    axis
        The axis of the instrument model.
    """

    def __init__(self, database: Database, name: str, axis: SimulatedAxis) -> None:
        self._database = database
        self._axis = axis
        self._clock = database.clock
        self._moves = 0
        self._jogging = 0
        self._waiting: list[asyncio.Future[None]] = []
        margin = SWITCH_MARGIN * (axis.configuration.high - axis.configuration.low)
        self._switches = axis.configuration.low - margin, axis.configuration.high + margin
        self._fields: dict[str, Any] = {}
        self._make_fields(name)
        database.channels[database.prefix + name] = self._fields["VAL"]
        database.before_news.append(self._post_way)

    def _make_fields(self, name: str) -> None:
        configuration, database, fields = self._axis.configuration, self._database, self._fields
        unit, settle_s = configuration.unit, configuration.settle_s
        resolution = configuration.deadband / STEPS_PER_DEADBAND
        limits = (configuration.low, configuration.high)
        position = self._axis.readback()

        def numbers(names: str, value: float, units: str = unit, **options: Any) -> None:
            for field in names.split():
                fields[field] = database.number(f"{name}.{field}", value, units=units, **options)

        def integers(names: str, value: int = 0, **options: Any) -> None:
            for field in names.split():
                fields[field] = database.integer(f"{name}.{field}", value, **options)

        numbers("VAL", position, limits=limits, on_put=self._put_value)
        numbers("DVAL", position, limits=limits, on_put=self._put_dial)
        numbers("RBV DRBV", position, limits=limits, read_only=True)
        numbers("RLV", 0.0, on_put=self._put_relative)
        numbers("DIFF", 0.0, read_only=True)
        numbers("OFF", 0.0, on_put=self._put_offset)
        numbers("HLM DHLM", configuration.high)
        numbers("LLM DLLM", configuration.low)
        for field in ("HLM", "LLM"):
            fields[field].on_put = self._put_user_limit
            fields["D" + field].on_put = self._put_dial_limit
        numbers("VELO", configuration.velocity, f"{unit}/s", on_put=self._put_velocity)
        numbers("VMAX JVEL", configuration.velocity, f"{unit}/s")
        numbers("VBAS", 0.0, f"{unit}/s")
        numbers("ACCL", configuration.acceleration_s, "s", on_put=self._put_acceleration)
        numbers("DLY", settle_s, "s", read_only=True)
        numbers("TWV", configuration.deadband * STEPS_PER_DEADBAND)
        numbers("MRES ERES", resolution, precision=6, read_only=True)
        numbers("RDBD SPDB", configuration.deadband)
        numbers("BDST UREV", 0.0)
        integers("DMOV", 1, read_only=True)
        integers("MOVN HLS LLS LVIO ATHM", read_only=True)
        integers("RVAL RRBV", round(position / resolution), read_only=True)
        integers("MSTA", MSTA_DONE | MSTA_PRESENT | MSTA_HOMED, read_only=True)
        integers("TDIR", 1, read_only=True)
        integers("PREC", 4)
        integers("SREV", 200)
        integers("RTRY RCNT MISS")
        integers("STOP", on_put=self._put_stop)
        integers("TWF", on_put=self._put_tweak_forward)
        integers("TWR", on_put=self._put_tweak_reverse)
        integers("JOGF", on_put=self._put_jog_forward)
        integers("JOGR", on_put=self._put_jog_reverse)
        integers("HOMF HOMR", on_put=self._put_home)
        for field, states, value in (
            ("DIR", ("Pos", "Neg"), 0),
            ("FOFF", ("Variable", "Frozen"), 0),
            ("SET", ("Use", "Set"), USE),
            ("SPMG", ("Stop", "Pause", "Move", "Go"), GO),
            ("UEIP", ("No", "Yes"), 1),
            ("CNEN", ("Disable", "Enable"), 1),
        ):
            fields[field] = database.enum(f"{name}.{field}", states, value)
        fields["SPMG"].on_put = self._put_mode
        fields["DIR"].on_put = self._put_offset
        for field, text in (
            ("EGU", unit),
            ("DESC", f"stage {self._axis.name}"),
            ("OUT", "@simulated"),
            ("RTYP", "motor"),
        ):
            fields[field] = database.string(f"{name}.{field}", text)

    # Coordinates

    @property
    def _sign(self) -> int:
        return -1 if self._fields["DIR"].value == "Neg" else 1

    def _user(self, dial: float) -> float:
        return dial * self._sign + self._fields["OFF"].value

    def _dial(self, user: float) -> float:
        return (user - self._fields["OFF"].value) * self._sign

    # Moving

    async def _put_value(self, value: float) -> None:
        if self._fields["SET"].raw_value == SET:
            await self._rename(value)
        else:
            await self._go(self._dial(value))

    async def _put_dial(self, value: float) -> None:
        await self._go(value)

    async def _put_relative(self, value: float) -> None:
        await self._go(self._axis.setpoint + value * self._sign)
        await self._post(RLV=0.0)

    async def _put_tweak_forward(self, value: int) -> None:
        await self._tweak("TWF", value, +1)

    async def _put_tweak_reverse(self, value: int) -> None:
        await self._tweak("TWR", value, -1)

    async def _tweak(self, field: str, value: int, direction: int) -> None:
        if value:
            await self._post(**{field: 0})
            step = direction * self._sign * self._fields["TWV"].value
            await self._go(self._axis.setpoint + step)

    async def _put_jog_forward(self, value: int) -> None:
        await self._jog("JOGF", value, +1)

    async def _put_jog_reverse(self, value: int) -> None:
        await self._jog("JOGR", value, -1)

    async def _jog(self, field: str, value: int, direction: int) -> None:
        """Move towards the soft limit until the field is 0 again."""
        if value:
            upwards = direction * self._sign > 0
            await self._go(self._axis.high if upwards else self._axis.low)
            await self._post(**{field: 0})
        else:
            await self._put_stop(1)

    async def _put_home(self, value: int) -> None:
        if value:
            await self._post(HOMF=0, HOMR=0)
            await self._go(0.0)

    async def _go(self, dial: float) -> None:
        """Move; returns when the record is done, as a put with completion must."""
        fields, axis = self._fields, self._axis
        if not self._within_limits(dial):
            # The value reverts and LVIO rises; nothing moves, DMOV stays what it is.
            with self._clock.lock:
                setpoint = axis.setpoint
            await self._post(VAL=self._user(setpoint), DVAL=setpoint, LVIO=1)
            return
        await self._post(VAL=self._user(dial), DVAL=dial, LVIO=0)
        if fields["SPMG"].raw_value in (STOP, PAUSE):
            return
        low_switch, high_switch = self._switches
        target = min(max(dial, low_switch), high_switch)
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(finished)
        self._moves += 1
        move = self._moves
        upwards = dial >= axis.readback()
        await self._post(
            TDIR=int(upwards == (self._sign > 0)),
            DMOV=0,
            MOVN=1,
            MSTA=self._status(moving=True, upwards=upwards),
            HLS=0,
            LLS=0,
        )

        def ended(arrived: bool) -> None:
            # A move that a newer one replaced ends with the newer one.
            if move == self._moves:
                self._database.tell(self._finished)

        with self._clock.lock:
            axis.move_to(target, ended)
        if self._clock.speed is not None:
            self._clock.call_later(READBACK_PERIOD_S * self._clock.speed, self._show_progress)
        await finished

    def _within_limits(self, dial: float) -> bool:
        low, high = self._axis.low, self._axis.high
        unlimited = low == high
        return unlimited or low <= dial <= high

    def _show_progress(self) -> None:
        if self._axis.moving:
            self._database.tell(self._nothing_more)
            assert self._clock.speed is not None
            self._clock.call_later(READBACK_PERIOD_S * self._clock.speed, self._show_progress)

    async def _nothing_more(self, time_s: float) -> None:
        """Be news about nothing but where things are."""

    async def _post_way(self, time_s: float) -> None:
        """Post where the axis has got to, or where an encoder that lies says it is."""
        await self._post_position(time_s)

    async def _post_position(self, time_s: float) -> None:
        fields = self._fields
        with self._clock.lock:
            dial, setpoint = self._axis.readback(), self._axis.setpoint
        values = {
            fields["RBV"]: self._user(dial),
            fields["DRBV"]: dial,
            fields["RRBV"]: round(dial / fields["MRES"].value),
            fields["DIFF"]: setpoint - dial,
        }
        await self._database.post(values, time_s)

    async def _finished(self, time_s: float) -> None:
        """Post the end of a move; DMOV last, so that who sees it has seen the rest."""
        fields, axis = self._fields, self._axis
        with self._clock.lock:
            if axis.moving:
                return
            setpoint = axis.setpoint
        await self._post_position(time_s)
        low_switch, high_switch = self._switches
        values: dict[Any, Any] = {}
        if fields["SPMG"].raw_value != PAUSE:
            values |= {fields["VAL"]: self._user(setpoint), fields["DVAL"]: setpoint}
        upwards = fields["TDIR"].value == (self._sign > 0)
        values |= {
            fields["RVAL"]: round(setpoint / fields["MRES"].value),
            fields["HLS"]: int(setpoint >= high_switch),
            fields["LLS"]: int(setpoint <= low_switch),
            fields["MOVN"]: 0,
            fields["MSTA"]: self._status(moving=False, upwards=upwards),
            fields["DMOV"]: 1,
        }
        await self._database.post(values, time_s)
        waiting, self._waiting = self._waiting, []
        for finished in waiting:
            if not finished.done():
                finished.set_result(None)

    def _status(self, *, moving: bool, upwards: bool) -> int:
        axis = self._axis
        low_switch, high_switch = self._switches
        status = MSTA_PRESENT | MSTA_HOMED | (MSTA_DIRECTION if upwards else 0)
        if moving:
            return status | MSTA_MOVING | MSTA_POSITION
        status |= MSTA_DONE
        if abs(axis.readback() - axis.setpoint) > axis.configuration.deadband:
            status |= MSTA_PROBLEM | MSTA_SLIP_STALL
        if axis.setpoint >= high_switch:
            status |= MSTA_PLUS_SWITCH
        if axis.setpoint <= low_switch:
            status |= MSTA_MINUS_SWITCH
        return status

    # Commands and settings

    async def _put_stop(self, value: int) -> None:
        """Stop: the target becomes where the axis is; a standing axis keeps its target."""
        if value:
            with self._clock.lock:
                self._axis.stop()
            await self._post(STOP=0)

    async def _put_mode(self, value: str) -> None:
        mode = self._fields["SPMG"].raw_value
        if mode in (STOP, PAUSE):
            with self._clock.lock:
                self._axis.stop()
        else:
            target = self._dial(self._fields["VAL"].value)
            if target != self._axis.setpoint:
                await self._go(target)

    async def _rename(self, value: float) -> None:
        """Call where the axis is `value`: the offset changes, nothing moves."""
        dial = self._axis.setpoint
        await self._post(OFF=value - dial * self._sign)
        await self._put_offset(value)

    async def _put_offset(self, _: Any) -> None:
        """Show positions and limits in the new user coordinates."""
        with self._clock.lock:
            dial, setpoint = self._axis.readback(), self._axis.setpoint
        await self._post(VAL=self._user(setpoint), RBV=self._user(dial))
        await self._show_limits()

    async def _put_user_limit(self, _: float) -> None:
        ends = sorted(self._dial(self._fields[field].value) for field in ("LLM", "HLM"))
        self._axis.low, self._axis.high = ends
        await self._show_limits()

    async def _put_dial_limit(self, _: float) -> None:
        low, high = self._fields["DLLM"].value, self._fields["DHLM"].value
        if low > high:
            raise ConfigurationError(f"limits {low:g} to {high:g} are the wrong way round")
        self._axis.low, self._axis.high = low, high
        await self._show_limits()

    async def _show_limits(self) -> None:
        dial = (self._axis.low, self._axis.high)
        user = sorted(self._user(end) for end in dial)
        await self._post(DLLM=dial[0], DHLM=dial[1], LLM=user[0], HLM=user[1])
        for field in _POSITION_FIELDS:
            low, high = dial if field.startswith("D") else user
            # Not posted: caproto would send it to those who asked for values only, and ophyd would
            # take the old limits of that event for the new ones.
            await self._fields[field].write_metadata(
                publish=False,
                lower_ctrl_limit=low,
                upper_ctrl_limit=high,
                lower_disp_limit=low,
                upper_disp_limit=high,
            )

    async def _put_velocity(self, value: float) -> None:
        if not value > 0:
            raise ConfigurationError(f"velocity {value:g} is not possible: it must be above 0")
        self._axis.velocity = float(value)

    async def _put_acceleration(self, value: float) -> None:
        if not value >= 0:
            raise ConfigurationError(f"acceleration {value:g} s is not possible: 0 or more")
        self._axis.acceleration_s = float(value)

    async def _post(self, **values: Any) -> None:
        await self._database.post({self._fields[name]: value for name, value in values.items()})
