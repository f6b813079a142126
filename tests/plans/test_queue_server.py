"""The queue server reads what our plans take, and refuses for us what is not of their types."""

from __future__ import annotations

import pytest

from zoneplate.plans import darks, flats, mosaic, screen, tomography

profile = pytest.importorskip(
    "bluesky_queueserver.manager.profile_ops",
    reason="QUEUE SERVER ABSENT: pip install bluesky-queueserver",
)

DEVICES = {"microscope": {"is_readable": True, "classname": "Microscope", "module": "zoneplate"}}


def described(plan):
    return profile._process_plan(plan, existing_devices=DEVICES, existing_plans={})


def judged(plan, **arguments) -> tuple[bool, str]:
    item = {
        "name": plan.__name__,
        "item_type": "plan",
        "args": [],
        "kwargs": {"microscope": "microscope", **arguments},
    }
    allowed = {plan.__name__: described(plan)}
    return profile.validate_plan(item, allowed_plans=allowed, allowed_devices=DEVICES)


@pytest.mark.parametrize("plan", [tomography, mosaic, screen, darks, flats])
def test_queue_server_accepts_the_plan(plan):
    parameters = {one["name"]: one for one in described(plan)["parameters"]}
    assert all(one.get("annotation") for name, one in parameters.items() if name != "microscope")
    assert judged(plan) == (True, "")


def test_queue_server_takes_every_way_of_a_tomogram():
    good, why = judged(
        tomography,
        center_um=[0.0, 0.0, 4.0],
        angles_deg=[0.0, 1.5],
        order="list",
        references="both",
        references_every=4,
        references_max_age_s=300.0,
        out_um=[None, 400.0, None],
        exposures_s=[1.0, 2.0],
        repeats=2,
    )
    assert good, why


@pytest.mark.parametrize(
    "wrong", [{"order": "random"}, {"angles_deg": "all"}, {"references_every": "often"}]
)
def test_queue_server_refuses_what_is_not_of_its_type(wrong):
    good, why = judged(tomography, **wrong)
    assert not good
    assert next(iter(wrong)) in why
