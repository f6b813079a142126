"""Steering a scan from outside: what was asked for happens, safely, and is written down."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zoneplate.acquisition import Session, open_session
from zoneplate.acquisition.control.channel import (
    ADDRESS_FILE,
    LOG_FILE,
    ask,
    ask_state,
    read_address,
)
from zoneplate.acquisition.control.wishes import Action, ControlRefused, Role
from zoneplate.devices import AcquisitionError
from zoneplate.plans import screen
from zoneplate.simulators import Particle, Specimen

AT_UM = [(0.0, 0.0, 3.0), (20.0, 0.0, 3.0), (-20.0, 0.0, 3.0)]


PARTICLE = Particle("a", (0.0, 0.0, 3.0), (3.0, 3.0, 3.0), material="LiNi0.6Mn0.2Co0.2O2@4.77")
SPECIMEN = Specimen(particles=(PARTICLE,), name="one particle")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("control")
    with open_session("simulated", specimen=SPECIMEN, data_dir=folder, live=False) as one:
        yield one


@pytest.fixture
def session(opened: Session) -> Session:
    (opened.data.root / LOG_FILE).unlink(missing_ok=True)
    return opened


def short(session: Session, regions: int = 2) -> Any:
    return screen(
        session.microscope,
        regions=regions,
        shape=(1, 1),
        projections=6,
        exposure_s=0.2,
        at_um=AT_UM[:regions],
    )


class Asker:
    """Asks for something from another thread as soon as a frame of a tomogram is in."""

    def __init__(self, session: Session, tomogram: int, *steps: Callable[[Path], Any]) -> None:
        self.answers: list[Any] = []
        self.stops: list[dict[str, Any]] = []
        self._root, self._steps, self._tomogram = session.data.root, steps, tomogram
        self._seen, self._plan, self._asked = 0, "", False
        self._gate = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        self._token = session.RE.subscribe(self)
        self._engine = session.RE

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._plan = doc["plan_name"]
            self._seen += self._plan == "tomography"
        elif name == "stop":
            self.stops.append(doc)
        elif name == "event" and self._seen == self._tomogram and not self._asked:
            self._asked = True
            self._gate.set()
            # The scan runs in virtual time: let the question arrive before the next frame.
            deadline = time.monotonic() + 10
            while not self.answers and time.monotonic() < deadline:
                time.sleep(0.002)

    def _ask(self) -> None:
        self._gate.wait(60)
        for step in self._steps:
            try:
                self.answers.append(step(self._root))
            except ControlRefused as refusal:
                self.answers.append(refusal)

    def join(self) -> None:
        self._thread.join(60)
        self._engine.unsubscribe(self._token)


def wish(action: Action, role: Role = Role.OPERATOR) -> Callable[[Path], str]:
    return lambda root: ask(root, action, "anna", role, "test")


def until(state: str) -> Callable[[Path], str]:
    def wait(root: Path) -> str:
        deadline = time.monotonic() + 20
        while state not in (now := str(ask_state(root).get("state"))):
            assert time.monotonic() < deadline, now
            time.sleep(0.01)
        return now

    return wait


def log_of(session: Session) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (session.data.root / LOG_FILE).open()]


def test_pause_and_resume_lose_no_frame(session):
    asker = Asker(session, 1, wish(Action.PAUSE), until("paused by anna"), wish(Action.RESUME))
    session.steering.run(short(session, 1))
    asker.join()
    assert asker.answers == [
        "the scan pauses after this frame",
        "paused by anna",
        "the scan goes on",
    ]
    assert [stop["exit_status"] for stop in asker.stops] == ["success", "success"]
    assert asker.stops[1]["num_events"]["primary"] == 6
    assert [(one["who"], one["role"], one["action"]) for one in log_of(session)] == [
        ("anna", "operator", "pause"),
        ("anna", "operator", "resume"),
    ]


def test_skipped_region_ends_safely_and_the_next_follows(session):
    asker = Asker(session, 1, wish(Action.SKIP_REGION))
    session.steering.run(short(session))
    assert [stop["exit_status"] for stop in asker.stops] == [
        "success",
        "abort",
        "success",
    ]
    assert asker.stops[1]["reason"] == "skip region on request of anna (operator)"
    assert asker.stops[1]["num_events"].get("primary", 0) < 6
    assert asker.stops[2]["reason"] == ""
    assert session.microscope.shutter.state.get() == "closed"


def test_stop_after_this_region_finishes_it(session):
    asker = Asker(session, 1, wish(Action.STOP_AFTER_REGION))
    uids = session.steering.run(short(session))
    asker.join()
    assert [stop["exit_status"] for stop in asker.stops] == ["success", "success"]
    assert asker.stops[1]["num_events"]["primary"] == 6
    assert len(uids) == 2


def test_abort_is_for_experts_and_says_who(session):
    asker = Asker(session, 1, wish(Action.ABORT), wish(Action.ABORT, Role.EXPERT))
    with pytest.raises(AcquisitionError, match="abort on request of anna"):
        session.steering.run(short(session))
    asker.join()
    assert "needs the role expert" in str(asker.answers[0])
    assert asker.stops[-1]["exit_status"] == "abort"
    assert asker.stops[-1]["reason"] == "abort on request of anna (expert)"
    assert session.microscope.shutter.state.get() == "closed"
    assert [one["done"] for one in log_of(session)] == [False, True]


def test_abort_while_paused(session):
    steps = (wish(Action.PAUSE), until("paused by"), wish(Action.ABORT, Role.EXPERT))
    asker = Asker(session, 1, *steps)
    with pytest.raises(AcquisitionError, match="abort on request of anna"):
        session.steering.run(short(session))
    asker.join()
    assert asker.stops[-1]["reason"] == "abort on request of anna (expert)"


def test_what_is_not_possible_is_refused_with_the_reason(session):
    asker = Asker(
        session,
        2,
        wish(Action.STOP_AFTER_REGION),
        wish(Action.RESUME),
        wish(Action.PAUSE, Role.OBSERVER),
    )
    session.steering.run(short(session))
    asker.join()
    says = [str(answer) for answer in asker.answers]
    assert "last region" in says[0]
    assert "not paused" in says[1]
    assert "needs the role operator" in says[2]


def test_scan_at_a_prompt_is_not_paused_from_outside(session):
    asker = Asker(session, 1, wish(Action.PAUSE))
    session.RE(short(session, 1))
    asker.join()
    assert "at a prompt" in str(asker.answers[0])


def test_door_is_private_and_closes_with_the_session(tmp_path):
    with open_session("simulated", specimen=SPECIMEN, data_dir=tmp_path, live=False) as session:
        session.RE(short(session, 1))
        file = tmp_path / ADDRESS_FILE
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert ask_state(tmp_path)["state"] == "idle"
        known = read_address(tmp_path)
        assert known is not None
        file.write_text(json.dumps({**known, "secret": "guessed"}))
        with pytest.raises(ControlRefused, match="wrong secret"):
            ask(tmp_path, Action.PAUSE, "eve", Role.EXPERT, "test")
        file.write_text(json.dumps(known))
    assert not file.exists()
    with pytest.raises(ControlRefused, match="no session"):
        ask(tmp_path, Action.PAUSE, "anna", Role.EXPERT, "test")
