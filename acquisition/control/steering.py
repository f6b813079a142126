"""Does what was asked of a running scan, along the ways that leave it safe.

A pause comes at the next checkpoint, after a whole frame. Skipping a region and stopping after it
are errors thrown into the plan where a frame is complete, so that its own clean-up runs. An abort
is that of the RunEngine.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator
from typing import Any

from bluesky.utils import Msg, RunEngineInterrupted, ensure_generator

from zoneplate.acquisition.run_engine import InstrumentRunEngine
from zoneplate.devices import AcquisitionError
from zoneplate.plans.screening import RegionSkipped, ScreeningStopped

from .wishes import LEAST_ROLE, Action, ControlRefused, Wish, may

logger = logging.getLogger(__name__)


class Steering:
    """Steers the scans of one RunEngine.

    Parameters
    ----------
    engine
        The RunEngine; `preprocess` must be among its preprocessors.
    """

    def __init__(self, engine: InstrumentRunEngine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._wishes: dict[Action, Wish] = {}
        self._decisions: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        self._paused_by: Wish | None = None
        self._aborted_by: Wish | None = None
        self._attended = False
        self._run = ""
        self._region: tuple[int, int] | None = None

    def state(self) -> dict[str, Any]:
        """Return what is going on, as plain data."""
        with self._lock:
            paused = self._paused_by
            pending = [str(wish) for wish in self._wishes.values()]
        state = str(self._engine.state)
        if state == "paused" and paused is not None:
            state = f"paused by {paused.who}"
        elif paused is not None and state == "running":
            state = "running, pauses after this frame"
        return {
            "state": state,
            "run": self._run,
            "region": list(self._region) if self._region is not None else None,
            "pending": pending,
        }

    def request(self, wish: Wish) -> str:
        """Do, or see to, what somebody asked for.

        Returns
        -------
        str
            What happens now.

        Raises
        ------
        ControlRefused
            If it may not or cannot be done.
        """
        if not may(wish.role, wish.action):
            raise ControlRefused(
                f"{wish.action.value} needs the role {LEAST_ROLE[wish.action].value}; "
                f"{wish.who} is {wish.role.value}"
            )
        logger.info("%s", wish)
        return {
            Action.PAUSE: self._pause,
            Action.RESUME: self._resume,
            Action.SKIP_REGION: self._skip,
            Action.STOP_AFTER_REGION: self._stop_after,
            Action.ABORT: self._abort,
        }[wish.action](wish)

    def preprocess(self, plan: Any) -> Generator[Msg, Any, Any]:
        """Wrap a plan so that it can be steered: a preprocessor of the RunEngine."""
        inner = ensure_generator(plan)
        answer: Any = None
        error: BaseException | None = None
        try:
            while True:
                try:
                    message = inner.send(answer) if error is None else inner.throw(error)
                except StopIteration as done:
                    return done.value
                error, answer = self._due(message), None
                if error is not None:
                    continue
                try:
                    answer = yield message
                except GeneratorExit:
                    raise
                except BaseException as failure:  # noqa: BLE001 - whatever it is, it is the plan's
                    error = failure
        finally:
            inner.close()

    def run(self, plan: Any) -> Any:
        """Run a plan; when somebody pauses it, wait for what they decide.

        Raises
        ------
        AcquisitionError
            If somebody aborted it.
        """
        with self._lock:
            self._attended, self._paused_by, self._aborted_by = True, None, None
            self._wishes.clear()
        try:
            return self._attend(plan)
        finally:
            with self._lock:
                self._attended, self._paused_by = False, None
                self._wishes.clear()

    def _attend(self, plan: Any) -> Any:
        begun = False
        while True:
            try:
                if not begun:
                    begun = True
                    return self._engine(plan)
                decision = self._decisions.get()
                with self._lock:
                    self._paused_by = None
                if decision.action is Action.RESUME:
                    return self._engine.resume()
                self._engine.abort(str(decision))
                raise AcquisitionError(f"the scan was ended: {decision}")
            except RunEngineInterrupted:
                if self._aborted_by is not None:
                    raise AcquisitionError(f"the scan was ended: {self._aborted_by}") from None
                if self._paused_by is None or str(self._engine.state) != "paused":
                    raise

    def _due(self, message: Msg) -> BaseException | None:
        """Note where the plan is; return what to throw into it here, if anything."""
        if message.command == "open_run":
            screening = message.kwargs.get("screening") or {}
            region = (screening["region"], screening["of"]) if screening else None
            stop = self._take(Action.STOP_AFTER_REGION) if region is not None else None
            if stop is not None:
                return ScreeningStopped(str(stop))
            self._engine.because("")
            self._run, self._region = str(message.kwargs.get("plan_name", "")), region
        elif message.command == "close_run":
            self._run, self._region = "", None
        elif message.command == "checkpoint" and self._region is not None:
            skip = self._take(Action.SKIP_REGION)
            if skip is not None:
                self._engine.because(str(skip))
                return RegionSkipped(str(skip))
        return None

    def _take(self, action: Action) -> Wish | None:
        with self._lock:
            return self._wishes.pop(action, None)

    def _pause(self, wish: Wish) -> str:
        self._need_running()
        if not self._attended:
            raise ControlRefused(
                "this scan was started at a prompt or by a queue: pause it there (Ctrl-C, or "
                "`qserver re pause`)"
            )
        with self._lock:
            if self._paused_by is not None:
                raise ControlRefused(f"it pauses already: {self._paused_by}")
            self._paused_by = wish
        _beside(self._engine.request_pause, True)
        return "the scan pauses after this frame"

    def _resume(self, wish: Wish) -> str:
        if not self._is_paused():
            raise ControlRefused("the scan is not paused")
        self._decisions.put(wish)
        return "the scan goes on"

    def _skip(self, wish: Wish) -> str:
        number, of = self._need_region()
        with self._lock:
            self._wishes[Action.SKIP_REGION] = wish
        return f"region {number + 1} of {of} ends after this frame and does not count"

    def _stop_after(self, wish: Wish) -> str:
        number, of = self._need_region()
        if number + 1 == of:
            raise ControlRefused("this is the last region: the screening ends after it anyway")
        with self._lock:
            self._wishes[Action.STOP_AFTER_REGION] = wish
        return f"the screening ends after region {number + 1} of {of}"

    def _abort(self, wish: Wish) -> str:
        if self._is_paused():
            self._decisions.put(wish)
            return "the scan is aborted"
        self._need_running()
        with self._lock:
            self._aborted_by = wish
        _beside(self._engine.abort_running, str(wish))
        return "the scan is aborted"

    def _is_paused(self) -> bool:
        return self._attended and str(self._engine.state) == "paused"

    def _need_running(self) -> None:
        if str(self._engine.state) != "running":
            raise ControlRefused(f"no scan is running (the session is {self._engine.state})")

    def _need_region(self) -> tuple[int, int]:
        region = self._region
        if region is None:
            raise ControlRefused("no region of a screening is being taken")
        return region


def _beside(action: Callable[[Any], Any], argument: Any) -> None:
    """Do something that waits for the engine; whoever asked is answered before."""
    threading.Thread(target=action, args=(argument,), name="steering", daemon=True).start()
