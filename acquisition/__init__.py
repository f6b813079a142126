"""Sessions, live analysis, catalog, files and the command line.

Everything is imported when it is first used, so that `zoneplate --help` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .formats import Scan, open_scan
    from .live import LiveTomogram, replay
    from .opening import open_session
    from .session import Session
    from .workflow import analyze, screen_sample

__all__ = [
    "LiveTomogram",
    "Scan",
    "Session",
    "analyze",
    "open_scan",
    "open_session",
    "replay",
    "screen_sample",
]

_HOMES = {
    "LiveTomogram": "live",
    "Scan": "formats",
    "Session": "session",
    "analyze": "workflow",
    "open_scan": "formats",
    "open_session": "opening",
    "replay": "live",
    "screen_sample": "workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
