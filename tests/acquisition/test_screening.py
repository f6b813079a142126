"""The main job, as a newcomer sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import event_model
import h5py
import numpy as np
import pandas as pd
import pytest
from bluesky import plan_stubs as bps

from zoneplate.acquisition import open_scan, replay
from zoneplate.acquisition.journal import read_journal
from zoneplate.acquisition.map_analysis import load_map, save_map
from zoneplate.acquisition.results import load_tomogram_result
from zoneplate.acquisition.runs import find_journal
from zoneplate.acquisition.workflow import analyze, live_curve


def raw_file(screening) -> Path:
    return screening.session.run(screening.tomogram_uid).stream("primary")[0].file


def test_everything_promised_is_in_the_folder(screening):
    for name in (
        "results.json",
        "particles.csv",
        "voids.csv",
        "mosaic.csv",
        "volume.h5",
        "report.html",
    ):
        assert (screening.out / name).stat().st_size > 0, name
    assert json.loads((screening.out / "results.json").read_text())["schema"] == (
        "zoneplate-results/1"
    )


def test_results_hold_what_the_schema_promises(screening):
    document = screening.document
    assert document["sample"] == "nmc622"
    assert document["mosaic"]["tiles"] == 40
    assert document["mosaic"]["area_um2"] == 163_840
    assert 1000 < document["mosaic"]["particles"] < 1400
    assert document["timing"]["mosaic_s"] < 60
    assert all(seconds < 300 for seconds in document["timing"]["tomography_s"])
    (tomogram,) = document["tomograms"]
    assert tomogram["projections"] == 141
    assert 8 < tomogram["snr"] < 13
    assert (
        0
        < tomogram["transmission_min"]
        < tomogram["transmission_footprint"]
        < tomogram["transmission_mean"]
        < 1
    )
    for block in (document, document["truth"]):
        assert block["particles"]["count"] > 15
        for quantity in ("volume_um3", "equivalent_diameter_um", "surface_area_um2", "sphericity"):
            assert block["particles"][quantity]["se"] > 0
            assert block["voids"][quantity]["mean"] > 0
        frequency = block["void_frequency"]
        assert 0 < frequency["low"] < frequency["value"] < frequency["high"] < 1
        assert frequency["n"] == block["particles"]["count"]
        assert 0 < block["dead_volume_fraction"]["value"] < 0.1


def test_study_areas_stand_beside_the_unbiased_ones(screening):
    ours = screening.document["particles"]["surface_area_um2"]["mean"]
    study = screening.document["particles_faces"]["surface_area_um2"]["mean"]
    assert study / ours == pytest.approx(1.5, abs=0.1)


def test_results_agree_with_the_truth(screening):
    measured, truth = screening.document, screening.document["truth"]
    assert measured["particles"]["count"] == pytest.approx(truth["particles"]["count"], rel=0.05)
    for quantity, tolerance in (("equivalent_diameter_um", 0.02), ("volume_um3", 0.05)):
        assert measured["particles"][quantity]["mean"] == pytest.approx(
            truth["particles"][quantity]["mean"], rel=tolerance
        )
    frequency = measured["void_frequency"]
    assert frequency["low"] <= truth["void_frequency"]["value"] <= frequency["high"]


def test_tables_and_report_say_the_same_as_the_results(screening):
    particles = pd.read_csv(screening.out / "particles.csv")
    whole = particles[~particles["touches_border"]]
    assert len(whole) == screening.document["particles"]["count"]
    assert whole["volume_um3"].mean() == pytest.approx(
        screening.document["particles"]["volume_um3"]["mean"]
    )
    page = (screening.out / "report.html").read_text()
    assert "nmc622" in page
    assert screening.tomogram_uid in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.long
def test_catalog_answers_as_beamline_people_expect(screening):
    catalog = screening.session.catalog
    assert catalog[-1].start["uid"] == screening.tomogram_uid
    assert catalog[-2].start["plan_name"] == "mosaic"
    table = catalog[screening.tomogram_uid].table()
    assert len(table) == 141
    assert table["microscope_stage_theta"].max() == pytest.approx(90, abs=0.02)
    assert len(catalog[screening.tomogram_uid].table("flat")) == 10
    assert len(catalog[screening.tomogram_uid].table("baseline")) == 2
    found = {run.start["uid"] for run in catalog(sample="nmc622")}
    assert {screening.mosaic_uid, screening.tomogram_uid} <= found
    assert not list(catalog(sample="gold"))
    frames = catalog.v2[screening.tomogram_uid].primary.read()["microscope_camera_image"]
    assert np.squeeze(frames).shape == (141, 128, 128)
    with open_scan(raw_file(screening)) as scan:
        assert np.array_equal(np.squeeze(frames), scan.projections[:])


@pytest.mark.long
def test_analysis_is_a_run_of_its_own(screening):
    (run,) = list(screening.session.catalog.analyses(analysis_of=screening.tomogram_uid))
    assert run.start["plan_name"] == "analysis"
    curve = run.table("progress")
    assert curve["projections"].iloc[-1] == 141
    assert len(run.table("particles")) == len(pd.read_csv(screening.out / "particles.csv"))


def test_live_curve_was_drawn_while_frames_came(screening):
    curve = live_curve(screening.session.data, screening.tomogram_uid)
    assert curve["projections"].is_monotonic_increasing
    assert curve["projections"].iloc[0] < 141
    assert curve["particles"].iloc[-1] == screening.document["particles"]["count"]


def test_documents_are_valid_and_stamped_with_instrument_time(screening):
    journal = find_journal(screening.session.data.journal, screening.tomogram_uid)
    times = []
    for name, doc in read_journal(journal):
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
        if name in ("start", "event", "stop"):
            times.append(doc["time"])
    assert times == sorted(times)
    duration_s = screening.document["timing"]["tomography_s"][0]
    assert times[-1] - times[0] == pytest.approx(duration_s, abs=1e-3)


def test_nexus_validator_finds_no_error_in_the_raw_file(screening):
    validator = Path(sys.executable).with_name("nxvalidate")
    result = subprocess.run(
        [validator, "-e", str(raw_file(screening))], capture_output=True, text=True, check=False
    )
    assert "Total number of errors: 0" in result.stdout + result.stderr


def test_nxtomo_loads_the_raw_file(screening):
    from nxtomo import NXtomo

    loaded = NXtomo().load(str(raw_file(screening)), "entry")
    keys = [int(key.value) for key in loaded.instrument.detector.image_key_control]
    assert (keys.count(0), keys.count(1), keys.count(2)) == (141, 10, 5)
    assert len(loaded.sample.rotation_angle) == 156
    assert loaded.instrument.detector.x_pixel_size.to("micrometer").magnitude == pytest.approx(
        0.512
    )


@pytest.mark.long
def test_raw_file_read_as_a_file_gives_the_same_particles(screening, tmp_path):
    again = analyze(raw_file(screening), tmp_path)
    live = pd.read_csv(screening.out / "particles.csv")
    assert len(again.particles) == len(live)
    assert again.document["particles"]["volume_um3"]["mean"] == pytest.approx(
        screening.document["particles"]["volume_um3"]["mean"], rel=1e-3
    )


@pytest.mark.long
def test_replaying_the_stored_run_gives_the_live_result(screening):
    journal = find_journal(screening.session.data.journal, screening.tomogram_uid)
    seen: list[int] = []
    tomogram = replay(read_journal(journal), lambda preview: seen.append(preview.projections))
    stored = load_tomogram_result(screening.session.data.result_of(screening.tomogram_uid))
    assert stored is not None
    assert seen
    assert np.abs(tomogram.volume - stored.volume).max() < 1e-6
    assert tomogram.summary["void_frequency"] == stored.facts["void_frequency"]


def test_volume_file_is_in_the_sample_frame(screening):
    particles = pd.read_csv(screening.out / "particles.csv")
    largest = particles.loc[particles["volume_um3"].idxmax()]
    with h5py.File(screening.out / "volume.h5", "r") as file:
        region = file["region_0"]
        labels = region["particles"][()]
        inside = np.argwhere(labels == largest["particle_id"])
        for axis, column in (("y", 0), ("z", 1), ("x", 2)):
            center = region[axis][()][inside[:, column]].mean()
            assert center == pytest.approx(largest[f"center_{axis}_um"], abs=0.05)


def test_stage_can_be_driven_to_a_particle(screening):
    particles = pd.read_csv(screening.out / "particles.csv")
    whole = particles[~particles["touches_border"]]
    target = whole.loc[whole["volume_um3"].idxmax()]
    session = screening.session
    stage = session.microscope.stage
    session.RE(
        bps.mv(
            *(stage.x, target["center_x_um"]),
            *(stage.y, target["center_y_um"]),
            *(stage.z, target["center_z_um"]),
        )
    )
    for angle in (0.0, 90.0):
        session.RE(bps.mv(stage.theta, angle))
        truth = session.microscope.instrument.specimen.truth_particles()
        near = truth[
            (truth["center_x_um"] - stage.x.position).abs().lt(1)
            & (truth["center_y_um"] - stage.y.position).abs().lt(1)
            & (truth["center_z_um"] - stage.z.position).abs().lt(1)
        ]
        assert len(near) == 1


@pytest.mark.long
def test_documents_of_the_catalog_can_be_replayed(screening):
    run = screening.session.catalog[screening.tomogram_uid]
    tomogram = replay(run.documents(fill=False), previews=False)
    stored = load_tomogram_result(screening.session.data.result_of(screening.tomogram_uid))
    assert stored is not None
    assert np.abs(tomogram.volume - stored.volume).max() < 1e-6


def test_map_is_kept_while_somebody_reads_the_one_before(screening, tmp_path):
    found = load_map(screening.session.data.result_of(screening.mosaic_uid))
    save_map(tmp_path, found)
    with h5py.File(tmp_path / "mosaic.h5", "r"):  # holds a lock on the file
        save_map(tmp_path, found)
    assert load_map(tmp_path).facts == found.facts
