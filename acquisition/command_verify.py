"""`zoneplate verify`: compute again and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_FAILED = 1


def verify(
    run: Annotated[str, typer.Argument(help="Uid of a run, or its beginning; -1 for the newest")],
    data: Annotated[
        Path | None,
        typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
    ] = None,
) -> None:
    """Compute the numbers of a run again from its frames, and compare with what is stored.

    Says where the numbers come from. Writes nothing. The exit code is 1 if something disagrees.
    """
    from .data_directory import DataDirectory
    from .progress import steps
    from .verification import verify as compare

    with steps() as step:
        found = compare(DataDirectory.choose(data), run, step)
    acquisition = found.provenance["acquisition"]
    typer.echo(f"run {found.uid}: {acquisition['plan_name']} of {acquisition['sample']!r}")
    for file in acquisition["frame_files"]:
        typer.echo(f"  frames {file}")
    if analysis := found.provenance.get("analysis"):
        version = analysis.get("versions", {}).get("zoneplate", "unknown")
        typer.echo(f"  analysis {analysis['uid']} by zoneplate {version}")
        typer.echo(f"  parameters {analysis.get('parameters', {})}")
    width = max(len(check.name) for check in found.checks)
    for check in found.checks:
        mark = {True: "ok", False: "!!", None: "--"}[check.good]
        typer.echo(f"{mark}  {check.name:<{width}}  {check.detail}")
    if not found.good:
        raise typer.Exit(EXIT_FAILED)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        # `-1`, the newest scan, must reach the command as a value.
        context_settings={"ignore_unknown_options": True},
        epilog="Example: zoneplate verify -1",
    )(verify)
