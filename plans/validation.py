"""Requests are checked before anything moves."""

from zoneplate.devices import ConfigurationError, check_binning
from zoneplate.devices.configuration import AxisConfiguration, InstrumentConfiguration

MAXIMUM_PROJECTIONS = 20_000
"""More than ten times what binning 1 needs: a slip of the keyboard, not a scan."""


def check_exposure(configuration: InstrumentConfiguration, exposure_s: float) -> None:
    """Refuse an exposure the camera cannot do.

    Raises
    ------
    ConfigurationError
        If it is out of range.
    """
    camera = configuration.camera
    if not camera.exposure_min_s <= exposure_s <= camera.exposure_max_s:
        raise ConfigurationError(
            f"exposure_s {exposure_s:g} is not possible: the camera exposes "
            f"{camera.exposure_min_s:g} to {camera.exposure_max_s:g} s"
        )


def check_count(name: str, value: int, low: int, high: int) -> None:
    """Refuse a number of frames outside [low, high].

    Raises
    ------
    ConfigurationError
        If it is out of range.
    """
    if not low <= value <= high:
        raise ConfigurationError(f"{name} {value} is not possible: choose {low} to {high}")


def check_axis(name: str, axis: AxisConfiguration, *targets: float) -> None:
    """Refuse a target outside the soft limits of an axis.

    Raises
    ------
    ConfigurationError
        If one is outside.
    """
    for target in targets:
        if not axis.low <= target <= axis.high:
            raise ConfigurationError(
                f"stage {name} = {target:g} {axis.unit} is outside the limits {axis.low:g} to "
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
