"""Requests are checked before anything moves."""

from collections.abc import Sequence

from zoneplate.devices import ConfigurationError, check_binning
from zoneplate.devices.configuration import FOCUS, AxisConfiguration, InstrumentConfiguration
from zoneplate.devices.microscope import Microscope

MAXIMUM_PROJECTIONS = 20_000
"""More than ten times what binning 1 needs: a slip of the keyboard, not a scan."""


def check_exposure(
    configuration: InstrumentConfiguration, exposure_s: float, name: str = "exposure_s"
) -> None:
    """Refuse an exposure the camera cannot do.

    Raises
    ------
    ConfigurationError
        If it is out of range.
    """
    camera = configuration.camera
    if not camera.exposure_min_s <= exposure_s <= camera.exposure_max_s:
        raise ConfigurationError(
            f"{name} {exposure_s:g} is not possible: the camera exposes "
            f"{camera.exposure_min_s:g} to {camera.exposure_max_s:g} s"
        )


def check_count(name: str, value: int, low: int, high: int) -> None:
    """Refuse a number of frames outside [low, high], or with a fraction.

    Raises
    ------
    ConfigurationError
        If it is out of range.
    """
    if int(value) != value or not low <= value <= high:
        raise ConfigurationError(f"{name} {value} is not possible: choose {low} to {high}")


def check_axis(name: str, axis: AxisConfiguration, *targets: float) -> None:
    """Refuse a target outside the soft limits of an axis.

    Raises
    ------
    ConfigurationError
        If one is outside.
    """
    where = "optics zone_plate_z" if name == FOCUS else f"stage {name}"
    for target in targets:
        if not axis.low <= target <= axis.high:
            raise ConfigurationError(
                f"{where} = {target:g} {axis.unit} is outside the limits {axis.low:g} to "
                f"{axis.high:g} {axis.unit}; choose a region inside"
            )


def check_frames(configuration: InstrumentConfiguration, exposure_s: float, binning: int) -> None:
    """Refuse an impossible exposure or binning.

    Raises
    ------
    ConfigurationError
        If one is impossible.
    """
    check_exposure(configuration, exposure_s)
    check_binning(binning)


def check_clearance(
    microscope: Microscope,
    *,
    x_um: Sequence[float],
    z_um: Sequence[float],
    theta_deg: Sequence[float],
    zone_plate_um: Sequence[float] = (),
) -> None:
    """Refuse a scan on whose way the sample holder comes too near to zone plate or condenser.

    Parameters
    ----------
    microscope
        The microscope; its zone plate stays where it is unless told otherwise.
    x_um, z_um, theta_deg, zone_plate_um
        Values that the axes take: all combinations between the smallest and the largest of each
        are checked.

    Raises
    ------
    CollisionError
        Naming the axis, the value, what is allowed, and what to do.
    """
    focus = zone_plate_um or (float(microscope.optics.zone_plate_z.user_setpoint.get()),)
    spans = {
        name: (min(values), max(values))
        for name, values in (("x", x_um), ("z", z_um), ("theta", theta_deg), (FOCUS, focus))
    }
    # The one that goes furthest from 0, for its reach, is the one to speak of.
    axis = FOCUS if zone_plate_um else "x"
    target = min(spans[axis]) if zone_plate_um else max(spans[axis], key=abs)
    microscope.envelope.check(spans, axis=axis, target=target)
