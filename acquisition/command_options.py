"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Order(StrEnum):
    """Orders of projection angles."""

    interlaced = "interlaced"
    sequential = "sequential"
    golden = "golden"


Sample = Annotated[
    str | None,
    typer.Option(
        help="Name of the sample; simulated: nmc622, nmc811 or nmc622-bad  [default: nmc622]",
        show_default=False,
    ),
]
SpecimenFile = Annotated[
    Path | None, typer.Option("--specimen", help="Specimen of your own: CSV, HDF5, STL or PLY")
]
Instrument = Annotated[
    str, typer.Option(help="'simulated', 'epics-simulated', or an instrument file (.toml)")
]
Epics = Annotated[
    bool, typer.Option("--epics", help="The simulated instrument behind an EPICS server")
]
Seed = Annotated[int, typer.Option(help="Seed of the simulated specimen and instrument")]
Out = Annotated[Path, typer.Option(help="Folder for results and report")]
Data = Annotated[
    Path | None,
    typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
]
Exposure = Annotated[float, typer.Option("--exposure", help="Exposure of each frame, s")]
Binning = Annotated[int, typer.Option(help="On-chip binning: 1, 2, 4 or 8")]
Projections = Annotated[int, typer.Option(help="Projections of a tomogram")]
Rows = Annotated[int, typer.Option(help="Tiles of the map along y")]
Columns = Annotated[int, typer.Option(help="Tiles of the map along x")]
AngleOrder = Annotated[Order, typer.Option(help="Order of the projection angles")]

MOST_TILES_ALONG = 50
"""Rows or columns of a map at most: 3.2 mm, and some 75,000 particles to simulate."""


def map_um(rows: int, columns: int) -> tuple[float, float]:
    """Return width and height of a map.

    Raises
    ------
    ConfigurationError
        If it cannot have so many rows or columns.
    """
    from zoneplate.plans.grid import FIELD_STEP_UM
    from zoneplate.plans.validation import check_count

    check_count("rows", rows, 1, MOST_TILES_ALONG)
    check_count("columns", columns, 1, MOST_TILES_ALONG)
    return columns * FIELD_STEP_UM, rows * FIELD_STEP_UM
