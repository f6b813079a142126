"""`zoneplate tomography`: one tomogram, or a time series."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .command_options import (
    AngleOrder,
    Binning,
    Data,
    Exposure,
    Instrument,
    Order,
    Out,
    Projections,
    Sample,
    Seed,
    SpecimenFile,
)
from .command_result import conclude


class Motion(StrEnum):
    """How the stage turns."""

    step = "step"
    fly = "fly"


class When(StrEnum):
    """When references are taken."""

    before = "before"
    after = "after"
    both = "both"


class Rule(StrEnum):
    """How the exposure follows the angle."""

    constant = "constant"
    edge_on = "edge-on"


def tomography(
    center_um: Annotated[
        tuple[float, float, float],
        typer.Option("--center", help="Point of the sample (x y z) on the rotation axis, um"),
    ] = (0.0, 0.0, 0.0),
    sample: Sample = None,
    seed: Seed = 0,
    out: Out = Path("out"),
    specimen: SpecimenFile = None,
    instrument: Instrument = "simulated",
    exposure_s: Exposure = 1.0,
    binning: Binning = 8,
    projections: Projections = 141,
    order: AngleOrder = Order.interlaced,
    data: Data = None,
    start_deg: Annotated[float, typer.Option("--start", help="First angle, degrees")] = -90.0,
    stop_deg: Annotated[float, typer.Option("--stop", help="Last angle, degrees")] = 90.0,
    angles: Annotated[
        Path | None, typer.Option(help="File with an angle per line, to take in that order")
    ] = None,
    motion: Annotated[
        Motion, typer.Option(help="fly: turn without stopping (with --order sequential)")
    ] = Motion.step,
    most_blur: Annotated[
        float | None, typer.Option(help="In motion, voxels that the edge may be smeared by")
    ] = None,
    references: Annotated[
        When, typer.Option(help="Darks and flats before the projections, after them, or both")
    ] = When.before,
    flats_every: Annotated[
        int | None, typer.Option(help="Flats again after so many projections")
    ] = None,
    flats_age_s: Annotated[
        float | None, typer.Option("--flats-age", help="Flats again before they are so old, s")
    ] = None,
    flat_exposure_s: Annotated[
        float | None, typer.Option("--flat-exposure", help="Exposure of flats, s")
    ] = None,
    frames_per_angle: Annotated[
        int, typer.Option(help="Frames at each angle, whose counts are added up")
    ] = 1,
    exposure_rule: Annotated[
        Rule, typer.Option(help="edge-on: expose a flat sample longer where it is seen edge-on")
    ] = Rule.constant,
    repeats: Annotated[int, typer.Option(help="Tomograms of the same place, a folder each")] = 1,
    every_s: Annotated[
        float, typer.Option("--every", help="With --repeats, from one to the next, s")
    ] = 0.0,
) -> None:
    """Take one tomogram, or a time series, measure and report."""
    from zoneplate.plans import tomography as tomography_plan

    from .data_directory import check_writable
    from .opening import open_session
    from .progress import ScanProgress
    from .workflow import report_tomograms

    check_writable(out)
    with (
        open_session(
            instrument, sample=sample, seed=seed, specimen=specimen, data_dir=data
        ) as session,
        ScanProgress(session) as shown,
    ):
        uids = session.RE(
            tomography_plan(
                session.microscope,
                center_um=center_um,
                exposure_s=exposure_s,
                binning=binning,
                projections=projections,
                start_deg=start_deg,
                stop_deg=stop_deg,
                order="list" if angles is not None else order.value,
                angles_deg=_angles(angles) if angles is not None else None,
                motion=motion.value,
                most_blur_voxels=most_blur,
                references=references.value,
                references_every=flats_every,
                references_max_age_s=flats_age_s,
                flat_exposure_s=flat_exposure_s,
                frames_per_angle=frames_per_angle,
                exposure_rule=exposure_rule.value,
                repeats=repeats,
                repeat_every_s=every_s,
            )
        )
        for number, uid in enumerate(uids, start=1):
            folder = out / f"{number:03d}" if repeats > 1 else out
            check_writable(folder)
            results = report_tomograms(session, None, [uid], folder, progress=shown.step)
            conclude(results.document, folder)


def _angles(path: Path) -> list[float]:
    """Read a file with an angle per line."""
    from zoneplate.devices import ConfigurationError

    try:
        return [float(line) for line in path.read_text().split()]
    except OSError as error:
        raise ConfigurationError(
            f"the angles of {path} cannot be read: {error.strerror}; check the path"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}; write an angle per line, degrees") from error


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        epilog="Example: zoneplate tomography --center 0 0 5 --projections 141 --out tomo/"
    )(tomography)
