"""`zoneplate lots` and `zoneplate compare`: lots over time, and two lots side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zoneplate.analysis.comparison import Difference
    from zoneplate.analysis.lot_history import QuantityHistory

PICTURE_DPI = 130
LEVEL = 0.05
"""A difference is shown where chance alone would make one as large in fewer than this of cases."""

DEFECT_WORDS = {
    "share hollow": "hollow particles (more than a quarter void)",
    "share cracked": "cracked particles (a narrow pore is open to the outside)",
    "share misshapen": "particles far from round (broken, widely open, pieces of open shells)",
}

Data = Annotated[
    Path | None,
    typer.Option(help="Data directory; default $ZONEPLATE_DATA or ~/zoneplate-data"),
]
MinimumVoid = Annotated[
    float | None,
    typer.Option(
        "--minimum-void",
        help="Diameter from which voids count, um; default: what all the scans can see",
    ),
]


def lots(
    data: Data = None,
    sample: Annotated[
        str | None, typer.Option(help="Only samples whose name begins like this")
    ] = None,
    baseline: Annotated[
        int | None, typer.Option(help="The first lots, known to be good; default: all")
    ] = None,
    minimum_void_um: MinimumVoid = None,
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw the charts: a PNG, SVG or PDF file")
    ] = None,
) -> None:
    """Chart the lots of the data directory over time; say in words what is out of control."""
    from zoneplate.analysis.lot_history import CHARTED, common_void_limit, history
    from zoneplate.analysis.summary import MINIMUM_VOID_UM
    from zoneplate.devices import ConfigurationError

    from .data_directory import DataDirectory
    from .lot_records import stored_lots

    directory = DataDirectory.choose(data)
    found = stored_lots(directory, sample)
    if not found:
        raise ConfigurationError(
            f"no analysed lot in {directory.root}: measure some with `zoneplate screen`, or give "
            "--data"
        )
    limit_um = common_void_limit(found, minimum_void_um, MINIMUM_VOID_UM)
    charts = [
        history(quantity, found, minimum_void_um=limit_um, baseline=baseline)
        for quantity in CHARTED
    ]
    for line in history_lines(charts, limit_um):
        typer.echo(line)
    if picture is not None and any(chart.chart is not None for chart in charts):
        from zoneplate.analysis.figures_history import history_figure

        history_figure(charts).savefig(picture, dpi=PICTURE_DPI)
        typer.echo(str(picture))


def history_lines(charts: list[QuantityHistory], limit_um: float) -> list[str]:
    """Return the lots as a table, and the alarms, as lines of text."""
    from zoneplate.analysis.lot_history import value_words

    cells: dict[str, list[str]] = {}
    for place, chart in enumerate(charts):
        for row in chart.table.to_dict("records"):
            line = cells.setdefault(str(row["lot"]), ["", "", *["-"] * len(charts)])
            line[0], line[1] = str(row["regions"]), str(row["n"])
            line[2 + place] = value_words(chart.quantity, float(row["value"]))
    heads = ["lot", "regions", "particles", *(chart.quantity for chart in charts)]
    table = [heads, *([name, *line] for name, line in cells.items())]
    widths = [max(len(row[n]) for row in table) for n in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    lines += ["", f"voids count from {limit_um:.3g} um in every lot"]
    alarms = [alarm for chart in charts for alarm in chart.alarms]
    lines += [f"ALARM  {alarm}" for alarm in alarms]
    if not alarms and any(chart.chart is not None for chart in charts):
        lines.append("no alarm: the lots are in control")
    lines += [f"note: {note}" for note in dict.fromkeys(n for c in charts for n in c.left_out)]
    return lines


def compare(
    lot_a: Annotated[str, typer.Argument(help="Folder of results, or uid of a run, or its name")],
    lot_b: Annotated[str, typer.Argument(help="The other")],
    data: Data = None,
    minimum_void_um: MinimumVoid = None,
    range_km: Annotated[
        float, typer.Option("--range-km", help="Range of the vehicle in the simple loss model")
    ] = 483.0,
) -> None:
    """Compare two lots: differences with intervals, tests, and what they are worth."""
    from zoneplate.analysis.comparison import compare as compare_lots
    from zoneplate.analysis.lot_history import common_void_limit
    from zoneplate.analysis.summary import MINIMUM_VOID_UM

    from .data_directory import DataDirectory
    from .lot_records import find_lot

    directory = DataDirectory.choose(data)
    a, b = find_lot(lot_a, directory), find_lot(lot_b, directory)
    limit_um = common_void_limit([a, b], minimum_void_um, MINIMUM_VOID_UM)
    found = compare_lots((a.particles, a.voids), (b.particles, b.voids), minimum_void_um=limit_um)
    for line in comparison_lines((a.name, b.name), found, limit_um, range_km):
        typer.echo(line)


def comparison_lines(
    names: tuple[str, str], found: list[Difference], limit_um: float, range_km: float
) -> list[str]:
    """Return a comparison as lines of text."""
    from zoneplate.analysis.comparison import differing, range_loss_km
    from zoneplate.analysis.lot_history import value_words

    lines = [
        f"A: {names[0]}: {found[0].n_a} whole particles, {found[0].regions_a} regions",
        f"B: {names[1]}: {found[0].n_b} whole particles, {found[0].regions_b} regions",
        f"voids count from {limit_um:.3g} um in both",
        "",
    ]
    for one in found:
        a, b = (
            "unknown" if value is None else value_words(one.quantity, value)
            for value in (one.value_a, one.value_b)
        )
        lines.append(f"{quantity_words(one.quantity)}: A {a}, B {b}")
        if one.effect is None or one.low is None or one.high is None or one.p_value is None:
            lines.append("  no test: too little was measured, or no voids at all")
            continue
        points = one.effect_kind == "B minus A"
        scale, unit = (100, " points") if points else (1, "")
        lines.append(
            f"  {one.effect_kind}: {scale * one.effect:.3g}{unit} (95 %: {scale * one.low:.3g} to "
            f"{scale * one.high:.3g}{unit}), p = {one.p_value:.2g} ({one.test})"
        )
    alone = [one.quantity for one in found if one.p_value is not None and one.p_value < LEVEL]
    lines += [
        "",
        f"they differ, by one test alone (5 %): {_listed(alone)}",
        f"they differ, by all {len(found)} tests together (5 %, Holm): {_listed(differing(found))}",
        "what is not named was not shown to differ, which does not show that it is equal",
    ]
    dead = next(one for one in found if one.quantity == "dead_volume_fraction")
    if dead.value_a is not None and dead.value_b is not None:
        losses = [range_loss_km(value, range_km) for value in (dead.value_a, dead.value_b)]
        lines.append(
            f"range lost of {range_km:g} km, simple model of the study (range in proportion to "
            f"active volume, nothing else): A {losses[0]:.1f} km, B {losses[1]:.1f} km"
        )
    warnings = dict.fromkeys(one.warning for one in found if one.warning)
    return [*lines, *(f"note: {warning}" for warning in warnings)]


def _listed(quantities: list[str]) -> str:
    return ", ".join(quantity_words(one) for one in quantities) or "in nothing"


def quantity_words(quantity: str) -> str:
    """Return a compared quantity in words."""
    return DEFECT_WORDS.get(quantity) or quantity.replace("_um", "").replace("_", " ")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: zoneplate lots --baseline 8 --picture lots.png")(lots)
    app.command(epilog="Example: zoneplate compare out/lot_a out/lot_b")(compare)
