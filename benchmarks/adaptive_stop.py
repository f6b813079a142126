"""What an adaptive stop saves, and what it changes: the scan it skipped is taken and compared.

    python benchmarks/adaptive_stop.py --tomograms 12

Each tomogram of a simulated lot is taken whole, at the study's settings with all imperfections on.
The rule of `tomography(..., adaptive=True)` looks at it at the ends of its passes, as the live
analysis does; where it would have stopped, the scan is analysed again with the projections taken
until then. The statistics of the lot with its early stops are set beside those of whole scans.
A decision limit on the void frequency is tried too: the verdict must be the same.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from typing import Any

import pandas as pd
from bluesky import RunEngine

from zoneplate.acquisition.derived_run import progress_row
from zoneplate.acquisition.live import FrameReader, angle_of
from zoneplate.acquisition.runs import RunRecord
from zoneplate.analysis import summarize
from zoneplate.analysis.stopping import Look, StopRule
from zoneplate.analysis.tomogram import Tomogram, TomogramAnalysis
from zoneplate.analysis.tomogram_limits import COMFORTABLE_SHARE
from zoneplate.devices.optics import projections_needed
from zoneplate.plans import tomography
from zoneplate.plans.stopping import pass_ends
from zoneplate.simulators import attach, nmc622, simulated_microscope

PROJECTIONS = 141
CENTER_UM = (0.0, 0.0, 3.0)
FIRST_SEED = 40
"""The rule was made with other powders."""

ALLOWED = 0.02
"""Largest change of a decision statistic: relative for the mean diameter and d50, in parts of all
particles for the void frequency, in parts of the powder's volume for the dead volume."""


@dataclass(frozen=True)
class Scan:
    """One tomogram: analysed at the end of each pass and whole."""

    looks: list[Look]
    analysed: dict[int, Tomogram]
    seconds: dict[int, float]


def scanned(seed: int, exposure_s: float) -> Scan:
    """Take a tomogram whole, and look at it as the live analysis does."""
    record, reader = RunRecord(), FrameReader()
    looks: list[Look] = []
    analysed: dict[int, Tomogram] = {}
    seconds: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        microscope = simulated_microscope(nmc622(seed), seed=seed, directory=folder)
        engine = RunEngine({}, context_managers=[])
        attach(engine, microscope.clock)
        engine.subscribe(lambda name, doc: record(name, doc) and None)
        before_s = microscope.clock.now()
        engine(tomography(microscope, center_um=CENTER_UM, exposure_s=exposure_s))
        frames = record.stream("primary")
        acquisition, plan = record.start["acquisition"], record.start["tomography"]
        for end in [*pass_ends(PROJECTIONS), PROJECTIONS]:
            analysis = TomogramAnalysis(
                tuple(acquisition["frame_shape"]),
                acquisition["pixel_um"],
                planned_angles_deg=plan["angles_deg"],
                center_um=CENTER_UM,
            )
            for kind in ("dark", "flat"):
                for frame in record.stream(kind):
                    analysis.add_reference(kind, frame.seq_num, reader.read(frame))
            for frame in frames[:end]:
                analysis.add_projection(frame.seq_num, reader.read(frame), angle_of(frame))
            analysis.process()
            preview = analysis.preview()
            if preview is not None and end < PROJECTIONS:
                looks.append(Look.of(progress_row(preview)))
            analysed[end] = analysis.finish()
            start_s = frames[end - 1].data["microscope_camera_exposure_start_s"]
            seconds[end] = start_s + exposure_s - before_s
        reader.close()
        microscope.clock.close()
    return Scan(looks, analysed, seconds)


def stopped_at(scan: Scan, rule: StopRule) -> int:
    """Return after how many projections the rule stops a scan."""
    for number in range(1, len(scan.looks) + 1):
        if rule.reason(scan.looks[:number], PROJECTIONS):
            return scan.looks[number - 1].projections
    return PROJECTIONS


