"""The RunEngine of a session: documents carry instrument time, and it ends safe."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from bluesky import RunEngine
from bluesky.utils import FailedStatus, RunEngineInterrupted

TIMED = frozenset({"start", "descriptor", "event", "stop"})

ENDED = ("idle", "panicked")
"""States in which nothing runs any more."""

REASONS = {
    "aborting": "aborted: the scan was interrupted where it could not go on",
    "stopping": "stopped early on request; what was taken is good",
    "halting": "halted on request, without the clean-up of the plan",
    "panicked": "the RunEngine was broken off",
}
"""Why a run ended whose end says nothing itself."""

SAVED_AFTER_S = 1.0
"""An interruption waits no longer for the event of a frame that was read."""

TERMINATED = "the process was told to end (SIGTERM)"
EXIT_ON_SIGNAL = 128


class NamedFailure(FailedStatus):
    """A failed status that says what failed: its text is that of its cause.

    Bluesky's own shows the representation of a status, and writes it into the run.
    """

    def __str__(self) -> str:
        return str(self.__cause__) if self.__cause__ is not None else super().__str__()


class InstrumentRunEngine(RunEngine):
    """A RunEngine whose documents are stamped by the instrument's clock.

    Parameters
    ----------
    md
        Metadata for every run.
    clock
        Returns instrument time, seconds since 1970.
    when_started
        Called before a plan begins.
    when_idle
        Called whenever the engine has come to rest, however that happened, with whether the plan
        was finished: `halt` skips what plans do to leave things safe, this does not.
    kwargs
        Passed on to `bluesky.RunEngine`.
    """

    def __init__(
        self,
        md: dict[str, Any],
        *,
        clock: Callable[[], float],
        when_started: Callable[[], None],
        when_idle: Callable[[bool], None],
        **kwargs: Any,
    ) -> None:
        self._instrument_time = clock
        self._when_started, self._when_idle = when_started, when_idle
        self._terminated: int | None = None
        self._end_because = ""
        self._announced = False
        super().__init__(md, **kwargs)

    def emit_sync(self, name: Any, doc: dict[str, Any]) -> None:
        """Stamp the document with instrument time and hand it to the subscribers."""
        kind = getattr(name, "name", name)
        if kind in TIMED:
            doc["time"] = self._instrument_time()
        if kind == "stop" and not doc.get("reason"):
            doc["reason"] = self._end_because or self._reason or REASONS.get(str(self.state), "")
        super().emit_sync(name, doc)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a plan."""
        if str(self.state) == "idle":
            self._end_because, self._announced = "", False
            self._when_started()
        return self._guarded(super().__call__, *args, **kwargs)

    def resume(self) -> Any:
        """Go on after a pause."""
        return self._guarded(super().resume)

    def abort(self, reason: str = "") -> Any:
        """End a paused plan; it cleans up, the run is marked as aborted."""
        self._end_because = reason or "aborted on request"
        return self._guarded(super().abort, self._end_because)

    def stop(self) -> Any:
        """End a paused plan; it cleans up, the run is marked as a success."""
        self._end_because = REASONS["stopping"]
        return self._guarded(super().stop)

    def halt(self) -> Any:
        """End a paused plan at once, without its clean-up."""
        self._end_because = REASONS["halting"]
        return self._guarded(super().halt)

    def terminate(self, number: int) -> None:
        """End whatever runs, with its clean-up, then this process: what a signal asks for.

        Parameters
        ----------
        number
            The signal.

        Raises
        ------
        SystemExit
            At once if nothing runs, otherwise from the call that runs the plan.
        """
        first = self._terminated is None
        self._terminated = number
        if not first or str(self.state) in (*ENDED, "paused"):
            raise SystemExit(EXIT_ON_SIGNAL + number)
        # From a thread: a signal handler must not wait for the loop it has interrupted.
        threading.Thread(
            target=self.abort_running, args=(TERMINATED,), name="terminate", daemon=True
        ).start()

    # A frame that was read is announced: an interruption before its event is saved would leave a
    # frame in the file that no document speaks of, and take it again. It waits for that moment.

    async def _read(self, msg: Any) -> Any:
        # From before the reading on: the frame is announced in the middle of it.
        self._announced = self._announced or hasattr(msg.obj, "collect_asset_docs")
        return await super()._read(msg)

    # Its event is saved, but only the checkpoint after it keeps a pause from taking it again.

    async def _checkpoint(self, msg: Any) -> Any:
        self._announced = False
        return await super()._checkpoint(msg)

    async def _close_run(self, msg: Any) -> Any:
        self._announced = False
        return await super()._close_run(msg)

    async def _drop(self, msg: Any) -> Any:
        self._announced = False
        return await super()._drop(msg)

    async def _saved(self) -> None:
        deadline_s = time.monotonic() + SAVED_AFTER_S
        while self._announced and time.monotonic() < deadline_s:
            await asyncio.sleep(0)

    async def _request_pause_coro(self, defer: bool = False) -> Any:
        await self._saved()
        return await super()._request_pause_coro(defer)

    async def _abort_coro(self, reason: str) -> Any:
        await self._saved()
        return await super()._abort_coro(reason)

    async def _stop_coro(self) -> Any:
        await self._saved()
        return await super()._stop_coro()

    async def _halt_coro(self) -> Any:
        await self._saved()
        return await super()._halt_coro()

    def because(self, reason: str) -> None:
        """Note why the run in progress is about to end; "" takes it back."""
        self._end_because = reason

    def abort_running(self, reason: str) -> None:
        """End the plan that runs, with its clean-up, from another thread than its own."""
        self._end_because = reason
        super().abort(reason)

    def _guarded(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        finished = False
        try:
            result = action(*args, **kwargs)
            finished = True
            return result
        except RunEngineInterrupted:
            if self._terminated is not None:
                raise SystemExit(EXIT_ON_SIGNAL + self._terminated) from None
            raise
        finally:
            if str(self.state) in ENDED:
                self._when_idle(finished)

    def _status_object_completed(self, ret: Any, fut: Any, pardon_failures: Any) -> None:
        """Bluesky's own, with a failure that says what failed."""
        if ret.success or pardon_failures.is_set():
            fut.set_result(None)
            return
        with self._state_lock:
            failure = NamedFailure(ret)
            failure.__cause__ = ret.exception(timeout=0)
            self._exception = failure
            fut.set_exception(failure)
            fut.exception()  # it is told through `_exception`; nobody may collect this one


@contextmanager
def ended_by_signals(engine: InstrumentRunEngine) -> Generator[None]:
    """Let SIGTERM (and SIGHUP, a closed terminal) end a scan like an abort, inside the block.

    Outside the main thread it does nothing: Python handles signals there only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if sys.platform != "win32":
        numbers.append(signal.SIGHUP)

    def told(number: int, frame: object) -> None:
        engine.terminate(number)

    before = {number: signal.signal(number, told) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
