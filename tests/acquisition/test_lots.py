"""Lots over time and two lots side by side, from what a data directory holds."""

from __future__ import annotations

import h5py
import numpy as np
import orjson
import pandas as pd
import pytest

from zoneplate.acquisition.command_lots import compare, lots
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import DocumentJournal
from zoneplate.acquisition.lot_records import find_lot, stored_lots
from zoneplate.acquisition.runs import RunNotFoundError
from zoneplate.devices import ConfigurationError

EPOCH_S = 1_800_000_000.0
DAY_S = 86_400.0


def store_lot(data, number, frequency, *, median_um=5.8, voxel_um=0.512, regions=2, seed=0):
    """Leave what the analysis of a lot leaves: runs, tables and facts."""
    rng = np.random.default_rng((seed, number))
    journal = DocumentJournal(data.journal)
    for region in range(regions):
        uid = f"lot{number:02d}-{region}"
        time_s = EPOCH_S + number * DAY_S + region * 300
        start = {"uid": uid, "time": time_s, "plan_name": "tomography", "sample": "powder"}
        journal("start", {**start, "lot": f"L{number:02d}", "screening": {"mosaic": f"m{number}"}})
        stop = {"uid": f"{uid}-stop", "run_start": uid, "time": time_s + 295}
        journal("stop", {**stop, "exit_status": "success"})
        size = 30
        particles = pd.DataFrame({"particle_id": np.arange(size), "touches_border": False})
        particles["equivalent_diameter_um"] = rng.lognormal(np.log(median_um), 0.4, size)
        particles["volume_um3"] = np.pi / 6 * particles["equivalent_diameter_um"] ** 3
        hollow = particles.loc[rng.random(size) < frequency]
        voids = hollow.assign(equivalent_diameter_um=2.2, volume_um3=np.pi / 6 * 2.2**3)
        folder = data.result_of(uid)
        folder.mkdir(parents=True)
        particles.to_csv(folder / "particles.csv", index=False)
        voids.to_csv(folder / "voids.csv", index=False)
        with h5py.File(folder / "volume.h5", "w") as file:
            file.create_group("region_0")["facts"] = orjson.dumps({"voxel_um": voxel_um})
    journal.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight good lots, then two in which more particles are hollow; the last but one coarse."""
    directory = DataDirectory(tmp_path_factory.mktemp("lots"))
    for number in range(8):
        store_lot(directory, number, 0.3)
    store_lot(directory, 8, 0.85)
    store_lot(directory, 9, 0.8)
    return directory


def test_lots_are_charted_and_alarms_are_said(data, tmp_path, capsys):
    picture = tmp_path / "lots.png"
    lots(data=data.root, baseline=8, picture=picture)
    said = capsys.readouterr().out
    assert "ALARM  L08: void frequency" in said
    assert "is far too high for one lot" in said
    assert "ALARM  L00" not in said
    assert "voids count from 1.8 um in every lot" in said
    assert picture.stat().st_size > 10_000


def test_lots_in_control_give_no_alarm(tmp_path, capsys):
    directory = DataDirectory(tmp_path / "data")
    for number in range(6):
        store_lot(directory, number, 0.5, seed=4)
    lots(data=directory.root)
    assert "no alarm" in capsys.readouterr().out


def test_lots_seen_less_sharply_are_not_mixed_in(tmp_path, capsys):
    directory = DataDirectory(tmp_path / "data")
    for number in range(6):
        store_lot(directory, number, 0.5, voxel_um=1.024 if number == 5 else 0.512)
    lots(data=directory.root)
    said = capsys.readouterr().out
    # What the coarse scan cannot see is not counted in the fine ones either: no void is left.
    assert "voids count from 3.6 um in every lot" in said
    assert said.count("0 %") >= 6
    lots(data=directory.root, minimum_void_um=1.8)
    said = capsys.readouterr().out
    assert "L05: its scans show voids from 3.6 um on only, not from 1.8 um" in said
    assert "0 %" not in said.replace("50 %", "").replace("60 %", "").replace("40 %", "")


def test_a_lot_is_found_by_name_by_run_and_not_by_nonsense(data):
    assert [lot.name for lot in stored_lots(data)] == [f"L{n:02d}" for n in range(10)]
    assert stored_lots(data, "gold") == []
    by_name, by_run = find_lot("L03", data), find_lot("lot03-1", data)
    assert by_name.particles["region"].nunique() == 2
    assert len(by_run.particles) == 30
    with pytest.raises(RunNotFoundError):
        find_lot("nonsense", data)


def test_two_lots_are_compared_in_words(data, capsys):
    compare("L00", "L08", data=data.root)
    said = capsys.readouterr().out
    assert "A: L00: 60 whole particles, 2 regions" in said
    assert "B minus A" in said
    assert "simple model of the study" in said
    assert "fewer than 5 regions" in said


def test_a_data_directory_without_lots_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no analysed lot"):
        lots(data=tmp_path)
