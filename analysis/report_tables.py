"""Tables of the report that stand for those of the study's supporting information."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .figures_style import SERIES_NAMES, rows_where
from .radii import PLANES
from .report_format import (
    MISSING,
    NBSP,
    Json,
    format_estimate,
    format_interval_of,
    format_number,
    format_seconds,
    format_with_unit,
    is_finite,
)


@dataclass(frozen=True)
class Cell:
    """A number as people read it, as `results.json` holds it, and where."""

    text: str
    exact: str = ""
    path: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table: its name, and its cells."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table with its caption and the names of its columns; the first is that of the rows."""

    caption: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    study: str = ""


def cell(results: Json, path: str, show: Callable[[object], str]) -> Cell:
    """Return a cell with what `results.json` holds at a path."""
    value: object = results
    for part in path.replace("]", "").replace("[", ".").split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            value = value[int(part)]
        else:
            value = None
    if value is None:
        return Cell(MISSING)
    return Cell(show(value), repr(value), path)


def radii_tables(radii: pd.DataFrame | None, shown: Sequence[int]) -> list[Table]:
    """Return the raw radii of the particles that are shown, a table each."""
    tables: list[Table] = []
    if radii is None:
        return tables
    for number, particle in enumerate(shown):
        own = rows_where(radii, radii["particle_id"] == particle)
        lines: list[Line] = []
        for plane in PLANES:
            rows = rows_where(own, own["plane"] == plane).sort_values("azimuth_deg")
            values = rows["radius_um"].tolist()
            mean = sum(values) / max(len(values), 1)
            cells = [Cell(f"{value:.2f}{NBSP}µm") for value in [*values, mean]]
            lines.append(Line(f"{plane} plane", tuple(cells)))
        angles = sorted(set(own["azimuth_deg"].tolist()))
        errors = own["radius_um_se"].to_numpy(np.float64) if "radius_um_se" in own else None
        error = float(errors.mean()) if errors is not None else None
        stated = f", standard uncertainty {error:.2f}{NBSP}µm each" if error is not None else ""
        color = SERIES_NAMES[number % len(SERIES_NAMES)]
        tables.append(
            Table(
                f"Radii of particle {particle} ({color}){stated}",
                ("Azimuth", *(f"{angle:g}°" for angle in angles), "mean"),
                tuple(lines),
                study="S1, S2",
            )
        )
    return tables


TRADE_OFF = (
    ("Projections", "projections", "", 4),
    ("Exposure", "exposure_s", "s", 3),
    ("Whole tomogram", "time_s", "time", 0),
    ("Volume", "volume_bytes", "bytes", 0),
    ("Frames", "raw_bytes", "bytes", 0),
    ("Memory", "memory_bytes", "bytes", 0),
    ("Signal to noise", "snr", "", 2),
    ("Resolution", "resolution_um", "µm", 2),
    ("Smallest void", "smallest_void_um", "µm", 2),
)
"""Column, entry of `results.json`, unit and significant digits."""


def trade_off_tables(results: Json) -> list[Table]:
    """Return what each binning costs and shows: at the same exposure, and with the same noise."""
    block = results.get("trade_off")
    if not block:
        return []
    tables: list[Table] = []
    for name, words in (
        ("same_exposure", "Same exposure at every binning"),
        ("same_noise", "So long exposed that every binning has the same noise"),
    ):
        lines: list[Line] = []
        for number, row in enumerate(block[name]):
            path = f"trade_off.{name}[{number}]"
            here = ", this scan" if row["binning"] == block["binning"] else ""
            cells = [
                cell(results, f"{path}.{entry}", _shower(unit, digits))
                for _, entry, unit, digits in TRADE_OFF
            ]
            voxel = cell(results, f"{path}.voxel_um", lambda v: f"{1000 * float(v):.0f}{NBSP}nm")  # type: ignore[arg-type]
            lines.append(Line(f"{row['binning']} × {row['binning']}{here}", (voxel, *cells)))
        columns = ("Binning", "Voxel", *(column for column, *_ in TRADE_OFF))
        tables.append(Table(words, columns, tuple(lines), study="S3 to S5"))
    return tables


