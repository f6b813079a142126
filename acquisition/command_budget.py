"""`zoneplate budget`: what each binning costs and shows, beside the numbers of the study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zoneplate.analysis.acceptance_plan import LimitPlan
    from zoneplate.analysis.budget import BudgetRow
    from zoneplate.analysis.lot_specification import LotSpecification

NOTEWORTHY = 0.02
"""Probability of no decision that is worth a line."""
PICTURE_DPI = 130


def budget(
    exposure_s: Annotated[
        float, typer.Option("--exposure", help="Exposure of a projection at binning 8, s")
    ] = 1.0,
    projections: Annotated[
        int, typer.Option(help="Projections at binning 8; other binnings in proportion")
    ] = 141,
    equal_noise: Annotated[
        bool,
        typer.Option(
            "--equal-noise", help="Expose so long that every binning has the same voxel noise"
        ),
    ] = False,
    lot: Annotated[
        Path | None,
        typer.Option(help="Lot specification (TOML): how many regions its verdict will take"),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="With --lot: where to draw the curves, a PNG or SVG file")
    ] = None,
) -> None:
    """Print what each binning costs and shows, before anything moves.

    With --lot: what the verdict on a lot will cost, and how sharply it will tell good from bad.
    """
    if lot is not None:
        _plan_lot(lot, picture)
        return
    from .trade_off import budget_rows

    rows = budget_rows(exposure_s, projections, equal_noise=equal_noise)
    for line in table_lines(rows):
        typer.echo(line)


def _plan_lot(lot: Path, picture: Path | None) -> None:
    """Print the plan of a lot and draw it where asked."""
    from zoneplate.analysis.acceptance_plan import plan_limit
    from zoneplate.analysis.lot_specification import load_specification

    specification = load_specification(lot)
    plans = [plan_limit(specification, limit) for limit in specification.limits]
    for line in plan_lines(specification, plans):
        typer.echo(line)
    if picture is not None:
        from zoneplate.analysis.figures_lots import plan_figure

        plan_figure(specification, plans).savefig(picture, dpi=PICTURE_DPI)
        typer.echo(str(picture))


def plan_lines(specification: LotSpecification, plans: Sequence[LimitPlan]) -> list[str]:
    """Return what a lot's verdict will cost, as lines of text."""
    risks, assumed = specification.risks, specification.assumed
    lines = [
        f"{specification.name}: a good lot is rejected in at most {risks.alpha:.1%}, a bad one "
        f"accepted in at most {risks.beta:.1%} of cases",
        f"budget {specification.most_regions} regions, "
        f"{specification.instrument_s(specification.most_regions) / 60:.0f} min of instrument "
        f"time; assumed {assumed.particles_per_region:g} particles per region, correlation "
        f"{assumed.correlation:g}",
        "",
    ]
    heads = ("limit", "good", "bad", "regions: good", "bad", "fixed", "min: good", "bad", "fixed")
    cells = [
        (
            plan.limit.name,
            f"{plan.limit.acceptable:g}",
            f"{plan.limit.rejectable:g}",
            f"{plan.at_acceptable:.1f}",
            f"{plan.at_rejectable:.1f}",
            f"{plan.fixed_regions}",
            *(
                f"{specification.instrument_s(regions) / 60:.0f}"
                for regions in (plan.at_acceptable, plan.at_rejectable, plan.fixed_regions)
            ),
        )
        for plan in plans
    ]
    widths = [max(len(line[n]) for line in (heads, *cells)) for n in range(len(heads))]
    lines += [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in (heads, *cells)
    ]
    lines.append("")
    for plan in plans:
        if plan.undecided > NOTEWORTHY:
            lines.append(
                f"note: {plan.limit.name} stays undecided in {plan.undecided:.0%} of cases: the "
                f"budget is small for these levels ({plan.fixed_regions} regions at a fixed size)"
            )
    lines.append(
        "Averages of the sequential test at the two levels; fixed: a plan of that many regions "
        "with the same risks."
    )
    return lines


def table_lines(rows: list[BudgetRow]) -> list[str]:
    """Return the table as lines of text; what the study states stands in brackets."""
    from zoneplate.analysis import budget as formulas

    heads = (
        "binning",
        "voxel um",
        "resolution um",
        "Crowther",
        "used",
        "exposure s",
        "time min",
        "volume MB",
        "frames MB",
        "memory MB",
        "void um",
    )
    cells = [
        (
            f"{row.binning}",
            f"{row.voxel_um:.3f}",
            _beside(
                f"{row.resolution_um:.2f}", formulas.PAPER_RESOLUTION_NM.get(row.binning), 1e-3
            ),
            _beside(f"{row.crowther}", formulas.PAPER_PROJECTIONS.get(row.binning)),
            _beside(f"{row.projections}", formulas.PAPER_PROJECTIONS_USED.get(row.binning)),
            f"{row.exposure_s:g}",
            _beside(f"{row.time_s / 60:.1f}", formulas.PAPER_TIME_S.get(row.binning), 1 / 60, "<"),
            _beside(f"{row.volume_bytes / 1e6:.1f}", formulas.PAPER_VOLUME_MB.get(row.binning)),
            f"{row.raw_bytes / 1e6:.1f}",
            f"{row.memory_bytes / 1e6:.0f}",
            f"{row.smallest_void_um:.2f}",
        )
        for row in rows
    ]
    widths = [max(len(line[n]) for line in (heads, *cells)) for n in range(len(heads))]
    return [
        *(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in (heads, *cells)
        ),
        "",
        "In brackets: the study (doi:10.1002/advs.202000362). It calls the optics' 150 nm and the "
        "512 nm voxel",
        "resolution; ours is two voxels or the optics, whichever is larger. It reckons with 1000 "
        "and 125 pixels,",
        "ours are 1024 and 128. Voids: diameter found with 90 % probability at a signal-to-noise "
        "of 10, measured",
        "at binning 8, scaled with the voxel elsewhere; at equal exposure finer binnings do not "
        "reach that ratio.",
    ]


def _beside(ours: str, paper: float | None, scale: float = 1.0, sign: str = "") -> str:
    """Return our number with the study's in brackets, where it states one."""
    return ours if paper is None else f"{ours} ({sign}{paper * scale:g})"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: zoneplate budget --exposure 1 --projections 141")(budget)
