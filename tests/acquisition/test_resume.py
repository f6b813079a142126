"""A screening that is killed goes on: what was measured is not measured again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from zoneplate.acquisition import open_session, screen_sample, workflow
from zoneplate.acquisition.journal import journals, read_journal
from zoneplate.analysis.stop_when import Budget, Particles, Verdict
from zoneplate.devices import ConfigurationError
from zoneplate.simulators import Particle, Specimen, Void

MATERIAL = "LiNi0.6Mn0.2Co0.2O2@4.77"
AT_UM = [(-40.0, 30.0, 4.0), (40.0, -40.0, 4.0), (0.0, 0.0, 4.0)]
SCREENING: dict[str, Any] = {
    "regions": 2,
    "shape": (1, 2),
    "projections": 61,
    "exposure_s": 3.0,
    "at_um": AT_UM,
}

KILLED = f"""
import os, signal, sys
from pathlib import Path
from zoneplate.acquisition import open_session, screen_sample

with open_session(specimen=sys.argv[1], seed=4, data_dir=sys.argv[2], live=False) as session:
    runs = []
    def kill(name, doc):
        if name == "start":
            runs.append(doc["plan_name"])
        if runs.count("tomography") == 2 and name == "event" and doc["seq_num"] == 20:
            os.kill(os.getpid(), signal.SIGKILL)
    session.RE.subscribe(kill)
    screen_sample(session, Path(sys.argv[3]), **{SCREENING!r})
"""


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time, and are tested elsewhere."""
    monkeypatch.setattr(workflow, "write_results_report", lambda *_: None)


@pytest.fixture(scope="module")
def specimen_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few particles in each region, one of them hollow."""
    rng = np.random.default_rng(3)
    particles = []
    for region, (x, y, _) in enumerate(AT_UM[:2]):
        for number, (dx, dy) in enumerate([(-14, -12), (13, -10), (-12, 14), (11, 12), (0, 0)]):
            radius = float(rng.uniform(3.5, 5.0))
            center = (x + dx, y + dy, radius)
            hollow = (Void(f"v{region}", center, (1.7, 1.7, 1.7)),) if number == 4 else ()
            particles.append(
                Particle(
                    f"{region}-{number}", center, (radius,) * 3, material=MATERIAL, voids=hollow
                )
            )
    path = tmp_path_factory.mktemp("specimen") / "few.h5"
    Specimen(tuple(particles), name="few").save(path)
    return path


def taken(data: Path) -> list[dict[str, Any]]:
    """Start documents of the scans, oldest first."""
    starts = [next(read_journal(path))[1] for path in journals(data / "journal")]
    return [start for start in starts if "analysis_of" not in start]


@pytest.mark.long
def test_killed_screening_goes_on_and_measures_nothing_twice(specimen_file, tmp_path):
    command = [sys.executable, "-c", KILLED, specimen_file, tmp_path / "data", tmp_path / "out"]
    died = subprocess.run([str(part) for part in command], check=False, timeout=200)
    assert died.returncode == -signal.SIGKILL
    before = taken(tmp_path / "data")
    assert [start["plan_name"] for start in before] == ["mosaic", "tomography", "tomography"]

    with open_session(
        specimen=specimen_file, seed=4, data_dir=tmp_path / "data", live=False
    ) as session:
        resumed = screen_sample(session, tmp_path / "out", resume="-1")
        after = taken(tmp_path / "data")
        # The same map and the same first tomogram; only the broken one was taken again.
        assert [start["uid"] for start in after[:3]] == [start["uid"] for start in before]
        (again,) = after[3:]
        assert again["screening"] == before[2]["screening"]
        assert resumed.document["source"]["mosaic_uid"] == before[0]["uid"]
        assert resumed.document["source"]["tomogram_uids"] == [before[1]["uid"], again["uid"]]
        # Once more: nothing is left to do.
        screen_sample(session, tmp_path / "out", resume=before[0]["uid"][:8])
        assert len(taken(tmp_path / "data")) == 4

        # Another specimen cannot be the rest of it.
        session.md["specimen_file"] = "another.h5"
        with pytest.raises(ConfigurationError, match="begun with specimen"):
            screen_sample(session, tmp_path / "out", resume="-1")

    with open_session(
        specimen=specimen_file, seed=4, data_dir=tmp_path / "whole", live=False
    ) as session:
        whole = screen_sample(session, tmp_path / "whole-out", **SCREENING)
    # What was taken before the crash is the same, what came after but for its noise.
    columns = ["center_x_um", "center_y_um", "center_z_um", "volume_um3"]
    first, other = (
        table[table["region"] == 0][columns].to_numpy()
        for table in (resumed.particles, whole.particles)
    )
    np.testing.assert_allclose(first, other, rtol=1e-3)
    for table in ("particles", "voids"):
        ours, theirs = getattr(resumed, table), getattr(whole, table)
        assert len(ours) == len(theirs)
        pd.testing.assert_series_equal(
            ours["volume_um3"], theirs["volume_um3"], rtol=0.05, check_exact=False
        )
    assert resumed.document["void_frequency"] == whole.document["void_frequency"]


@pytest.mark.long
def test_rules_end_a_screening_with_their_reason(specimen_file, tmp_path):
    asked: list[int] = []

    def decide(results: dict[str, Any]) -> str | None:
        asked.append(results["particles"]["count"])
        return "accepted" if len(asked) == 2 else None

    rule = Budget(86_400) | (Particles(2) & Verdict(decide))
    options = {**SCREENING, "regions": 3}
    with open_session(
        specimen=specimen_file, seed=4, data_dir=tmp_path / "data", live=False
    ) as session:
        results = screen_sample(session, tmp_path / "out", stop_when=rule, **options)
    assert len(asked) == 2
    assert asked[1] > asked[0] > 0
    assert len(results.tomograms) == 2
    told = results.document["timing"]["screening_stop"]
    assert told.endswith("verdict: accepted")
    assert f"the screening ended after region 2: {told}" in results.document["warnings"]
    start = taken(tmp_path / "data")[0]
    assert start["screening_plan"]["stop_when"] == "budget=86400 or particles=2 and verdict=decide"


def test_what_is_no_screening_cannot_be_resumed(tmp_path, specimen_file):
    from zoneplate.acquisition.runs import RunNotFoundError

    with (
        open_session(specimen=specimen_file, data_dir=tmp_path, live=False) as session,
        pytest.raises(RunNotFoundError, match="no run"),
    ):
        screen_sample(session, tmp_path / "out", resume="abc")
