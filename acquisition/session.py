"""A session: everything a script needs to scan, in one object."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bluesky.preprocessors import SupplementalData

from zoneplate.analysis.regions import Strategy
from zoneplate.devices import AcquisitionError
from zoneplate.devices.microscope import Microscope
from zoneplate.devices.states import SHUTTER_CLOSED
from zoneplate.plans.suspension import watched
from zoneplate.simulators import attach

from .catalog import EmbeddedCatalog, RemoteCatalog
from .catalog_choice import open_catalog
from .control.channel import ControlServer
from .control.steering import Steering
from .data_directory import DataDirectory
from .journal import Document, DocumentJournal
from .live_process import LiveAnalysis
from .map_analysis import MapResult, analyze_map, load_map, save_map, with_regions
from .questions import Questions
from .run_engine import InstrumentRunEngine, ended_by_signals
from .runs import RunRecord, find_journal, read_run
from .stored_analysis import analyze_run
from .suspension import suspending
from .tomogram_file import StoredTomogram

logger = logging.getLogger(__name__)

LOG_NAME = "session.log"
LOGGED = ("bluesky", "ophyd", "zoneplate")

SAFE_TIMEOUT_S = 30.0
STANDING_TIMEOUT_S, STANDING_POLL_S = 5.0, 0.01
LIVE_RESULT_TIMEOUT_S = 120.0


class Session:
    """An open instrument with its RunEngine, its catalog and its live analysis.

    Made by `open_session`; close it, or use it as a context manager. Of its parameters, `clock` is
    that of a simulated instrument; without one, time is that of the wall.

    Attributes
    ----------
    RE
        The RunEngine.
    microscope
        The device.
    data
        Where frames, journal, catalog and results are.
    live
        The live analysis; None if it was not asked for.
    questions
        Answers what plans ask; its `stop_rule` says when an adaptive tomogram may stop.
    steering
        Does what others ask of a running scan; its `run` waits while a scan is paused.
    """

    def __init__(
        self,
        microscope: Microscope,
        data: DataDirectory,
        *,
        md: dict[str, Any],
        live: bool,
        clock: Any = None,
        when_closed: Callable[[], Any] = lambda: None,
    ) -> None:
        self._when_closed = when_closed
        self.microscope = microscope
        self.data = data
        self.md = md = {"instrument": microscope.configuration.name, **md}
        self._closed = False
        main_thread = threading.current_thread() is threading.main_thread()
        # Bluesky's Ctrl-C handling needs the main thread; elsewhere there is no Ctrl-C.
        options: dict[str, Any] = {} if main_thread else {"context_managers": []}
        self.RE = InstrumentRunEngine(
            md,
            clock=clock.now if clock is not None else time.time,
            when_started=self._note_velocities,
            when_idle=self._after_plan,
            **options,
        )
        if clock is not None:
            attach(self.RE, clock)
        self._clock = clock
        baseline = [microscope.stage, microscope.optics, *watched(microscope)]
        self.supplemental_data = SupplementalData(baseline=baseline)
        self.RE.preprocessors.append(self.supplemental_data)
        self.RE.preprocessors.append(suspending(self.RE, microscope))
        self.steering = Steering(self.RE)
        self.RE.preprocessors.append(self.steering.preprocess)
        self._control = ControlServer(data.root, self.steering)
        self._velocities: list[tuple[Any, float]] = []
        self._signals = ExitStack()
        self._signals.enter_context(ended_by_signals(self.RE))
        self._log = _log_to(data.root / LOG_NAME)
        self._journal = DocumentJournal(data.journal)
        self.RE.subscribe(self._journal)
        self.live = LiveAnalysis(data) if live else None
        self.questions = Questions(self)
        self.RE.subscribe(self._start_helpers, "start")
        self._catalog = open_catalog(data.root)

    @property
    def catalog(self) -> EmbeddedCatalog | RemoteCatalog:
        """The catalog of runs, newest last: `catalog[-1]`, `catalog[uid]`, `catalog(sample=...)`.

        Started when it is first asked for. `$ZONEPLATE_CATALOG` chooses another than the embedded
        one (`zoneplate.acquisition.catalog_choice`).
        """
        return self._catalog

    def make_safe(self) -> list[str]:
        """Close the shutter, stop the stage, let go of the camera: whatever state things are in.

        Each is tried whatever became of the others, the shutter first.

        Returns
        -------
        list of str
            What could not be done; logged too.
        """
        microscope = self.microscope
        complaints: list[str] = []

        def close_shutter() -> None:
            if microscope.shutter.state.get() != SHUTTER_CLOSED:
                microscope.shutter.set(SHUTTER_CLOSED).wait(SAFE_TIMEOUT_S)

        def let_go_of_camera() -> None:
            if microscope.camera._staged.value != "no":  # ophyd has no other way
                microscope.camera.unstage()

        steps: list[tuple[str, Callable[[], Any]]] = [("close the shutter", close_shutter)]
        axes = list(microscope.axes.values())
        steps += [(f"stop {axis.name}", partial(axis.stop, success=True)) for axis in axes]
        steps += [(f"see {axis.name} stand", partial(_wait_standing, axis)) for axis in axes]
        steps.append(("let go of the camera", let_go_of_camera))
        for what, step in steps:
            try:
                step()
            except Exception as error:
                # Whatever one device does, the others are still to be made safe.
                logger.exception("Could not %s: do it by hand", what)
                complaints.append(f"{what} ({error})")
        return complaints

    def _note_velocities(self) -> None:
        axes = self.microscope.axes.values()
        try:
            self._velocities = [(axis, float(axis.velocity.get())) for axis in axes]
        except Exception:
            # Whatever is wrong with the stage, the plan is to meet it and say so, not this note.
            logger.exception("The velocities of the stage could not be read")
            self._velocities = []

    def _after_plan(self, finished: bool) -> None:
        """Leave the microscope safe; a plan that was broken off leaves no velocity of its own."""
        complaints = self.make_safe()
        for axis, velocity in [] if finished else self._velocities:
            try:
                if float(axis.velocity.get()) != velocity:
                    axis.velocity.set(velocity).wait(SAFE_TIMEOUT_S)
            except Exception as error:
                # The other axes are still to get theirs back; what failed is told at the end.
                logger.exception("The velocity of %s could not be restored", axis.name)
                complaints.append(f"restore the velocity of {axis.name} ({error})")
        if finished and complaints:
            raise AcquisitionError(
                f"the plan ended, but the microscope is not safe: {'; '.join(complaints)}; do it "
                "by hand"
            )

    def run(self, uid: str) -> RunRecord:
        """Return a run as its documents tell it.

        Raises
        ------
        RunNotFoundError
            If there is no such run.
        """
        return read_run(find_journal(self.data.journal, uid))

    def tomogram(self, uid: str, timeout_s: float = LIVE_RESULT_TIMEOUT_S) -> StoredTomogram:
        """Return the analysed tomogram of a run.

        Waits for the live analysis; where it failed or was killed, the stored frames are
        analysed here.
        """
        if self.live is not None:
            self.live.wait(uid, timeout_s)
        return analyze_run(self.data, uid)

    def map(self, uid: str) -> MapResult:
        """Return the analysed map of a mosaic run."""
        found = load_map(self.data.result_of(uid))
        if found is None:
            found = analyze_map(self.run(uid))
            save_map(self.data.result_of(uid), found)
        return found

    def choose_regions(
        self, uid: str, count: int, rank: Strategy = "count"
    ) -> list[tuple[float, float, float]]:
        """Return stage positions (x, y, z) of the regions to take tomograms of, best first."""
        width_um = self.microscope.configuration.camera.detector.field_um()[1]
        chosen = with_regions(self.map(uid), width_um, count, rank)
        save_map(self.data.result_of(uid), chosen)
        if chosen.regions.empty:
            logger.warning("No region was chosen: %s", chosen.facts["regions_note"])
        names = ["center_x_um", "center_y_um", "center_z_um"]
        return [(x, y, z) for x, y, z in chosen.regions[names].to_numpy(float).tolist()]

    def close(self) -> None:
        """End the live analysis and the catalog and let go of the instrument; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._signals.close()
        if str(self.RE.state) == "paused":
            self.RE.abort("the session was closed while the scan was paused")
        self._control.close()
        self.make_safe()
        if self.live is not None:
            self.live.close()
        self._journal.close()
        self._catalog.close()
        if self._clock is not None:
            self._clock.close()
        self._when_closed()
        for logger_name in LOGGED:
            logging.getLogger(logger_name).removeHandler(self._log)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start_helpers(self, name: str, doc: Document) -> None:
        """Start what a scan needs beside it with the first: a plan refused before costs nothing."""
        self._control.start()
        if self.live is not None:
            self.live.start()


def _wait_standing(axis: Any) -> None:
    """Wait until an axis that was told to stop stands: it needs its time to slow down."""
    deadline_s = time.monotonic() + STANDING_TIMEOUT_S
    while axis.moving:
        if time.monotonic() > deadline_s:
            raise AcquisitionError(f"it still moves {STANDING_TIMEOUT_S:g} s after it was stopped")
        time.sleep(STANDING_POLL_S)


def _log_to(file: Path) -> logging.Handler:
    """Let warnings of the libraries below go to a file, with everything about a failed run."""
    handler = logging.FileHandler(file, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.WARNING)
    for name in LOGGED:
        logging.getLogger(name).addHandler(handler)
    return handler
