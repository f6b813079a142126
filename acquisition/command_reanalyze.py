"""`zoneplate reanalyze`: stored tomograms again, many at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

EXIT_FAILED = 1


def reanalyze(
    query: Annotated[
        str,
        typer.Argument(help="'all', or terms such as 'sample=nmc622 acquisition.binning=8'"),
    ],
    workers: Annotated[
        int, typer.Option(min=0, help="Worker processes on this computer; 0: none, one by one")
    ] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that runs elsewhere")
    ] = None,
    minimum_void_um: Annotated[
        float, typer.Option("--minimum-void", help="Diameter from which a void counts, um")
    ] = 1.8,
    correct_geometry: Annotated[
        bool,
        typer.Option("--geometry/--no-geometry", help="Correct a tilted axis and movements"),
    ] = True,
    campaign: Annotated[
        str | None,
        typer.Option(help="Name; what it has done is skipped. Default: parameters and versions"),
    ] = None,
    memory: Annotated[str, typer.Option(help="Memory of a worker, such as 4GiB")] = "auto",
    only_list: Annotated[
        bool, typer.Option("--list", help="Only list what fits, analyse nothing")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
    ] = None,
) -> None:
    """Analyse stored tomograms again: a derived run each, resumable, a tomogram per task."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    from .data_directory import DataDirectory
    from .reanalysis import find_tomograms, has_dashboard
    from .reanalysis import reanalyze as run_campaign

    folder = DataDirectory.choose(data)
    uids = find_tomograms(folder, query)
    if only_list:
        typer.echo("\n".join(uids))
        return
    console = Console(stderr=True)
    columns = (TextColumn("tomograms"), BarColumn(), MofNCompleteColumn(), Left())

    def on_ready(client: Any) -> None:
        if client is not None and has_dashboard():
            console.print(f"dashboard: {client.dashboard_link}", highlight=False)

    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=len(uids))
        found = run_campaign(
            folder,
            uids,
            workers=workers,
            scheduler=scheduler,
            minimum_void_um=minimum_void_um,
            correct_geometry=correct_geometry,
            name=campaign,
            memory_limit=memory,
            on_task=lambda _: bar.advance(task),
            on_ready=on_ready,
        )
        bar.update(task, total=len(found.done) + len(found.failed))
    for uid, error in found.failed.items():
        typer.echo(f"{uid}: {error}", err=True)
    typer.echo(
        f"campaign {found.name}: {len(found.done)} analysed, {len(found.skipped)} done before, "
        f"{len(found.failed)} failed; {found.per_minute:.1f} tomograms per minute"
    )
    if found.failed:
        raise typer.Exit(EXIT_FAILED)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog="Example: zoneplate reanalyze 'sample=nmc622' --workers 2")(reanalyze)
