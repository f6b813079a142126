"""What a command says of its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def conclude(document: dict[str, Any], out: Path) -> None:
    """Say the result in a few lines; the path of the report comes last."""
    frequency, dead = document["void_frequency"], document["dead_volume_fraction"]
    diameter = document["particles"]["equivalent_diameter_um"]
    typer.echo(f"{document['sample']}: {document['particles']['count']} whole particles")
    if diameter["mean"] is not None:
        typer.echo(f"  mean equivalent diameter {_with_se(diameter)} um")
    if frequency["value"] is not None:
        typer.echo(
            f"  {frequency['value']:.0%} hold voids larger than {frequency['larger_than_um']:g} um "
            f"(95 %: {frequency['low']:.0%} to {frequency['high']:.0%})"
        )
    if dead["value"] is not None:
        typer.echo(f"  dead volume {dead['value']:.2%}")
    if verdict := document.get("verdict"):
        risk = verdict["risks"]
        typer.echo(f"{verdict['decision'].upper()} by {verdict['lot']!r}: {verdict['why']}")
        typer.echo(
            f"  risks: {risk['alpha']:.1%} for a good lot to be rejected, {risk['beta']:.1%} for a "
            f"bad one to be accepted; {len(document['tomograms'])} of at most "
            f"{verdict['budget']['regions']} regions measured"
        )
    for warning in document["warnings"]:
        typer.echo(f"  note: {warning}")
    typer.echo(str(out / "report.html"))


def _with_se(block: dict[str, Any]) -> str:
    se = "" if block["se"] is None else f" +- {block['se']:.2f}"
    return f"{block['mean']:.2f}{se}"
