"""The process that follows scans and analyses them: `python -m zoneplate.acquisition.live_worker`.

It reads the journal and the frame files and writes results; nothing it does can delay a scan,
and if it dies nothing is lost but time. It tells its parent what it sees in JSON lines on
standard output, and ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from zoneplate.analysis.tomogram import Preview

from .data_directory import DataDirectory
from .derived_run import DerivedRun, progress_row
from .journal import DocumentJournal, is_abandoned, journals, read_journal
from .journal_follower import JournalFollower
from .live import LiveTomogram
from .live_pictures import LivePictures
from .results import load_tomogram_result, save_tomogram_result
from .tomogram_file import keep

logger = logging.getLogger(__name__)

POLL_S = 0.02
DEAD_S = 2.0
"""Wall time between two looks whether the process behind a silent journal still lives."""


class LiveWorker:
    """Follows every tomography run that begins after it did.

    Parameters
    ----------
    data
        The data directory of the session.
    since
        Name of a journal: only newer ones are followed.
    catch_up
        Follow older ones as well, unless their result is there.
    """

    def __init__(self, data: DataDirectory, since: str = "", *, catch_up: bool = False) -> None:
        self._catch_up = catch_up
        self._data = data
        self._journal = DocumentJournal(data.journal)
        self._newest = since
        self.stopped = threading.Event()

    def run(self) -> None:
        """Follow runs until told to stop."""
        say("ready")
        while not self.stopped.is_set():
            fresh = [path for path in journals(self._data.journal) if path.name > self._newest]
            if not fresh:
                time.sleep(POLL_S)
                continue
            for path in fresh:
                self._newest = path.name
                self._follow(path)

    def _follow(self, path: Path) -> None:
        first = next(iter(read_journal(path)), None)
        while first is None and not self.stopped.is_set():
            time.sleep(POLL_S)
            first = next(iter(read_journal(path)), None)
        if first is None or first[1].get("plan_name") != "tomography":
            return
        start = first[1]
        uid = str(start["uid"])
        if self._catch_up and load_tomogram_result(self._data.result_of(uid)) is not None:
            return
        parameters: dict[str, Any] = {"source": "live"}
        derived = DerivedRun(
            self._journal, uid, str(start.get("sample", "")), parameters, float(start["time"])
        )

        follower = JournalFollower(path, POLL_S, self._given_up(path))
        pictures = LivePictures(self._data.live_of(uid))

        def on_preview(preview: Preview) -> None:
            derived.progress(preview)
            say(
                "preview",
                uid=uid,
                planned=preview.planned,
                lag_frames=live.lag_frames,
                previews_left_out=live.previews_left_out,
                **progress_row(preview),
            )
            if preview.segmentation is not None and live.analysis is not None:
                pictures.labels(live.analysis, preview.segmentation)

        live = LiveTomogram(
            on_preview,
            waiting=lambda: follower.waiting().get("event", 0),
            on_frame=pictures.slices,
            root=self._data.root,
        )
        try:
            say("started", uid=uid)
            for name, doc in follower:
                live(name, doc)
                derived.time_s = float(doc.get("time", derived.time_s))
            if live.record.stop is None:
                derived.close("abort", "the scan died, or the live analysis was stopped")
                return
            tomogram = live.finish(lambda doing: say("step", uid=uid, doing=doing))
            planned = live.analysis.planned if live.analysis is not None else 0
            on_preview(Preview(tomogram.projections, planned, tomogram.summary))
            derived.tables(tomogram)
            kept = keep(
                tomogram,
                uid,
                analysis_uid=derived.uid,
                time_s=live.record.duration_s(),
                exit_status=live.record.stop["exit_status"],
                sample=str(start.get("sample", "")),
            )
            save_tomogram_result(self._data.result_of(uid), kept)
            pictures.remove()
            derived.close()
            say("finished", uid=uid)
        except Exception as error:
            stop = live.record.stop or {}
            if isinstance(error, ValueError) and stop.get("exit_status") != "success":
                logger.warning("Run %s was broken off: %s", uid, error)
            else:
                logger.exception("The live analysis of %s failed", uid)
            derived.close("fail", str(error))
            say("failed", uid=uid, reason=str(error))

    def _given_up(self, path: Path) -> Callable[[], bool]:
        """Return what says that nothing more will come: we were stopped, or the scan has died."""
        looked_s = time.monotonic()

        def given_up() -> bool:
            nonlocal looked_s
            if self.stopped.is_set():
                return True
            if not self._catch_up or time.monotonic() - looked_s < DEAD_S:
                return False
            looked_s = time.monotonic()
            return is_abandoned(path)

        return given_up


def say(what: str, **facts: Any) -> None:
    """Tell the parent."""
    sys.stdout.buffer.write(
        orjson.dumps({"what": what, **facts}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
    )
    sys.stdout.buffer.flush()


def main(arguments: list[str] | None = None) -> None:
    """Run the worker until standard input closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--since", default="")
    parser.add_argument("--catch-up", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    worker = LiveWorker(DataDirectory(Path(options.data)), options.since, catch_up=options.catch_up)

    def watch_parent() -> None:
        sys.stdin.buffer.read()
        worker.stopped.set()

    threading.Thread(target=watch_parent, daemon=True).start()
    try:
        worker.run()
    except BrokenPipeError:
        # The parent is gone; a thread that still reads from it would spoil an ordinary end.
        os._exit(0)


if __name__ == "__main__":
    main()
