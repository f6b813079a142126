"""Bluesky's own plans, each run once on a microscope, whichever face it has."""

from __future__ import annotations

from typing import Any

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp

PLANS: dict[str, tuple[Any, int]] = {
    "count": (lambda m: bp.count([m.camera], num=3), 3),
    "scan": (lambda m: bp.scan([m.camera], m.stage.theta, -10, 10, 5), 5),
    "rel_scan": (lambda m: bp.rel_scan([m.camera], m.stage.z, -1, 1, 3), 3),
    "list_scan": (lambda m: bp.list_scan([m.camera], m.stage.theta, [0, 45, 90]), 3),
    "grid_scan": (
        lambda m: bp.grid_scan([m.camera], m.stage.y, -5, 5, 2, m.stage.x, -5, 5, 3),
        6,
    ),
    "adaptive_scan": (
        lambda m: bp.adaptive_scan(
            [m.camera],
            "microscope_camera_mean_counts",
            m.stage.x,
            start=0,
            stop=20,
            min_step=5,
            max_step=10,
            target_delta=1.0,
            backstep=False,
        ),
        0,
    ),
}
"""Each with the number of its events; 0: as many as it finds worth taking."""

FLY_RANGE_DEG = (-5.0, 5.0)


def run_stock_plans(engine: RunEngine, microscope: Any) -> None:
    """Run each plan; assert that its run is whole and its frames are where it says."""
    documents: list[tuple[str, dict[str, Any]]] = []
    token = engine.subscribe(lambda name, doc: documents.append((name, doc)))
    for name, (plan, events) in PLANS.items():
        documents.clear()
        engine(plan(microscope))
        stop = documents[-1][1]
        assert stop["exit_status"] == "success", name
        taken = stop["num_events"]["primary"]
        assert taken == events or (not events and taken >= 3), name
        datum = [doc["indices"]["start"] for kind, doc in documents if kind == "stream_datum"]
        assert datum == list(range(taken)), name
    documents.clear()
    start_deg, stop_deg = FLY_RANGE_DEG
    sweep = microscope.sweep
    engine(bps.mv(sweep.start_deg, start_deg, sweep.stop_deg, stop_deg, sweep.velocity_deg_s, 5.0))
    engine(bp.fly([sweep]))
    pages = [doc for kind, doc in documents if kind == "event_page"]
    assert pages[0]["data"]["microscope_sweep_stop_deg"] == [stop_deg]
    assert microscope.stage.theta.position == pytest.approx(stop_deg, abs=0.05)
    engine.unsubscribe(token)
