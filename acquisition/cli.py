"""The command line: `zoneplate --help`.

Every command imports what it needs when it runs, so that help is instant.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import (
    command_budget,
    command_detection,
    command_export,
    command_live,
    command_lots,
    command_queue,
    command_reanalyze,
    command_recover,
    command_tomography,
    command_verify,
)
from .command_options import (
    AngleOrder,
    Binning,
    Columns,
    Data,
    Epics,
    Exposure,
    Instrument,
    Order,
    Out,
    Projections,
    Rows,
    Sample,
    Seed,
    SpecimenFile,
    map_um,
)
from .command_result import conclude

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rapid X-ray nano-CT of powders: acquisition, live analysis and reports.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# `-1`, the newest scan, must reach the command as a value, not as an option nobody knows.
TAKES_MINUS_ONE = {"ignore_unknown_options": True}


EXIT_BAD_INPUT = 2
EXIT_FAILED = 1


class Rank(StrEnum):
    """What makes a region telling."""

    by_count = "count"
    by_diversity = "diversity"
    by_voids = "voids"


Adaptive = Annotated[
    bool,
    typer.Option("--adaptive", help="Stop each tomogram when its statistics no longer change"),
]
Lot = Annotated[
    Path | None,
    typer.Option(help="Lot specification (TOML): judge the lot, and stop when it is decided"),
]
StopWhenTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--stop-when",
        help="End early: budget=SECONDS, particles=COUNT, width=WIDTH (of the 95 % interval of the "
        "void frequency) or verdict=package.module:function; repeat for alternatives, join with +",
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        help="Go on with a screening that was broken off: a run of it (uid, or its beginning; -1 "
        "for the newest). Its sample and settings hold unless others are given"
    ),
]
CorrectDetection = Annotated[
    bool,
    typer.Option(
        "--correct-detection",
        help="Correct the powder's void frequency for missed and false voids, by the scan's twin",
    ),
]
MinimumVoid = Annotated[
    float, typer.Option("--minimum-void", help="Diameter from which a void counts, um")
]


@app.command(
    context_settings=TAKES_MINUS_ONE,
    epilog="Example: zoneplate screen --sample nmc622 --regions 1 --seed 0 --out out/",
)
def screen(
    context: typer.Context,
    sample: Sample = None,
    regions: Annotated[int, typer.Option(help="Number of tomograms")] = 1,
    seed: Seed = 0,
    out: Out = Path("out"),
    specimen: SpecimenFile = None,
    instrument: Instrument = "simulated",
    exposure_s: Exposure = 1.0,
    binning: Binning = 8,
    projections: Projections = 141,
    order: AngleOrder = Order.interlaced,
    rows: Rows = 5,
    columns: Columns = 8,
    data: Data = None,
    epics: Epics = False,
    adaptive: Adaptive = False,
    lot: Lot = None,
    rank: Annotated[
        Rank,
        typer.Option(help="Regions with the most particles, various sizes, or suspected voids"),
    ] = Rank.by_count,
    stop_when: StopWhenTexts = None,
    resume: Resume = None,
    live: Annotated[
        bool, typer.Option("--live", help="Show the scan in a browser; prints the address")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(help="Simulated seconds per second; as fast as can be if not given"),
    ] = None,
) -> None:
    """Map a powder, take tomograms of the best regions, measure and report.

    With --lot regions are taken until the lot is decided or its budget is spent.
    """
    from zoneplate.analysis.lot_specification import load_specification
    from zoneplate.analysis.stop_when import parse_stop_when
    from zoneplate.devices import ConfigurationError

    from .command_live import shown_live
    from .data_directory import DataDirectory, check_writable
    from .opening import EPICS_SIMULATED, open_session
    from .progress import ScanProgress
    from .screening import begun
    from .workflow import screen_sample

    check_writable(out)
    specification = load_specification(lot) if lot is not None else None
    options: dict[str, Any] = {
        "regions": regions,
        "exposure_s": exposure_s,
        "binning": binning,
        "projections": projections,
        "order": order.value,
        "shape": (rows, columns),
        "adaptive": adaptive,
        "rank": rank.value,
    }
    rule = parse_stop_when(stop_when or [])
    if resume is not None:
        given = {name for name in options if _was_given(context, name)}
        if _was_given(context, "rows") or _was_given(context, "columns"):
            raise ConfigurationError(
                "the map of a screening that was broken off is there already: leave --rows and "
                "--columns out, or begin a new screening"
            )
        options = {name: value for name, value in options.items() if name in given}
        earlier = begun(DataDirectory.choose(data), resume)
        # A newer run must not take the place of the one that was meant by -1.
        resume = str(earlier.start["uid"])
        if "specimen_file" in earlier.start:  # it was simulated
            specimen, seed = Path(earlier.start["specimen_file"]), int(earlier.start["seed"])
        sample = earlier.start["sample"]
    if rule is not None:
        options["stop_when"] = rule
    instrument = EPICS_SIMULATED if epics else instrument
    with (
        open_session(
            instrument,
            sample=sample,
            seed=seed,
            specimen=specimen,
            data_dir=data,
            speed=speed,
            map_um=map_um(rows, columns),
        ) as session,
        shown_live(session.data if live else None),
        ScanProgress(session) as shown,
    ):
        results = screen_sample(
            session, out, lot=specification, resume=resume, progress=shown.step, **options
        )
    conclude(results.document, out)


@app.command(epilog="Example: zoneplate mosaic --rows 5 --columns 8 --out map/")
def mosaic(
    rows: Rows = 5,
    columns: Columns = 8,
    sample: Sample = None,
    seed: Seed = 0,
    out: Out = Path("out"),
    specimen: SpecimenFile = None,
    instrument: Instrument = "simulated",
    exposure_s: Exposure = 1.0,
    binning: Binning = 8,
    data: Data = None,
) -> None:
    """Map a powder with radiographs and find its particles."""
    from zoneplate.plans import mosaic as mosaic_plan

    from .data_directory import check_writable
    from .map_analysis import save_map
    from .opening import open_session
    from .progress import ScanProgress

    check_writable(out)
    with open_session(
        instrument,
        sample=sample,
        seed=seed,
        specimen=specimen,
        data_dir=data,
        live=False,
        map_um=map_um(rows, columns),
    ) as session:
        with ScanProgress(session) as shown:
            (uid,) = session.RE(
                mosaic_plan(
                    session.microscope,
                    shape=(rows, columns),
                    exposure_s=exposure_s,
                    binning=binning,
                )
            )
            shown.step("stitching and finding particles")
            found = session.map(uid)
        save_map(out, found)
    typer.echo(f"{found.facts['particles']} particles on {found.facts['tiles']} tiles (run {uid})")
    typer.echo(str(out / "mosaic.csv"))


@app.command(
    context_settings=TAKES_MINUS_ONE, epilog="Example: zoneplate analyze scan.nxs --out out/"
)
def analyze(
    source: Annotated[
        str,
        typer.Argument(help="NXtomo or DXchange HDF5, Zeiss .txrm, folder of TIFFs, or run uid"),
    ],
    out: Out = Path("out"),
    pixel_um: Annotated[
        float | None, typer.Option(help="Pixel size at the sample, um, if the file does not say")
    ] = None,
    minimum_void_um: MinimumVoid = 1.8,
    correct_geometry: Annotated[
        bool,
        typer.Option("--geometry/--no-geometry", help="Correct a tilted axis and movements"),
    ] = True,
    data: Data = None,
    lot: Lot = None,
    correct_detection: CorrectDetection = False,
) -> None:
    """Reconstruct and measure a scan that exists."""
    from zoneplate.analysis.lot_specification import load_specification

    from .progress import steps
    from .workflow import analyze as analyze_source

    with steps() as step:
        results = analyze_source(
            source,
            out,
            data_dir=data,
            pixel_um=pixel_um,
            minimum_void_um=minimum_void_um,
            correct_geometry=correct_geometry,
            lot=load_specification(lot) if lot is not None else None,
            correct_detection=correct_detection,
            progress=step,
        )
    conclude(results.document, out)


@app.command(
    context_settings=TAKES_MINUS_ONE,
    epilog="Example: zoneplate report -1 --out out/   (-1 is the newest scan)",
)
def report(
    run: Annotated[str, typer.Argument(help="Uid of a run, or its beginning; -1 for the newest")],
    out: Out = Path("out"),
    data: Data = None,
    lot: Lot = None,
    correct_detection: CorrectDetection = False,
) -> None:
    """Write the report of a run again; analyses the frames only if nobody has.

    Of a map: the report of its screening, all regions.
    """
    from zoneplate.analysis.lot_specification import load_specification

    from .progress import steps
    from .workflow import analyze as analyze_source

    with steps() as step:
        results = analyze_source(
            run,
            out,
            data_dir=data,
            again=False,
            lot=load_specification(lot) if lot is not None else None,
            correct_detection=correct_detection,
            progress=step,
        )
    conclude(results.document, out)


@app.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: zoneplate ioc --prefix ZP: --sample nmc622 --directory frames/",
)
def ioc(
    options: Annotated[
        list[str] | None, typer.Argument(help="As `zoneplate ioc --help` says")
    ] = None,
) -> None:
    """Serve the simulated microscope over EPICS Channel Access."""
    from zoneplate.simulators.ioc.command import main as serve

    raise typer.Exit(serve(options or []))


@app.command(epilog="Example: zoneplate doctor")
def doctor(
    data: Data = None,
    instrument: Annotated[
        Path | None, typer.Option(help="Instrument file to try: whether all of it answers")
    ] = None,
) -> None:
    """Say what is installed and working, and what to do about what is not."""
    from .doctor import examine

    findings = examine(data, instrument)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = {True: "ok", False: "!!", None: "--"}[finding.good]
        typer.echo(f"{mark}  {finding.name:<{width}}  {finding.state}")
        if finding.remedy:
            typer.echo(f"    {'':<{width}}  -> {finding.remedy}")
    if any(finding.good is False for finding in findings):
        raise typer.Exit(EXIT_FAILED)


for command in (
    command_budget,
    command_detection,
    command_export,
    command_tomography,
    command_recover,
    command_reanalyze,
    command_verify,
    command_lots,
    command_live,
    command_queue,
):
    command.register(app)


def _was_given(context: typer.Context, name: str) -> bool:
    """Return whether an option stood on the command line.

    By name: Typer may carry a Click of its own, whose enumeration is not that of `click`.
    """
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def main(run: Callable[[], Any] = app) -> None:
    """Run the command line: one clear line and exit code 2 for what the user can mend."""
    try:
        run()
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(EXIT_FAILED)
    except Exception as error:
        if _interrupted(error):
            typer.echo("stopped", err=True)
            sys.exit(EXIT_FAILED)
        problem = _mendable(error)
        if problem is None:
            raise
        typer.echo(f"zoneplate: {problem}", err=True)
        sys.exit(EXIT_BAD_INPUT)


def _interrupted(error: BaseException) -> bool:
    """Return whether Ctrl-C met a scan: the RunEngine then raises an error of its own."""
    from bluesky.utils import RunEngineInterrupted

    return isinstance(error, RunEngineInterrupted)


def _mendable(error: BaseException) -> str | None:
    """Return what to tell the user about a refusal; None for a fault of ours."""
    from bluesky.utils import FailedStatus
    from ophyd.utils import LimitError

    from zoneplate.devices import ZoneplateError

    from .formats import ScanFormatError
    from .runs import RunNotFoundError

    if isinstance(error, FailedStatus) and error.__cause__ is not None:
        return _mendable(error.__cause__) or str(error.__cause__)
    refusals = (ZoneplateError, ScanFormatError, RunNotFoundError, LimitError, ValueError)
    return " ".join(str(error).split()) if isinstance(error, refusals) else None
