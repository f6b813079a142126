"""One screening of a simulated powder, for all tests that look at what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zoneplate.acquisition import Session, open_session, screen_sample


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
def screening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screening]:
    folder = tmp_path_factory.mktemp("screening")
    with open_session("simulated", sample="nmc622", seed=0, data_dir=folder / "data") as session:
        session.catalog.start()
        results = screen_sample(session, folder / "out", regions=1)
        yield Screening(session, folder / "out", results.document)
