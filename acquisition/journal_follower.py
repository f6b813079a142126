"""Following a journal that grows, and knowing how far behind one is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from .journal import Document, decode, follow_journal


class JournalFollower:
    """Documents of a growing journal, and how many are waiting.

    Parameters
    ----------
    path, poll_s, stop
        See `follow_journal`.
    """

    def __init__(
        self,
        path: str | Path,
        poll_s: float = 0.05,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path = Path(path)
        self._documents = follow_journal(path, poll_s, stop)
        self._taken = 0

    def __iter__(self) -> Iterator[tuple[str, Document]]:
        for one in self._documents:
            self._taken += 1
            yield one

    def waiting(self) -> dict[str, int]:
        """Count documents that are written and not yet taken, by name."""
        counts: dict[str, int] = {}
        with self._path.open("rb") as file:
            for number, line in enumerate(file):
                if number >= self._taken and line.endswith(b"\n"):
                    name = decode(line)[0]
                    counts[name] = counts.get(name, 0) + 1
        return counts
