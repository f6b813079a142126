"""Specimens as plain CSV, so that anybody can bring their own truth.

A row per particle, void or open crack, with the columns of `COLUMNS` in any order:

``kind``
    ``particle``, ``void`` or ``crack``: an ellipsoid that crosses the surface of its particle.
``id``
    Any text; unique among particles, among voids and among cracks.
``parent``
    For a void or crack the id of its particle, which may stand anywhere in the file; else empty.
``x_um y_um z_um``
    Centre in the sample frame; the tape fills ``z < 0``.
``a_um b_um c_um``
    Semi-axes.
``qw qx qy qz``
    Orientation as a unit quaternion.
``material``
    Formula and density of a particle, such as ``LiNi0.6Mn0.2Co0.2O2@4.77``; else empty.

Rows are numbered as a text editor or spreadsheet does: the header is row 1.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from zoneplate.devices.errors import ConfigurationError

from .parts import Crack, Particle, SpecimenError, Support, Void
from .specimen import Specimen

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERS = ("x_um", "y_um", "z_um", "a_um", "b_um", "c_um", "qw", "qx", "qy", "qz")

KINDS = ("particle", "void", "crack")
"""What a row may be."""

COLUMNS = ("kind", "id", "parent", *_NUMBERS, "material")
"""The columns of a specimen file."""

SUPPORT_MARGIN_UM = 32.0
"""How far the default tape reaches beyond the outermost particle."""


def write_specimen(specimen: Specimen, path: Path) -> None:
    """Write particles, voids and cracks; the shortest digits that read back to the same numbers.

    Parameters
    ----------
    specimen
        Its support, name and seed are not part of the format.
    path
        The file, overwritten.

    Raises
    ------
    ConfigurationError
        If a particle is rough or a mesh: the table has no column for that.
    """
    for position in (*specimen.rough, *specimen.meshed):
        kind = "is a mesh" if position in specimen.meshed else "has a rough surface"
        raise ConfigurationError(
            f"specimen file {path}: particle {specimen.particles[position].id!r} {kind}, which a "
            f"table cannot hold; save it as .h5"
        )
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for particle in specimen.particles:
            writer.writerow(_row(particle, "", particle.material))
            for hole in (*particle.voids, *particle.cracks):
                writer.writerow(_row(hole, particle.id, ""))


def read_specimen(
    path: Path, *, support: Support | None = None, name: str | None = None
) -> Specimen:
    """Read a specimen file.

    Parameters
    ----------
    path
        The file.
    support
        What carries the particles; by default a tape that reaches `SUPPORT_MARGIN_UM` beyond the
        outermost particle, and at least as far as `Support` does by default.
    name
        By default the name of the file without its suffix.

    Raises
    ------
    ConfigurationError
        Naming file, row and ids: if the file cannot be read, a column is missing or unknown, a
        value is not possible, an id is unknown or occurs twice, or the specimen cannot exist.
    """
    return _Reader(path).read(support, name or path.stem)


def _row(item: Particle | Void | Crack, parent: str, material: str) -> list[str]:
    numbers = (*item.center_um, *item.semi_axes_um, *item.orientation)
    return [item.kind, item.id, parent, *(repr(float(number)) for number in numbers), material]


class _Reader:
    """Reads one file, remembering which row everything came from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], int] = {}
        self.particles: dict[str, Particle] = {}
        self.holes: list[tuple[str, Void | Crack]] = []

    def read(self, support: Support | None, name: str) -> Specimen:
        for row, record in self._records():
            self._add(row, record)
        inside: dict[str, list[Void | Crack]] = {}
        for parent, hole in self.holes:
            if parent not in self.particles:
                self._refuse(
                    f"{hole.kind} {hole.id!r} has the parent {parent!r}, which is no particle of "
                    f"this file; name an existing one",
                    self.rows[hole.kind, hole.id],
                )
            inside.setdefault(parent, []).append(hole)
        particles = tuple(
            replace(
                particle,
                voids=tuple(hole for hole in holes if isinstance(hole, Void)),
                cracks=tuple(hole for hole in holes if isinstance(hole, Crack)),
            )
            for particle in self.particles.values()
            for holes in [inside.get(particle.id, ())]
        )
        try:
            return Specimen(particles, support or tape_under(particles), name=name)
        except SpecimenError as error:
            self._refuse(str(error), *(self.rows[item] for item in error.objects))

    def _records(self) -> Iterator[tuple[int, dict[str, str]]]:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.reader(stream)
                header = [column.strip() for column in next(reader, [])]
                self._check_header(header)
                for fields in reader:
                    if not fields:
                        continue
                    if len(fields) != len(header):
                        self._refuse(
                            f"{len(fields)} fields where the header has {len(header)}; "
                            f"write every field, empty ones too",
                            reader.line_num,
                        )
                    values = (field.strip() for field in fields)
                    yield reader.line_num, dict(zip(header, values, strict=True))
        except OSError as error:
            raise ConfigurationError(
                f"specimen file {self.path} cannot be read: {error.strerror}; check the path"
            ) from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigurationError(
                f"specimen file {self.path} is not a CSV text file: {error}"
            ) from error

    def _check_header(self, header: list[str]) -> None:
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            self._refuse(f"column {missing[0]} is missing; needed: {','.join(COLUMNS)}", 1)
        unknown = [column for column in header if column not in COLUMNS]
        if unknown:
            self._refuse(f"column {unknown[0]!r} is unknown; allowed: {','.join(COLUMNS)}", 1)
        if len(header) != len(COLUMNS):
            self._refuse("a column occurs twice; remove one", 1)

    def _add(self, row: int, record: dict[str, str]) -> None:
        kind, identity, parent = record["kind"], record["id"], record["parent"]
        if kind not in KINDS:
            self._refuse(f"kind {kind!r} is unknown; allowed: {', '.join(KINDS)}", row)
        if (kind, identity) in self.rows:
            self._refuse(
                f"{kind} id {identity!r} occurs twice; every {kind} needs its own id",
                self.rows[kind, identity],
                row,
            )
        if (kind != "particle") != bool(parent):
            self._refuse(
                f"{kind} {identity!r} has the parent {parent!r}; a void or crack needs the id of "
                f"its particle there, a particle nothing",
                row,
            )
        if kind != "particle" and record["material"]:
            self._refuse(f"{kind} {identity!r} has a material; leave it empty", row)
        x, y, z, a, b, c, qw, qx, qy, qz = (self._number(row, record, name) for name in _NUMBERS)
        shape = ((x, y, z), (a, b, c), (qw, qx, qy, qz))
        try:
            if kind == "particle":
                self.particles[identity] = Particle(identity, *shape, material=record["material"])
            else:
                hole = Void(identity, *shape) if kind == "void" else Crack(identity, *shape)
                self.holes.append((parent, hole))
        except SpecimenError as error:
            self._refuse(str(error), row)
        self.rows[kind, identity] = row

    def _number(self, row: int, record: dict[str, str], column: str) -> float:
        try:
            return float(record[column])
        except ValueError:
            self._refuse(
                f"{record['kind']} {record['id']!r}: {column} {record[column]!r} is not a number",
                row,
            )

    def _refuse(self, reason: str, *rows: int) -> NoReturn:
        where = " and ".join(str(row) for row in rows)
        label = "row" if len(rows) == 1 else "rows"
        raise ConfigurationError(f"specimen file {self.path}, {label} {where}: {reason}")


def tape_under(particles: tuple[Particle, ...]) -> Support:
    """Return the tape that particles get if nothing else is said."""
    half_width = half_height = 0.0
    for particle in particles:
        reach = max(particle.semi_axes_um) + SUPPORT_MARGIN_UM
        half_width = max(half_width, abs(particle.center_um[0]) + reach)
        half_height = max(half_height, abs(particle.center_um[1]) + reach)
    return Support().enlarged(2 * half_width, 2 * half_height)
