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
AngleOrder = Annotated[Order, typer.Option(help="Order of the projection angles")]
