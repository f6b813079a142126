"""Nothing is lost, nothing hangs, nothing runs away."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import det

from zoneplate.acquisition import Session, open_session
from zoneplate.acquisition.journal import read_journal
from zoneplate.acquisition.results import load_tomogram_result
from zoneplate.acquisition.runs import RunNotFoundError, find_journal
from zoneplate.acquisition.workflow import is_decided
from zoneplate.analysis.lot_specification import LotSpecification
from zoneplate.devices import ConfigurationError
from zoneplate.plans import mosaic, screen, tomography
from zoneplate.simulators import Imperfections, Particle, Specimen

NMC811 = "LiNi0.8Mn0.1Co0.1O2@4.77"


@pytest.fixture
def session(tmp_path, asymmetric_specimen):
    with open_session(specimen=asymmetric_specimen, data_dir=tmp_path / "data", live=False) as one:
        yield one


def frames_of(session: Session, uid: str) -> tuple[list[int], list[str]]:
    run = session.run(uid)
    names = [name for name, _ in read_journal(find_journal(session.data.journal, uid))]
    return [frame.number for frame in run.stream("primary")], names


def test_killed_analysis_changes_neither_documents_nor_frames(tmp_path, asymmetric_specimen):
    results = {}
    for kill in (False, True):
        with open_session(
            specimen=asymmetric_specimen, data_dir=tmp_path / f"data{kill}", seed=4
        ) as session:
            assert session.live is not None

            def end_it(name, doc, session=session, kill=kill):
                if kill and name == "event" and doc["seq_num"] == 30 and session.live.alive:
                    os.kill(session.live.pid, signal.SIGKILL)

            session.RE.subscribe(end_it)
            (uid,) = session.RE(tomography(session.microscope, center_um=(0, 0, 4), projections=61))
            assert session.live.alive is not kill
            run = session.run(uid)
            assert run.stop is not None
            assert run.stop["exit_status"] == "success"
            numbers, names = frames_of(session, uid)
            results[kill] = (numbers, names, session.tomogram(uid))
    assert results[True][:2] == results[False][:2]
    killed, lived = results[True][2], results[False][2]
    assert len(killed.particles) == len(lived.particles) == 5
    assert np.abs(killed.volume - lived.volume).max() < 1e-6


@pytest.mark.parametrize("how", ["abort", "stop", "halt"])
def test_interrupted_scan_is_left_safe_and_its_run_closed(session, how):
    def pause(name, doc):
        if name == "event" and doc["seq_num"] == 12:
            threading.Thread(target=session.RE.request_pause).start()

    session.RE.subscribe(pause)
    with pytest.raises(RunEngineInterrupted):
        session.RE(tomography(session.microscope, center_um=(0, 0, 4), projections=60))
    getattr(session.RE, how)()
    microscope = session.microscope
    assert microscope.shutter.state.get() == "closed"
    assert not any(getattr(microscope.stage, axis).moving for axis in ("x", "y", "z", "theta"))
    assert not microscope.instrument.camera.busy
    assert not microscope.camera.file_path.get()
    run = session.run("-1")
    assert run.stop is not None
    assert run.stop["exit_status"] == ("success" if how == "stop" else "abort")


def test_interrupt_signal_pauses_and_the_scan_can_go_on(session):
    def press(name, doc):
        if name == "event" and doc["seq_num"] == 20:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.15)  # Bluesky ignores repeats within 0.1 s

    token = session.RE.subscribe(press)
    with pytest.raises(RunEngineInterrupted):
        session.RE(tomography(session.microscope, center_um=(0, 0, 4), projections=60))
    session.RE.unsubscribe(token)
    session.RE.resume()
    run = session.run("-1")
    assert len(run.stream("primary")) == 60
    assert run.stop["exit_status"] == "success"


def test_failing_journal_ends_the_run(session, monkeypatch):
    def no_space(*_: object) -> int:
        raise OSError(28, "No space left on device")

    def after_start(name, doc):
        if name == "event":
            monkeypatch.setattr("zoneplate.acquisition.journal.os.write", no_space)

    session.RE.subscribe(after_start)
    with pytest.raises(Exception, match="No space left"):
        session.RE(tomography(session.microscope, projections=5))
    monkeypatch.undo()
    assert session.microscope.shutter.state.get() == "closed"


@pytest.mark.long
def test_session_leaves_no_process_behind(tmp_path, asymmetric_specimen):
    session = open_session(specimen=asymmetric_specimen, data_dir=tmp_path / "data")
    session.catalog.start()
    session.RE(tomography(session.microscope, projections=3))
    listed = ["ps", "--ppid", str(os.getpid()), "-o", "args="]
    children = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    assert "zoneplate.acquisition" in children
    session.close()
    session.close()
    left = subprocess.run(
        ["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False
    ).stdout
    assert left == ""


def test_runs_of_a_later_session_come_later(tmp_path, asymmetric_specimen):
    starts = []
    for _ in range(2):
        with open_session(
            specimen=asymmetric_specimen, data_dir=tmp_path / "data", live=False
        ) as session:
            session.RE(tomography(session.microscope, projections=3))
            starts.append(session.run("-1").start["time"])
    assert starts[1] > starts[0] + 30


def test_screen_finds_the_regions_itself(tmp_path):
    with open_session(sample="nmc622", seed=2, data_dir=tmp_path / "data", live=False) as session:
        uids = session.RE(screen(session.microscope, regions=2, shape=(2, 3), projections=3))
        starts = [session.run(uid).start for uid in uids]
    first, second = (np.array(start["tomography"]["center_um"]) for start in starts[1:])
    assert np.abs(first - second)[:2].max() > 30
    assert np.abs(first[:2]).max() < 2 * 64


def test_stop_when_ends_a_screening_early(tmp_path):
    asked = []

    def decided(document):
        asked.append(document)
        return is_decided(document)

    limit = {"quantity": "void_frequency", "acceptable": 0.05, "rejectable": 0.2}
    lot = LotSpecification.model_validate(
        {"name": "dense", "limits": [limit], "budget": {"regions": 3, "minimum_regions": 1}}
    )
    with open_session(sample="nmc622", seed=2, data_dir=tmp_path / "data", live=False) as session:
        session.questions.lot = lot
        uids = session.RE(
            screen(session.microscope, regions=3, shape=(2, 3), projections=71, stop_when=decided)
        )
    assert len(uids) == 2
    (document,) = asked
    assert document["particles"]["count"] > 5
    verdict = document["verdict"]
    assert (verdict["decision"], verdict["regions"]) == ("reject", 1)  # 55 % hold a void
    path = verdict["limits"][0]["path"]
    assert path[0]["n"] == document["void_frequency"]["n"]
    assert path[0]["value"] == document["void_frequency"]["value"]


def test_empty_tape_gives_an_empty_result_not_nonsense(tmp_path):
    with open_session(
        specimen=Specimen(name="empty"), data_dir=tmp_path / "data", live=False
    ) as session:
        uids = session.RE(mosaic(session.microscope, shape=(1, 2)))
        assert session.choose_regions(uids[0], 1) == []
        (uid,) = session.RE(tomography(session.microscope, projections=71))
        assert session.tomogram(uid).particles.empty


def test_asymmetric_specimen_comes_back_where_it_is(tmp_path, asymmetric_specimen):
    with open_session(
        specimen=asymmetric_specimen, data_dir=tmp_path / "data", live=False
    ) as session:
        (uid,) = session.RE(tomography(session.microscope, center_um=(3.0, -2.0, 5.0)))
        found = session.tomogram(uid).particles
        stored = load_tomogram_result(session.data.result_of(uid))
    assert stored is not None
    truth = asymmetric_specimen.truth_particles()
    assert len(found) == len(truth) == 5
    names = [f"center_{axis}_um" for axis in "xyz"]
    for _, expected in truth.iterrows():
        offsets = (found[names] - expected[names].astype(float)).abs().max(axis=1)
        assert offsets.min() < 0.256, expected["name"]
        match = found.loc[offsets.idxmin()]
        assert match["equivalent_diameter_um"] == pytest.approx(
            expected["equivalent_diameter_um"], rel=0.03
        )
        assert match["void_count"] == expected["void_count"]


def test_other_devices_can_be_scanned_in_the_same_session(session):
    session.RE(bps.mv(session.microscope.stage.x, 10.0))
    from bluesky.plans import scan

    session.RE(scan([det], session.microscope.stage.theta, 0, 10, 3))
    assert session.run("-1").stop["exit_status"] == "success"


@pytest.mark.long
def test_dense_coarse_powder_is_measured_or_said_to_be_hard(tmp_path):
    particle = Particle("big", (0.0, 0.0, 11.0), (11.0, 11.0, 11.0), material=NMC811)
    with open_session(
        specimen=Specimen((particle,), name="one NMC811"),
        data_dir=tmp_path / "data",
        live=False,
        imperfections=Imperfections(),
    ) as session:
        (uid,) = session.RE(tomography(session.microscope, center_um=(0, 0, 11)))
        found = session.tomogram(uid).particles
    assert len(found) == 1
    assert found["equivalent_diameter_um"].iloc[0] == pytest.approx(22.0, rel=0.02)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"instrument": "epics"}, "'simulated'"),
        ({"sample": "sand"}, "choose nmc622, nmc811, nmc622-bad"),
        ({"specimen": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_impossible_session_is_refused(tmp_path, options, told):
    with pytest.raises(ConfigurationError, match=told):
        open_session(data_dir=tmp_path / "data", **options)


def test_unknown_run_is_one_clear_line(session):
    with pytest.raises(RunNotFoundError, match="no run with uid abc"):
        session.run("abc")


def test_unwritable_data_directory_is_refused(tmp_path):
    blocker = Path(tmp_path / "file")
    blocker.write_text("")
    with pytest.raises(ConfigurationError, match="choose another folder"):
        open_session(data_dir=blocker / "data")
