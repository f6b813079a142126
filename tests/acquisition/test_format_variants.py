"""Files of other institutes as they really are, and Xradia files stream by stream."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import olefile
import pint
import pytest
from nxtomo.application.nxtomo import NXtomo

from zoneplate.acquisition.formats import ScanFormatError, open_scan
from zoneplate.acquisition.stored_analysis import analyze_file

SHARED = Path(__file__).parents[3] / "shared" / "data"
MORE_REAL = os.environ.get("ZONEPLATE_REAL_DATA", "")
ROWS, COLUMNS, FRAMES = 4, 6, 8
KEYS = [2, 1, 0, 0, 0, 0, 1, 2]
ANGLES = [0.0, 0.0, -90.0, -30.0, 30.0, 90.0, 0.0, 0.0]


def real(name: str) -> Path:
    for folder in (SHARED, Path(MORE_REAL) if MORE_REAL else SHARED):
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"REAL DATA ABSENT: {name} in {SHARED} or $ZONEPLATE_REAL_DATA")


def pixels() -> np.ndarray:
    k, r, c = np.indices((FRAMES, ROWS, COLUMNS))
    return (100 * k + 10 * r + c).astype("u2")


def expect_our_frames(path: Path) -> None:
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.projections, pixels()[2:6])
        np.testing.assert_array_equal(scan.flats, pixels()[[1, 6]])
        np.testing.assert_array_equal(scan.darks, pixels()[[0, 7]])
        np.testing.assert_allclose(scan.angles_deg, ANGLES[2:6])


def test_nested_definition_of_diamond_is_found(tmp_path: Path) -> None:
    """As i12 and i13 write it: a subentry, keys as floats, nonsense for the pixel size."""
    path = tmp_path / "24888.nxs"
    with h5py.File(tmp_path / "pco1.hdf", "w") as pixel_file:
        pixel_file["entry/instrument/detector/data"] = pixels()
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry1/tomo_entry")
        entry["definition"] = np.array([b"NXtomo"])
        detector = entry.create_group("instrument/detector")
        detector["data"] = h5py.ExternalLink("pco1.hdf", "entry/instrument/detector/data")
        detector["image_key"] = np.array(KEYS, "f8")
        detector["x_pixel_size"] = np.array([b"e2b8..."])
        entry["sample/rotation_angle"] = ANGLES
        # The plain entry around it has detectors too, without keys.
        file["entry1/instrument/pco1/count_time"] = np.ones(FRAMES)
    expect_our_frames(path)
    with open_scan(path) as scan:
        assert scan.pixel_um is None
        assert any("not a number" in warning for warning in scan.warnings)
    (tmp_path / "pco1.hdf").unlink()
    with pytest.raises(ScanFormatError, match=r"frames are in pco1\.hdf, which is not here"):
        open_scan(path)


def test_angles_beside_the_data_of_diamond_are_found(tmp_path: Path) -> None:
    """As k11 writes it: no definition, angles named after the stage, a detector without data."""
    path = tmp_path / "k11.nxs"
    with h5py.File(path, "w") as file:
        file["entry/instrument/EtherCAT/image_key"] = KEYS
        file["entry/instrument/EtherCAT/data"] = h5py.ExternalLink("absent.h5", "data")
        file["entry/instrument/imaging/image_key"] = KEYS
        file["entry/instrument/imaging/data"] = pixels()
        file["entry/imaging/gts_theta_value"] = ANGLES
        file["entry/imaging/gts_theta_value_set"] = np.zeros(FRAMES)
    expect_our_frames(path)
    with open_scan(path) as scan:
        assert "angles taken from /entry/imaging/gts_theta_value" in scan.warnings


def test_pixel_size_of_the_sample_wins_at_esrf(tmp_path: Path) -> None:
    units = pint.get_application_registry()
    esrf = NXtomo()
    esrf.instrument.detector.data = pixels()
    esrf.instrument.detector.image_key_control = [2, 1, 0, 0, 0, 0, 1, -1]
    esrf.instrument.detector.x_pixel_size = 6.5 * units.um
    esrf.instrument.detector.y_pixel_size = 6.5 * units.um
    esrf.sample.x_pixel_size = esrf.sample.y_pixel_size = 65 * units.nm
    esrf.sample.rotation_angle = ANGLES * units.degree
    esrf.energy = 17.0 * units.keV
    path = tmp_path / "esrf.nx"
    esrf.save(str(path), data_path="entry0000")
    with open_scan(path) as scan:
        assert scan.pixel_um == pytest.approx(0.065)
        assert scan.energy_kev == pytest.approx(17.0)
        assert scan.invalid == 1  # the alignment frame
        np.testing.assert_array_equal(scan.projections, pixels()[2:6])


def test_virtual_frames_whose_file_is_absent_are_refused_not_zero(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["data"] = pixels()
    path = tmp_path / "esrf.nx"
    layout = h5py.VirtualLayout((FRAMES, ROWS, COLUMNS), "u2")
    layout[:] = h5py.VirtualSource("part.h5", "data", (FRAMES, ROWS, COLUMNS))
    with h5py.File(path, "w", libver="latest") as file:
        file.create_virtual_dataset("entry/instrument/detector/data", layout)
        file["entry/instrument/detector/image_key"] = KEYS
        file["entry/sample/rotation_angle"] = ANGLES
    expect_our_frames(path)
    (tmp_path / "part.h5").unlink()
    with pytest.raises(ScanFormatError, match=r"part\.h5, which is not here"):
        open_scan(path)


def test_real_diamond_k11_scan_reads() -> None:
    with open_scan(real("k11-18014.nxs")) as scan:
        assert scan.projections.shape == (3001, 22, 26)
        assert len(scan.flats) == len(scan.darks) == 100
        assert scan.angles_deg[[0, -1]] == pytest.approx([90.0, 270.0], abs=0.1)


XRADIA = ("txrm_test_chip_tomo.txrm", "test_chip00.xrm", "mosaic_4x4_bin8.xrm")


@pytest.mark.parametrize("name", XRADIA)
def test_every_number_of_an_xradia_file_is_that_of_its_stream(name: str) -> None:
    path = real(name)
    with olefile.OleFileIO(str(path)) as ole, open_scan(path) as scan:

        def stream(place: str) -> bytes:
            return ole.openstream(f"ImageInfo/{place}").read()

        def numbers(place: str, kind: str = "f") -> tuple[Any, ...]:
            raw = stream(place)
            return struct.unpack(f"<{len(raw) // 4}{kind}", raw[: len(raw) // 4 * 4])

        rows, columns = numbers("ImageHeight", "i")[0], numbers("ImageWidth", "i")[0]
        n = 1 if scan.kind == "mosaic" else numbers("ImagesTaken", "i")[0]
        assert scan.projections.shape == (n, rows, columns)
        assert scan.angles_deg.tolist() == list(numbers("Angles")[:n])
        assert scan.pixel_um == numbers("PixelSize")[0]
        assert scan.energy_kev == numbers("Energy")[0] / 1000
        assert scan.exposure_s == np.median(numbers("ExpTimes")[:n])
        for axis, letter in enumerate("XYZ"):
            assert scan.positions_um[:, axis].tolist() == list(numbers(f"{letter}Position")[:n])
        assert scan.metadata["binning"] == numbers("HorizontalBin", "i")[0]
        assert scan.metadata["start_time"] == stream("Date").split(b"\0")[0].decode()
        assert scan.metadata["units"]["PixelSize"] == "um"
        for k in range(n):
            raw = ole.openstream(f"ImageData{k // 100 + 1}/Image{k + 1}").read()
            assert scan.projections[k].tobytes() == raw[: 2 * rows * columns]


def expect_mosaic(path: Path, rows: int, columns: int, tile_shape: tuple[int, int]) -> None:
    n = rows * columns
    with olefile.OleFileIO(str(path)) as ole, open_scan(path) as scan:
        assert scan.kind == "mosaic"
        assert (scan.metadata["mosaic_rows"], scan.metadata["mosaic_columns"]) == (rows, columns)
        assert scan.metadata["tile_shape"] == tile_shape
        for axis, letter in enumerate("XYZ"):
            raw = ole.openstream(f"ImageInfo/{letter}Position").read()
            ours = scan.metadata["tile_positions_um"][:, axis].tolist()
            assert ours == list(struct.unpack(f"<{n}f", raw))
        assert len(scan.metadata["tile_times"]) == len(scan.metadata["tile_exposures_s"]) == n
        assert scan.metadata["tile_times"] == sorted(scan.metadata["tile_times"])
    with pytest.raises(ScanFormatError, match=rf"a map of {rows} x {columns} tiles"):
        analyze_file(path)


def test_real_mosaic_in_one_image_brings_its_tiles() -> None:
    path = real("mosaic_4x4_bin8.xrm")
    expect_mosaic(path, 4, 4, (256, 256))
    with open_scan(path) as scan:
        x_um = scan.metadata["tile_positions_um"][:, 0]
        assert np.diff(x_um)[:3] == pytest.approx(40.0, abs=0.05)


def test_tomography_relabelled_as_mosaic_brings_its_tiles(tmp_path: Path) -> None:
    """Streams of a real file, told that its seven positions are seven tiles of one image."""
    path = tmp_path / "mosaic.xrm"
    shutil.copy(real("txrm_test_chip_tomo.txrm"), path)
    path.chmod(0o644)
    with olefile.OleFileIO(str(path), write_mode=True) as ole:
        ole.write_stream("ImageInfo/MosiacRows", struct.pack("<i", 1))
        ole.write_stream("ImageInfo/MosiacColumns", struct.pack("<i", 7))
    expect_mosaic(path, 1, 7, (256, 36))


def test_single_radiograph_is_refused_with_what_it_is() -> None:
    with pytest.raises(ScanFormatError, match=r"one radiograph of 512 x 512 pixels at -0\.06 deg"):
        analyze_file(real("test_chip00.xrm"))
