"""One tomogram, frame by frame: the order of arrival does not matter, limits are said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import shift

from zoneplate.analysis.reconstruction import StreamingReconstruction
from zoneplate.analysis.tomogram import TomogramAnalysis

ROWS, COLUMNS, PIXEL_UM, VIEWS = 40, 72, 0.5, 113
MU_PER_UM = 0.044
BALLS = ((6.0, 3.0, -4.0, 4.0), (-8.0, -3.0, 5.0, 3.5))
"""x, y, z and radius in um."""


def transmission(angle_deg: float) -> np.ndarray:
    theta = np.deg2rad(angle_deg)
    u = (np.arange(COLUMNS) - (COLUMNS - 1) / 2) * PIXEL_UM
    v = ((ROWS - 1) / 2 - np.arange(ROWS)) * PIXEL_UM
    path = np.zeros((ROWS, COLUMNS))
    for x, y, z, radius in BALLS:
        along = x * np.cos(theta) + z * np.sin(theta)
        path += 2 * np.sqrt(np.clip(radius**2 - (u - along) ** 2 - (v[:, None] - y) ** 2, 0, None))
    return np.exp(-MU_PER_UM * path)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(5)
    angles = np.linspace(-90, 90, VIEWS)
    flat = 4000.0 * (1 + 0.1 * np.cos(np.arange(COLUMNS) / 20))[None, :] * np.ones((ROWS, 1))
    counts = [rng.poisson(flat * transmission(angle)) + 100 for angle in angles]
    flats = [rng.poisson(flat) + 100 for _ in range(5)]
    darks = [np.full((ROWS, COLUMNS), 100) for _ in range(2)]
    return angles, counts, flats, darks


def analysis_of(frames, **options) -> TomogramAnalysis:
    return TomogramAnalysis((ROWS, COLUMNS), PIXEL_UM, planned_angles_deg=frames[0], **options)


def feed(analysis, frames, *, references_at: int = 0, order=None) -> None:
    angles, counts, flats, darks = frames
    order = np.arange(VIEWS) if order is None else order
    for position, index in enumerate(order):
        if position == references_at:
            for number, dark in enumerate(darks):
                analysis.add_reference("dark", number, dark)
            for number, flat in enumerate(flats):
                analysis.add_reference("flat", number, flat)
        analysis.add_projection(int(index), counts[index], float(angles[index]))
        analysis.process()


def test_particles_come_back_where_they_are(frames):
    analysis = analysis_of(frames, center_um=(100.0, 50.0, 5.0))
    feed(analysis, frames)
    table = analysis.finish().particles.sort_values("volume_um3", ascending=False)
    assert len(table) == 2
    for (_, row), (x, y, z, radius) in zip(table.iterrows(), BALLS, strict=True):
        assert row["center_x_um"] == pytest.approx(x + 100.0, abs=PIXEL_UM / 2)
        assert row["center_y_um"] == pytest.approx(y + 50.0, abs=PIXEL_UM / 2)
        assert row["center_z_um"] == pytest.approx(z + 5.0, abs=PIXEL_UM / 2)
        assert row["equivalent_diameter_um"] == pytest.approx(2 * radius, rel=0.03)
    assert (table["open_pore_count"] == 0).all()
    assert table["open_pore_x_um"].isna().all()


def test_late_references_and_any_order_give_the_same_volume(frames):
    first, second = analysis_of(frames), analysis_of(frames)
    feed(first, frames)
    feed(second, frames, references_at=30, order=np.random.default_rng(1).permutation(VIEWS))
    one, other = first.finish(), second.finish()
    assert np.abs(one.volume - other.volume).max() < 1e-5 * np.abs(one.volume).max()


def test_projection_that_comes_again_replaces_the_first(frames):
    spoiled, clean = analysis_of(frames), analysis_of(frames)
    angles, counts, *_ = frames
    feed(clean, frames)
    feed(spoiled, (angles, [counts[0] * 0 + 200, *counts[1:]], *frames[2:]))
    spoiled.add_projection(0, counts[0], float(angles[0]))
    assert np.allclose(spoiled.finish().volume, clean.finish().volume, atol=1e-5)


def test_preview_shows_the_particles_before_the_scan_ends(frames):
    analysis = analysis_of(frames)
    assert analysis.preview() is None
    interlaced = np.concatenate([np.arange(offset, VIEWS, 4) for offset in (0, 2, 1, 3)])
    feed(analysis, frames, order=interlaced[:40])
    preview = analysis.preview()
    assert preview is not None
    assert (preview.projections, preview.planned) == (40, VIEWS)
    assert preview.summary["particles"]["count"] == 2


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (slice(0, 113, 28), "cannot give shapes"),
        (slice(0, 113, 4), "streaks"),
        (slice(20, 90), "drawn out"),
    ],
)
def test_too_few_projections_are_said_in_words(frames, keep, said):
    angles, counts, flats, darks = frames
    few = (angles[keep], counts[keep], flats, darks)
    analysis = TomogramAnalysis((ROWS, COLUMNS), PIXEL_UM, planned_angles_deg=few[0])
    feed(analysis, few, order=np.arange(len(few[0])))
    tomogram = analysis.finish()
    assert any(said in warning for warning in tomogram.warnings)
    if said == "cannot give shapes":
        assert tomogram.particles.empty
        assert tomogram.summary["particles"]["count"] == 0


def test_nothing_to_analyse_is_one_clear_error(frames):
    with pytest.raises(ValueError, match="projections or flats are missing"):
        analysis_of(frames).finish()


def test_sample_that_moves_is_followed_if_asked(frames, kept):
    angles, counts, flats, darks = frames
    swing = 1.2 * np.cos(3 * np.deg2rad(angles))
    moved = [
        shift(one, (0, by), order=1, mode="nearest") for one, by in zip(counts, swing, strict=True)
    ]
    found = []
    for correct in (True, False):
        analysis = analysis_of(frames, correct_geometry=correct)
        feed(analysis, (angles, moved, flats, darks))
        found.append(analysis.finish())
    followed, blurred = found
    assert blurred.geometry is None
    assert followed.geometry is not None
    assert followed.geometry.motion_corrected
    assert any("shifted back" in warning for warning in followed.warnings)
    # What came in at the sides was never seen.
    assert followed.segmentation.field_radius_um < kept.segmentation.field_radius_um - 0.4
    still, right, wrong = (
        np.sort(one.particles["sphericity_grey"]) for one in (kept, followed, blurred)
    )
    assert np.abs(right - still).max() < 0.5 * np.abs(wrong - still).max()


def test_movements_are_not_looked_for_where_memory_is_short(frames, monkeypatch):
    analysis = analysis_of(frames)
    feed(analysis, frames)
    monkeypatch.setattr("zoneplate.analysis.tomogram.available_bytes", lambda: 1_000_000)
    tomogram = analysis.finish()
    assert tomogram.geometry is None
    (said,) = (note for note in tomogram.warnings if "were not looked for" in note)
    assert "0.0 GB are free" in said
    assert not tomogram.particles.empty


def test_rings_of_an_uneven_camera_are_removed_if_asked(frames, kept):
    angles, counts, flats, darks = frames
    uneven = 1 + 0.1 * np.random.default_rng(8).normal(size=COLUMNS)
    spoiled = (angles, [(one - 100) * uneven + 100 for one in counts], flats, darks)
    volumes = []
    for remove_rings in (False, True):
        analysis = analysis_of(frames, remove_rings=remove_rings)
        feed(analysis, spoiled)
        volumes.append(analysis.finish().volume)
    without, removed = (np.abs(volume - kept.volume).mean() for volume in volumes)
    assert removed < 0.5 * without


# Scans whose projections are too large to keep filtered and ready (binning 1)


def large(frames, order, block: int) -> TomogramAnalysis:
    """Analyse a scan whose volume cannot be corrected, a block of frames at a time."""
    angles, counts, flats, darks = frames
    analysis = analysis_of(frames, keep_limit_bytes=1000)
    for kind, stack in (("dark", darks), ("flat", flats)):
        for number, frame in enumerate(stack):
            analysis.add_reference(kind, number, frame)
    for start in range(0, len(order), block):
        for index in order[start : start + block].tolist():
            analysis.add_projection(index, counts[index], float(angles[index]))
        analysis.process()
    return analysis


@pytest.fixture(scope="module")
def kept(frames):
    analysis = analysis_of(frames)
    feed(analysis, frames)
    return analysis.finish()


def assert_like(tomogram, kept):
    assert np.abs(tomogram.volume - kept.volume).max() < 0.01 * np.abs(kept.volume).max()
    assert tomogram.rotation_center.column == pytest.approx(kept.rotation_center.column, abs=0.02)
    assert len(tomogram.particles) == len(kept.particles)


def test_large_scan_is_recentred_although_its_frames_are_not_kept(frames, kept):
    """In sequence the pair that tells the axis is complete only with the last frame."""
    analysis = large(frames, np.arange(VIEWS), block=32)
    assert not analysis.reconstruction.keeps_frames
    assert_like(analysis.finish(), kept)


def test_large_scan_that_begins_with_its_pair_is_made_once(frames, kept, monkeypatch):
    added = []
    add = StreamingReconstruction.add

    def counted(self, projections, angles_rad, index=None):
        added.extend(index)
        add(self, projections, angles_rad, index)

    monkeypatch.setattr(StreamingReconstruction, "add", counted)
    order = np.concatenate([[0, VIEWS - 1], np.arange(1, VIEWS - 1)])
    assert_like(large(frames, order, block=2).finish(), kept)
    assert sorted(added) == list(range(VIEWS))


def test_spoiled_frame_of_a_large_scan_leaves_no_trace(frames, kept):
    angles, counts, flats, darks = frames
    spoiled = (angles, [counts[0] * 0 + 200, *counts[1:]], flats, darks)
    analysis = large(spoiled, np.arange(VIEWS), block=16)
    analysis.add_projection(0, counts[0], float(angles[0]))
    analysis.process()
    assert_like(analysis.finish(), kept)


def test_large_scan_is_previewed_in_a_coarser_volume(frames, monkeypatch):
    monkeypatch.setattr("zoneplate.analysis.growing_volume.PREVIEW_COLUMNS", 40)
    interlaced = np.concatenate([np.arange(offset, VIEWS, 4) for offset in (0, 2, 1, 3)])
    analysis = large(frames, interlaced[:60], block=8)
    preview = analysis.preview()
    assert preview is not None
    assert preview.summary["particles"]["count"] == 2
    assert analysis.reconstruction.shape == (ROWS, COLUMNS, COLUMNS)
