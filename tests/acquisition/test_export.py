"""Exports read back to the same numbers, and other people's readers open them.

Readers that are not installed skip loudly; docs/interoperability.md tells which were tried.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile

from zoneplate.acquisition import open_scan, open_session
from zoneplate.acquisition.cli import main
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.derived_run import DerivedRun
from zoneplate.acquisition.export import ExportFormat, export
from zoneplate.acquisition.journal import DocumentJournal
from zoneplate.acquisition.provenance import frame_files
from zoneplate.acquisition.results import save_tomogram_result
from zoneplate.acquisition.runs import RunNotFoundError, find_journal, read_run
from zoneplate.acquisition.tomogram_file import StoredTomogram
from zoneplate.analysis import measure_particles, measure_voids, segment
from zoneplate.plans import mosaic, tomography
from zoneplate.simulators import Particle, Specimen

NMC622 = "LiNi0.6Mn0.2Co0.2O2@4.77"
PROJECTIONS = 6
VOXEL_UM = 0.5
PIXEL_UM = 0.512
CENTER_UM = (120.0, -40.0, 5.0)


@dataclass(frozen=True)
class Bench:
    """A map, a run with a tomogram that is known, and all its exports."""

    data: DataDirectory
    uid: str
    mosaic_uid: str
    tomogram: StoredTomogram
    raw: Path
    out: Path

    def file(self, pattern: str) -> Path:
        (found,) = self.out.glob(pattern)
        return found


def known_tomogram(derived_uid: str) -> StoredTomogram:
    """Two ellipsoids that no symmetry exchanges, the larger with a void, measured."""
    y, z, x = np.mgrid[:40, :44, :48].astype(float)
    solid = ((y - 11) / 7) ** 2 + ((z - 30) / 8) ** 2 + ((x - 14) / 9) ** 2 < 1
    solid |= ((y - 28) / 5) ** 2 + ((z - 14) / 5) ** 2 + ((x - 34) / 6) ** 2 < 1
    hollow = (y - 11) ** 2 + (z - 30) ** 2 + (x - 14) ** 2 < 9
    volume = np.where(solid & ~hollow, 0.045, 0.0).astype(np.float32)
    volume[11, 33, 20] = 0.06  # a mark to find again
    found = segment(volume, VOXEL_UM, center_um=CENTER_UM)
    facts = {"voxel_um": VOXEL_UM, "center_um": list(CENTER_UM), "uid": "known"}
    return StoredTomogram(
        volume=volume,
        particle_labels=found.particles,
        void_labels=found.voids,
        radiographs=np.zeros((0, 2, 2), np.float32),
        radiograph_angles_deg=np.zeros(0),
        particles=measure_particles(found, VOXEL_UM),
        voids=measure_voids(found, VOXEL_UM),
        facts={**facts, "analysis_uid": derived_uid, "warnings": []},
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("export")
    specimen = Specimen(
        (Particle("a", (9.0, 4.0, 5.0), (5.0, 5.0, 5.0), material=NMC622),), name="one"
    )
    with open_session(specimen=specimen, data_dir=folder / "data", live=False) as session:
        (map_uid,) = session.RE(mosaic(session.microscope, shape=(1, 2)))
        session.map(map_uid)
        plan = tomography(session.microscope, center_um=(0, 0, 5), projections=PROJECTIONS)
        (uid,) = session.RE(plan)
        data = session.data
    parameters = {"source": "stored", "minimum_void_um": 1.8}
    derived = DerivedRun(DocumentJournal(data.journal), uid, "one", parameters, 0.0)
    derived.close()
    tomogram = known_tomogram(derived.uid)
    save_tomogram_result(data.result_of(uid), tomogram)
    (raw,) = frame_files(read_run(find_journal(data.journal, uid)))
    for chosen in ExportFormat:
        export(uid, chosen, folder / "out", data_dir=data.root)
    return Bench(data, uid, map_uid, tomogram, raw, folder / "out")


@pytest.mark.parametrize("pattern", ["*.nxs", "*.h5", "*_tiff"])
def test_exported_frames_read_back_the_same(bench: Bench, pattern: str) -> None:
    with open_scan(bench.raw) as raw, open_scan(bench.file(pattern)) as copy:
        for ours, theirs in (
            (raw.projections, copy.projections),
            (raw.flats, copy.flats),
            (raw.darks, copy.darks),
        ):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(copy.angles_deg, raw.angles_deg)
        assert copy.pixel_um == pytest.approx(raw.pixel_um)
        assert copy.energy_kev == pytest.approx(raw.energy_kev)
        assert copy.exposure_s == raw.exposure_s
        assert copy.sample == raw.sample
        np.testing.assert_allclose(copy.center_um, raw.center_um, atol=1e-9)


def test_file_of_somebody_else_is_converted_too(bench: Bench, tmp_path: Path) -> None:
    written = export(bench.file("*.h5"), ExportFormat.nxtomo, tmp_path)
    with open_scan(written[0]) as copy, open_scan(bench.raw) as raw:
        np.testing.assert_array_equal(copy.projections, raw.projections)


def test_tables_read_back_the_same_with_units_and_provenance(bench: Bench) -> None:
    table = pq.read_table(bench.out / "particles.parquet")
    pd.testing.assert_frame_equal(table.to_pandas(), bench.tomogram.particles)
    pd.testing.assert_frame_equal(
        pd.read_csv(bench.out / "particles.csv"), bench.tomogram.particles, check_dtype=False
    )
    known = json.loads(table.schema.metadata[b"zoneplate"])
    assert known["acquisition"]["uid"] == bench.uid
    assert known["analysis"]["uid"] == bench.tomogram.facts["analysis_uid"]
    assert known["analysis"]["parameters"]["minimum_void_um"] > 0
    events = pq.read_table(bench.out / "events_primary.parquet")
    assert events.num_rows == PROJECTIONS
    units = {field.name: (field.metadata or {}).get(b"units") for field in events.schema}
    assert units["time_s"] == b"s"
    assert b"deg" in {value[:3] for value in units.values() if value}


def test_provenance_leads_from_every_export_to_run_and_software(bench: Bench) -> None:
    known = json.loads((bench.out / "provenance.json").read_text())
    assert known["acquisition"]["uid"] == bench.uid
    assert known["acquisition"]["frame_files"] == [str(bench.raw)]
    assert known["acquisition"]["plan_args"]["projections"] == PROJECTIONS
    assert known["analysis"]["versions"]["zoneplate"]
    assert known["export"]["versions"]["zoneplate"]


def test_map_is_exported_as_tables(bench: Bench, tmp_path: Path) -> None:
    written = export(bench.mosaic_uid, ExportFormat.csv, tmp_path, data_dir=bench.data.root)
    assert "map_particles.csv" in {path.name for path in written}
    assert len(pd.read_csv(tmp_path / "events_primary.csv")) == 2


def test_what_is_not_there_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="neither a file nor a run"):
        export("abcdef", ExportFormat.csv, tmp_path, data_dir=bench.data.root)
    with pytest.raises(ValueError, match="not a tomography"):
        export(bench.mosaic_uid, ExportFormat.stl, tmp_path, data_dir=bench.data.root)
    assert list(tmp_path.iterdir()) == []  # nothing half done


def test_volume_tiff_has_the_voxels(bench: Bench) -> None:
    with tifffile.TiffFile(bench.file("*_volume.tif")) as tiff:
        np.testing.assert_array_equal(tiff.asarray(), bench.tomogram.volume)
        assert tiff.imagej_metadata is not None
        assert tiff.imagej_metadata["spacing"] == pytest.approx(bench.tomogram.voxel_um)


def test_command_refuses_an_unknown_format_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["zoneplate", "export", "-1", "--to", "bmp"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "choose nxtomo, dxchange" in capsys.readouterr().err


# Other people's readers.


def test_ome_zarr_reader_places_every_voxel_where_it_is(bench: Bench) -> None:
    reader = pytest.importorskip("ome_zarr.reader", reason="OME-ZARR ABSENT: pip install ome-zarr")
    from ome_zarr.io import parse_url

    store = parse_url(str(bench.file("*.ome.zarr")))
    nodes = list(reader.Reader(store)())
    image, names = nodes[0], {Path(str(node.zarr.path)).name for node in nodes}
    assert {"particles", "voids"} <= names
    assert [axis["name"] for axis in image.metadata["axes"]] == ["z", "y", "x"]
    scale, translation = image.metadata["coordinateTransformations"][0]
    z, y, x = np.unravel_index(int(np.argmax(image.data[0].compute())), image.data[0].shape)
    place_um = {
        name: translation["translation"][k] + index * scale["scale"][k]
        for k, (name, index) in enumerate(zip("zyx", (z, y, x), strict=True))
    }
    volume = bench.tomogram.volume
    row, depth, column = np.unravel_index(int(np.argmax(volume)), volume.shape)
    with h5py.File(bench.data.result_of(bench.uid) / "volume.h5") as file:
        ours: Any = file["region_0"]
        expected = {"y": ours["y"][row], "z": ours["z"][depth], "x": ours["x"][column]}
    assert place_um == pytest.approx(expected)
    labels = next(node for node in nodes if Path(str(node.zarr.path)).name == "particles")
    biggest = bench.tomogram.particles.nlargest(1, "volume_um3").iloc[0]
    found = np.argwhere(labels.data[0].compute() == biggest["particle_id"]).mean(axis=0)
    scale, translation = labels.metadata["coordinateTransformations"][0]
    center_um = np.array(translation["translation"]) + found * np.array(scale["scale"])
    expected_um = [biggest[f"center_{axis}_um"] for axis in "zyx"]
    np.testing.assert_allclose(center_um, expected_um, atol=bench.tomogram.voxel_um)


def test_ome_zarr_metadata_are_valid(bench: Bench) -> None:
    models = pytest.importorskip(
        "ome_zarr_models.v05", reason="OME-ZARR-MODELS ABSENT: pip install ome-zarr"
    )
    import zarr

    group = zarr.open_group(str(bench.file("*.ome.zarr")), mode="r")
    image = models.Image.from_zarr(group)
    assert image.attributes.ome.multiscales[0].axes[0].unit == "micrometer"
    models.ImageLabel.from_zarr(group["labels/particles"])


def test_stl_surfaces_are_closed_and_have_the_volume(bench: Bench) -> None:
    trimesh = pytest.importorskip("trimesh", reason="TRIMESH ABSENT: pip install trimesh")
    surfaces = trimesh.load(bench.out / "particles.stl").split()
    assert len(surfaces) == len(bench.tomogram.particles)
    expected = np.sort(bench.tomogram.particles["volume_um3"])
    assert all(one.is_watertight for one in surfaces)
    np.testing.assert_allclose(np.sort([one.volume for one in surfaces]), expected, rtol=0.04)
    biggest = max(surfaces, key=lambda one: one.volume)
    row = bench.tomogram.particles.nlargest(1, "volume_um3").iloc[0]
    center_um = [row[f"center_{axis}_um"] for axis in "xyz"]
    np.testing.assert_allclose(biggest.center_mass, center_um, atol=0.3)


NXTOMO_FILES = ["raw", "export"]


def nexus_file(bench: Bench, which: str) -> Path:
    return bench.raw if which == "raw" else bench.file("*.nxs")


@pytest.mark.parametrize("which", NXTOMO_FILES)
def test_nxvalidate_finds_no_error(bench: Bench, which: str) -> None:
    tool = shutil.which("nxvalidate") or Path(sys.executable).with_name("nxvalidate")
    if not Path(tool).exists():
        pytest.skip("NXVALIDATE ABSENT: pip install nexusformat")
    result = subprocess.run(
        [str(tool), "-a", "NXtomo", str(nexus_file(bench, which))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Total number of errors: 0" in result.stdout


@pytest.mark.parametrize("which", NXTOMO_FILES)
def test_pynx_validate_finds_it_valid(bench: Bench, which: str) -> None:
    tool = shutil.which("pynx")
    if tool is None:
        pytest.skip("PYNX ABSENT: pip install pynxtools")
    result = subprocess.run(
        [tool, "validate", str(nexus_file(bench, which))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "is valid according to the `NXtomo`" in result.stdout + result.stderr


@pytest.mark.parametrize("which", NXTOMO_FILES)
def test_nxtomo_package_loads_it(bench: Bench, which: str) -> None:
    application = pytest.importorskip("nxtomo.application.nxtomo", reason="NXTOMO ABSENT")
    loaded = application.NXtomo().load(str(nexus_file(bench, which)), "entry")
    keys = [int(key.value) for key in loaded.instrument.detector.image_key]
    assert keys.count(0) == PROJECTIONS
    assert loaded.energy.to("keV").magnitude == pytest.approx(5.4)
    pixel = loaded.instrument.detector.x_pixel_size.to("um").magnitude
    assert pixel == pytest.approx(PIXEL_UM)


@pytest.mark.parametrize("which", NXTOMO_FILES)
def test_nabu_loads_frames_angles_and_pixel_size(bench: Bench, which: str, tmp_path: Path) -> None:
    analyzer = pytest.importorskip(
        "nabu.resources.dataset_analyzer", reason="NABU ABSENT: pip install nabu"
    )
    path = tmp_path / "scan.nx"  # nabu goes by the extension, and does not know .nxs
    path.symlink_to(nexus_file(bench, which))
    info = analyzer.analyze_dataset(str(path), extra_options={"exclude_projections": None})
    assert info.pixel_size == pytest.approx(PIXEL_UM)
    with open_scan(path) as scan:
        np.testing.assert_allclose(np.degrees(info.rotation_angles), scan.angles_deg, atol=1e-4)
        assert len(info.projections) == len(scan.projections)


@pytest.mark.parametrize("which", ["*.nxs", "*.h5"])
def test_algotom_loads_what_we_wrote(bench: Bench, which: str) -> None:
    loader = pytest.importorskip(
        "algotom.io.loadersaver", reason="ALGOTOM ABSENT: pip install algotom"
    )
    key = "entry/data/data" if which == "*.nxs" else "exchange/data"
    data = loader.load_hdf(str(bench.file(which)), key)
    frames = np.asarray(data)[-PROJECTIONS:]
    data.file.close()  # it locks the file
    with open_scan(bench.file(which)) as scan:
        np.testing.assert_array_equal(frames, scan.projections)


def test_dxchange_package_reads_our_dxchange(bench: Bench) -> None:
    exchange = pytest.importorskip(
        "dxchange.exchange", reason="DXCHANGE ABSENT: github.com/data-exchange/dxchange"
    )
    read = exchange.read_aps_tomoscan_hdf5
    data, flats, darks, theta = read(str(bench.file("*.h5")))[:4]
    with open_scan(bench.raw) as scan:
        np.testing.assert_array_equal(data, scan.projections)
        np.testing.assert_array_equal(flats, scan.flats)
        np.testing.assert_array_equal(darks, scan.darks)
        np.testing.assert_allclose(np.degrees(theta), scan.angles_deg)
