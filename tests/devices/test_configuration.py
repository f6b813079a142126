"""The instrument file: complete, sourced, and strict."""

from __future__ import annotations

import pytest

from zoneplate.devices import ConfigurationError, InstrumentConfiguration
from zoneplate.devices.configuration import DEFAULT_INSTRUMENT_FILE


def test_the_file_that_ships_names_a_source_for_every_section():
    configuration = InstrumentConfiguration.load()
    sections = [configuration.source, configuration.optics, configuration.camera]
    sections += [configuration.shutter, configuration.stage.theta]
    assert all(section.source for section in sections)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("velocity = 10.0", "velocity = -10.0", "stage.theta.velocity"),
        ("energy_kev = 5.4", "energy_kev = 5400", "source.energy_kev"),
        ("rows = 1024", "rowz = 1024", "camera"),
        ("travel_s = 0.1", "", "shutter.travel_s"),
    ],
)
def test_a_bad_value_is_named(tmp_path, old, new, told):
    file = tmp_path / "instrument.toml"
    file.write_text(DEFAULT_INSTRUMENT_FILE.read_text().replace(old, new))
    with pytest.raises(ConfigurationError, match=told):
        InstrumentConfiguration.load(file)


def test_a_missing_or_broken_file_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        InstrumentConfiguration.load(tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = [")
    with pytest.raises(ConfigurationError, match="not TOML"):
        InstrumentConfiguration.load(broken)
