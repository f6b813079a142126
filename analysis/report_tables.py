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
    format_percent,
    format_seconds,
    format_with_unit,
    is_finite,
)
from .statistics_percentiles import LOGNORMAL


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
    plain = value.item() if isinstance(value, np.generic) else value
    return Cell(show(plain), repr(plain), path)


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


def defects_table(results: Json) -> Table | None:
    """Return how many particles are hollow, cracked, and far from round."""
    if not results.get("defects"):
        return None
    lines = [
        Line(name, (_share(results, f"defects.{entry}"), Cell(_counted(results["defects"][entry]))))
        for name, entry in (
            ("Hollow: more than a quarter is void", "hollow"),
            ("Cracked: a narrow pore is open to the outside", "cracked"),
            ("Internal void or open pore", "void_or_open_pore"),
            ("Far from round: sphericity from grey values below 0.85", "misshapen"),
        )
        if entry in results["defects"]  # results of before have no open pores
    ]
    if "open_pore_fraction" in results["defects"]:
        share = _share(results, "defects.open_pore_fraction")
        lines.append(Line("Volume of open pores over that of particles", (share, Cell(""))))
    return Table("Defects of whole particles", ("Defect", "This sample", "Particles"), tuple(lines))


def _counted(block: Json) -> str:
    return f"{block.get('k')} of {block.get('n')}"


def _share(results: Json, path: str) -> Cell:
    """Return a share with its interval, or why it has none."""
    found = cell(results, f"{path}.value", format_percent)
    low, high = (cell(results, f"{path}.{end}", format_percent) for end in ("low", "high"))
    if found.text == MISSING:
        return found
    ends = f" ({low.text} to {high.text})" if low.path and high.path else " (no interval)"
    return Cell(found.text + ends, found.exact, found.path)


SIZE_SOURCES = (
    ("sizes_tomograms", "Tomograms, border weights"),
    ("sizes_map", "Map, particles that lie alone"),
)
PERCENTILES = (
    ("d10", "number"), ("d50", "number"), ("d90", "number"),
    ("d10", "volume"), ("d50", "volume"), ("d90", "volume"),
)  # fmt: skip


def population_tables(results: Json) -> list[Table]:
    """Return what the particles say about the powder: sizes, spans, and frequencies put right."""
    block = results.get("population") or {}
    if not block:
        return []
    sources = [(key, name) for key, name in SIZE_SOURCES if block.get(key)]
    lines: list[Line] = []
    for percentile, kind in PERCENTILES:
        cells: list[Cell] = []
        for key, _ in sources:
            path = f"population.{key}.{percentile}_{kind}_um"
            found = block[key][f"{percentile}_{kind}_um"]
            exact = cell(results, f"{path}.value", str)
            text = format_interval_of(found, "µm")
            cells.append(Cell(_refused(text, found), exact.exact, exact.path))
        lines.append(Line(f"{percentile}, by {kind}", tuple(cells)))
    for kind in ("number", "volume"):
        spans = [block[key][f"span_{kind}"] for key, _ in sources]
        paths = [f"population.{key}.span_{kind}.value" for key, _ in sources]
        cells = [
            found if found.path else Cell(str(span.get("warning") or MISSING))
            for span, found in (
                (span, cell(results, path, lambda v: format_number(v, 2)))
                for span, path in zip(spans, paths, strict=True)
            )
        ]
        lines.append(Line(f"span (d90 − d10) / d50, by {kind}", tuple(cells)))
    counted = [f"{name}, n = {format_number(block[key]['n'])}" for key, name in sources]
    found = [Table("Sizes of the powder", ("Diameter", *counted), tuple(lines))]
    frequency = [
        Line("as counted", (_share(results, "void_frequency"),)),
        Line(_put_right(block["void_frequency"]), (_share(results, "population.void_frequency"),)),
    ]
    found.append(Table("Particles with voids", ("Void frequency", "This sample"), tuple(frequency)))
    return found


def _put_right(frequency: Json) -> str:
    """Say what was done to the frequency of the powder."""
    if frequency.get("detected") is None:
        return "with border weights; missed and false voids not corrected"
    return (
        f"with border weights, corrected for voids missed ({format_percent(frequency['detected'])} "
        f"found) and false ({format_percent(frequency.get('false_alarms'))}), Rogan and Gladen"
    )


def _refused(text: str, interval: Json) -> str:
    """Add how an interval was made where that is a model, and why there is none."""
    if interval.get("low") is None and interval.get("warning"):
        return f"{text}: {interval['warning']}"
    return f"{text}, lognormal model" if interval.get("method") == LOGNORMAL else text


def _exact(results: Json, path: str) -> tuple[str, str]:
    found = cell(results, path, str)
    return found.exact, found.path


__all__ = [
    "Cell",
    "Line",
    "Table",
    "defects_table",
    "population_tables",
    "radii_tables",
    "roughness_table",
    "throughput_table",
    "trade_off_tables",
]
