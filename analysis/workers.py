"""Threads for compiled kernels, which let go of the interpreter while they run."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST_WORKERS = 8

Result = TypeVar("Result")


def in_parts(work: Callable[[int, int], Result], size: int, least: int = 1) -> list[Result]:
    """Share a range among the processor's cores.

    Parameters
    ----------
    work : callable
        Called with the first index and that after the last of each part.
    size : int
        Length of the range.
    least : int
        Parts shorter than this are not worth a thread.

    Returns
    -------
    list
        What `work` returned, in the order of the parts.

    Examples
    --------
    >>> sum(in_parts(lambda start, stop: stop - start, 1000))
    1000
    """
    parts = max(min(_cores(), MOST_WORKERS, size // max(least, 1)), 1)
    edges = [size * number // parts for number in range(parts + 1)]
    if parts == 1:
        return [work(0, size)]
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(work, edges[:-1], edges[1:]))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
