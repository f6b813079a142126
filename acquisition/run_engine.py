"""The RunEngine of a session: documents carry instrument time, and it ends safe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bluesky import RunEngine

TIMED = frozenset({"start", "descriptor", "event", "stop"})


class InstrumentRunEngine(RunEngine):
    """A RunEngine whose documents are stamped by the instrument's clock.

    Parameters
    ----------
    md
        Metadata for every run.
    clock
        Returns instrument time, seconds since 1970.
    when_idle
        Called whenever the engine has come to rest, however that happened: `halt` skips what
        plans do to leave things safe, this does not.
    kwargs
        Passed on to `bluesky.RunEngine`.
    """

    def __init__(
        self,
        md: dict[str, Any],
        *,
        clock: Callable[[], float],
        when_idle: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        self._instrument_time = clock
        self._when_idle = when_idle
        super().__init__(md, **kwargs)

    def emit_sync(self, name: Any, doc: dict[str, Any]) -> None:
        """Stamp the document with instrument time and hand it to the subscribers."""
        if getattr(name, "name", name) in TIMED:
            doc["time"] = self._instrument_time()
        super().emit_sync(name, doc)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a plan."""
        return self._guarded(super().__call__, *args, **kwargs)

    def resume(self) -> Any:
        """Go on after a pause."""
        return self._guarded(super().resume)

    def abort(self, reason: str = "") -> Any:
        """End a paused plan; it cleans up, the run is marked as aborted."""
        return self._guarded(super().abort, reason)

    def stop(self) -> Any:
        """End a paused plan; it cleans up, the run is marked as a success."""
        return self._guarded(super().stop)

    def halt(self) -> Any:
        """End a paused plan at once, without its clean-up."""
        return self._guarded(super().halt)

    def _guarded(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return action(*args, **kwargs)
        finally:
            if self.state == "idle":
                self._when_idle()
