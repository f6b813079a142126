"""Faults detected == faults injected: no combination of plan, fault and moment passes in silence.

`make campaign` (ZONEPLATE_CAMPAIGN=whole) runs all combinations in process and every fourth over
Channel Access, and says how many; the default is one of every second fault, two of them over CA.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import Case, all_cases, short_form
from rig import InProcess, OverChannelAccess, run_case

from zoneplate.acquisition import Session, open_session
from zoneplate.devices import epics as epics_module
from zoneplate.devices import epics_axis, epics_camera
from zoneplate.simulators import Particle, Specimen

WHOLE = os.environ.get("ZONEPLATE_CAMPAIGN") == "whole"
CASES = all_cases() if WHOLE else short_form()[::2]
# Over Channel Access a case takes ten times as long; what differs there is the devices.
CA_CASES = CASES[::4] if WHOLE else CASES[1:3]
PREFIX = "ZP:"


def specimen() -> Specimen:
    return Specimen((Particle("a", (3, 4, 5), (5, 5, 5), material="LiNi0.6Mn0.2Co0.2O2@4.77"),))


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("campaign")
    with open_session(specimen=specimen(), data_dir=folder, live=False) as session:
        yield session


@pytest.fixture(scope="module")
def over_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Any]]:
    folder: Path = tmp_path_factory.mktemp("campaign-ca")
    with open_session(
        "epics-simulated", specimen=specimen(), data_dir=folder, live=False
    ) as session:
        yield session, OverChannelAccess(PREFIX)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fault_in_process_is_noticed(in_process: Session, case: Case, caplog) -> None:
    run_case(in_process, InProcess(in_process), case, caplog)


@pytest.mark.parametrize("case", CA_CASES, ids=str)
def test_fault_over_channel_access_is_noticed(
    over_ca: tuple[Session, Any], case: Case, caplog, monkeypatch
) -> None:
    for module in (epics_axis, epics_camera, epics_module):
        monkeypatch.setattr(module, "timeout_s", lambda expected_s: 2 * expected_s + 1.0)
    session, faults = over_ca
    run_case(session, faults, case, caplog)


def test_campaign_is_large() -> None:
    whole = all_cases()
    assert len(whole) == len({str(case) for case in whole}) >= 60
    assert {case.fault for case in short_form()} == {case.fault for case in whole}