def lot(scans: list[Scan], ends: list[int]) -> dict[str, Any]:
    """Return the statistics of a lot of which each tomogram ended where it did."""
    tables = [
        [
            getattr(scan.analysed[end], name).assign(region=number)
            for number, (scan, end) in enumerate(zip(scans, ends, strict=True))
        ]
        for name in ("particles", "voids")
    ]
    return summarize(pd.concat(tables[0]), pd.concat(tables[1]))


def statistics(summary: dict[str, Any]) -> dict[str, float]:
    """Return what decisions are made on."""
    particles = summary["particles"]
    return {
        "mean diameter": particles["equivalent_diameter_um"]["mean"],
        "d50": particles["percentiles_um"]["d50_number"]["value"],
        "void frequency": summary["void_frequency"]["value"],
        "dead volume": summary["dead_volume_fraction"]["value"],
    }


def compare(scans: list[Scan], rule: StopRule, name: str) -> bool:
    """Print what a rule did to a lot; return whether every change is allowed."""
    ends = [stopped_at(scan, rule) for scan in scans]
    spent_s = sum(scan.seconds[end] for scan, end in zip(scans, ends, strict=True))
    whole_s = sum(scan.seconds[PROJECTIONS] for scan in scans)
    print(f"{name}: stopped after {', '.join(map(str, ends))} projections")
    print(f"  instrument time {whole_s:.0f} s -> {spent_s:.0f} s ({spent_s / whole_s - 1:+.0%})")
    full = statistics(lot(scans, [PROJECTIONS] * len(scans)))
    part = statistics(lot(scans, ends))
    good = True
    for statistic, value in full.items():
        relative = part[statistic] / value - 1
        change = relative if statistic in ("mean diameter", "d50") else part[statistic] - value
        good &= abs(change) <= ALLOWED
        unit = "%" if change is relative else "points"
        of_it = "" if change is relative else f" ({relative:+.1%} of it)"
        print(
            f"  {statistic:15s} {value:8.4f} -> {part[statistic]:8.4f}   "
            f"change {100 * change:+.2f} {unit}{of_it}"
        )
    return good


def verdicts(scans: list[Scan], rule: StopRule, limit: float) -> bool:
    """Print whether each tomogram that stopped as decided says the same as the whole one."""
    ends = [stopped_at(scan, rule) for scan in scans]
    same = all(
        (scan.analysed[end].summary["void_frequency"]["value"] > limit)
        == (scan.analysed[PROJECTIONS].summary["void_frequency"]["value"] > limit)
        for scan, end in zip(scans, ends, strict=True)
    )
    spent_s = sum(scan.seconds[end] for scan, end in zip(scans, ends, strict=True))
    whole_s = sum(scan.seconds[PROJECTIONS] for scan in scans)
    early = sum(end < PROJECTIONS for end in ends)
    print(
        f"decided against a void frequency of {limit:g}: {early} of {len(ends)} stopped early "
        f"({', '.join(map(str, ends))}), time {spent_s / whole_s - 1:+.0%}, same side as the whole "
        f"scan: {'all' if same else 'NOT all'}"
    )
    return same


def main() -> None:
    """Print what the rules do to simulated lots; exit with 1 if a change is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tomograms", type=int, default=12, help="of each lot")
    options = parser.parse_args()
    least = round(COMFORTABLE_SHARE * projections_needed(128))
    good = True
    for exposure_s in (1.0, 3.0):
        scans = [scanned(FIRST_SEED + n, exposure_s) for n in range(options.tomograms)]
        print(f"\n{len(scans)} NMC622 powders, {exposure_s:g} s per projection")
        good &= compare(scans, StopRule(least), "stable")
        for limit in (0.1, 0.2):
            rule = StopRule(least, {"void_frequency": limit}, stable=False)
            good &= verdicts(scans, rule, limit)
    print("\nall within 2 %" if good else "\nmore than 2 %")
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
