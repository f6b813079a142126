"""Every engine gives the same volume: same orientation, scale and centre."""

import importlib.util
import sys

import numpy as np
import pytest
from ellipsoid_phantom import ASYMMETRIC, project, voxelize
from scipy import ndimage

from zoneplate.analysis.angles import AngleError
from zoneplate.analysis.engines import MissingEngineError, reconstruct
from zoneplate.analysis.filters import FilterError
from zoneplate.analysis.projections import ReconstructionError
from zoneplate.analysis.reconstruction import StreamingReconstruction

SHAPE = (40, 64)
PIXEL_UM = 0.5
ANGLES = np.random.default_rng(0).permutation(np.deg2rad(np.linspace(-90, 90, 101)))


def scan(center):
    return project(ASYMMETRIC, ANGLES, SHAPE, PIXEL_UM, center)


def needs(engine):
    reason = f"{engine} is not installed: its agreement is NOT tested here"
    return pytest.mark.skipif(importlib.util.find_spec(engine) is None, reason=reason)


def assert_in_place(volume):
    """Every body of the phantom within a quarter of a voxel of where it is."""
    for body in ASYMMETRIC:
        alone = ndimage.binary_dilation(voxelize((body,), SHAPE, PIXEL_UM) > 0, iterations=2)
        y, z, x = ndimage.center_of_mass(np.maximum(volume, 0) * alone)
        found_um = ((x - 31.5) * PIXEL_UM, (19.5 - y) * PIXEL_UM, (z - 31.5) * PIXEL_UM)
        np.testing.assert_allclose(found_um, body.center_um, atol=0.25 * PIXEL_UM)


def test_streaming_engine_is_the_streaming_reconstruction():
    data = scan(35.2)
    live = StreamingReconstruction(SHAPE, center=35.2, pixel_um=PIXEL_UM)
    live.add(data, ANGLES)
    volume = reconstruct(data, ANGLES, center=35.2, pixel_um=PIXEL_UM)
    assert np.abs(volume - live.volume).max() < 1e-5 * volume.max()
    volume[0] = 1  # the caller's own
    assert_in_place(live.volume)


@needs("astra")
@pytest.mark.parametrize("center", [31.5, 35.2, 27.0])
def test_astra_agrees_with_streaming(center):
    data = scan(center)
    ours = reconstruct(data, ANGLES, center, PIXEL_UM)
    theirs = reconstruct(data, ANGLES, center, PIXEL_UM, engine="astra")
    assert theirs.shape == ours.shape
    assert theirs.dtype == np.float32
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
    assert np.polyfit(ours.ravel(), theirs.ravel(), 1)[0] == pytest.approx(1, abs=0.03)
    assert_in_place(theirs)


@needs("astra")
def test_astra_agrees_on_unequal_steps_and_material_beyond_the_field():
    wide = tuple(
        type(body)(
            (body.center_um[0] * 3, body.center_um[1], body.center_um[2]),
            body.semi_axes_um,
            body.attenuation_per_um,
        )
        for body in ASYMMETRIC
    )
    angles = np.deg2rad(np.concatenate([np.arange(-90, 0, 1.0), np.arange(0, 90, 2.0)]))
    data = project(wide, angles, SHAPE, PIXEL_UM, 31.5)
    ours, theirs = (reconstruct(data, angles, engine=e) for e in ("streaming", "astra"))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
    assert np.polyfit(ours.ravel(), theirs.ravel(), 1)[0] == pytest.approx(1, abs=0.03)


@needs("astra")
@pytest.mark.parametrize(("algorithm", "iterations"), [("sirt", 50), ("cgls", 15)])
def test_iterative_astra_has_the_same_frame_and_scale(algorithm, iterations):
    data = scan(35.2)[:, 15:21]
    ours = reconstruct(data, ANGLES, 35.2, PIXEL_UM)
    theirs = reconstruct(
        data, ANGLES, 35.2, PIXEL_UM, engine="astra", algorithm=algorithm, iterations=iterations
    )
    assert np.isfinite(theirs).all()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97
    assert np.polyfit(ours.ravel(), theirs.ravel(), 1)[0] == pytest.approx(1, abs=0.15)


@needs("astra")
def test_empty_rows_stay_empty():
    data = scan(31.5)[:, :4] * 0
    assert not reconstruct(data, ANGLES, engine="astra", algorithm="cgls", iterations=3).any()


@needs("tomopy")
@pytest.mark.parametrize("center", [31.5, 35.2])
def test_tomopy_gridrec_agrees_with_streaming(center):
    data = scan(center)
    ours = reconstruct(data, ANGLES, center, PIXEL_UM)
    theirs = reconstruct(data, ANGLES, center, PIXEL_UM, engine="tomopy")
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
    assert np.polyfit(ours.ravel(), theirs.ravel(), 1)[0] == pytest.approx(1, abs=0.05)
    assert_in_place(theirs)


@needs("tomopy")
def test_tomopy_sirt_has_the_same_frame():
    theirs = reconstruct(
        scan(35.2), ANGLES, 35.2, PIXEL_UM, engine="tomopy", algorithm="sirt", iterations=20
    )
    assert_in_place(theirs)


@pytest.mark.parametrize("engine", ["astra", "tomopy"])
def test_missing_engine_says_how_to_install_it(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(MissingEngineError, match=r"(?s)not installed: (pip|conda) install"):
        reconstruct(scan(31.5), ANGLES, engine=engine)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"engine": "matlab"}, ReconstructionError, "choose one of streaming, astra, tomopy"),
        ({"algorithm": "sirt"}, ReconstructionError, "no algorithm 'sirt'"),
        ({"engine": "astra", "algorithm": "x"}, ReconstructionError, "fbp, sirt, cgls"),
        ({"filter": "x"}, FilterError, "unknown filter"),
        ({"angles_rad": np.rad2deg(ANGLES)}, AngleError, "degrees"),
        ({"angles_rad": ANGLES[:5]}, ReconstructionError, "101 projections and 5 angles"),
        ({"center": -1.0}, ReconstructionError, "off the detector"),
        ({"pixel_um": -1.0}, ReconstructionError, "positive"),
        ({"iterations": 0}, ReconstructionError, "at least 1"),
        ({"projections": np.zeros((2, 3, 4, 5))}, ReconstructionError, "expected"),
        ({"projections": np.full((101, 4, 5), np.nan)}, ReconstructionError, "NaN"),
    ],
)
def test_unusable_input_is_refused(change, error, message):
    arguments = {"projections": np.zeros((101, 4, 8)), "angles_rad": ANGLES} | change
    with pytest.raises(error, match=message):
        reconstruct(**arguments)
