"""`zoneplate budget`: the study's trade-off, from our timing model."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoneplate.acquisition.command_budget import budget, table_lines
from zoneplate.acquisition.trade_off import budget_rows
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
