"""What the page says of a lot: counts, times, lag, warnings, in words and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.analysis.statistics import wilson_interval

from .follower import FollowedRun, Follower

LOT_RESULTS = "results.json"
"""Copy of the results of a lot in the folder of the run it began with."""

LARGEST_RESULTS = 8 * 1024 * 1024
"""Bytes of a `results.json` that is read."""

LAGGING_FRAMES = 20
"""From so many frames on, the analysis is said to be behind."""

LOG_TAIL_BYTES, LOG_LINES = 8192, 5

LOG_LINE = re.compile(r"\S+ (?P<time>\S+?)(,\d+)? (WARNING|ERROR) \S+: (?P<what>.+)")

AXES = (("x", "µm"), ("y", "µm"), ("z", "µm"), ("theta", "°"))


@dataclass
class LotFacts:
    """What is known about one lot.

    Attributes
    ----------
    uid, sample
        The lot.
    phase
        What is happening, in words.
    running
        Whether it goes on.
    failed
        Why the newest run did not end well; empty if it did.
    taken, planned
        Frames of the run in progress.
    left
        Time left of that run, in words.
    beam_on
        Share of its time with the beam on a frame; None before the first frame.
    lag_frames
        Projections that the analysis has not seen yet.
    particles, with_voids
        Counts over the regions so far; None before the first.
    low, high
        95 % interval of the void frequency.
    final
        Whether counts are those of `results.json`.
    rows
        The live curve of the tomogram that is shown.
    warnings
        In words.
    results
        The content of `results.json`; None before it is written.
    """

    uid: str = ""
    sample: str = ""
    phase: str = "Waiting for a scan"
    running: bool = False
    failed: str = ""
    taken: int = 0
    planned: int = 0
    left: str = ""
    beam_on: float | None = None
    lag_frames: int = 0
    particles: int | None = None
    with_voids: int = 0
    low: float = math.nan
    high: float = math.nan
    final: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    warnings: list[str] = field(default_factory=list[str])
    results: dict[str, Any] | None = None

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict on the lot; empty if none was asked for, or reached."""
        found = (self.results or {}).get("verdict")
        return found if isinstance(found, dict) else {}

    @property
    def levels(self) -> list[tuple[str, float]]:
        """Acceptable and rejectable void frequency, if the verdict is about it."""
        limits = self.verdict.get("limits")
        for limit in limits if isinstance(limits, list) else []:
            if isinstance(limit, dict) and "void_frequency" in str(limit.get("name")):
                named = [(name, limit.get(name)) for name in ("acceptable", "rejectable")]
                return [(name, float(v)) for name, v in named if isinstance(v, int | float)]
        return []

    @property
    def frequency(self) -> float:
        """Share of particles with voids."""
        return self.with_voids / self.particles if self.particles else math.nan


def lot_facts(follower: Follower, runs: Sequence[FollowedRun], analysed: int) -> LotFacts:
    """Return what is known about a lot.

    Parameters
    ----------
    follower
        Knows the runs.
    runs
        Those of the lot, in order.
    analysed
        How many projections of the newest tomogram the slices show.
    """
    if not runs:
        return LotFacts()
    newest = runs[-1]
    record = newest.record
    analysis = follower.analysis(newest)
    facts = LotFacts(uid=newest.lot, sample=newest.sample, running=newest.open)
    facts.taken, facts.planned = newest.taken, newest.planned
    facts.phase = _phase(newest, analysis)
    elapsed_s = newest.time_s - newest.start_s
    if newest.open and newest.taken and elapsed_s > 0:
        left_s = elapsed_s / newest.taken * max(newest.planned - newest.taken, 0)
        facts.left = f"{left_s // 60:.0f}:{left_s % 60:02.0f}"
    exposure_s = float((record.start.get("acquisition") or {}).get("exposure_s", 0.0))
    if newest.taken and elapsed_s > 0:
        lit = newest.projections + len(record.frames.get("flat", {}))
        facts.beam_on = min(1.0, lit * exposure_s / elapsed_s)
    if newest.plan_name == "tomography" and (analysis is None or analysis.record.stop is None):
        facts.lag_frames = max(0, newest.projections - analysed)
    facts.results = read_results(follower.data, newest.lot)
    tomograms = [run for run in runs if run.plan_name == "tomography"]
    facts.rows = list(rows_of(follower, tomograms[-1])) if tomograms else []
    _count(follower, facts, tomograms)
    facts.failed = _failure(newest)
    facts.warnings = _warnings(follower, facts, runs)
    return facts


