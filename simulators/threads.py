"""How many threads an image may use."""

from __future__ import annotations

import os

_MAX_THREADS = 2
"""Threads of one image; acquisition and analysis need the other cores."""


def thread_count() -> int:
    """Return how many threads an image may use: the cores we are allowed, at most two."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return min(_MAX_THREADS, allowed)
