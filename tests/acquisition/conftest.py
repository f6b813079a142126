"""One screening of a simulated powder, for all tests that look at what it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zoneplate.acquisition import Session, open_session


@dataclass(frozen=True)
class Screening:
    """A finished screening: its open session, its folder and what it found."""

    session: Session
    out: Path
    document: dict[str, Any]

    @property
    def mosaic_uid(self) -> str:
        return self.document["mosaic"]["uid"]

    @property
    def tomogram_uid(self) -> str:
        return self.document["tomograms"][0]["uid"]


@pytest.fixture(scope="session")
def screening(readme_folder: Path) -> Iterator[Screening]:
    out = readme_folder / "demo" / "script"
    document = json.loads((out / "results.json").read_text())
    data = readme_folder / "demo" / "data"
    with open_session("simulated", sample="nmc622", seed=1, data_dir=data, live=False) as session:
        session.catalog.start()
        yield Screening(session, out, document)
