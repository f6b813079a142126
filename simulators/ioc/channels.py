"""Process variables over the instrument model: instrument timestamps, writes handed to it.

caproto keeps the values and speaks the protocol; here is what makes its channels behave like
those of an IOC: a put is complete when what it asked for has happened, a refused value goes
back to what it was, and every timestamp is instrument time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import numpy as np
from caproto import (
    AccessRights,
    CAStatus,
    ChannelChar,
    ChannelData,
    ChannelDouble,
    ChannelEnum,
    ChannelInteger,
    ChannelString,
    TimeStamp,
)

from zoneplate.devices.errors import ZoneplateError
from zoneplate.simulators.clock import VirtualClock

from .pacing import ClientPacing

logger = logging.getLogger(__name__)

PutHandler = Callable[[Any], Awaitable[None]]
"""Does what was put asks for; returns when it has happened, raises `ZoneplateError` to refuse."""

TEXT_LENGTH = 256
"""Bytes of a long text, as areaDetector has them."""

UNLIMITED = 0.0
"""Control limits that are both 0 mean no limits, in EPICS."""


class Served:
    """What all our channels share; goes in front of a channel class of caproto."""

    database: Database
    write_only_by_us = False
    on_put: PutHandler | None = None

    def check_access(self, hostname: str, username: str) -> AccessRights:
        """Say what clients may do."""
        if self.write_only_by_us:
            return AccessRights.READ
        return AccessRights.READ | AccessRights.WRITE

    async def write(self, value: Any, **kwargs: Any) -> None:
        """Store and post a value, stamped with instrument time unless it is stamped."""
        kwargs.setdefault("timestamp", self.database.clock.now())
        await super().write(value, **kwargs)  # type: ignore[misc]

    @property
    def watched(self) -> bool:
        """Whether a client has to hear of a new value."""
        channel: Any = self
        specs = (
            specs
            for syncs in channel._queues.values()
            for by_type in syncs.values()
            for specs in by_type.values()
        )
        return any(specs) or bool(channel._fill_at_next_write)

    def keep(self, value: Any, stamp: TimeStamp) -> None:
        """Store a value that nobody watches; `write` takes five times as long to tell nobody."""
        channel: Any = self
        channel._data.update(value=channel.preprocess_value(value), timestamp=stamp)
        channel._content.clear()

    async def auth_write(self, *args: Any, **kwargs: Any) -> Any:
        """Store what a client puts, then do what it asks for."""
        channel: Any = self
        self.database.pacing.written()
        before = channel.value
        await super().auth_write(*args, **kwargs)  # type: ignore[misc]
        if self.on_put is None:
            return None
        try:
            await self.on_put(_plain(channel.value))
        except ZoneplateError as error:
            logger.warning("A value was refused: %s", error)
            await self.write(before)
            return CAStatus.ECA_PUTFAIL
        return None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


class NumericChannel(Served):
    """A number; what is outside its control limits is for the instrument to refuse."""

    async def verify_value(self, data: Any) -> Any:
        """Take what comes: caproto would raise, a record has a gentler way."""
        return data


class DoubleChannel(NumericChannel, ChannelDouble):
    """A real number, or an array of them."""


class IntegerChannel(NumericChannel, ChannelInteger):
    """A 32-bit integer, or an array of them."""


class EnumChannel(Served, ChannelEnum):
    """One of a few named states."""


class StringChannel(Served, ChannelString):
    """A text of up to 40 bytes."""


class TextChannel(Served, ChannelChar):
    """A text of up to 256 bytes, as an array of characters."""


class Database:
    """All PVs of the server, and the way from the instrument's thread to them.

    Parameters
    ----------
    prefix
        Begin of every PV name.
    clock
        The instrument clock.
    pacing
        What keeps the clock from running away from the clients.
    """

    def __init__(self, prefix: str, clock: VirtualClock, pacing: ClientPacing) -> None:
        self.prefix = prefix
        self.clock = clock
        self.pacing = pacing
        self.channels: dict[str, ChannelData] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._time: Any = None
        self._news: Any = None
        self.before_news: list[Callable[[float], Coroutine[Any, Any, None]]] = []
        """Called with the instrument time before news are posted: what has changed since."""

    def start(self) -> None:
        """Take the running event loop as the one that serves."""
        self._loop = asyncio.get_running_loop()
        self._in_order = asyncio.Lock()

    def number(
        self,
        name: str,
        value: float = 0.0,
        *,
        units: str = "",
        precision: int = 4,
        limits: tuple[float, float] = (UNLIMITED, UNLIMITED),
        **options: Any,
    ) -> Any:
        """Add a real number."""
        low, high = limits
        return self._add(
            name,
            DoubleChannel(
                value=float(value),
                units=units,
                precision=precision,
                lower_ctrl_limit=low,
                upper_ctrl_limit=high,
                lower_disp_limit=low,
                upper_disp_limit=high,
            ),
            **options,
        )

    def integer(self, name: str, value: int = 0, *, units: str = "", **options: Any) -> Any:
        """Add an integer."""
        return self._add(name, IntegerChannel(value=int(value), units=units), **options)

    def enum(self, name: str, states: Sequence[str], value: int = 0, **options: Any) -> Any:
        """Add a choice."""
        return self._add(name, EnumChannel(value=states[value], enum_strings=states), **options)

    def string(self, name: str, value: str = "", **options: Any) -> Any:
        """Add a short text."""
        return self._add(name, StringChannel(value=value), **options)

    def text(self, name: str, value: str = "", *, length: int = TEXT_LENGTH, **options: Any) -> Any:
        """Add a long text."""
        channel = TextChannel(value=value or "\0", max_length=length, string_encoding="utf-8")
        return self._add(name, channel, **options)

    def array(self, name: str, length: int, **options: Any) -> Any:
        """Add an array of integers, so many at most."""
        return self._add(name, IntegerChannel(value=[0], max_length=length), **options)

    def clock_channels(self, time: str, news: str) -> None:
        """Add the instrument time, posted before any news, and their number, posted after."""
        self._time = self.number(time, self.clock.now(), units="s", precision=6, read_only=True)
        self._news = self.integer(news, 0, read_only=True)

    def _add(
        self,
        name: str,
        channel: Any,
        *,
        read_only: bool = False,
        on_put: PutHandler | None = None,
    ) -> Any:
        channel.database = self
        channel.write_only_by_us = read_only
        channel.on_put = on_put
        self.channels[self.prefix + name] = channel
        return channel

    async def post(
        self, values: Mapping[Any, Any], timestamp: float | None = None, *, always: bool = False
    ) -> None:
        """Store and post values in this order; those that did not change only if `always`."""
        seconds = self.clock.now() if timestamp is None else timestamp
        stamp = TimeStamp.from_flexible_value(seconds)
        for channel, value in values.items():
            known = value
            if isinstance(channel, EnumChannel) and isinstance(value, int):
                known = channel.enum_strings[value]
            if not always and channel.value == known:
                continue
            if channel.watched:
                await channel.write(known, verify_value=False, timestamp=stamp)
            else:
                channel.keep(known, stamp)

    def tell(
        self, news: Callable[[float], Coroutine[Any, Any, None]], *, halfway: bool = False
    ) -> None:
        """Let the server post something that just happened to the instrument, from any thread.

        `news(time)` gets the instrument time at which it happened; no time passes until it is
        posted and the clients had a moment to answer, unless it ends nothing (`halfway`) and
        nobody waits for it.
        """
        if self._loop is None or self._loop.is_closed():
            return
        happened_s = self.clock.now()
        number = self.pacing.begin_news(halfway=halfway)
        self._loop.call_soon_threadsafe(self._spread, news, number, happened_s)

    def _spread(
        self,
        news: Callable[[float], Coroutine[Any, Any, None]],
        number: int | None,
        happened_s: float,
    ) -> None:
        async def post() -> None:
            try:
                if number is not None:
                    await self.post({self._time: happened_s}, happened_s)
                    for change in self.before_news:
                        await change(happened_s)
                await news(happened_s)
                if number is not None:
                    await self.post({self._news: number}, happened_s)
            except Exception:
                # The server goes on for its other clients; whoever misses these has a deadline.
                logger.exception("News of the instrument could not be posted")
            finally:
                if number is not None:
                    self.pacing.end_news()

        async def run() -> None:
            async with self._in_order:
                await post()

        # The loop keeps only weak references to its tasks.
        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
