"""`zoneplate detection`: how small a void a scan shows, tried on a simulated twin of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .command_options import Binning, Data, Exposure, Projections

PICTURE_DPI = 130
SHARES = (0.1, 0.5, 0.9, 0.99)


def detection(
    exposure_s: Exposure = 1.0,
    binning: Binning = 8,
    projections: Projections = 141,
    start_deg: Annotated[float, typer.Option("--start", help="First angle, degrees")] = -90.0,
    stop_deg: Annotated[float, typer.Option("--stop", help="Last angle, degrees")] = 90.0,
    frames_per_angle: Annotated[int, typer.Option(help="Frames at each angle")] = 1,
    powders: Annotated[
        int, typer.Option(min=1, help="Simulated powders of three tomograms and 75 voids each")
    ] = 2,
    again: Annotated[bool, typer.Option("--again", help="Even if it is known already")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw the curve, a PNG or SVG file")
    ] = None,
    data: Data = None,
) -> None:
    """Find out how small a void these settings show, by scanning voids of known size.

    The answer is kept in the data directory and stands in every result with these settings.
    """
    from .data_directory import DataDirectory
    from .detection_twin import ScanSettings, find_twin, make_twin, save_twin
    from .progress import counted

    settings = ScanSettings(binning, projections, exposure_s, frames_per_angle, start_deg, stop_deg)
    directory = DataDirectory.choose(data)
    twin = None if again else find_twin(settings, directory)
    if twin is None:
        with counted("tomograms of the twin") as done:
            twin = make_twin(settings, powders=powders, progress=done)
        typer.echo(f"kept in {save_twin(directory.twins, twin)}")
    curve = twin.curve
    typer.echo(f"{len(twin.found)} voids in {twin.particles} particles (95 % intervals):")
    for share in SHARES:
        size = curve.diameter_um(share)
        typer.echo(
            f"  {share:4.0%} of the voids of {size.value:.2f} um are found "
            f"({size.low:.2f} to {size.high:.2f})"
        )
    false = twin.summary()["false_voids_per_particle"]
    typer.echo(f"  {false['value']:.4f} false voids per particle (at most {false['high']:.4f})")
    if picture is not None:
        from zoneplate.analysis.figures_detection import detection_figure

        detection_figure(twin.diameters_um, twin.found).savefig(picture, dpi=PICTURE_DPI)
        typer.echo(str(picture))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    epilog = "Example: zoneplate detection --binning 8 --projections 141 --exposure 1"
    app.command(epilog=epilog)(detection)
