"""The twin of a scan: made, kept, found again by its settings, and told in results."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from zoneplate.acquisition.cli import app
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.detection_twin import (
    ScanSettings,
    detection_of,
    find_twin,
    load_twin,
    make_twin,
    save_twin,
    twin_powder,
)
from zoneplate.devices import ConfigurationError

STUDY = ScanSettings()


def test_twin_of_the_study_is_shipped_and_keeps_its_promises():
    twin = find_twin(STUDY)
    assert twin is not None
    said = twin.summary()
    assert said["d90_um"]["value"] <= 1.7
    assert said["d50_um"]["value"] < said["d90_um"]["value"]
    assert said["false_voids_per_particle"]["high"] < 0.01
    assert len(twin.found) == said["voids"] > 400


def test_powder_of_the_twin_has_voids_of_all_sizes_about_the_limit():
    voids = twin_powder(7, 0.512).truth_voids()["equivalent_diameter_um"]
    assert len(voids) > 300
    assert 0.6 < voids.min() < 0.65
    assert 2.3 < voids.max() < 2.57


def test_kept_twin_is_found_by_its_settings_only(tmp_path):
    data = DataDirectory(tmp_path)
    twin = find_twin(STUDY)
    other = replace(twin, settings=replace(STUDY, exposure_s=0.5))
    assert load_twin(save_twin(data.twins, other)) == other
    assert find_twin(other.settings, data) == other
    assert find_twin(other.settings) is None
    assert find_twin(replace(STUDY, projections=140), data) is None


def test_screening_has_a_twin_if_all_its_tomograms_have_the_same_settings():
    plan = {"exposure_s": 1.0, "binning": 8, "projections": 141, "start_deg": -90.0}
    start = {"instrument": "simulated-810", "plan_args": plan}
    assert detection_of([(start, 141)] * 2, None)["voids"] > 400
    assert detection_of([(start, 141), (start, 100)], None) is None
    assert detection_of([(start, 100)], None) is None
    edge_on = {**start, "plan_args": {**plan, "exposure_rule": "edge-on"}}
    assert detection_of([(edge_on, 141)], None) is None
    assert detection_of([({**start, "instrument": "another"}, 141)], None) is None
    fly = {**start, "plan_args": {**plan, "motion": "fly"}}
    assert detection_of([(fly, 141)], None) is None
    assert detection_of([], None) is None


def test_damaged_twin_costs_no_result(tmp_path):
    data = DataDirectory(tmp_path)
    data.twins.mkdir()
    (data.twins / STUDY.file_name).write_text("{")
    start = {"instrument": "simulated-810", "plan_args": {"exposure_s": 1.0}}
    assert detection_of([(start, 141)], data) is None


@pytest.mark.parametrize("name", ["curve.png", "curve.svg"])
def test_known_twin_is_told_and_drawn(tmp_path, name):
    picture = tmp_path / name
    command = ["detection", "--data", str(tmp_path), "--picture", str(picture)]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    assert "90% of the voids of 1.33 um are found" in said.output
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "other"}', "[1]"])
def test_file_that_is_no_twin_is_named(tmp_path, text):
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"broken\.json is no twin"):
        load_twin(file)


@pytest.mark.long
def test_twin_is_made_and_says_what_the_shipped_one_does(tmp_path):
    steps: list[tuple[int, int]] = []
    made = make_twin(STUDY, powders=1, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    shipped = find_twin(STUDY).summary()
    low, high = (made.summary()["d90_um"][end] for end in ("low", "high"))
    assert low < shipped["d90_um"]["value"] < high
    document = json.loads(save_twin(tmp_path, made).read_text())
    assert document["schema"] == "zoneplate-detection/1"
