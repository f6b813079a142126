"""The command line: help at once, one clear line for what the user can mend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from zoneplate.acquisition.cli import app
from zoneplate.acquisition.workflow import analyze

CLI = Path(sys.executable).with_name("zoneplate")


def zoneplate(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLI, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def refused(result: subprocess.CompletedProcess[str], told: str) -> None:
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("zoneplate:")]
    assert len(lines) == 1, result.stderr
    assert told in lines[0]
    assert "Traceback" not in result.stderr


def in_process(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """Run the command line without the start of another interpreter."""
    from zoneplate.acquisition.cli import main

    with pytest.raises(SystemExit) as end:
        main(lambda: app([str(argument) for argument in arguments], standalone_mode=False))
    return subprocess.CompletedProcess([], end.value.code or 0, *capsys.readouterr())


def nothing_moved(data: Path) -> None:
    assert not list(data.glob("journal/*"))
    assert not list(data.glob("frames/*/*"))


def test_help_is_instant_and_shows_an_example():
    begin = time.monotonic()
    assert "screen" in zoneplate("--help").stdout
    assert time.monotonic() - begin < 3
    for command in ("screen", "mosaic", "tomography", "analyze", "report", "doctor"):
        assert "Example: zoneplate" in zoneplate(command, "--help").stdout, command


def test_doctor_says_what_is_there(tmp_path):
    result = zoneplate("doctor", "--data", tmp_path)
    assert result.returncode == 0, result.stdout
    assert "bluesky" in result.stdout
    assert "tomopy" in result.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["screen", "--binning", "3"], "1, 2, 4, 8"),
        (["screen", "--projections", "0"], "projections 0"),
        (["screen", "--exposure", "-1"], "exposure_s -1"),
        (["screen", "--sample", "sand"], "choose nmc622, nmc811, nmc622-bad"),
        (["screen", "--regions", "0"], "regions 0"),
        (["screen", "--stop-when", "luck=1"], "budget=SECONDS"),
        (["screen", "--resume", "abc"], "no run"),
        (["tomography", "--center", "0", "5000", "0"], "limits -2000 to 2000"),
        (["tomography", "--motion", "fly"], "needs most_blur_voxels"),
        (["tomography", "--flats-every", "0"], "references_every 0"),
        (["tomography", "--angles", "absent.txt"], "check the path"),
        (["mosaic", "--rows", "0"], "rows 0 is not possible: choose 1 to 50"),
        (["screen", "--columns", "400"], "columns 400 is not possible: choose 1 to 50"),
    ],
)
def test_impossible_request_is_refused_and_nothing_moves(tmp_path, capsys, options, told):
    data = tmp_path / "data"
    refused(in_process(capsys, *options, "--data", data, "--out", tmp_path / "out"), told)
    nothing_moved(data)


def folders(tmp_path: Path) -> list[str]:
    return ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]


def test_map_can_be_larger_than_that_of_the_study_and_the_powder_covers_it(tmp_path):
    app(["mosaic", "--rows", "1", "--columns", "12", *folders(tmp_path)], standalone_mode=False)
    particles = pd.read_csv(tmp_path / "out" / "mosaic.csv")
    # 12 columns are 768 um; those of the study end at 256 um from the middle.
    assert particles["center_x_um"].min() < -320
    assert particles["center_x_um"].max() > 320


@pytest.mark.long
def test_screening_takes_a_map_of_the_size_that_was_asked_for(tmp_path):
    app(
        ["screen", "--rows", "1", "--columns", "2", "--projections", "9", *folders(tmp_path)],
        standalone_mode=False,
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["mosaic"]["tiles"] == 2


@pytest.mark.long
def test_refusal_is_one_line_and_exit_code_2_for_a_shell_too(tmp_path):
    data = tmp_path / "data"
    refused(zoneplate("screen", "--binning", "3", "--data", data, "--out", tmp_path), "1, 2, 4, 8")
    nothing_moved(data)


def test_specimen_with_two_particles_in_one_place_is_refused(tmp_path, capsys):
    file = tmp_path / "specimen.csv"
    header = "kind,id,parent,x_um,y_um,z_um,a_um,b_um,c_um,qw,qx,qy,qz,material"
    row = "particle,{},,0,0,5,5,5,5,1,0,0,0,LiNi0.6Mn0.2Co0.2O2@4.77"
    file.write_text("\n".join([header, row.format("one"), row.format("two")]))
    data = tmp_path / "data"
    result = in_process(
        capsys, "screen", "--specimen", file, "--data", data, "--out", tmp_path / "out"
    )
    refused(result, "two")
    nothing_moved(data)


def test_output_folder_that_cannot_be_written_is_refused(tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("")
    data = tmp_path / "data"
    refused(
        in_process(capsys, "screen", "--data", data, "--out", blocker / "out"), "cannot be written"
    )
    nothing_moved(data)


def test_file_without_projections_is_refused(tmp_path, capsys):
    file = tmp_path / "empty.h5"
    with h5py.File(file, "w") as opened:
        opened["something"] = np.zeros(3)
    refused(in_process(capsys, "analyze", file, "--out", tmp_path / "out"), "empty.h5")


def test_truncated_xradia_file_is_refused(tmp_path, shared_data, capsys):
    whole = (shared_data / "txrm_test_chip_tomo.txrm").read_bytes()
    file = tmp_path / "cut.txrm"
    file.write_bytes(whole[: len(whole) // 2])
    refused(in_process(capsys, "analyze", file, "--out", tmp_path / "out"), "cut.txrm")


def test_source_that_does_not_exist_is_refused(tmp_path, capsys):
    result = in_process(
        capsys, "analyze", "nowhere.h5", "--data", tmp_path, "--out", tmp_path / "out"
    )
    refused(result, "neither a file nor a run")


@pytest.mark.long
def test_real_synchrotron_scan_gives_its_centre_and_closed_voids(tmp_path, shared_data):
    analyze(shared_data / "dls_24737_bubbles.h5", tmp_path)
    document = json.loads((tmp_path / "results.json").read_text())
    (tomogram,) = document["tomograms"]
    assert 85.5 <= tomogram["rotation_center_column"] <= 85.9
    assert tomogram["projections"] == 91
    voids = (tmp_path / "voids.csv").read_text().splitlines()
    assert len(voids) - 1 >= 2
    assert "pixel" in " ".join(document["warnings"])


@pytest.mark.long
def test_xradia_scan_of_seven_projections_says_what_it_cannot_give(tmp_path, shared_data):
    result = zoneplate("analyze", shared_data / "txrm_test_chip_tomo.txrm", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "results.json").read_text())
    (tomogram,) = document["tomograms"]
    assert tomogram["projections"] == 7
    assert tomogram["energy_kev"] == pytest.approx(9.2, abs=0.01)
    assert "cannot give shapes" in result.stdout
    assert document["particles"]["count"] == 0
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.long
def test_somebody_elses_specimen_goes_through_the_same_comparison(tmp_path, shared_data):
    specimen = shared_data / "specimen_example.csv"
    data = tmp_path / "data"
    result = zoneplate("screen", "--specimen", specimen, "--data", data, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    truth = document["truth"]
    assert document["particles"]["count"] == pytest.approx(truth["particles"]["count"], abs=1)
    for quantity, tolerance in (("equivalent_diameter_um", 0.02), ("volume_um3", 0.05)):
        assert document["particles"][quantity]["mean"] == pytest.approx(
            truth["particles"][quantity]["mean"], rel=tolerance
        )
    frequency = document["void_frequency"]
    assert frequency["low"] <= truth["void_frequency"]["value"] <= frequency["high"]
    assert result.stdout.splitlines()[-1].endswith("report.html")

    # The same run again, from what is stored: with and without analysing the frames anew.
    uid = document["tomograms"][0]["uid"]
    for which, again in (("-1", False), (uid[:8], True)):
        repeated = analyze(which, tmp_path / which, data_dir=data, again=again).document
        assert repeated["particles"]["volume_um3"] == document["particles"]["volume_um3"]
        assert repeated["truth"]["void_frequency"] == truth["void_frequency"]


def test_scan_stopped_by_hand_is_one_line_and_no_traceback(capsys):
    from bluesky.utils import RunEngineInterrupted

    from zoneplate.acquisition.cli import main

    def scan():
        raise RunEngineInterrupted

    with pytest.raises(SystemExit) as ended:
        main(scan)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "stopped\n"
