"""Stored tomograms analysed again: one after the other, or many at once on a Dask cluster.

A tomogram is a task. A worker reads journal and frames, writes a derived run and the result, and
sends back a few numbers: memory does not grow with the campaign, and a worker that dies costs the
task it was at, which another one repeats. What a campaign has done is in the journal, so that it
goes on where it stopped. Both ways run the same function and give the same numbers, bit for bit.
"""

from __future__ import annotations

import hashlib
import importlib.util
import operator
import re
import resource
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from zoneplate.analysis.summary import MINIMUM_VOID_UM

from .data_directory import DataDirectory
from .journal import Document, is_finished, journals, read_journal
from .runs import RunNotFoundError
from .versions import software_versions

AHEAD = 2
"""Tasks per worker that are handed out before one comes back: the scheduler stays small."""

RETRIES = 3
LOOPBACK = "127.0.0.1"
EVERYTHING = "all"

_TERM = re.compile(r"([\w.]+)(<=|>=|!=|=|~|<|>)(.+)")
_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass
class Campaign:
    """What a re-analysis did.

    Attributes
    ----------
    name
        Its name, kept in the parameters of every derived run.
    done
        A row per tomogram: ``uid``, ``analysis_uid``, ``seconds``, ``particles``, ``peak_mb``.
    failed
        Why a tomogram could not be analysed, by uid.
    skipped
        Uids that the campaign had done before.
    seconds
        Wall time from the first task to the last.
    """

    name: str
    done: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    skipped: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    @property
    def per_minute(self) -> float:
        """Tomograms per minute."""
        return 60 * len(self.done) / self.seconds if self.seconds else 0.0


def campaign_name(minimum_void_um: float, correct_geometry: bool = True) -> str:
    """Return a name that changes with the parameters and with the software."""
    content = orjson.dumps([minimum_void_um, correct_geometry, software_versions()])
    return hashlib.sha256(content).hexdigest()[:12]


def find_tomograms(data: DataDirectory, query: str) -> list[str]:
    """Return the uids of the tomography runs that a query fits, oldest first.

    Parameters
    ----------
    data
        The data directory.
    query
        ``all``, or terms with blanks between them that must all be true of the start document:
        ``sample=nmc622``, ``acquisition.binning=8``, ``time>=1795400000``, ``sample~nmc`` (holds
        the text), ``uid=3d69`` (begins with).

    Raises
    ------
    ValueError
        A term cannot be read.
    RunNotFoundError
        No tomography fits.
    """
    fits = _query(query)
    found = [
        str(start["uid"])
        for _, start in _starts(data)
        if start.get("plan_name") == "tomography" and fits(start)
    ]
    if not found:
        raise RunNotFoundError(
            f"no tomography in {data.root} fits {query!r}; `all` takes every one"
        )
    return found


def reanalyze(
    data: DataDirectory,
    uids: Sequence[str],
    *,
    workers: int = 0,
    scheduler: str | None = None,
    minimum_void_um: float = MINIMUM_VOID_UM,
    correct_geometry: bool = True,
    name: str | None = None,
    memory_limit: str = "auto",
    on_task: Callable[[dict[str, Any]], None] = lambda _: None,
    on_ready: Callable[[Any], None] = lambda _: None,
) -> Campaign:
    """Analyse stored tomograms again.

    Parameters
    ----------
    data
        The data directory; workers must see it under the same path.
    uids
        Tomography runs (`find_tomograms`).
    workers
        Processes of a cluster on this computer, reachable from this computer only; 0 analyses
        here, one after the other, without Dask.
    scheduler
        Address of a Dask scheduler that runs elsewhere, instead.
    minimum_void_um
        Equivalent diameter from which a void counts.
    correct_geometry
        Whether a tilted axis and a sample that moved are corrected.
    name
        Name of the campaign; what it has done already is skipped. Made from parameters and
        software versions if None.
    memory_limit
        Memory of a local worker, as Dask takes it ("2GiB"); one that exceeds it is replaced.
    on_task
        Called with the row of each tomogram, or with ``uid`` and ``error``.
    on_ready
        Called with the Dask client, or None, when work begins.

    Returns
    -------
    Campaign

    Raises
    ------
    ValueError
        If Dask is asked for and not installed.
    """
    campaign = Campaign(name or campaign_name(minimum_void_um, correct_geometry))
    finished = _finished(data, campaign.name)
    campaign.skipped = [uid for uid in uids if uid in finished]
    todo = [uid for uid in uids if uid not in finished]
    arguments = (str(data.root), minimum_void_um, correct_geometry, campaign.name)
    began = time.monotonic()
    if not workers and scheduler is None:
        on_ready(None)
        rows: Iterator[dict[str, Any]] = (analyze_one(uid, *arguments) for uid in todo)
        _collect(campaign, rows, on_task)
    else:
        with _client(workers, scheduler, memory_limit) as client:
            on_ready(client)
            began = time.monotonic()
            _collect(campaign, _distributed(client, todo, arguments), on_task)
    campaign.seconds = time.monotonic() - began
    return campaign


