"""What must not touch: the sample holder, the zone plate and the condenser.

The soft limits of an axis know nothing of the others. Here the sample holder is a box that the
stage shifts and turns about `y`, between the condenser upstream and the housing of the zone plate
downstream (sizes and distances: section `[envelope]` of the instrument file). Seen along the beam,
the corner (px, pz) of the holder lies at ``z' = (pz - z) cos theta - (px - x) sin theta``.

The box is taken to be as high as the housings are: `y` never makes room.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ophyd.utils import LimitError

from .configuration import InstrumentConfiguration
from .errors import ConfigurationError

Span = tuple[float, float]
"""Everywhere an axis may be, lowest and highest."""

Spans = Mapping[str, Span]
"""For each of `WATCHED`, where it may be."""

WATCHED = ("x", "z", "theta", "zone_plate_z")
"""The axes on which the distances depend."""

TOLERANCE_UM = 1.0
"""An axis that stands too near may leave; arriving a little nearer is no worse."""

_SEARCH_POINTS = 401
"""Values of an axis that are tried to say which are allowed."""


class CollisionError(ConfigurationError, LimitError):
    """A move would bring two parts of the microscope too near to each other."""


@dataclass(frozen=True)
class Gaps:
    """Smallest distances, um; negative where the parts would run into each other.

    Attributes
    ----------
    zone_plate_um
        From the sample holder to the housing of the zone plate.
    condenser_um
        From the sample holder to the condenser.
    """

    zone_plate_um: float
    condenser_um: float

    @property
    def smallest_um(self) -> float:
        """The smaller one."""
        return min(self.zone_plate_um, self.condenser_um)

    @property
    def nearest(self) -> str:
        """The part at the smaller one."""
        return "zone plate" if self.zone_plate_um <= self.condenser_um else "condenser"


class Envelope:
    """The distances of one microscope.

    Parameters
    ----------
    configuration
        The instrument file; without a section `[envelope]` nothing is ever refused.
    """

    def __init__(self, configuration: InstrumentConfiguration) -> None:
        self._configuration = configuration
        self._sizes = configuration.envelope

    def gaps(self, spans: Spans) -> Gaps:
        """Return the smallest distances while each axis is anywhere within its span.

        Examples
        --------
        >>> envelope = Envelope(InstrumentConfiguration.load())
        >>> here = {"x": (0, 0), "z": (0, 0), "theta": (-90, 90), "zone_plate_z": (0, 0)}
        >>> envelope.gaps(here)
        Gaps(zone_plate_um=1996.670362, condenser_um=4418.86117)
        """
        sizes = self._sizes
        if sizes is None:
            return Gaps(math.inf, math.inf)
        width = (-sizes.holder_half_width_um, sizes.holder_half_width_um)
        depth = (-sizes.holder_back_um, sizes.holder_front_um)
        theta = tuple(math.radians(value) for value in spans["theta"])
        downstream, upstream = -math.inf, -math.inf
        for px, pz, x, z in itertools.product(width, depth, spans["x"], spans["z"]):
            along, across = pz - z, px - x
            downstream = max(downstream, _furthest(along, across, (theta[0], theta[1])))
            upstream = max(upstream, _furthest(-along, -across, (theta[0], theta[1])))
        zone_plate_um = sizes.zone_plate_distance_um + spans["zone_plate_z"][0]
        return Gaps(
            round(zone_plate_um - downstream, 6),
            round(sizes.condenser_distance_um - upstream, 6),
        )

    def check(self, spans: Spans, *, axis: str, target: float, start: float | None = None) -> None:
        """Refuse a move that brings parts nearer to each other than the instrument file allows.

        Parameters
        ----------
        spans
            Where every axis may be during the move.
        axis, target
            What moves, and where to, for the message.
        start
            Where it stands, if it does: a move that ends a collision is never refused for
            beginning in it.

        Raises
        ------
        CollisionError
            Naming the axis, the value, what is allowed, and what to do.
        """
        if self._sizes is None:
            return
        allowed_um = self._sizes.clearance_um
        gaps = self.gaps(spans)
        if gaps.smallest_um >= allowed_um:
            return
        if start is not None:
            before = self.gaps({**spans, axis: (start, start)})
            if gaps.smallest_um >= before.smallest_um - TOLERANCE_UM:
                return
        unit = self._configuration.axis(axis).unit
        others = ", ".join(
            f"{name} = {_said(spans[name])} {self._configuration.axis(name).unit}"
            for name in WATCHED
            if name != axis
        )
        raise CollisionError(
            f"{axis} = {target:g} {unit} would bring the sample holder to {gaps.smallest_um:.0f} "
            f"um from the {gaps.nearest} (allowed: {allowed_um:g} um and more); with {others} it "
            f"may be {self._range(spans, axis, start)} {unit}: choose a target inside, or "
            f"{_cure(gaps.nearest, axis)} first"
        )

    def _range(self, spans: Spans, axis: str, start: float | None) -> str:
        """Say where the axis may be while the others are where they are."""
        limits = self._configuration.axis(axis)
        values = np.linspace(limits.low, limits.high, _SEARCH_POINTS)
        clearance_um = self._sizes.clearance_um if self._sizes is not None else 0.0
        good = np.array(
            [self.gaps({**spans, axis: (v, v)}).smallest_um >= clearance_um for v in values]
        )
        if not good.any():
            return "nowhere, in"
        near = int(np.argmin(np.where(good, np.abs(values - (start or 0.0)), np.inf)))
        first = last = near
        while first > 0 and good[first - 1]:
            first -= 1
        while last < len(values) - 1 and good[last + 1]:
            last += 1
        return f"{values[first]:g} to {values[last]:g}"


def _furthest(along: float, across: float, theta: Span) -> float:
    """Return the largest ``along cos t - across sin t`` for t from theta[0] to theta[1]."""
    radius, phase = math.hypot(along, across), math.atan2(across, along)
    turns = (theta[0] + phase) / (2 * math.pi)
    if math.ceil(turns) <= (theta[1] + phase) / (2 * math.pi):
        return radius
    return max(radius * math.cos(angle + phase) for angle in theta)


def _said(span: Span) -> str:
    low, high = span
    return f"{low:g}" if high - low < TOLERANCE_UM else f"{low:g} to {high:g}"


def _cure(nearest: str, axis: str) -> str:
    if nearest == "zone plate" and axis != "zone_plate_z":
        return "move the zone plate downstream (optics.zone_plate_z) or x towards 0"
    return "turn theta towards 0 or move x and z towards 0"
