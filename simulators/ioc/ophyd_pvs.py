"""The PVs that a class of ophyd's touches, found by walking its components.

A server made from this list has none missing, whatever version of a plugin class the client
uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ophyd import Device
from ophyd.areadetector.base import EpicsSignalWithRBV
from ophyd.signal import EpicsSignalBase

READBACK = "_RBV"


@dataclass(frozen=True)
class DeclaredPV:
    """One PV as ophyd declares it.

    Attributes
    ----------
    suffix
        Name without the prefix of the device.
    text
        Whether it is read as text.
    """

    suffix: str
    text: bool


def declared_pvs(device_class: type[Device], prefix: str = "") -> Iterator[DeclaredPV]:
    """Yield every PV that the signals of `device_class` connect to.

    Parameters
    ----------
    device_class
        An ophyd Device class.
    prefix
        Begin of the suffixes.

    Examples
    --------
    >>> from ophyd import EpicsMotor
    >>> sorted(pv.suffix for pv in declared_pvs(EpicsMotor))[:3]
    ['.ACCL', '.DIR', '.DMOV']
    """
    components: dict[str, Any] = device_class._sig_attrs
    for component in components.values():
        suffix = prefix + (component.suffix or "")
        if issubclass(component.cls, Device):
            yield from declared_pvs(component.cls, suffix)
        elif issubclass(component.cls, EpicsSignalBase):
            text = bool(component.kwargs.get("string", False))
            # EpicsPathSignal follows the convention of EpicsSignalWithRBV without deriving from it
            paired = issubclass(component.cls, EpicsSignalWithRBV) or "Path" in (
                component.cls.__name__
            )
            yield DeclaredPV(suffix, text)
            if paired:
                yield DeclaredPV(suffix + READBACK, text)
