"""One thread watches all deadlines: each comes when it is due, none holds another up."""

from __future__ import annotations

import threading
import time

from zoneplate.devices.deadlines import call_when_late


def test_each_comes_when_it_is_due_whatever_the_order():
    came: list[tuple[str, float]] = []
    done, began_s = threading.Event(), time.monotonic()

    def note(name: str) -> None:
        came.append((name, time.monotonic() - began_s))
        if name == "last":
            done.set()

    for name, patience_s in (("last", 0.4), ("first", 0.05), ("second", 0.2)):
        call_when_late(patience_s, lambda name=name: note(name))
    assert done.wait(10)
    assert [name for name, _ in came] == ["first", "second", "last"]
    assert all(at_s >= due_s for (_, at_s), due_s in zip(came, (0.05, 0.2, 0.4), strict=True))


def test_cancelled_one_does_not_come():
    came: list[str] = []
    after = threading.Event()
    call_when_late(0.05, lambda: came.append("cancelled")).cancel()
    call_when_late(0.1, after.set)
    assert after.wait(10)
    assert came == []


def test_one_that_takes_long_holds_no_other_up():
    go_on, second = threading.Event(), threading.Event()
    call_when_late(0.01, lambda: go_on.wait(10))
    call_when_late(0.02, second.set)
    assert second.wait(5)
    go_on.set()


def test_a_thousand_waits_take_one_thread():
    before = threading.active_count()
    waits = [call_when_late(60, lambda: None) for _ in range(1000)]
    assert threading.active_count() <= before + 1
    for wait in waits:
        wait.cancel()