def rows_of(follower: Follower, run: FollowedRun) -> list[dict[str, Any]]:
    """Return the live curve of a run."""
    analysis = follower.analysis(run)
    return analysis.rows if analysis is not None else []


def read_results(data: DataDirectory, uid: str) -> dict[str, Any] | None:
    """Return the results of a lot; None if there are none (yet) that can be read."""
    path = data.result_of(uid) / LOT_RESULTS
    try:
        if path.stat().st_size > LARGEST_RESULTS:
            return None
        found = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def log_tail(path: Path) -> list[str]:
    """Return the last warnings of the session's log in words: when, and what."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    found = [match for line in text.splitlines() if (match := LOG_LINE.match(line))]
    return [f"{match['time']}  {match['what'][:300]}" for match in found[-LOG_LINES:]]


def _phase(run: FollowedRun, analysis: FollowedRun | None) -> str:
    number, of = run.region
    title = {"mosaic": "Map", "tomography": "Tomogram"}.get(run.plan_name, run.plan_name)
    if run.plan_name == "tomography" and "screening" in run.record.start:
        title = f"Tomogram {number + 1} of {of}"
    if run.open:
        return title
    if run.record.stop is None:
        return f"{title} was broken off"
    status = run.record.stop.get("exit_status")
    if status != "success":
        return f"{title} ended early ({status})"
    if run.plan_name == "tomography" and (analysis is None or analysis.record.stop is None):
        return f"{title} taken, measuring it"
    return f"{title} done"


def _count(follower: Follower, facts: LotFacts, tomograms: Sequence[FollowedRun]) -> None:
    """Fill in the counts: those of the results if they are there, else the live ones."""
    results = facts.results
    try:
        if results is not None and not facts.running:
            frequency = results["void_frequency"]
            facts.particles, facts.with_voids = int(frequency["n"]), int(frequency["k"])
            facts.low, facts.high = (
                math.nan if frequency[name] is None else float(frequency[name])
                for name in ("low", "high")
            )
            facts.final = True
            return
    except (KeyError, TypeError, ValueError):
        facts.results = None
    newest = [rows[-1] for run in tomograms if (rows := rows_of(follower, run))]
    if not newest:
        return
    facts.particles = sum(int(row["particles"]) for row in newest)
    facts.with_voids = sum(int(row["with_voids"]) for row in newest)
    if facts.particles:
        facts.low, facts.high = wilson_interval(facts.with_voids, facts.particles)


def _failure(run: FollowedRun) -> str:
    if run.damaged:
        return run.damaged
    if run.abandoned:
        return "The process that took this run ended without closing it; `zoneplate recover` mends"
    stop = run.record.stop
    if stop is not None and stop.get("exit_status") != "success":
        return str(stop.get("reason") or "The run ended early, and does not say why")
    return ""


def _warnings(follower: Follower, facts: LotFacts, runs: Sequence[FollowedRun]) -> list[str]:
    found = list(facts.results.get("warnings", [])) if facts.results is not None else []
    for run in runs:
        analysis = follower.analysis(run)
        ended = (analysis.record.stop or {}) if analysis is not None else {}
        if ended.get("exit_status", "success") != "success":
            found.append(f"The live analysis of run {run.uid[:8]} failed: {ended.get('reason')}")
    if facts.running and facts.lag_frames >= LAGGING_FRAMES:
        found.append(f"The analysis is {facts.lag_frames} frames behind the scan")
    found += log_tail(follower.data.root / "session.log")
    return [str(warning)[:500] for warning in found]
