"""Specimens survive HDF5 whole, and files that cannot be are refused."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators.defects import Defects
from zoneplate.simulators.powders import nmc622, nmc811
from zoneplate.simulators.specimen import Particle, Specimen, Support

EVERYTHING = Defects(
    hollow_fraction=0.1,
    cracked_fraction=0.1,
    open_cracked_fraction=0.1,
    foreign_fraction=0.1,
    satellite_fraction=0.2,
)


@pytest.fixture(scope="module")
def powder():
    return nmc622(4, width_um=96, height_um=96, defects=EVERYTHING)


@pytest.fixture
def stored(powder, tmp_path):
    path = tmp_path / "powder.h5"
    powder.save(path)
    return path


def test_everything_reads_back_equal(powder, stored):
    assert Specimen.load(stored) == powder
    assert Specimen.load(stored).truth_particles().equals(powder.truth_particles())


def test_rough_particles_read_back_equal(tmp_path):
    specimen = nmc811(1, width_um=96, height_um=96, roughness_um=1.0)
    specimen.save(tmp_path / "rough.hdf5")
    assert Specimen.load(tmp_path / "rough.hdf5") == specimen


def test_files_of_the_first_version_are_read(powder, tmp_path):
    """They knew no cracks."""
    path = tmp_path / "old.h5"
    without = replace(powder, particles=tuple(replace(p, cracks=()) for p in powder.particles))
    without.save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 1
        del file["cracks"]
    assert Specimen.load(path) == without


def test_unusual_specimens_read_back_equal(tmp_path):
    path = tmp_path / "a.h5"
    for specimen in (
        Specimen(),
        Specimen(support=Support.none(), name="nothing · μm", seed=2**40),
        Specimen((Particle("größe", (0, 0, 3), (3.0, 3.0, 3.0), material="Fe@7.87"),)),
    ):
        specimen.save(path)
        assert Specimen.load(path) == specimen


def test_support_and_name_can_be_replaced(powder, stored):
    loaded = Specimen.load(stored, support=Support.none(), name="other")
    assert (loaded.support, loaded.name) == (Support.none(), "other")
    assert loaded.particles == powder.particles


def test_file_is_read_without_our_code(powder, stored):
    with h5py.File(stored) as file:
        assert file.attrs["format"] == "zoneplate-specimen"
        volume = 4 / 3 * np.pi * file["particles/semi_axes_um"][()].prod(axis=1)
        parent = file["voids/parent"][()]
        names = file["particles/id"].asstr()[()][parent]
        assert file["support"].attrs["width_um"] == powder.support.width_um
    truth = powder.truth_particles()
    # Open cracks are left out of the table's volumes.
    whole = truth["crack_count"] == 0
    np.testing.assert_allclose(volume[whole], truth["volume_um3"][whole])
    expected = [particle.id for particle in powder.particles for _ in particle.voids]
    assert names.tolist() == expected


def test_csv_and_hdf5_hold_the_same_shapes(powder, stored, tmp_path):
    powder.save(tmp_path / "powder.csv")
    plain = Specimen.load(tmp_path / "powder.csv", support=powder.support)
    whole = Specimen.load(stored)
    assert [replace(p, defect="", voids=(), cracks=()) for p in whole.particles] == [
        replace(p, voids=(), cracks=()) for p in plain.particles
    ]
    assert [p.cracks for p in plain.particles] == [p.cracks for p in whole.particles]
    assert plain.truth_voids()["volume_um3"].equals(whole.truth_voids()["volume_um3"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.attrs.modify("format", "else"), "attribute format must be"),
        (lambda f: f.attrs.modify("version", 9), "format version 9 is not known"),
        (lambda f: f.__delitem__("particles/semi_axes_um"), "semi_axes_um"),
        (lambda f: f.__delitem__("support"), "support"),
        (lambda f: f["voids/parent"].__setitem__(0, 999), "has the parent 999"),
        (
            lambda f: f["particles/center_um"].__setitem__(0, f["particles/center_um"][1]),
            "interpenetrate|leaves its particle",
        ),
        (lambda f: f["particles/semi_axes_um"].__setitem__((0, 0), -1.0), "semi-axes"),
    ],
)
def test_file_that_cannot_be_is_refused(stored, change, message):
    with h5py.File(stored, "r+") as file:
        change(file)
    with pytest.raises(ConfigurationError, match=message) as refusal:
        Specimen.load(stored)
    assert str(stored) in str(refusal.value)


def test_surface_of_another_origin_is_refused(tmp_path):
    path = tmp_path / "rough.h5"
    nmc811(1, width_um=64, height_um=64, roughness_um=1.0).save(path)
    with h5py.File(path, "r+") as file:
        file["particles/surfaces"][0] = 1.0
    with pytest.raises(ConfigurationError, match="is not the one that"):
        Specimen.load(path)


@pytest.mark.parametrize("content", [b"kind,id\n", None])
def test_what_is_no_hdf5_is_refused(tmp_path, content):
    path = tmp_path / "a.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read as HDF5"):
        Specimen.load(path)
