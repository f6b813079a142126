"""The short form of `make soak`: a few lots, each with something that goes wrong."""

from __future__ import annotations

import runpy

import pytest
from pages import ROOT


@pytest.mark.long
def test_no_lot_is_lost_and_no_fault_passes_in_silence(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    soak = runpy.run_path(str(ROOT / "benchmarks" / "soak.py"))
    tally = soak["soak"](4, tmp_path, seed=3)
    assert tally.lost == []
    assert tally.silent == []
    assert tally.done == tally.lots == 4
    assert sum(tally.injected.values()) > 0
    assert tally.visits.come > 0
    assert tally.visits.messages > 0
    assert tally.visits.failed == []
