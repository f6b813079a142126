"""`zoneplate recover`: after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_FAILED = 1


def recover(
    data: Annotated[
        Path | None,
        typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
    ] = None,
    catalog: Annotated[
        str | None,
        typer.Option(
            help="Enter all runs into this catalog (https:// of a Tiled server, or postgresql://) "
            "instead of the configured one"
        ),
    ] = None,
    enter: Annotated[bool, typer.Option(help="Enter the runs into the catalog too")] = True,
) -> None:
    """Make a data directory whole after a crash or a power cut, and say what is missing.

    Also the way from the embedded catalog to a shared one: with --catalog, every run goes there.
    The exit code is 1 if something is missing.
    """
    from .catalog_choice import open_catalog
    from .data_directory import DataDirectory
    from .progress import steps
    from .recovery import enter_in_catalog
    from .recovery import recover as make_whole

    folder = DataDirectory.choose(data)
    with steps() as step:
        found = make_whole(folder, step)
        if enter and folder.journal.is_dir():
            step("entering runs into the catalog")
            enter_in_catalog(folder, found, lambda: open_catalog(folder.root, catalog))
    for run in found.runs:
        events = ", ".join(f"{count} {stream}" for stream, count in run.events.items())
        typer.echo(f"run {run.uid[:8]} {run.plan_name} ({events or 'no frames'})")
        for done in run.done:
            typer.echo(f"  {done}")
        for missing in run.missing:
            typer.echo(f"  MISSING {missing}")
    for note in found.notes:
        typer.echo(note)
    if found.going_on:
        typer.echo(f"{len(found.going_on)} runs go on and were left alone")
    typer.echo(f"{found.whole} runs needed nothing")
    if found.entered is not None:
        typer.echo(f"{found.entered} runs are in the catalog")
    if found.missing:
        raise typer.Exit(EXIT_FAILED)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog="Example: zoneplate recover --data ~/zoneplate-data")(recover)
