"""Which software made a result."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("zoneplate", "bluesky", "ophyd", "numpy", "scipy", "numba", "scikit-image")


def software_versions() -> dict[str, str]:
    """Return the versions of the packages that matter for a result."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
