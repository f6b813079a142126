"""An instrument file opens what it describes: a real instrument, or a simulated one like it."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import pytest
from bluesky import plan_stubs as bps
from ophyd.utils import LimitError
from pages import ROOT, blocks

from zoneplate.acquisition import open_session
from zoneplate.acquisition.cli import main
from zoneplate.acquisition.doctor import examine
from zoneplate.devices import ConfigurationError, InstrumentConfiguration, epics
from zoneplate.devices.configuration import DEFAULT_INSTRUMENT_FILE
from zoneplate.devices.epics import EpicsSource
from zoneplate.devices.epics_environment import use_simulated_servers
from zoneplate.plans import tomography
from zoneplate.simulators.ioc import ServerProcess

PAGE = ROOT / "docs" / "instrument-files.md"

BEAMLINE = """
[epics]
prefix = "NOWHERE:"
source = "the server of this test, most of it under other names than ours"

[epics.names]
"Stage:X" = "{0}Stage:X"
"Stage:Y" = "{0}Stage:Y"
"Stage:Z" = "{0}Stage:Z"
"Stage:Theta" = "{0}Stage:Theta"
"Optics:ZonePlateZ" = "{0}Optics:ZonePlateZ"
"cam1:" = "{0}cam1:"
"image1:" = "{0}image1:"
"HDF1:" = "{0}HDF1:"
"Stats1:" = "{0}Stats1:"
"Shutter:Command" = "{0}Shutter:Command"
"Shutter:State_RBV" = "{0}Shutter:State_RBV"
"Source:Current" = ""
"Source:Energy_RBV" = "{0}Source:Energy_RBV"
"Environment:Temperature_RBV" = ""
"""


def written(folder: Path, more: str, **changes: str) -> Path:
    text = DEFAULT_INSTRUMENT_FILE.read_text()
    for old, new in changes.items():
        assert f"{old} = " in text
        text = text.replace(f"{old} = ", f"{old} = {new} # ")
    file = folder / "instrument.toml"
    file.write_text(text + more)
    return file


@pytest.fixture(scope="module")
def beamline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """An instrument behind EPICS that is nobody's simulation as far as a session knows."""
    folder = tmp_path_factory.mktemp("beamline")
    port, beacon_port = use_simulated_servers()
    with ServerProcess(
        prefix="BL9:", directory=folder / "frames", port=port, beacon_port=beacon_port
    ):
        yield written(folder, BEAMLINE.format("BL9:")), folder


def test_scan_on_the_instrument_of_a_file(beamline):
    file, folder = beamline
    with open_session(file, sample="lot 7", data_dir=folder, live=False) as session:
        (uid,) = session.RE(
            tomography(
                session.microscope, projections=5, exposure_s=0.1, dark_frames=1, flat_frames=1
            )
        )
        run = session.run(uid)
        assert run.start["sample"] == "lot 7"
        assert "specimen_file" not in run.start
        assert run.stop["exit_status"] == "success"
        session.RE(bps.mv(session.microscope.shutter, "open"))
        assert session.microscope.shutter.state.get() == "closed"  # left safe after each plan
        readings = session.microscope.source.read() | session.microscope.environment.read()
        assert readings["microscope_source_current"]["value"] == 1.0
        assert readings["microscope_environment_temperature_c"]["value"] == 23.0
    (frames,) = folder.glob("frames/**/*.nxs")
    with h5py.File(frames) as stored:
        assert stored["entry/instrument/detector/data"].shape == (7, 128, 128)


def test_what_records_of_a_shutter_call_its_positions_is_translated(beamline, tmp_path):
    _, folder = beamline
    words = '[epics.shutter_words]\nopen = "closed"\nclosed = "open"\n'
    file = written(tmp_path, BEAMLINE.format("BL9:") + words)
    with open_session(file, sample="lot 7", data_dir=folder, live=False) as session:
        shutter = session.microscope.shutter
        shutter.set("closed").wait(5)
        assert shutter.state.get() == "closed"
        assert super(type(shutter.state), shutter.state).get() == "open"
        shutter.set("open").wait(5)