def _shower(unit: str, digits: int) -> Callable[[object], str]:
    if unit == "time":
        return format_seconds
    if unit == "bytes":
        return _bytes
    return lambda value: format_with_unit(value, unit, digits)


def _bytes(value: object) -> str:
    if not is_finite(value):
        return MISSING
    if value >= 1e9:
        return f"{value / 1e9:.1f}{NBSP}GB"
    return f"{format_number(value / 1e6, 2)}{NBSP}MB"


STUDY_THROUGHPUT = {
    "particles_per_min": "about 8 (40 in under 5 min)",
    "volume_um3_per_min": f"about 52,000{NBSP}µm³",
    "map_particles_per_min": "over 1,000",
    "map_area_um2_per_min": f"160,000{NBSP}µm²",
}
"""From what the study states: 4 volumes of 64 um with about 160 particles, under 5 min each; a map
of 160,000 um2 with over a thousand particles in under 1 min."""


def throughput_table(results: Json) -> Table | None:
    """Return what is measured in a minute of instrument time."""
    if not results.get("throughput"):
        return None
    rows = (
        ("Whole particles in 3D", "particles_per_min", "", 2),
        ("Volume in 3D", "volume_um3_per_min", "µm³", 3),
        ("Particles on the map", "map_particles_per_min", "", 3),
        ("Area of the map", "map_area_um2_per_min", "µm²", 3),
    )
    lines = [
        Line(
            name,
            (
                cell(results, f"throughput.{entry}", _shower(unit, digits)),
                Cell(STUDY_THROUGHPUT[entry]),
            ),
        )
        for name, entry, unit, digits in rows
    ]
    return Table("In a minute of instrument time", ("", "Here", "Study"), tuple(lines))


def roughness_table(results: Json) -> Table | None:
    """Return what the radii say: roughness, its floor, and how near to spheres particles are."""
    block = results.get("roughness")
    if not block:
        return None

    def mean(name: str, unit: str) -> Cell:
        quantity = block.get(name) or {}
        found = cell(results, f"roughness.{name}.mean", str)
        return Cell(
            format_estimate(quantity.get("mean"), quantity.get("se"), unit), found.exact, found.path
        )

    correlation = block.get("size_correlation") or {}
    lines = (
        Line("Roughness proxy, total", (mean("total_proxy_um", "µm"), Cell(f"≈ 1{NBSP}µm"))),
        Line(
            "… of a smooth sphere, from voxels and noise",
            (
                cell(results, "roughness.noise_floor_um", lambda v: format_with_unit(v, "µm", 2)),
                Cell(MISSING),
            ),
        ),
        Line("Roughness proxy, local", (mean("local_proxy_um", "µm"), Cell(f"0 to 1{NBSP}µm"))),
        Line(
            "Rank correlation of total proxy and diameter",
            (
                Cell(
                    format_interval_of(correlation),
                    *_exact(results, "roughness.size_correlation.value"),
                ),
                Cell("“independent”"),
            ),
        ),
        Line(
            "Volume over that of a sphere of the mean radius",
            (mean("volume_to_sphere", ""), Cell(MISSING)),
        ),
        Line(
            "Surface over that of a sphere of the mean radius",
            (mean("area_to_sphere", ""), Cell(MISSING)),
        ),
    )
    caption = f"Radii of {block['particles']} whole particles, {block['azimuths']} per plane"
    return Table(caption, ("", "This sample", "Study"), lines)


def _exact(results: Json, path: str) -> tuple[str, str]:
    found = cell(results, path, str)
    return found.exact, found.path


__all__ = [
    "Cell",
    "Line",
    "Table",
    "radii_tables",
    "roughness_table",
    "throughput_table",
    "trade_off_tables",
]
