"""The same runs in PostgreSQL and on a shared server, by one address."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from zoneplate.acquisition import open_session
from zoneplate.acquisition.catalog import CatalogFolder, EmbeddedCatalog, RemoteCatalog
from zoneplate.acquisition.catalog_choice import open_catalog
from zoneplate.acquisition.journal import DocumentJournal
from zoneplate.devices import ConfigurationError


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def journal_run(data_dir: Path, uid: str, sample: str) -> None:
    journal, time_s = DocumentJournal(data_dir / "journal"), time.time()
    number = {"source": "test", "dtype": "number", "shape": []}
    descriptor = {"uid": f"d-{uid}", "run_start": uid, "name": "primary", "time": time_s}
    descriptor |= {"data_keys": {"x": number}, "configuration": {}, "object_keys": {}}
    journal("start", {"uid": uid, "time": time_s, "sample": sample, "plan_name": "count"})
    journal("descriptor", descriptor | {"hints": {}})
    for k in (1, 2, 3):
        event = {"uid": f"e{k}-{uid}", "descriptor": f"d-{uid}", "seq_num": k, "time": time_s}
        journal("event", event | {"data": {"x": 0.5 * k}, "timestamps": {"x": time_s}})
    stop = {"uid": f"s-{uid}", "run_start": uid, "time": time_s, "exit_status": "success"}
    journal("stop", stop | {"num_events": {"primary": 3}})


@pytest.mark.long
def test_runs_live_in_postgresql_and_survive_its_crash(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    first, second = (f"00000000-aaaa-bbbb-cccc-00000000000{k}" for k in (1, 2))
    journal_run(tmp_path, first, "nmc622")
    stale = CatalogFolder(tmp_path, postgres.uri)  # as if the database had been made anew
    stale.add_entered(first)
    with open_catalog(tmp_path, postgres.uri) as catalog:
        catalog.forget_entered()  # as `recover` does
        assert [run.start["uid"] for run in catalog(sample="nmc622")] == [first]
        assert list(catalog(sample="nmc811")) == []
        assert catalog[first].table()["x"].tolist() == [0.5, 1.0, 1.5]
        names = [name for name, _ in catalog[first].documents()]
        assert (names[0], names[-1]) == ("start", "stop")
        postgres.stop()  # immediately: as if its machine had lost power
        postgres.start()
        journal_run(tmp_path, second, "nmc811")
        assert catalog[first].table()["x"].tolist() == [0.5, 1.0, 1.5]
        assert [run.start["uid"] for run in catalog(sample="nmc811")] == [second]
    assert not (tmp_path / "catalog" / "catalog.db").exists()


def test_address_chooses_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZONEPLATE_CATALOG", raising=False)
    monkeypatch.delenv("ZONEPLATE_CATALOG_KEY", raising=False)
    assert isinstance(open_catalog(tmp_path), EmbeddedCatalog)
    monkeypatch.setenv("ZONEPLATE_CATALOG", "http://127.0.0.1:1/api/v1")
    with pytest.raises(ConfigurationError, match="ZONEPLATE_CATALOG_KEY"):
        open_catalog(tmp_path)
    monkeypatch.setenv("ZONEPLATE_CATALOG_KEY", "k")
    assert isinstance(open_catalog(tmp_path), RemoteCatalog)
    with pytest.raises(ConfigurationError, match="mysql://host/x' is not known"):
        open_catalog(tmp_path, "mysql://host/x")


def test_session_with_a_bad_catalog_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZONEPLATE_CATALOG", "ftp://nowhere")
    with pytest.raises(ConfigurationError, match="ftp://nowhere' is not known"):
        open_session(data_dir=tmp_path)
    assert not list((tmp_path / "specimens").iterdir())
