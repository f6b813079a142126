"""Where Tiled keeps a catalog: files in the data directory, or PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

TABLES_SUFFIX = "_tables"
"""Added to the name of the database for the readings: Tiled wants two."""

_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True)
class Storage:
    """Addresses for Tiled's configuration.

    Attributes
    ----------
    catalog
        Database of the metadata.
    tables
        Database of the readings.
    files
        Folder of arrays that are too large for either.
    """

    catalog: str
    tables: str
    files: str


def storage_of(folder: Path, database: str = "") -> Storage:
    """Return where the catalog of a folder is kept; PostgreSQL databases are made if needed.

    Parameters
    ----------
    folder
        Folder of the embedded catalog.
    database
        ``postgresql://user:password@host:port/name``; empty for files in the folder.

    Raises
    ------
    ValueError
        The address is none of PostgreSQL, or names no database.
    """
    files = folder / "files"
    files.mkdir(exist_ok=True)
    if not database:
        return Storage(
            f"sqlite:///{(folder / 'catalog.db').resolve()}",
            f"duckdb:///{(folder / 'tables.duckdb').resolve()}",
            str(files.resolve()),
        )
    parts = urlsplit(database)
    name = parts.path.strip("/")
    if parts.scheme not in _SCHEMES or not name:
        raise ValueError(
            f"a catalog database is postgresql://user:password@host/name, not "
            f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        )

    def address(scheme: str, database_name: str) -> str:
        return urlunsplit((scheme, parts.netloc, f"/{database_name}", parts.query, ""))

    for one in (name, name + TABLES_SUFFIX):
        maintenance = address("postgresql", "postgres")
        asyncio.run(_make_if_absent(address("postgresql", one), maintenance, one))
    return Storage(
        address("postgresql+asyncpg", name),
        address("postgresql", name + TABLES_SUFFIX),
        str(files.resolve()),
    )


async def _make_if_absent(uri: str, maintenance: str, name: str) -> None:
    try:
        connection = await asyncpg.connect(uri)
    except asyncpg.InvalidCatalogNameError:
        connection = await asyncpg.connect(maintenance)
        quoted = name.replace('"', '""')
        await connection.execute(f'CREATE DATABASE "{quoted}"')
    await connection.close()
