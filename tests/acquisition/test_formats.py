"""Reading other people's scan files, and ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from nxtomo.application.nxtomo import NXtomo

from zoneplate.acquisition.formats import Frames, ScanFormatError, open_scan

DATA = Path(__file__).parents[3] / "shared" / "data"
ROWS, COLUMNS = 5, 7
KEYS = [2, 2, 1, 1, 1, 0, 0, 3, 0, 0, 1]
ANGLES = [0, 0, 0, 0, 0, -90, -30, 30, 30, 90, 0]


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"REAL DATA ABSENT: {path}")
    return path


def pixels(n: int) -> np.ndarray:
    """Frame k, row r, column c holds 1000 k + 10 r + c: nothing is symmetric."""
    k, r, c = np.indices((n, ROWS, COLUMNS))
    return (1000 * k + 10 * r + c).astype("u2")


def write_nxtomo(path: Path, **changes: Any) -> Path:
    """The least that makes an NXtomo, in the layout that nxvalidate, nabu and httomo accept."""
    fields: dict[str, Any] = {
        "keys": KEYS,
        "angles": np.array(ANGLES, float),
        "angle_units": "deg",
        "pixel": (0.5e-6, "m"),
        "energy": (5.4, "keV"),
        "x": (np.full(len(KEYS), 12.5), "um"),
        "y": (np.full(len(KEYS), -0.004), "mm"),
    } | changes
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXtomo"
        entry["title"] = "a test"
        instrument = entry.create_group("instrument")
        instrument.attrs["NX_class"] = "NXinstrument"
        instrument["name"] = "bench"
        beam = instrument.create_group("beam")
        beam.attrs["NX_class"] = "NXbeam"
        beam["incident_energy"] = fields["energy"][0]
        beam["incident_energy"].attrs["units"] = fields["energy"][1]
        detector = instrument.create_group("detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector.create_dataset(
            "data",
            data=pixels(len(KEYS)),
            chunks=(1, ROWS, COLUMNS),
            maxshape=(None, ROWS, COLUMNS),
        )
        detector["image_key"] = np.array(fields["keys"], "i4")
        for axis in "xy":
            detector[f"{axis}_pixel_size"] = fields["pixel"][0]
            detector[f"{axis}_pixel_size"].attrs["units"] = fields["pixel"][1]
        detector["count_time"] = np.full(len(KEYS), 1.5)
        detector["count_time"].attrs["units"] = "s"
        sample = entry.create_group("sample")
        sample.attrs["NX_class"] = "NXsample"
        sample["name"] = "powder 7"
        if fields["angles"] is not None:
            sample["rotation_angle"] = fields["angles"]
            sample["rotation_angle"].attrs["units"] = fields["angle_units"]
        for axis in "xy":
            sample[f"{axis}_translation"] = fields[axis][0]
            sample[f"{axis}_translation"].attrs["units"] = fields[axis][1]
        data = entry.create_group("data")
        data.attrs["NX_class"], data.attrs["signal"] = "NXdata", "data"
        data["data"], data["image_key"] = detector["data"], detector["image_key"]
        if fields["angles"] is not None:
            data["rotation_angle"] = sample["rotation_angle"]
    return path


@pytest.fixture
def nxtomo_file(tmp_path: Path) -> Path:
    return write_nxtomo(tmp_path / "scan.h5")


def test_nxtomo_gives_frames_by_key_angles_and_units(nxtomo_file: Path) -> None:
    frames = pixels(len(KEYS))
    with open_scan(nxtomo_file) as scan:
        assert scan.format == "nxtomo"
        np.testing.assert_array_equal(scan.projections, frames[[5, 6, 8, 9]])
        np.testing.assert_array_equal(scan.flats, frames[[2, 3, 4, 10]])
        np.testing.assert_array_equal(scan.darks, frames[[0, 1]])
        np.testing.assert_allclose(scan.angles_deg, [-90, -30, 30, 90])
        assert scan.invalid == 1
        assert scan.pixel_um == pytest.approx(0.5)
        assert scan.energy_kev == pytest.approx(5.4)
        assert scan.exposure_s == 1.5
        assert scan.sample == "powder 7"
        assert scan.center_um == pytest.approx((12.5, -4.0, 0.0))
        assert not scan.warnings
        assert not scan.already_normalized


def test_nxtomo_agrees_with_the_nxtomo_package(nxtomo_file: Path) -> None:
    theirs = NXtomo().load(str(nxtomo_file), "entry", detector_data_as="as_numpy_array")
    keys = np.array([int(key.value) for key in theirs.instrument.detector.image_key])
    with open_scan(nxtomo_file) as ours:
        data = np.asarray(theirs.instrument.detector.data)
        np.testing.assert_array_equal(ours.projections, data[keys == 0])
        np.testing.assert_array_equal(ours.flats, data[keys == 1])
        np.testing.assert_array_equal(ours.darks, data[keys == 2])
        angles = theirs.sample.rotation_angle.to("degree").magnitude
        np.testing.assert_allclose(ours.angles_deg, np.asarray(angles)[keys == 0])
        pixel = theirs.instrument.detector.x_pixel_size.to("micrometer").magnitude
        assert ours.pixel_um == pytest.approx(pixel)
        x = theirs.sample.x_translation.to("micrometer").magnitude
        assert ours.center_um[0] == pytest.approx(np.median(x))


@pytest.mark.parametrize(
    ("changes", "attribute", "value"),
    [
        ({"pixel": (0.25, "um")}, "pixel_um", 0.25),
        ({"pixel": (62.5, "nm")}, "pixel_um", 0.0625),
        ({"energy": (5400.0, "eV")}, "energy_kev", 5.4),
    ],
)
def test_units_are_respected(
    tmp_path: Path, changes: dict[str, Any], attribute: str, value: float
) -> None:
    with open_scan(write_nxtomo(tmp_path / "scan.h5", **changes)) as scan:
        assert getattr(scan, attribute) == pytest.approx(value)


def test_angles_in_radians_are_converted(tmp_path: Path) -> None:
    path = write_nxtomo(tmp_path / "s.h5", angles=np.radians(ANGLES), angle_units="rad")
    with open_scan(path) as scan:
        np.testing.assert_allclose(scan.angles_deg, [-90, -30, 30, 90])


def test_two_valid_frames_at_one_angle_both_stay(tmp_path: Path) -> None:
    keys = [0 if key == 3 else key for key in KEYS]
    with open_scan(write_nxtomo(tmp_path / "s.h5", keys=keys)) as scan:
        np.testing.assert_allclose(scan.angles_deg, [-90, -30, 30, 30, 90])
        assert scan.invalid == 0


def test_file_being_written_reads_its_complete_frames(nxtomo_file: Path) -> None:
    with h5py.File(nxtomo_file, "r+", libver="latest", locking=False) as file:
        file.swmr_mode = True
        data: Any = file["entry/instrument/detector/data"]
        data.resize(len(KEYS) + 1, axis=0)  # its pixels are there, its angle is not yet
        data.flush()
        with open_scan(nxtomo_file) as scan:
            assert len(scan.projections) == 4
            assert "not closed" in scan.warnings[0]
    with pytest.raises(ScanFormatError, match=r"12 frames, 11 image_key, 11 rotation_angle"):
        open_scan(nxtomo_file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": [1] * len(KEYS)}, "no projections"),
        ({"keys": KEYS[:-1]}, "11 frames, 10 image_key"),
        ({"angles": None}, "no sample/rotation_angle"),
        ({"angles": np.full(len(KEYS), np.nan)}, "not numbers"),
        ({"angle_units": "turns"}, "unknown unit 'turns'"),
    ],
)
def test_wrong_nxtomo_is_one_clear_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_nxtomo(tmp_path / "scan.h5", **changes)
    with pytest.raises(ScanFormatError, match=message) as error:
        open_scan(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_scans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanFormatError, match="no such file"):
        open_scan(tmp_path / "absent.h5")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["results/volume"] = np.zeros(3)
    with pytest.raises(ScanFormatError, match=r"without projections \(found /results\)"):
        open_scan(other)
    text = tmp_path / "notes.txrm"
    text.write_text("not really a scan")
    with pytest.raises(ScanFormatError, match="neither HDF5 nor Xradia nor TIFF"):
        open_scan(text)


def test_truncated_hdf5_is_refused(nxtomo_file: Path) -> None:
    whole = nxtomo_file.read_bytes()
    nxtomo_file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ScanFormatError, match="truncated"):
        open_scan(nxtomo_file)


def test_format_is_known_by_content_not_by_name(nxtomo_file: Path) -> None:
    renamed = nxtomo_file.rename(nxtomo_file.with_suffix(".txrm"))
    with open_scan(renamed) as scan:
        assert scan.format == "nxtomo"


def write_dxchange(path: Path, theta: Any = None, units: str = "deg", **attrs: str) -> Path:
    with h5py.File(path, "w") as file:
        file["implements"] = "exchange"
        file["exchange/data"] = pixels(4)
        file["exchange/data"].attrs.update(attrs)
        file["exchange/data_white"] = pixels(2)
        if theta is not None:
            file["exchange/theta"] = theta
            file["exchange/theta"].attrs["units"] = units
    return path


def test_dxchange_reads_data_flats_and_angles(tmp_path: Path) -> None:
    path = write_dxchange(tmp_path / "dx.h5", [0.0, 60.0, 120.0, 180.0])
    with open_scan(path) as scan:
        assert scan.format == "dxchange"
        np.testing.assert_array_equal(scan.projections, pixels(4))
        assert scan.flats.shape == (2, ROWS, COLUMNS)
        assert scan.darks.shape == (0, ROWS, COLUMNS)
        np.testing.assert_allclose(scan.angles_deg, [0, 60, 120, 180])
        assert not scan.already_normalized


def test_dxchange_angles_in_radians_and_absorption(tmp_path: Path) -> None:
    theta = np.radians([0.0, 60.0, 120.0, 180.0])
    path = write_dxchange(tmp_path / "dx.h5", theta, "rad", description="absorption")
    with open_scan(path) as scan:
        np.testing.assert_allclose(scan.angles_deg, [0, 60, 120, 180])
        assert scan.already_normalized


def test_dxchange_without_theta_is_equally_spaced_and_says_so(tmp_path: Path) -> None:
    with open_scan(write_dxchange(tmp_path / "dx.h5")) as scan:
        np.testing.assert_allclose(scan.angles_deg, [0, 60, 120, 180])
        assert "equally spaced" in scan.warnings[0]
    with pytest.raises(ScanFormatError, match="4 projections but 3 angles"):
        open_scan(write_dxchange(tmp_path / "bad.h5", [0.0, 90.0, 180.0]))


def test_real_synchrotron_scan_reads() -> None:
    with open_scan(real("dls_24737_bubbles.h5")) as scan:
        assert scan.projections.shape == (91, 135, 160)
        assert scan.flats.shape == scan.darks.shape == (1, 135, 160)
        assert scan.angles_deg[0] == pytest.approx(-88.2)
        assert scan.angles_deg[-1] == pytest.approx(91.8, abs=1e-3)
        one = scan.projections[40, 100:110, 20]
        assert one.shape == (10,)
        np.testing.assert_array_equal(one, np.asarray(scan.projections)[40, 100:110, 20])


def test_real_xradia_tomography_reads() -> None:
    with open_scan(real("txrm_test_chip_tomo.txrm")) as scan:
        assert scan.format == "xradia"
        assert scan.projections.shape == (7, 256, 256)
        assert scan.projections.dtype == np.uint16
        np.testing.assert_allclose(scan.angles_deg, np.linspace(-45, 45, 7), atol=0.02)
        assert scan.energy_kev == pytest.approx(9.2, abs=1e-3)
        assert scan.pixel_um == pytest.approx(0.15579, abs=1e-5)
        assert scan.exposure_s == 5.0
        assert len(scan.flats) == len(scan.darks) == 0
        assert scan.metadata["start_time"] == "11/09/15 18:19:21"
        means = [float(frame.mean()) for frame in scan.projections]
        assert len(set(means)) == 7  # seven different images


def test_real_xradia_radiograph_brings_its_reference() -> None:
    with open_scan(real("test_chip00.xrm")) as scan:
        assert scan.projections.shape == scan.flats.shape == (1, 512, 512)
        image, flat = (frames[0].astype(float) for frames in (scan.projections, scan.flats))
        assert 0.0 < np.median(image / np.maximum(flat, 1)) < 1.0
        assert np.corrcoef(image.ravel(), flat.ravel())[0, 1] > 0.7  # the same illumination
        assert scan.metadata["flat_exposure_s"] == 40.0


@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.9999])
def test_truncated_xradia_is_refused(tmp_path: Path, part: float) -> None:
    whole = real("txrm_test_chip_tomo.txrm").read_bytes()
    cut = tmp_path / "cut.txrm"
    cut.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ScanFormatError, match="truncated or damaged Xradia file"):
        open_scan(cut)


def write_tiffs(folder: Path, sidecar: str) -> Path:
    frames = pixels(12)
    for k in range(11):
        tifffile.imwrite(folder / f"proj_{k}.tif", frames[k])
    tifffile.imwrite(folder / "flats.tif", frames[:3], photometric="minisblack")  # three pages
    (folder / "scan.toml").write_text(sidecar)
    return folder


def test_tiff_folder_sorts_by_number_and_reads_pages(tmp_path: Path) -> None:
    sidecar = """
        flats = "flats.tif"
        start_deg = -90.0
        stop_deg = 90.0
        pixel_um = 0.5
        energy_kev = 5.4
        sample = "foam"
        center_um = [1.0, 2.0, 3.0]
    """
    with open_scan(write_tiffs(tmp_path, sidecar)) as scan:
        np.testing.assert_array_equal(scan.projections, pixels(12)[:11])  # 2 before 10
        np.testing.assert_array_equal(scan.flats, pixels(3))
        assert scan.darks.shape == (0, ROWS, COLUMNS)
        np.testing.assert_allclose(scan.angles_deg, np.linspace(-90, 90, 11))
        assert (scan.pixel_um, scan.energy_kev, scan.sample) == (0.5, 5.4, "foam")
        assert scan.center_um == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ("pixel_um = 0.5", "gives no angles"),
        ("angles_deg = [1, 2]", "11 projections but 2 angles"),
        ("start_deg = 0\nstop_deg = 180\nflats = 'nope*'", "no flats match"),
        ("start_deg = 0\nstop_deg = 180\npixle_um = 1", "unknown pixle_um"),
        ("start_deg = 'zero'\nstop_deg = 180", "start_deg must be a number"),
        ("start_deg = ", "scan.toml"),
    ],
)
def test_wrong_sidecar_is_one_clear_line(tmp_path: Path, sidecar: str, message: str) -> None:
    folder = write_tiffs(tmp_path, sidecar)
    (folder / "flats.tif").unlink()
    with pytest.raises(ScanFormatError, match=message):
        open_scan(folder)


def test_folder_without_sidecar_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ScanFormatError, match=r"write one with start_deg"):
        open_scan(tmp_path)


@pytest.mark.parametrize(
    "key",
    [
        np.s_[:],
        np.s_[2],
        np.s_[-1],
        np.s_[1:4],
        np.s_[::-2],
        np.s_[[3, 0, 2]],
        np.s_[np.array([True, False, True, False, False])],
        np.s_[:, 2],
        np.s_[1, 2, 3],
        np.s_[1:3, ::-1, 2:5],
        np.s_[:, :, 0:0],
        np.s_[...],
        np.s_[0:0, 1],
    ],
)
def test_frames_slice_like_an_array(tmp_path: Path, key: Any) -> None:
    """On disk the five frames are apart and out of order."""
    stored = pixels(9)
    which = np.array([7, 1, 2, 3, 8])
    with h5py.File(tmp_path / "f.h5", "w") as file:
        dataset = file.create_dataset("d", data=stored)
        expected = stored[which][key]
        np.testing.assert_array_equal(Frames.of_hdf5(dataset, which)[key], expected)
        np.testing.assert_array_equal(Frames.of(stored[which])[key], expected)


def test_frames_are_read_only_when_sliced() -> None:
    read: list[int] = []

    def frame(k: int) -> np.ndarray:
        read.append(k)
        return pixels(9)[k]

    frames = Frames.each((9, ROWS, COLUMNS), "u2", frame)
    assert (frames.shape, len(frames), frames.ndim, read) == ((9, ROWS, COLUMNS), 9, 3, [])
    assert frames[2:4].shape == (2, ROWS, COLUMNS)
    assert read == [2, 3]
    with pytest.raises(IndexError):
        frames[9]
