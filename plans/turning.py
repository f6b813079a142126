"""Projections while the stage turns, and references between the turns when they are due."""

import logging
from collections.abc import Sequence
from typing import Any

from bluesky import preprocessors as bpp
from bluesky.utils import MsgGenerator

from zoneplate.devices import ConfigurationError
from zoneplate.devices.microscope import Microscope

from .fly import BLUR_WORTH_A_WARNING, FlyMotion, at_rest, fly_motions, take_flying
from .frames import Moves
from .references import ReferencePolicy, References
from .views import View

logger = logging.getLogger(__name__)

TURNING_S = 20.0
"""Instrument time that the way from the flats to the first frame of a turn may take."""


def take_turns(
    microscope: Microscope, turns: Sequence[FlyMotion], taker: References, sample_in: Moves
) -> MsgGenerator[None]:
    """Take the frames of each turn into the stream `primary`, with flats whenever they are due.

    Parameters
    ----------
    microscope
        The microscope.
    turns
        In the order to make them.
    taker
        Takes references.
    sample_in
        Where the sample stands meanwhile.
    """
    theta = microscope.stage.theta
    for number, turn in enumerate(turns):
        frames = len(turn.angles_deg)
        first_flats = number == 0 and taker.policy.before
        if first_flats or (yield from taker.due(turn.exposure_s, frames)):
            yield from taker.flats([(theta, turn.begin_deg(0))])
        yield from taker.expose(turn.exposure_s)
        taking = take_flying(microscope, turn, sample_in=sample_in)
        yield from bpp.finalize_wrapper(taking, at_rest(microscope))
        yield from taker.began()
        taker.taken += frames


def planned_turns(
    microscope: Microscope,
    views: Sequence[View],
    policy: ReferencePolicy,
    binning: int,
    order: str,
    motion: str,
    most_blur_voxels: float | None,
) -> list[FlyMotion]:
    """Return the turns of a fly scan, each over before flats are due again; none of a step scan.

    Raises
    ------
    ConfigurationError
        If the stage cannot turn so, or something contradicts motion `"fly"`.
    """
    if motion != "fly":
        if most_blur_voxels is not None:
            raise ConfigurationError(
                f"most_blur_voxels {most_blur_voxels:g} says nothing about motion {motion!r}, "
                "which smears no frame: leave it out, or use motion 'fly'"
            )
        return []
    if order == "interlaced" and most_blur_voxels is None:
        raise ConfigurationError(
            "motion 'fly' with order 'interlaced' needs most_blur_voxels, such as 1: back to back, "
            "frames of large steps are smeared over several voxels; or use order 'sequential', or "
            "motion 'step'"
        )
    if len({view.exposure_s for view in views}) > 1:
        raise ConfigurationError(
            "motion 'fly' with exposures that vary is not possible: the stage turns evenly; use "
            "exposure_rule 'constant' without exposures_s, or motion 'step'"
        )
    configuration, exposure_s = microscope.configuration, views[0].exposure_s
    angles_deg = [view.angle_deg for view in views]
    whole = fly_motions(
        configuration,
        angles_deg,
        exposure_s,
        binning,
        order=order,
        most_blur_voxels=most_blur_voxels,
    )
    limits = [policy.every] if policy.every is not None else []
    if policy.max_age_s is not None:
        frame_s = max(abs(turn.step_deg) / turn.velocity_deg_s for turn in whole)
        # The stage runs up, turns and settles between the flats and the first frame.
        run_up_s = max(turn.acceleration_s for turn in whole) + TURNING_S
        limits.append(max(int((policy.max_age_s - run_up_s) / frame_s), 1))
    if not limits:
        return whole
    return fly_motions(
        configuration,
        angles_deg,
        exposure_s,
        binning,
        order=order,
        most_blur_voxels=most_blur_voxels,
        at_once=min(limits),
    )


def turning_facts(turns: Sequence[FlyMotion]) -> dict[str, Any]:
    """Return velocity and blur of a fly scan for the metadata; warn of much blur."""
    if not turns:
        return {}
    turn = turns[0]
    if turn.blur_voxels > BLUR_WORTH_A_WARNING:
        logger.warning(
            "the edge of the field turns through %.1f voxels during an exposure and is smeared as "
            "much: more projections, a shorter exposure, most_blur_voxels or motion 'step' avoid "
            "that",
            turn.blur_voxels,
        )
    return {
        "velocity_deg_s": turn.velocity_deg_s,
        "blur_voxels": turn.blur_voxels,
        "turns": len(turns),
    }
