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
    parts = max(min(available_threads(), MOST_WORKERS, size // max(least, 1)), 1)
    edges = [size * number // parts for number in range(parts + 1)]
    if parts == 1:
        return [work(0, size)]
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(work, edges[:-1], edges[1:]))


def available_threads(threads: int | None = None) -> int:
    """Threads to use: what is asked for, at most the cores this process may run on.

    Parameters
    ----------
    threads : int, optional
        Wanted number; all allowed cores by default.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ValueError
        If `threads` is less than 1.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if threads is None:
        return allowed
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    return min(threads, allowed)
