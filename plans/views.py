"""What a tomogram looks at: its angles, and how long it exposes at each of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from zoneplate.devices import ConfigurationError
from zoneplate.devices.configuration import InstrumentConfiguration

from .angles import projection_angles
from .validation import MAXIMUM_PROJECTIONS, check_axis, check_count, check_exposure

EXPOSURE_RULES = ("constant", "edge-on")
"""`"edge-on"`: a flat sample is seen edge-on at 90 degrees, and the way through it grows as
1/|cos theta|; so does the exposure."""

MOST_FRAMES_PER_ANGLE = 100

MEDIAN_GAPS = 2.0
"""A gap between angles of more than so many usual ones is a missing wedge."""


@dataclass(frozen=True)
class View:
    """One angle and its exposure."""

    angle_deg: float
    exposure_s: float


def edge_on_exposure(angle_deg: float, exposure_s: float, cap: float) -> float:
    """Return the exposure for a flat sample that faces the beam at 0 degrees.

    Parameters
    ----------
    angle_deg
        Rotation.
    exposure_s
        Exposure at 0 degrees.
    cap
        At most so many times that: edge-on the rule itself has no end.

    Examples
    --------
    >>> [round(edge_on_exposure(angle, 1.0, 3.0), 2) for angle in (0, 60, -60, 90)]
    [1.0, 2.0, 2.0, 3.0]
    """
    cosine = abs(math.cos(math.radians(angle_deg)))
    return exposure_s * min(cap, 1 / cosine if cosine > 0 else cap)


def planned_views(
    configuration: InstrumentConfiguration,
    *,
    projections: int,
    range_deg: tuple[float, float],
    exposure_s: float,
    angles_deg: Sequence[float] | None = None,
    exposure_rule: str = "constant",
    exposure_cap: float = 2.0,
    exposures_s: Sequence[float] | None = None,
    frames_per_angle: int = 1,
) -> list[View]:
    """Return the views of a tomogram, from the first angle to the last, or refuse them.

    Raises
    ------
    ConfigurationError
        If a value is impossible.
    """
    theta = configuration.stage.theta
    if angles_deg is None:
        check_count("projections", projections, 1, MAXIMUM_PROJECTIONS)
        check_axis("theta", theta, *range_deg)
        angles = projection_angles(projections, *range_deg)
    else:
        check_count("number of angles_deg", len(angles_deg), 1, MAXIMUM_PROJECTIONS)
        angles = [float(angle) for angle in angles_deg]
        check_axis("theta", theta, *angles)
    check_count("frames_per_angle", frames_per_angle, 1, MOST_FRAMES_PER_ANGLE)
    check_exposure(configuration, exposure_s)
    if exposure_rule not in EXPOSURE_RULES:
        raise ConfigurationError(
            f"exposure_rule {exposure_rule!r} is unknown: use one of {', '.join(EXPOSURE_RULES)}"
        )
    if exposures_s is not None:
        if exposure_rule != "constant":
            raise ConfigurationError(
                f"exposures_s and exposure_rule {exposure_rule!r} contradict each other: give one"
            )
        if len(exposures_s) != len(angles):
            raise ConfigurationError(
                f"exposures_s has {len(exposures_s)} values for {len(angles)} angles: give one for "
                "each angle, from start_deg to stop_deg or in the order of angles_deg"
            )
        exposures = [float(value) for value in exposures_s]
    elif exposure_rule == "edge-on":
        longest = configuration.camera.exposure_max_s / exposure_s
        if not 1.0 <= exposure_cap <= longest:
            raise ConfigurationError(
                f"exposure_cap {exposure_cap:g} is not possible: choose 1 to {longest:g}, the "
                "longest exposure of the camera over exposure_s"
            )
        exposures = [edge_on_exposure(angle, exposure_s, exposure_cap) for angle in angles]
    else:
        exposures = [float(exposure_s)] * len(angles)
    for value in set(exposures):
        check_exposure(configuration, value)
    return [View(angle, value) for angle, value in zip(angles, exposures, strict=True)]


def missing_wedge_deg(angles_deg: Sequence[float]) -> float:
    """Return how many degrees of half a turn lie in the widest gap between angles, beyond a step.

    Examples
    --------
    >>> missing_wedge_deg([-60, -40, -20, 0, 20, 40, 60])
    40.0
    >>> missing_wedge_deg([-90, -45, 0, 45, 90])
    0.0
    """
    directions = sorted({round(angle % 180.0, 6) for angle in angles_deg})
    if len(directions) < 2:
        return 0.0
    gaps = [after - before for before, after in pairwise(directions)]
    gaps.append(directions[0] + 180.0 - directions[-1])
    usual = sorted(gaps)[len(gaps) // 2]
    widest = max(gaps)
    return widest - usual if widest > MEDIAN_GAPS * usual else 0.0


def elongation(wedge_deg: float) -> float:
    """Return how much too long things come out along the middle of a missing wedge.

    The ratio of the widths of the point spread function after M. Radermacher & W. Hoppe (1980),
    Proc. 7th European Congress on Electron Microscopy, 1, 132-133.

    Examples
    --------
    >>> [round(elongation(wedge), 2) for wedge in (0, 20, 60)]
    [1.0, 1.13, 1.55]
    """
    half = math.radians((180.0 - wedge_deg) / 2)
    product = math.sin(half) * math.cos(half)
    return math.sqrt((half + product) / (half - product))
