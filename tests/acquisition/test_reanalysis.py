"""Re-analysis in bulk, and verification: the same numbers whoever computes them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from zoneplate.acquisition.cli import main
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import journals, read_journal
from zoneplate.acquisition.reanalysis import find_tomograms, reanalyze
from zoneplate.acquisition.recovery import recover
from zoneplate.acquisition.results import load_tomogram_result
from zoneplate.acquisition.runs import RunNotFoundError, is_analysis
from zoneplate.acquisition.verification import verify

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "reanalysis.py"
TOMOGRAMS, ROWS, PROJECTIONS = 3, 40, 32


def load_benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reanalysis_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> DataDirectory:
    """Stored tomograms, analysed one by one."""
    data = DataDirectory(tmp_path_factory.mktemp("stored"))
    data.create()
    for number in range(TOMOGRAMS):
        benchmark.store(data, number, ROWS, PROJECTIONS)
    campaign = reanalyze(data, find_tomograms(data, "all"), name="serial")
    assert len(campaign.done) == TOMOGRAMS
    return data


@pytest.fixture
def data(stored: DataDirectory, tmp_path: Path) -> DataDirectory:
    """A copy to damage; frames stay where the journals say they are."""
    copy = DataDirectory(tmp_path / "copy")
    shutil.copytree(stored.root, copy.root)
    return copy


def test_geometry_is_left_out_if_asked_and_verified_so(data: DataDirectory) -> None:
    uid = find_tomograms(data, "all")[0]
    found = load_tomogram_result(data.result_of(uid))
    assert found is not None
    assert "tilt_deg" in found.facts["geometry"]
    again = reanalyze(data, [uid], name="plain", correct_geometry=False)
    assert len(again.done) == 1
    plain = load_tomogram_result(data.result_of(uid))
    assert plain is not None
    assert plain.facts["geometry"] is None
    assert verify(data, uid).good


@pytest.mark.long
def test_worker_killed_midway_loses_nothing_and_changes_no_bit(data: DataDirectory) -> None:
    pytest.importorskip("distributed", reason="DISTRIBUTED ABSENT: pip install 'zoneplate[scale]'")
    uids = find_tomograms(data, "sample=spheres")
    serial = benchmark.numbers(data, uids)
    clients: list[Any] = []

    def kill_once(_: dict[str, Any]) -> None:
        if clients:
            (pid,) = clients.pop().run(os.getpid).values()
            os.kill(pid, signal.SIGKILL)

    campaign = reanalyze(
        data, uids, workers=1, name="killed", on_task=kill_once, on_ready=clients.append
    )
    assert not clients  # a worker was killed
    assert sorted(row["uid"] for row in campaign.done) == uids
    assert benchmark.numbers(data, uids) == serial
    assert recover(data).missing == []


def test_interrupted_campaign_goes_on_where_it_stopped(data: DataDirectory) -> None:
    uids = find_tomograms(data, "all")

    def interrupt(_: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reanalyze(data, uids, name="broken off", on_task=interrupt)
    campaign = reanalyze(data, uids, name="broken off")
    assert campaign.skipped == uids[:1]
    assert [row["uid"] for row in campaign.done] == uids[1:]
    analyses = [path for path in journals(data.journal) if is_analysis(path)]
    starts = [next(read_journal(path))[1] for path in analyses]
    told = [start["parameters"] for start in starts if start["analysis_of"] == uids[0]]
    assert {"serial", "broken off"} == {parameters["campaign"] for parameters in told}
    assert all(parameters["minimum_void_um"] == 1.8 for parameters in told)


def test_bad_tomogram_is_reported_and_does_not_stop_the_others(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    data.create()
    for number in range(2):
        benchmark.store(data, number, 24, 12)
    (data.frames / "00000.nxs").write_bytes(b"no frames")
    uids = find_tomograms(data, "all")
    campaign = reanalyze(data, uids)
    assert list(campaign.failed) == uids[:1]
    assert "00000.nxs" in campaign.failed[uids[0]]
    assert [row["uid"] for row in campaign.done] == uids[1:]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("all", 3),
        ("sample=spheres", 3),
        ("sample~sph acquisition.pixel_um=0.512", 3),
        ("sample!=spheres uid=0", 0),
        ("time>=1790000400", 2),
        ("time<1790000400", 1),
        ("uid=00000002", 1),
        ("acquisition.binning=8", 0),
    ],
)
def test_query_finds_by_start_document(stored: DataDirectory, query: str, count: int) -> None:
    if count:
        assert len(find_tomograms(stored, query)) == count
    else:
        with pytest.raises(RunNotFoundError, match="fits"):
            find_tomograms(stored, query)


@pytest.mark.parametrize("query", ["", "spheres", "time>yesterday"])
def test_query_that_means_nothing_is_refused(stored: DataDirectory, query: str) -> None:
    with pytest.raises(ValueError, match=r"empty|is no term|needs a number"):
        find_tomograms(stored, query)


def test_untouched_result_verifies(stored: DataDirectory) -> None:
    uid = find_tomograms(stored, "all")[0]
    found = verify(stored, uid)
    assert found.good
    assert {check.good for check in found.checks} == {True}
    assert found.provenance["acquisition"]["uid"] == uid
    assert found.provenance["analysis"]["parameters"]["campaign"] == "serial"
    assert found.provenance["analysis"]["versions"]["zoneplate"]


def failed(data: DataDirectory, uid: str) -> set[str]:
    return {check.name for check in verify(data, uid).checks if check.good is False}


def test_changed_table_volume_or_frames_do_not_verify(data: DataDirectory, tmp_path: Path) -> None:
    first, second, third = find_tomograms(data, "all")
    table = data.result_of(first) / "particles.csv"
    particles = pd.read_csv(table)
    particles.loc[0, "volume_um3"] *= 1 + 1e-6
    particles.to_csv(table, index=False)
    assert failed(data, first) == {"particles", "particles in documents"}

    with h5py.File(data.result_of(second) / "volume.h5", "r+") as file:
        file["region_0/volume"][3, 4, 5] += 1e-4  # type: ignore[index]
    assert failed(data, second) == {"volume"}

    # The same journal about frames that somebody has touched.
    (journal,) = (path for path in journals(data.journal) if path.name.endswith(f"{third}.jsonl"))
    content = journal.read_text()
    frames = Path(content.split("file://localhost")[1].split('"')[0])
    changed = tmp_path / "changed.nxs"
    shutil.copy(frames, changed)
    with h5py.File(changed, "r+") as file:
        dataset: Any = file["entry/instrument/detector/data"]
        dataset[20] = np.asarray(dataset[20]) // 2
    journal.write_text(content.replace(str(frames), str(changed)))
    assert "volume" in failed(data, third)


def test_command_fails_on_a_result_that_does_not_verify(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = find_tomograms(data, "all")[0]
    (data.result_of(uid) / "voids.csv").write_text("void_id\n")
    monkeypatch.setattr(sys, "argv", ["zoneplate", "verify", uid, "--data", str(data.root)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert f"run {uid}" in shown
    assert "!!  voids" in shown
