"""The lots of a campaign, from a CSV file."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zoneplate.devices import ConfigurationError

LARGEST_BYTES = 1 << 20
MOST_LOTS = 10_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,79}")


class Lot(BaseModel):
    """One row of the file; columns that are missing or empty take the defaults of `screen_lot`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lot: str
    regions: int = Field(1, ge=1, le=100)
    rows: int = Field(5, ge=1, le=100)
    columns: int = Field(8, ge=1, le=100)
    exposure_s: float = Field(1.0, gt=0, le=3600)
    binning: int = Field(8, ge=1, le=8)
    projections: int = Field(141, ge=1, le=10_000)
    adaptive: bool = False

    @field_validator("lot")
    @classmethod
    def _named(cls, value: str) -> str:
        return check_name(value)


def check_name(lot: str) -> str:
    """Return the name of a lot; it becomes a folder.

    Raises
    ------
    ConfigurationError
        If it cannot be one.

    Examples
    --------
    >>> check_name("NMC-622 batch 7")
    'NMC-622 batch 7'
    """
    if NAME.fullmatch(lot) is None or ".." in lot or lot.endswith((" ", ".")):
        raise ConfigurationError(
            f"lot {lot[:80]!r} cannot be a name: use 1 to 80 letters, digits, '.', '_', '-' and "
            "spaces, beginning with a letter or digit"
        )
    return lot


def read_lots(path: Path) -> list[Lot]:
    """Return the lots of a CSV file with a header.

    Raises
    ------
    ConfigurationError
        If the file cannot be used; the message names the row.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ConfigurationError(f"{path} is larger than {LARGEST_BYTES} bytes: split it")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    rows = csv.DictReader(text.splitlines())
    if rows.fieldnames is None or "lot" not in rows.fieldnames:
        raise ConfigurationError(f"{path} has no column 'lot' in its first line")
    lots: list[Lot] = []
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        lots.append(_lot(path, number, row))
        if lots[-1].lot in seen:
            raise ConfigurationError(f"{path} row {number}: lot {lots[-1].lot!r} comes twice")
        seen.add(lots[-1].lot)
        if len(lots) > MOST_LOTS:
            raise ConfigurationError(f"{path} has more than {MOST_LOTS} lots: split it")
    if not lots:
        raise ConfigurationError(f"{path} has no lots")
    return lots


def _lot(path: Path, number: int, row: dict[Any, Any]) -> Lot:
    if None in row or None in row.values():
        raise ConfigurationError(f"{path} row {number}: not as many values as columns")
    given = {str(name).strip(): str(value).strip() for name, value in row.items()}
    try:
        return Lot(**{name: value for name, value in given.items() if value})  # pyright: ignore
    except (ValidationError, ConfigurationError) as error:
        what = (
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise ConfigurationError(f"{path} row {number}: {what}") from None
