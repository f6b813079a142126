"""Which catalog: embedded, in PostgreSQL, or on a shared Tiled server, by one address."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from zoneplate.devices import ConfigurationError

from .catalog import KEY_VARIABLE, EmbeddedCatalog, RemoteCatalog

CATALOG_VARIABLE = "ZONEPLATE_CATALOG"
"""Environment variable with the address of the catalog; not set or empty for the embedded one."""


def open_catalog(
    data_dir: str | Path, uri: str | None = None, api_key: str | None = None
) -> EmbeddedCatalog | RemoteCatalog:
    """Return the catalog of a data directory.

    Runs get into every kind through the journal, so that changing the address and entering all
    runs again (`zoneplate recover`) is how a catalog moves.

    Parameters
    ----------
    data_dir
        The data directory.
    uri
        ``https://host/api/v1`` of a Tiled server, ``postgresql://user:password@host/name``, or
        empty for the embedded catalog; ``$ZONEPLATE_CATALOG`` if None.
    api_key
        Key of a Tiled server; ``$ZONEPLATE_CATALOG_KEY`` if None.

    Raises
    ------
    ConfigurationError
        The address is neither, or a Tiled server has no key.

    Examples
    --------
    >>> with open_catalog("data", "https://tiled.example/api/v1") as catalog:  # doctest: +SKIP
    ...     catalog(sample="nmc622")
    """
    uri = os.environ.get(CATALOG_VARIABLE, "") if uri is None else uri
    if not uri:
        return EmbeddedCatalog(data_dir)
    scheme = urlsplit(uri).scheme
    if scheme in ("postgresql", "postgres"):
        return EmbeddedCatalog(data_dir, database=uri)
    if scheme not in ("http", "https"):
        raise ConfigurationError(
            f"catalog {uri!r} is not known: give https://host/api/v1 of a Tiled server, "
            "postgresql://user:password@host/name, or nothing for the embedded one"
        )
    key = api_key or os.environ.get(KEY_VARIABLE, "")
    if not key:
        raise ConfigurationError(
            f"the catalog at {uri} needs a key: set {KEY_VARIABLE} to one that may create runs"
        )
    return RemoteCatalog(data_dir, uri, key)
