"""Scans that are wrong: each ends in one clear error or in a result that says what it lacks."""

import numpy as np
import pytest

from zoneplate.analysis import TomogramAnalysis, reconstruct
from zoneplate.analysis.angles import AngleError
from zoneplate.analysis.normalization import NormalizationError

ROWS, COLUMNS, VIEWS = 10, 32, 41
ANGLES = np.linspace(-90, 90, VIEWS)
FLAT = np.full((ROWS, COLUMNS), 5000)
DARK = np.full((ROWS, COLUMNS), 100)


def ball(angles_deg=ANGLES):
    u, v = np.arange(COLUMNS) - 15.5, np.arange(ROWS) - 4.5
    squared = 16 - (u - 3 * np.cos(np.deg2rad(angles_deg))[:, None, None]) ** 2 - v[:, None] ** 2
    noise = np.random.default_rng(0).normal(0, 20, (len(angles_deg), ROWS, COLUMNS))
    return 100 + 4900 * np.exp(-0.09 * np.sqrt(np.maximum(squared, 0))) + noise


def finished(angles_deg=ANGLES, counts=None, flats=(FLAT,), darks=(DARK,), planned=None):
    analysis = TomogramAnalysis((ROWS, COLUMNS), 0.5, planned_angles_deg=planned)
    for kind, stack in (("flat", flats), ("dark", darks)):
        for number, frame in enumerate(stack):
            analysis.add_reference(kind, number, frame)
    counts = ball(angles_deg) if counts is None else counts
    for number, (frame, angle) in enumerate(zip(counts, angles_deg, strict=True)):
        analysis.add_projection(number, frame, float(angle))
    analysis.process()
    return analysis.finish()


def test_good_scan_is_measured():
    assert len(finished().particles) == 1


def test_angles_in_degrees_are_said_to_be_degrees():
    with pytest.raises(AngleError, match="look like degrees"):
        reconstruct(np.zeros((VIEWS, ROWS, COLUMNS)), ANGLES)


def test_angles_in_radians_where_degrees_belong_are_said_to_span_little():
    tomogram = finished(np.deg2rad(ANGLES))
    assert any("span 3 degrees of 180" in note for note in tomogram.warnings)


def test_frame_with_nan_is_refused():
    counts = ball()
    counts[7, 3, 3] = np.nan
    with pytest.raises(NormalizationError, match="projections hold NaN"):
        finished(counts=counts)


def test_frame_of_another_shape_is_refused():
    with pytest.raises(NormalizationError, match=r"10, 31\) but the references"):
        finished(counts=ball()[:, :, 1:])


def test_angle_that_is_not_a_number_is_refused():
    angles = ANGLES.copy()
    angles[3] = np.nan
    with pytest.raises(AngleError, match="1 angles are NaN"):
        finished(angles, counts=ball())


@pytest.mark.parametrize("kind", ["flats", "darks"])
def test_reference_with_nan_is_refused(kind):
    spoiled = {"flats": FLAT, "darks": DARK}[kind].astype(float)
    spoiled[2, 3] = np.nan
    with pytest.raises(NormalizationError, match="hold NaN"):
        finished(**{kind: (spoiled,)})


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ({"flats": (FLAT, FLAT[:, 1:])}, r"a flat is \(10, 31\)"),
        ({"darks": (DARK[1:],)}, r"a dark is \(9, 32\)"),
    ],
)
def test_references_of_another_shape_are_refused(references, message):
    with pytest.raises(NormalizationError, match=message):
        finished(**references)


def test_scan_without_flats_is_refused():
    with pytest.raises(ValueError, match="flats are missing"):
        finished(flats=())


def test_flats_that_are_no_brighter_than_the_darks_are_refused():
    with pytest.raises(NormalizationError, match="no flat pixel is above the dark"):
        finished(flats=(DARK,), darks=(FLAT,))


def test_flat_below_the_dark_in_a_few_pixels_costs_those_pixels():
    flat = FLAT.copy()
    flat[4, 10:12] = 50
    assert len(finished(flats=(flat,)).particles) == 1


def test_angle_taken_twice_counts_once():
    twice = np.concatenate([ANGLES, np.full(20, ANGLES[10])])
    once, again = finished(), finished(twice)
    assert again.projections == VIEWS + 20
    difference = np.abs(once.volume - again.volume).max()
    assert difference < 0.1 * once.volume.max()


def test_all_projections_at_one_angle_are_measured_as_nothing():
    tomogram = finished(np.zeros(VIEWS))
    assert any("span 0 degrees" in note for note in tomogram.warnings)
    assert tomogram.particles.empty


def test_single_projection_is_shown_and_not_measured():
    tomogram = finished(np.array([12.0]))
    assert tomogram.projections == 1
    assert tomogram.particles.empty
    assert any("the rotation axis was not found" in note for note in tomogram.warnings)
    assert any("nothing was measured" in note for note in tomogram.warnings)
    volume = reconstruct(np.ones((1, ROWS, COLUMNS)), [0.2])
    assert np.isfinite(volume).all()


def test_angle_that_is_not_planned_is_refused():
    with pytest.raises(AngleError, match="planned"):
        finished(np.array([0.0, 45.0]), planned=[0.0, 1.0, 2.0])


# A camera of 16 bits that saturates


def camera(counts=None, spoiled_flats=0, spot=np.s_[4, 14:17]):
    """Scan with three flats, of which some are saturated in front of the ball."""
    flats = [FLAT.astype(np.uint16) for _ in range(3)]
    for flat in flats[:spoiled_flats]:
        flat[spot] = 65535
    counts = ball() if counts is None else counts
    return finished(
        counts=counts.round().astype(np.uint16), flats=flats, darks=(DARK.astype(np.uint16),)
    )


def assert_like(tomogram, clean):
    difference = np.abs(tomogram.volume - clean.volume)
    assert difference.mean() < 0.03 * clean.volume.max()
    assert len(tomogram.particles) == len(clean.particles) == 1
    volume, true = (one.particles["volume_um3"].iloc[0] for one in (tomogram, clean))
    assert volume == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize("spoiled", [1, 3], ids=["one_flat", "all_flats"])
def test_pixels_that_saturate_in_flats_are_replaced_and_said(spoiled):
    clean, tomogram = camera(), camera(spoiled_flats=spoiled)
    assert not any("full scale" in note for note in clean.warnings)
    assert any("3 of 320 pixels are at the camera's full scale" in n for n in tomogram.warnings)
    assert_like(tomogram, clean)


@pytest.mark.parametrize("views", [slice(None), slice(20, 21)], ids=["all", "one_projection"])
def test_pixels_that_saturate_in_projections_are_replaced_and_said(views):
    counts = ball()
    counts[views, 2:5, 5:12] = 65535
    tomogram = camera(counts)
    assert any("full scale of 65535" in note for note in tomogram.warnings)
    assert_like(tomogram, camera())


def test_flats_that_are_wholly_saturated_are_refused():
    with pytest.raises(NormalizationError, match="overexposed"):
        camera(spoiled_flats=3, spot=np.s_[:, :])


@pytest.mark.parametrize("counts_there", [0, -40], ids=["zero", "negative"])
def test_pixels_without_light_are_clipped_and_said(counts_there):
    counts = ball()
    counts[16:26, 4, 15:17] = counts_there  # below the dark
    tomogram = finished(counts=counts)
    assert np.isfinite(tomogram.volume).all()
    assert any("absorption is underestimated" in note for note in tomogram.warnings)
