"""A campaign of many lots in virtual time, with faults, killed analyses and viewer churn.

Prints a summary and fails if a lot is lost, a fault passes in silence, or memory, file handles or
threads grow: `python benchmarks/soak.py --lots 200` (`make soak`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track
from viewer import Visits, come_and_go

from zoneplate.acquisition import Session, open_session
from zoneplate.acquisition.catalog import CatalogError
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import journals, read_journal
from zoneplate.acquisition.page.process import PageProcess
from zoneplate.acquisition.results import save_results
from zoneplate.acquisition.workflow import collect_screening, screen_sample
from zoneplate.plans import screen
from zoneplate.simulators import Particle, Specimen, Void

NMC = "LiNi0.6Mn0.2Co0.2O2@4.77"
SPECIMEN = Specimen(
    particles=tuple(
        Particle(
            f"p{x}{y}",
            (15.0 * x, 15.0 * y, 5.0),
            (5.0, 5.0, 4.5),
            material=NMC,
            voids=(Void(f"v{x}{y}", (15.0 * x, 15.0 * y, 5.0), (1.8, 1.8, 1.8)),) if x == y else (),
        )
        for x in (-1, 0, 1)
        for y in (-1, 0, 1)
    ),
    name="nine particles",
)
LOT = {"regions": 1, "shape": (1, 1), "projections": 24, "exposure_s": 0.5}
AT_UM = [(0.0, 0.0, 5.0)]
REPORT_EVERY = 20
FRAMES = 8 + 15 + 24
"""Frames of one lot: map with references, tomogram with references."""

RECOVERABLE = ("frame_dropped", "frame_saturated", "dead_row", "frame_duplicated", "frame_late")
ENDING = ("motor_stall", "shutter_stuck")
"""Faults after which the lot is taken again."""

SHARE_WITH_FAULT, SHARE_ENDING, SHARE_KILLED, SHARE_VIEWED = 0.35, 0.3, 0.1, 0.5
SETTLING_SHARE = 0.25
"""Of the lots, at the beginning: caches fill, nothing is compared."""

MOST_MEMORY_GROWTH_MIB_PER_100_LOTS = 40.0
MOST_HANDLES, MOST_THREADS = 3, 3
FEWEST_LOTS = 40
"""Of a process, before its growth says anything."""


class Held(NamedTuple):
    """What a process holds."""

    memory_mib: float
    handles: float
    threads: float


def held_by(pid: int) -> Held:
    """Return what a process holds now."""
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return Held(
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(os.listdir(process / "fd")),
        len(os.listdir(process / "task")),
    )


@dataclass
class Tally:
    """What happened."""

    lots: int = 0
    done: int = 0
    lost: list[str] = field(default_factory=list[str])
    injected: Counter[str] = field(default_factory=Counter[str])
    silent: list[str] = field(default_factory=list[str])
    recovered: int = 0
    repeated: int = 0
    killed: int = 0
    analyses: list[int] = field(default_factory=list[int])
    visits: Visits = field(default_factory=Visits)
    held: dict[str, list[Held]] = field(default_factory=dict[str, list[Held]])

    def growth(self) -> dict[str, Held]:
        """Return what grew after the settling: memory per 100 lots, the rest in all."""
        return {name: _growth(held) for name, held in self.held.items() if held}


def _growth(held: list[Held]) -> Held:
    kept = np.array(held[int(len(held) * SETTLING_SHARE) :])
    slope = float(np.polyfit(np.arange(len(kept)), kept[:, 0], 1)[0]) if len(kept) > 2 else 0.0
    return Held(100 * slope, *(kept[-1] - kept[0])[1:])


class Heard(logging.Handler):
    """Notes what was said, so that a fault that nobody noticed is found."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Viewers:
    """Viewers that come to the page and go, from a thread of their own."""

    def __init__(self, address: str, seed: int) -> None:
        self.visits = Visits()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._task = self._loop.create_task(
            come_and_go(address, self._stop, self.visits, random.Random(seed))
        )
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._task,), name="viewers"
        )
        self._thread.start()

    def close(self) -> None:
        """Let the last one go."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


def run_lot(session: Session, folder: Path, name: str, dice: random.Random, tally: Tally) -> None:
    """Take one lot, with whatever goes wrong; again if a fault ended it."""
    faults: Any = session.microscope.instrument.faults
    before = len(faults.log)
    heard = Heard()
    logging.getLogger("zoneplate").addHandler(heard)
    fault = ""
    if dice.random() < SHARE_WITH_FAULT:
        fault = dice.choice(ENDING if dice.random() < SHARE_ENDING else RECOVERABLE)
        arm(faults, fault, session, dice)
    if dice.random() < SHARE_KILLED and session.live is not None and session.live.alive:
        os.kill(session.live.pid or 0, signal.SIGKILL)
        tally.killed += 1
    ended = ""
    try:
        taken = take(session, folder / name, name)
    except Exception as error:  # noqa: BLE001 - that is what is counted
        ended = str(error)
        taken = take(session, folder / name, name)
        tally.repeated += 1
    finally:
        logging.getLogger("zoneplate").removeHandler(heard)
    fired = [entry.name for entry in faults.log[before:]]
    faults.clear()
    tally.injected.update(fired)
    if fired and not (ended or heard.lines):
        tally.silent.append(f"{name}: {fired[0]}")
    elif fired:
        tally.recovered += 1
    tally.done += taken["particles"]["count"] > 0


def take(session: Session, out: Path, name: str) -> dict[str, Any]:
    """Screen the lot on the stage; a report is drawn now and then, which takes most of the time."""
    session.RE.md["sample"] = name
    if int(name.split()[-1]) % REPORT_EVERY == 0:
        return screen_sample(session, out, at_um=AT_UM, **LOT).document
    found: list[str] = []

    def plan() -> Any:
        found.extend((yield from screen(session.microscope, at_um=AT_UM, **LOT)))

    session.steering.run(plan())
    tomograms = [session.tomogram(uid) for uid in found[1:]]
    results = collect_screening(session.data, found[0], found[1:], tomograms)
    save_results(out, results)
    return results.document


def arm(faults: Any, name: str, session: Session, dice: random.Random) -> None:
    """Arm a fault at a random moment of the lot."""
    if name in ENDING:
        faults.arm(name, after_s=dice.uniform(1.0, 20.0))
    elif name == "frame_late":
        faults.arm(name, after_s=dice.uniform(1.0, 20.0), magnitude=3.0)
    else:
        faults.arm(name, after_s=dice.uniform(1.0, 20.0))


def accounted(data: DataDirectory, names: list[str], tally: Tally) -> None:
    """See that every lot has a finished map, a finished tomogram and a result."""
    good: dict[str, set[str]] = {}
    for path in journals(data.journal):
        documents = list(read_journal(path))
        start, last = documents[0][1], documents[-1]
        if last[0] != "stop":
            tally.lost.append(f"run {start['uid']} has no end")
        elif last[1]["exit_status"] == "success" and "analysis_of" not in start:
            good.setdefault(str(start["sample"]), set()).add(str(start["plan_name"]))
    tally.lost += [name for name in names if good.get(name) != {"mosaic", "tomography"}]


def soak(lots: int, root: Path, *, seed: int = 0, catalog: bool = True) -> Tally:
    """Run a campaign and return what happened."""
    dice, tally = random.Random(seed), Tally()
    names = [f"lot {number:03d}" for number in range(lots)]
    with open_session("simulated", specimen=SPECIMEN, data_dir=root / "data", seed=seed) as session:
        if catalog:
            session.catalog.start()
        with PageProcess(session.data) as page:
            if not page.wait_ready():
                raise SystemExit(f"the page did not start: {page.addresses}")
            viewers = Viewers(page.addresses[0].split()[-1], seed + 1)
            tally.visits = viewers.visits
            try:
                for name in track(names, description="lots"):
                    tally.lots += 1
                    try:
                        run_lot(session, root / "out", name, dice, tally)
                    except Exception as error:  # noqa: BLE001 - a lot that ends twice is lost
                        tally.lost.append(f"{name}: {error}")
                    measure(tally, session, page)
            finally:
                viewers.close()
        accounted(session.data, names, tally)
        if catalog:
            check_catalog(session, names, tally)
    return tally


def measure(tally: Tally, session: Session, page: PageProcess) -> None:
    """Note what each process holds; a live analysis begins anew when it was killed."""
    pids = {"session": os.getpid(), "page": page.pid}
    live = session.live.pid if session.live is not None else None
    if live is not None and live not in tally.analyses:
        tally.analyses.append(live)
    if live is not None:
        pids[f"analysis {len(tally.analyses)}"] = live
    for name, pid in pids.items():
        with contextlib.suppress(OSError):  # it was killed
            tally.held.setdefault(name, []).append(held_by(pid))


def check_catalog(session: Session, names: list[str], tally: Tally) -> None:
    """See that the catalog has every scan of the journal; analyses are kept beside them."""
    starts = (next(read_journal(path))[1] for path in journals(session.data.journal))
    scans = sum("analysis_of" not in start for start in starts)
    deadline_s, entered = time.monotonic() + 120 + len(names), 0
    while entered < scans and time.monotonic() < deadline_s:
        with contextlib.suppress(CatalogError):  # it is behind
            entered = len(session.catalog)
        time.sleep(0.5)
    if entered < scans:
        tally.lost.append(f"the catalog has {entered} of {scans} scans")


def report(tally: Tally, took_s: float) -> bool:
    """Print the summary; return whether it is good."""
    growth = tally.growth()
    print(f"lots                {tally.lots}, each with a result: {tally.done}")
    print(f"faults injected     {sum(tally.injected.values())} {dict(tally.injected)}")
    print(f"in silence          {len(tally.silent)} {tally.silent[:5]}")
    print(f"recovered           {tally.recovered} lots; {tally.repeated} of them taken again")
    print(f"analyses killed     {tally.killed}")
    seen = tally.visits
    print(f"viewers             {seen.come} came and went, {seen.messages} messages of the page")
    print(f"turned away         {len(seen.failed)} {seen.failed[:5]}")
    for name, (memory_mib, handles, threads) in growth.items():
        held = tally.held[name]
        if len(held) >= FEWEST_LOTS:
            print(
                f"{name:<19} {memory_mib:+.1f} MiB per 100 lots (last {held[-1].memory_mib:.0f}), "
                f"{handles:+.0f} file handles, {threads:+.0f} threads in {len(held)} lots"
            )
    analyses = [held for name, held in tally.held.items() if name.startswith("analysis") and held]
    if analyses:
        largest = max(one.memory_mib for held in analyses for one in held)
        print(f"analyses            {len(analyses)} one after the other, {largest:.0f} MiB at most")
    print(f"lost                {len(tally.lost)} {tally.lost[:5]}")
    print(f"took                {took_s:.0f} s")
    grown = [
        name
        for name, (memory_mib, handles, threads) in growth.items()
        if len(tally.held[name]) >= FEWEST_LOTS
        and (
            memory_mib > MOST_MEMORY_GROWTH_MIB_PER_100_LOTS
            or handles > MOST_HANDLES
            or threads > MOST_THREADS
        )
    ]
    if grown:
        print(f"grew                {', '.join(grown)}")
    return not (tally.lost or tally.silent or seen.failed or grown or tally.done != tally.lots)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lots", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # What is said is counted, not printed.
    logging.lastResort = None
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = soak(options.lots, Path(folder), seed=options.seed)
    if not report(tally, time.monotonic() - began_s):
        raise SystemExit("the soak failed")


if __name__ == "__main__":
    main()
