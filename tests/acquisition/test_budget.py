"""`zoneplate budget`: the study's trade-off, from our timing model."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoneplate.acquisition.command_budget import budget, table_lines
from zoneplate.acquisition.results import collect_results
from zoneplate.acquisition.trade_off import budget_rows, trade_off_of
from zoneplate.devices import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rows():
    return {row.binning: row for row in budget_rows(binnings=(8, 4))}


def test_binning_8_is_what_the_study_did(rows):
    row = rows[8]
    assert row.voxel_um == 0.512
    assert row.projections == 141
    assert row.time_s < 300
    assert row.volume_bytes == 4_194_304
    assert row.smallest_void_um == pytest.approx(1.8, abs=0.02)


def test_crowther_follows_the_study_to_its_rounding_of_the_field(rows):
    assert rows[8].crowther == pytest.approx(196, rel=0.03)  # of 125 pixels, ours has 128


def test_finer_binning_costs_more_and_shows_more(rows):
    coarse, fine = rows[8], rows[4]
    assert fine.volume_bytes == 8 * coarse.volume_bytes
    assert fine.projections == 2 * coarse.projections
    assert fine.time_s > coarse.time_s
    assert fine.smallest_void_um < coarse.smallest_void_um
    assert fine.resolution_um < coarse.resolution_um


def test_equal_noise_lengthens_the_exposure():
    (row,) = budget_rows(equal_noise=True, projections=8, binnings=[4])
    assert row.exposure_s == 8.0


def test_table_shows_the_numbers_of_the_study_beside_ours(rows):
    text = "\n".join(table_lines(list(rows.values())))
    for stated in ("(196)", "141 (141)", "(<5)", "(0.512)", "(4)"):
        assert stated in text


def test_impossible_budget_is_refused():
    with pytest.raises(ConfigurationError, match="projections 0"):
        budget_rows(projections=0)


def test_lot_is_planned_and_drawn(tmp_path, capsys):
    picture = tmp_path / "plan.png"
    budget(lot=ROOT / "examples" / "lot.toml", picture=picture)
    said = capsys.readouterr().out
    assert "void_frequency" in said
    assert "d50_number_um" in said
    assert picture.stat().st_size > 10_000


def test_no_correction_for_missed_voids_without_a_twin():
    with pytest.raises(ConfigurationError, match="no twin with the settings"):
        collect_results("powder", [], parameters={}, source={}, correct_detection=True)


def test_trade_off_leaves_out_what_the_camera_cannot_expose():
    found = trade_off_of("simulated-810", binning=8, projections=16, exposure_s=2.0, snr=10.0)
    assert [row["binning"] for row in found["same_exposure"]] == [1, 2, 4, 8]
    assert [row["binning"] for row in found["same_noise"]] == [2, 4, 8]  # 1024 s at binning 1
    assert [row["snr"] for row in found["same_noise"]] == pytest.approx([10.0] * 3, rel=0.01)
    assert found["same_exposure"][0]["snr"] == pytest.approx(10 / 8**1.5, rel=0.01)
    assert trade_off_of("mine", binning=8, projections=16, exposure_s=2.0, snr=10.0) is None