def test_part_stands_alone_without_an_instrument_file():
    use_simulated_servers()
    source = EpicsSource("ALONE:", name="source")
    assert source.current.pvname == "ALONE:Current"
    source.destroy()


def test_narrower_limits_of_the_file_hold(beamline, tmp_path):
    _, folder = beamline
    file = written(tmp_path, BEAMLINE.format("BL9:"), low="-20.0")
    with (
        open_session(file, sample="lot 7", data_dir=folder, live=False) as session,
        pytest.raises(LimitError, match=r"-30 um: its limits are -20 to 2000 um"),
    ):
        session.RE(bps.mv(session.microscope.stage.x, -30.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name the sample"),
        ({"sample": "lot 7", "specimen": "mine.csv"}, r"specimen = mine.csv is for simulated"),
        ({"sample": "lot 7", "speed": 2.0}, r"speed = 2.0 is for simulated"),
    ],
)
def test_what_a_real_instrument_cannot_have_is_refused(tmp_path, options, message):
    file = written(tmp_path, BEAMLINE.format("BL9:"))
    with pytest.raises(ConfigurationError, match=message):
        open_session(file, data_dir=tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_file_without_epics_simulates_an_instrument_like_it(tmp_path):
    file = written(tmp_path, "", exposure_max_s="0.5", name='"slow"')
    with open_session(file, data_dir=tmp_path / "data", live=False) as session:
        assert session.microscope.configuration.name == "slow"
        with pytest.raises(ConfigurationError, match=r"0\.5"):
            session.RE(tomography(session.microscope, projections=3, exposure_s=1.0))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"Stage:U" = "m1"', r"'Stage:U' is not driven: choose from Stage:X"),
        ('"Stage:X" = ""', r"'Stage:X' has no PV, but only Source:Current"),
        ('"cam1:" = "DET:cam1"', r"both end in a colon"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, line, message):
    more = f'[epics]\nprefix = "A:"\nsource = "test"\n[epics.names]\n{line}\n'
    with pytest.raises(ConfigurationError, match=message):
        InstrumentConfiguration.load(written(tmp_path, more))


def test_doctor_says_whether_all_of_it_answers(beamline, tmp_path, monkeypatch):
    file, _ = beamline
    found = {one.name: one for one in examine(tmp_path, file)}
    assert found["instrument"].good
    assert "theta " in found["instrument"].state
    gone = written(tmp_path, '[epics]\nprefix = "GONE:"\nsource = "test"\n')
    monkeypatch.setattr(epics, "epics_microscope", partial(epics.epics_microscope, timeout_s=0.5))
    found = {one.name: one for one in examine(tmp_path, gone)}
    assert found["instrument"].good is False
    assert "'GONE:' does not answer" in found["instrument"].state


@pytest.mark.parametrize("instrument", ["simulatd", "nowhere.toml"])
def test_instrument_that_is_not_there_is_one_line_and_exit_code_2(
    tmp_path, capsys, monkeypatch, instrument
):
    command = ["zoneplate", "tomography", "--instrument", instrument, "--sample", "lot 7"]
    command += ["--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert instrument in said
    assert len(said.strip().splitlines()) == 1


def test_files_of_the_documentation_are_accepted(tmp_path):
    whole, epics = blocks(PAGE, "toml")
    file = tmp_path / "mine.toml"
    file.write_text(whole)
    assert InstrumentConfiguration.load(file).epics is None
    file.write_text(whole + epics)
    configuration = InstrumentConfiguration.load(file)
    assert configuration.epics is not None
    assert configuration.epics.names["Stage:Theta"] != ""


def test_every_key_of_the_file_is_documented():
    text = PAGE.read_text()

    def keys(table: dict) -> set[str]:
        found = set(table)
        for value in table.values():
            found |= keys(value) if isinstance(value, dict) else set()
        return found

    for key in keys(tomllib.loads(DEFAULT_INSTRUMENT_FILE.read_text())) - {"1", "2", "4", "8"}:
        assert f"`{key}`" in text or re.search(rf"`\[(\w+\.)?{key}[].]", text), key
