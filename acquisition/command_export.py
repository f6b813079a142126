"""`zoneplate export`: other people's formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FORMATS = "nxtomo, dxchange, tiff, ome-zarr, stl, csv or parquet"


def export(
    source: Annotated[
        str, typer.Argument(help="Uid of a run or its beginning, -1 for the newest, or a file")
    ],
    to: Annotated[str, typer.Option("--to", help=f"Format: {FORMATS}")],
    out: Annotated[Path, typer.Option(help="Folder to write into")] = Path("export"),
    data: Annotated[
        Path | None,
        typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
    ] = None,
) -> None:
    """Write a run, or a scan file, in a format of other people.

    nxtomo, dxchange and tiff hold the frames (tiff the volume too, if the run was analysed);
    ome-zarr the volume with its labels; stl the surfaces of particles and voids; csv and parquet
    the tables. provenance.json beside them leads back to run, software and parameters.
    """
    from .export import ExportFormat
    from .export import export as write

    try:
        chosen = ExportFormat(to)
    except ValueError:
        raise ValueError(f"--to {to} is not known: choose {FORMATS}") from None
    for path in write(source, chosen, out, data_dir=data):
        typer.echo(str(path))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        # `-1`, the newest scan, must reach the command as a value.
        context_settings={"ignore_unknown_options": True},
        epilog="Example: zoneplate export -1 --to ome-zarr --out export/",
    )(export)
