"""The catalog of runs, as beamline people know it: ``catalog[-1].table()``.

Runs get into it through the journal and a process of its own
(`zoneplate.acquisition.catalog_service`), so neither a slow nor a dead catalog delays a scan.
Every access here first waits until all runs that are finished have been entered.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .catalog_process import CatalogProcess
from .journal import is_finished, journals, uid_of

if TYPE_CHECKING:
    from databroker.v1 import Broker

KEY_VARIABLE = "ZONEPLATE_CATALOG_KEY"
"""Environment variable that carries the API key to the catalog process."""

DATABASE_VARIABLE = "ZONEPLATE_CATALOG_DATABASE"
"""Environment variable that carries the PostgreSQL database (and its password) to it."""

_SERVICE = "zoneplate.acquisition.catalog_service"
_POLL_S = 0.05
_ATTEMPTS = 3
_LOG_TAIL_BYTES = 2000

logger = logging.getLogger(__name__)


class CatalogError(RuntimeError):
    """The catalog process does not start, does not keep up, or could not enter a run."""


def analyses_of(container: str) -> str:
    """Name of the container of the analyses of the runs in a container."""
    return f"{container}-analyses"


class CatalogFolder:
    """Where things are in a data directory; shared by the catalog process and its users.

    Parameters
    ----------
    data_dir : str or Path
        Journals are in ``journal``, the embedded catalog and its log in ``catalog``.
    uri : str, optional
        The Tiled server elsewhere, or the database, that runs are entered into, if it is not the
        catalog in the data directory.
    """

    def __init__(self, data_dir: str | Path, uri: str | None = None) -> None:
        self.journal = Path(data_dir) / "journal"
        self.path = Path(data_dir) / "catalog"
        self.path.mkdir(parents=True, exist_ok=True)
        name = f"-{hashlib.sha256(uri.encode()).hexdigest()[:12]}" if uri else ""
        self.entered = self.path / f"entered{name}.txt"
        self.lock = self.path / f"writer{name}.lock"
        self.address = self.path / f"address{name}.json"
        self.log = self.path / f"service{name}.log"

    def add_entered(self, uid: str) -> None:
        """Note that a run is in the catalog."""
        with self.entered.open("a", encoding="ascii") as file:
            file.write(f"{uid}\n")

    def read_entered(self) -> list[str]:
        """Uids of the runs that are in the catalog."""
        try:
            lines = self.entered.read_text(encoding="ascii")
        except FileNotFoundError:
            return []
        return lines[: lines.rfind("\n") + 1].split()

    def write_address(self, uri: str, key: str) -> None:
        """Leave address and key for other processes of the same user."""
        self.address.unlink(missing_ok=True)
        fd = os.open(self.address, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"uri": uri, "key": key}, file)

    def read_address(self) -> dict[str, str] | None:
        """Address and key of the process that has the catalog; None when not ready."""
        try:
            return json.loads(self.address.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None


class _Catalog:
    """Access to runs through databroker; owner of the catalog process."""

    def __init__(
        self,
        data_dir: str | Path,
        *,
        uri: str | None,
        api_key: str | None,
        container: str,
        readable: Iterable[str | Path],
        timeout_s: float,
        database: str | None = None,
    ) -> None:
        self.data_dir = Path(data_dir)
        self.timeout_s = timeout_s
        self._folder = CatalogFolder(self.data_dir, uri or database)
        self._container = container
        self._uri = uri
        self._key = api_key or secrets.token_hex(32)
        # -P: a file in the current folder must not stand in for a module.
        self._command = [sys.executable, "-P", "-m", _SERVICE, "--data-dir", str(self.data_dir)]
        self._command += ["--container", container]
        self._command += ["--uri", uri] if uri else []
        for path in readable:
            self._command += ["--readable", str(path)]
        self._database = database or ""
        self._guard = threading.RLock()
        self._service: CatalogProcess | None = None
        self._early_ends = 0
        self._entered: set[str] = set()
        self._broker: tuple[CatalogProcess, Broker] | None = None
        self._closed = False

    def start(self) -> None:
        """Start the catalog process if it does not run; returns at once."""
        with self._guard:
            if self._closed:
                raise CatalogError(f"the catalog of {self.data_dir} is closed")
            service = self._service
            if service is not None and service.runs:
                return
            if service is not None and not service.ready.is_set():
                self._early_ends += 1
            if self._early_ends >= _ATTEMPTS:
                raise CatalogError(
                    f"the catalog process ended {self._early_ends} times before it was ready; "
                    f"end of {self._folder.log}: {self._log_tail()}"
                )
            if service is not None:
                logger.warning("the catalog process ended; it is started again")
            secret = {KEY_VARIABLE: self._key, DATABASE_VARIABLE: self._database}
            self._service = CatalogProcess(self._command, secret, self._folder.log)
            atexit.register(self.close)

    def wait_until_caught_up(self, timeout_s: float | None = None) -> None:
        """Wait until every run that is finished now can be found in the catalog.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait in seconds; `timeout_s` of the catalog by default.

        Raises
        ------
        CatalogError
            It takes longer, the process does not start, or a run cannot be entered.
        """
        if failed := self._wait(self.timeout_s if timeout_s is None else timeout_s):
            reasons = "; ".join(f"{uid}: {error}" for uid, error in failed.items())
            raise CatalogError(f"{len(failed)} runs could not be entered ({reasons})")

    def forget_entered(self) -> None:
        """Look at every run again, to be called before the first access.

        The list of runs that were entered is kept here; a shared catalog may have been restored
        from a backup since, or made anew. Runs that are there whole are left alone.
        """
        self._entered.clear()
        self._folder.entered.unlink(missing_ok=True)

    @property
    def broker(self) -> Broker:
        """``databroker.v1.Broker`` with all runs that are finished.

        Raises
        ------
        CatalogError
            The catalog process does not start or does not keep up.
        """
        if failed := self._wait(self.timeout_s):
            logger.warning("runs that are not in the catalog: %s", ", ".join(failed))
        with self._guard:
            service = self._service
            assert service is not None  # _wait has started it
            if self._broker is None or self._broker[0] is not service:
                self._broker = service, self._connect(service, self._container)
            return self._broker[1]

    @property
    def analyses(self) -> Broker:
        """``databroker.v1.Broker`` with the analyses of runs: ``analyses(analysis_of=uid)``.

        Raises
        ------
        CatalogError
            The catalog process does not start or does not keep up.
        """
        if failed := self._wait(self.timeout_s):
            logger.warning("analyses that are not in the catalog: %s", ", ".join(failed))
        with self._guard:
            assert self._service is not None  # _wait has started it
            return self._connect(self._service, analyses_of(self._container))

    @property
    def v1(self) -> Broker:
        """The same as `broker`."""
        return self.broker

    @property
    def v2(self) -> Any:
        """Tiled client of the runs: ``catalog.v2[uid].primary.read()``."""
        return self.broker.v2

    def address(self) -> tuple[str, str]:
        """Address and API key of the Tiled server, for tools that speak Tiled themselves.

        Raises
        ------
        CatalogError
            The catalog process does not start or does not keep up.
        """
        self._wait(self.timeout_s)
        service = self._service
        assert service is not None  # _wait has started it
        return service.uri, service.key or self._key

    def __getitem__(self, key: Any) -> Any:
        """Run by uid, part of it, scan number (> 0) or how many runs ago (< 0)."""
        return self.broker[key]

    def __call__(self, *text: str, **query: Any) -> Any:
        """Search runs by their start documents: ``catalog(sample="nmc622")``."""
        return self.broker(*text, **query)

    def __len__(self) -> int:
        return len(self.broker.v2)

    def __iter__(self) -> Iterator[str]:
        return iter(self.broker.v2)

    def close(self) -> None:
        """End the catalog process after it has entered finished runs. May be called twice."""
        with self._guard:
            self._closed = True
            service, self._service, self._broker = self._service, None, None
        atexit.unregister(self.close)
        if service is not None:
            service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(self, timeout_s: float) -> dict[str, str]:
        """Wait for the process and the runs finished by now; gives runs that failed."""
        deadline = time.monotonic() + timeout_s
        missing = self._finished()
        while True:
            self.start()
            service = self._service
            assert service is not None
            if service.ready.is_set() and service.runs:
                self._early_ends = 0
                if missing:
                    self._entered.update(self._folder.read_entered())
                    missing -= self._entered
                failed = {uid: service.failed[uid] for uid in missing if uid in service.failed}
                if missing == set(failed):
                    return failed
            if time.monotonic() > deadline:
                state = f"{len(missing)} runs are still to be entered" if missing else "not ready"
                raise CatalogError(
                    f"the catalog is {timeout_s:.0f} s behind: {state}; {service.last_error or ''}"
                    f" see {self._folder.log}"
                )
            time.sleep(_POLL_S)

    def _finished(self) -> set[str]:
        """Uids of finished runs that are not known to be entered."""
        if not self._folder.journal.is_dir():
            return set()
        paths = {uid_of(p): p for p in journals(self._folder.journal)}
        if paths.keys() - self._entered:
            self._entered.update(self._folder.read_entered())
        return {uid for uid in paths.keys() - self._entered if is_finished(paths[uid])}

    def _connect(self, service: CatalogProcess, container: str) -> Broker:
        from databroker.v1 import Broker
        from tiled.client import from_uri

        key = service.key or self._key
        root = from_uri(service.uri, api_key=key, trust_env=self._uri is not None)
        return Broker(root[container])

    def _log_tail(self) -> str:
        with self._folder.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(empty)"


class EmbeddedCatalog(_Catalog):
    """Catalog in the data directory, served by a child process to this one only.

    Nothing is started before the first access or `start`.

    Parameters
    ----------
    data_dir : str or Path
        Journals are read from its ``journal``, the catalog is kept in its ``catalog``.
    readable : sequence of paths, optional
        Further folders that hold frames; those under `data_dir` can be read anyhow.
    database : str, optional
        ``postgresql://user:password@host/name``: keep the runs there instead of in SQLite files;
        readings go to a second database ``name_tables``. Both are made if there are none.
    timeout_s : float
        Longest wait of an access, in seconds.

    Examples
    --------
    >>> with EmbeddedCatalog("data") as catalog:  # doctest: +SKIP
    ...     catalog[-1].table("primary")
    """

    def __init__(
        self,
        data_dir: str | Path,
        *,
        readable: Sequence[str | Path] = (),
        database: str | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        super().__init__(
            data_dir,
            uri=None,
            api_key=None,
            container="raw",
            readable=readable,
            timeout_s=timeout_s,
            database=database,
        )


class RemoteCatalog(_Catalog):
    """Catalog on a shared Tiled server; a child process enters the runs of the data directory.

    The server must be able to read the frames under the same paths.

    Parameters
    ----------
    data_dir : str or Path
        Journals are read from its ``journal``.
    uri : str
        Address of the Tiled server, ``https://host/api/v1``.
    api_key : str
        Key with the right to create runs.
    container : str
        Container of the runs on the server, made if there is none.
    timeout_s : float
        Longest wait of an access, in seconds.
    """

    def __init__(
        self,
        data_dir: str | Path,
        uri: str,
        api_key: str,
        *,
        container: str = "raw",
        timeout_s: float = 120.0,
    ) -> None:
        super().__init__(
            data_dir,
            uri=uri,
            api_key=api_key,
            container=container,
            readable=(),
            timeout_s=timeout_s,
        )
