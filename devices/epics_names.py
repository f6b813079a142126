"""PV names: ours for every instrument, and what one instrument calls the same thing.

A component says its PV in our names (`Stage:X`, `cam1:Acquire`). The instrument file may map some
of them to others (`[epics.names]`), and may say that there is nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ophyd import Component, Signal


class Constant(Signal):
    """Stands for a PV that an instrument does not have; its value is of the instrument file."""

    def __init__(self, *, units: str | None = None, **kwargs: Any) -> None:
        self._units = units
        super().__init__(value=0.0, **kwargs)

    def describe(self) -> dict[str, Any]:
        """Return the data key, with its unit."""
        description: dict[str, Any] = super().describe()
        if self._units is not None:
            description[self.name]["units"] = self._units
        return description


def translated(pv_name: str, prefix: str, names: Mapping[str, str]) -> str:
    """Return what an instrument calls a PV.

    Parameters
    ----------
    pv_name
        The whole name in our names, such as `"BL:Stage:X"`.
    prefix
        What it begins with.
    names
        Our names without the prefix, and what stands for each; a name that ends in a colon
        stands for all below it.

    Returns
    -------
    str
        Empty if there is nothing of the kind.

    Examples
    --------
    >>> translated("BL:cam1:Acquire", "BL:", {"cam1:": "BLDET:cam1:"})
    'BLDET:cam1:Acquire'
    >>> translated("BL:Stage:X", "BL:", {"cam1:": "BLDET:cam1:"})
    'BL:Stage:X'
    """
    if not pv_name.startswith(prefix):
        return pv_name
    ours = pv_name[len(prefix) :]
    if ours in names:
        return names[ours]
    for begin, theirs in names.items():
        if begin.endswith(":") and ours.startswith(begin):
            return theirs + ours[len(begin) :]
    return pv_name


class Named(Component[Any]):
    """A component whose PV is named as the instrument names it."""

    def maybe_add_prefix(self, instance: Any, kw: str, suffix: Any) -> Any:
        """Return the PV name of a component."""
        name = super().maybe_add_prefix(instance, kw, suffix)
        if kw not in self.add_prefix or not isinstance(name, str):
            return name
        root = instance.root
        # A part may stand alone, without the microscope that has read an instrument file.
        epics = getattr(getattr(root, "configuration", None), "epics", None)
        return name if epics is None else translated(name, root.prefix, epics.names)

    def create_component(self, instance: Any) -> Any:
        """Return the component; a constant where the instrument has nothing of the kind."""
        if self.suffix is None or self.maybe_add_prefix(instance, "suffix", self.suffix):
            return super().create_component(instance)
        return Constant(
            units=self.kwargs.get("units"),
            name=f"{instance.name}{instance._child_name_separator}{self.attr}",
            kind=instance._component_kinds[self.attr],
            attr_name=self.attr,
            parent=instance,
        )
