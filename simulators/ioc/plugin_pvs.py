"""The PVs of one areaDetector driver or plugin, with their readbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .channels import Database, PutHandler
from .ophyd_pvs import READBACK, DeclaredPV

YES_NO = ("No", "Yes")
ON_OFF = ("Disable", "Enable")

KNOWN_CHOICES: dict[str, tuple[str, ...]] = {
    "AutoIncrement": YES_NO,
    "AutoSave": YES_NO,
    "BlockingCallbacks": YES_NO,
    "ColorMode": ("Mono", "Bayer", "RGB1"),
    "DeleteDriverFile": YES_NO,
    "PositionMode": ("Off", "On"),
    "SortMode": ("Unsorted", "Sorted"),
    "ShutterControl": ("Close", "Open"),
    "ShutterMode": ("None", "EPICS signal", "Camera output"),
    "StoreAttr": YES_NO,
    "StorePerform": YES_NO,
}
"""Choices of PVs that do nothing here but that clients set by name."""


class PluginPVs:
    """PVs with a common prefix; `X` and `X_RBV` go together.

    Parameters
    ----------
    database
        Where they go.
    prefix
        Their prefix below that of the server, such as `cam1:`.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix
        self._channels: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._channels[name]

    def number(self, name: str, value: float = 0.0, **options: Any) -> None:
        """Add a real number, with a readback if clients can put it."""
        self._pair("number", name, value, **options)

    def integer(self, name: str, value: int = 0, **options: Any) -> None:
        """Add an integer, with a readback if clients can put it."""
        self._pair("integer", name, value, **options)

    def text(self, name: str, value: str = "", **options: Any) -> None:
        """Add a long text, with a readback if clients can put it."""
        self._pair("text", name, value, **options)

    def string(self, name: str, value: str = "", **options: Any) -> None:
        """Add a short text, with a readback if clients can put it."""
        self._pair("string", name, value, **options)

    def enum(self, name: str, states: Sequence[str], value: int = 0, **options: Any) -> None:
        """Add a choice, with a readback if clients can put it."""
        self._pair("enum", name, states, value, **options)

    def array(self, name: str, length: int) -> None:
        """Add an array that only we write."""
        self._channels[name] = self._database.array(self._prefix + name, length, read_only=True)

    def _pair(
        self,
        kind: str,
        name: str,
        *args: Any,
        on_put: PutHandler | None = None,
        starts: bool = False,
        **options: Any,
    ) -> None:
        """Add a PV and its readback; `starts`: the readback follows before `on_put` is over."""
        add = getattr(self._database, kind)
        channel = add(self._prefix + name, *args, **options)
        self._channels[name] = channel
        if name.endswith(READBACK):
            return
        readback = self._channels.get(name + READBACK)
        if readback is None:
            options["read_only"] = True
            readback = add(self._prefix + name + READBACK, *args, **options)
            self._channels[name + READBACK] = readback

        async def act_and_show(value: Any) -> None:
            if on_put is not None and not starts:  # what is refused is never shown
                await on_put(value)
            await self._database.post({readback: channel.value})
            if on_put is not None and starts:
                await on_put(value)

        channel.on_put = act_and_show

    def plugin(self, plugin_type: str, source_port: str) -> None:
        """Add what every plugin has."""
        self.string("PluginType_RBV", plugin_type, read_only=True)
        self.string("PortName_RBV", self._prefix.rstrip(":").upper(), read_only=True)
        self.string("NDArrayPort", source_port)
        self.enum("EnableCallbacks", ON_OFF, 1)
        self.enum("ArrayCallbacks", ON_OFF, 1)
        self.integer("NDimensions", 2)
        self.enum("DataType", ("UInt16",))
        for name in ("ArraySize0", "ArraySize1", "ArraySize2", "ArraySize", "ArraySizeX"):
            self.integer(name + READBACK, 0, read_only=True)
        for name in ("ArraySizeY", "ArraySizeZ", "UniqueId"):
            self.integer(name + READBACK, 0, read_only=True)
        self.integer("ArrayCounter", 0)
        self.number("TimeStamp_RBV", 0.0, units="s", precision=6, read_only=True)

    def complete(self, declared: Iterable[DeclaredPV]) -> None:
        """Add whatever else a client's class connects to; it keeps what is put."""
        for pv in declared:
            name = pv.suffix
            if name in self._channels:
                continue
            base = name.removesuffix(READBACK)
            options: dict[str, Any] = {"read_only": True} if name.endswith(READBACK) else {}
            if base in KNOWN_CHOICES:
                self.enum(name, KNOWN_CHOICES[base], **options)
            elif pv.text:
                self.text(name, **options)
            else:
                self.number(name, **options)

    async def post(self, values: Mapping[str, Any], timestamp: float | None = None) -> None:
        """Store and post values by name, in this order."""
        await self._database.post(
            {self._channels[name]: value for name, value in values.items()}, timestamp
        )