def analyze_one(
    uid: str, root: str, minimum_void_um: float, correct_geometry: bool, name: str
) -> dict[str, Any]:
    """Analyse one stored tomogram; the function of a task.

    Returns
    -------
    dict
        A row of `Campaign.done`, or ``uid`` and ``error`` if trying again would not help.
    """
    from .stored_analysis import analyze_run

    began = time.monotonic()
    try:
        tomogram = analyze_run(
            DataDirectory(Path(root)),
            uid,
            again=True,
            minimum_void_um=minimum_void_um,
            correct_geometry=correct_geometry,
            parameters={"campaign": name},
        )
    except (ValueError, LookupError) as error:
        return {"uid": uid, "error": f"{type(error).__name__}: {error}"}
    return {
        "uid": uid,
        "analysis_uid": tomogram.facts["analysis_uid"],
        "seconds": time.monotonic() - began,
        "particles": len(tomogram.particles),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def has_dashboard() -> bool:
    """Whether what Dask's dashboard needs is installed."""
    return importlib.util.find_spec("bokeh") is not None


def _collect(
    campaign: Campaign,
    rows: Iterator[dict[str, Any]],
    on_task: Callable[[dict[str, Any]], None],
) -> None:
    for row in rows:
        if "error" in row:
            campaign.failed[row["uid"]] = row["error"]
        else:
            campaign.done.append(row)
        on_task(row)


@contextmanager
def _client(workers: int, scheduler: str | None, memory_limit: str) -> Generator[Any]:
    """Client of the scheduler given, or of a cluster on the loopback interface."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ValueError(
            "workers need dask.distributed: pip install 'zoneplate[scale]', or --workers 0"
        ) from error
    if scheduler is not None:
        with Client(scheduler, set_as_default=False) as client:
            yield client
        return
    dashboard: Any = f"{LOOPBACK}:0" if has_dashboard() else None
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=dashboard,
            memory_limit=memory_limit,
            # One tomogram per process and core: threads of several would fight.
            env={"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _distributed(
    client: Any, todo: Sequence[str], arguments: tuple[str, float, bool, str]
) -> Iterator[dict[str, Any]]:
    """Hand out tasks a few at a time; rows come in the order in which they are done."""
    from distributed import as_completed

    waiting = iter(todo)

    def submit(uid: str) -> Any:
        # A task has effects: an equal one of an earlier campaign must not stand in for it.
        return client.submit(analyze_one, uid, *arguments, retries=RETRIES, pure=False)

    count = AHEAD * max(1, len(client.scheduler_info()["workers"]))
    uid_of_task = {future: uid for uid in islice(waiting, count) for future in [submit(uid)]}
    running = as_completed(list(uid_of_task), loop=client.loop)
    for future in running:
        uid = uid_of_task.pop(future)
        error = future.exception()
        yield future.result() if error is None else {"uid": uid, "error": repr(error)}
        future.release()
        for following in islice(waiting, 1):
            fresh = submit(following)
            uid_of_task[fresh] = following
            running.add(fresh)


def _finished(data: DataDirectory, name: str) -> set[str]:
    """Uids that the campaign has analysed to the end."""
    done: set[str] = set()
    for path, start in _starts(data):
        if (start.get("parameters") or {}).get("campaign") != name or not is_finished(path):
            continue
        *_, (_, stop) = read_journal(path)
        if stop.get("exit_status") == "success":
            done.add(str(start["analysis_of"]))
    return done


def _starts(data: DataDirectory) -> Iterator[tuple[Path, Document]]:
    """Journals with their start documents; only first lines are read."""
    for path in journals(data.journal) if data.journal.is_dir() else ():
        first = next(read_journal(path), None)
        if first is not None:
            yield path, first[1]


def _query(text: str) -> Callable[[Document], bool]:
    """Return the condition that a query stands for."""
    if text.strip() == EVERYTHING:
        return lambda _: True
    terms = [_term(one) for one in text.split()]
    if not terms:
        raise ValueError("the query is empty: give `all`, or terms such as sample=nmc622")
    return lambda start: all(term(start) for term in terms)


def _term(text: str) -> Callable[[Document], bool]:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no term: give key=value, with one of = != ~ < <= > >=, such as "
            "sample=nmc622 or acquisition.binning=8"
        )
    key, sign, wanted = match.groups()
    number: float | None = None
    if sign in _NUMERIC:
        try:
            number = float(wanted)
        except ValueError:
            raise ValueError(f"{text!r}: {sign} needs a number after it") from None

    def fits(start: Document) -> bool:
        value: Any = start
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if number is not None:
            return isinstance(value, int | float) and _NUMERIC[sign](float(value), number)
        if sign == "~":
            return wanted in str(value)
        if key == "uid":
            return str(value).startswith(wanted) == (sign == "=")
        return _equal(value, wanted) == (sign == "=")

    return fits


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value) == float(wanted)
        except ValueError:
            return False
    return str(value) == wanted
