"""The fault campaign: which fault meets which plan when, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bluesky import plans as bp

from zoneplate.plans import darks, flats, mosaic, tomography

MENDED, ENDED = "mended", "ended"

PLANS: dict[str, Callable[[Any], Any]] = {
    "tomography": lambda m: tomography(
        m, center_um=(0, 0, 4), projections=8, dark_frames=2, flat_frames=2
    ),
    "mosaic": lambda m: mosaic(m, shape=(2, 3), dark_frames=2, flat_frames=2),
    "flats": lambda m: flats(m, frames=6),
    "darks": lambda m: darks(m, frames=6),
    "stock scan": lambda m: bp.scan([m.camera], m.stage.theta, -10, 10, 6),
}

LAST_EVENT = {"tomography": 11, "mosaic": 9, "flats": 5, "darks": 5, "stock scan": 5}
"""After this event there is still a frame to come."""


@dataclass(frozen=True)
class Case:
    """One combination.

    Attributes
    ----------
    plan, fault
        Names; a fault of the session's own (`abort`, ...) is a way of ending.
    after_event
        The fault is armed when so many frames were announced.
    outcome
        Whether the scan is to go on and be whole, or to end.
    told
        What the warning or the error has to say.
    options
        Of the fault.
    """

    plan: str
    fault: str
    after_event: int
    outcome: str
    told: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.plan}-{self.fault}-{self.after_event}"


FRAME_FAULTS = {
    "frame_dropped": (MENDED, "taken again", {}),
    "frame_duplicated": (MENDED, "one is used", {}),
    "frame_saturated": (MENDED, "shorten the exposure", {}),
    "dead_row": (MENDED, "restart the camera", {}),
    "frame_late": (MENDED, "later than expected", {"magnitude": 1.5}),
    "slow_disk": (MENDED, "later than expected", {"magnitude": 2.0}),
    "disk_full": (ENDED, "check the disk", {}),
}
MOTION_FAULTS = {
    "motor_stall": (ENDED, "check the stage", {}),
    "following_error": (ENDED, "check the stage", {"magnitude": 5.0}),
    "limit_hit": (ENDED, "check the s", {}),
    "readback_disagrees": (ENDED, "check the stage", {"magnitude": 5.0, "times": 1e9}),
}
CONDITIONS = {
    "beam_trip": (MENDED, "no beam", {"after_s": 0.3, "duration_s": 20.0, "times": 1e9}),
    "shutter_closes": (MENDED, "interlock", {"after_s": 0.3, "duration_s": 20.0, "times": 1e9}),
    "temperature": (
        MENDED,
        "air conditioning",
        {"after_s": 0.3, "duration_s": 20.0, "magnitude": 3.0, "times": 1e9},
    ),
}
WAYS_OF_ENDING = ("abort", "stop", "halt")


def _case(plan: str, fault: str, event: int, what: tuple[str, str, dict[str, Any]]) -> Case:
    outcome, told, options = what
    return Case(plan, fault, event, outcome, told, tuple(options.items()))


def all_cases() -> list[Case]:
    """Return every combination, in an order in which neighbours differ."""
    cases: list[Case] = []
    for plan, last in LAST_EVENT.items():
        moments = (0, last // 2, last)
        # A stock plan takes no frame again: what a plan of ours mends ends it.
        if plan != "stock scan":
            cases += [_case(plan, f, k, w) for f, w in FRAME_FAULTS.items() for k in moments]
        else:
            told = {"frame_dropped": "dropped", "dead_row": "reads nothing", "disk_full": "disk"}
            cases += [Case(plan, f, k, ENDED, t) for f, t in told.items() for k in moments]
        cases += [Case(plan, way, k, ENDED, "request") for way in WAYS_OF_ENDING for k in moments]
    moving = {"tomography": (0, 4, 9), "mosaic": (0, 4, 8), "flats": (0,), "stock scan": (0, 3)}
    for plan, moments in moving.items():
        axis = {"axis": {"mosaic": "x", "flats": "y"}.get(plan, "theta")}
        cases += [
            _case(plan, fault, moment, (outcome, told, options | axis))
            for fault, (outcome, told, options) in MOTION_FAULTS.items()
            for moment in moments
        ]
    for plan in ("tomography", "mosaic", "flats"):
        for moment in (3, LAST_EVENT[plan] - 1):
            cases += [_case(plan, f, moment, w) for f, w in CONDITIONS.items()]
        cases.append(Case(plan, "shutter_stuck", 0, ENDED, "check the shutter"))
        cases.append(Case(plan, "shutter_stuck", LAST_EVENT[plan], MENDED, "trying again"))
    cases += [_case("stock scan", f, 3, CONDITIONS[f]) for f in ("beam_trip", "temperature")]
    return cases


def short_form() -> list[Case]:
    """Return one combination of each fault; plan and moment change from one to the next."""
    plans = ("tomography", "mosaic", "flats", "stock scan")
    chosen: dict[str, Case] = {}
    for number, fault in enumerate(dict.fromkeys(case.fault for case in all_cases())):
        fitting = [case for case in all_cases() if case.fault == fault]
        wanted = [case for case in fitting if case.plan == plans[number % len(plans)]] or fitting
        chosen[fault] = wanted[number % len(wanted)]
    return list(chosen.values())
