"""The live page in a real browser, while a simulated scan runs at many times its real speed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import Cuttable, browser

from zoneplate.acquisition import open_session, screen_sample
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.page.process import PageProcess

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
]  # a browser, a page and a scan, on a busy machine

SPEED = 5.0
PROJECTIONS = 49
"""Few: a field of 128 columns can be measured from 20 on."""
HOSTILE = "<img src=x onerror=window.hacked=1><b>powder</b>"
PATIENCE_MS = 150_000


@dataclass
class Watched:
    """What was seen of one scan, from before its beginning to its end."""

    before: str = ""
    slices: list[str] = field(default_factory=list)
    projections: list[int] = field(default_factory=list)
    radiographs: set[str] = field(default_factory=set)
    paused_frames: tuple[str, str] = ("", "")
    said: list[str] = field(default_factory=list)
    late_slices: int = 0
    late_map: int = 0
    after_loss: str = ""
    results: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    phone_overflow: int = -1
    hacked: bool = True
    sample_text: str = ""
    observer_buttons: int = -1
    log: list[dict[str, Any]] = field(default_factory=list)


def scan(data: Path, out: Path, found: dict[str, Any]) -> None:
    try:
        with open_session(
            "simulated", seed=0, data_dir=data, speed=SPEED, md={"sample": HOSTILE}
        ) as session:
            results = screen_sample(
                session, out, regions=1, shape=(2, 3), projections=PROJECTIONS, exposure_s=1.0
            )
            found["results"] = results.document
    except BaseException as error:  # noqa: BLE001 - the test shows it
        found["error"] = error


def click(page: Any, action: str) -> str:
    page.get_by_role("button", name=action).click()
    page.get_by_role("button", name="Yes").click()
    says = page.locator(".says pre")
    deadline = time.monotonic() + 20
    while not "".join(says.all_inner_texts()).strip() and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    return "".join(says.all_inner_texts()).strip()


def source(page: Any, selector: str) -> str:
    """The picture that is shown; its address holds its pixels."""
    width = page.locator(selector).evaluate("image => image.naturalWidth")
    assert width > 0, "the picture cannot be decoded"
    return str(page.locator(selector).get_attribute("src"))


def taken(page: Any) -> str:
    return str(page.locator(".status").get_attribute("data-taken"))


def slices_now(page: Any) -> int:
    three = page.locator(".three")
    return int(three.get_attribute("data-projections") or 0) if three.count() else 0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("live")
    data = DataDirectory(folder / "data")
    data.create()
    seen, found = Watched(), {}
    with browser() as chromium, PageProcess(data) as server:
        assert server.wait_ready(), server.addresses
        watch, steer = (line.split()[-1] for line in server.addresses[:2])
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(steer)
        page.get_by_text("Waiting for a scan").wait_for()
        seen.before = page.locator(".status").inner_text()
        taking = threading.Thread(target=scan, args=(data.root, folder / "out", found))
        taking.start()
        try:
            watch_scan(seen, page, chromium, watch)
        finally:
            taking.join(150)
        if "error" in found:
            raise found["error"]
        seen.results = json.loads((folder / "out" / "results.json").read_text())
        page.wait_for_selector(".status[data-final='1']")
        page.wait_for_selector(f".big[data-particles='{seen.results['particles']['count']}']")
        seen.shown = {
            "particles": page.locator(".particles").inner_text(),
            "with voids": page.locator(".voids").inner_text(),
        }
        seen.hacked = bool(page.evaluate("window.hacked === 1"))
        seen.sample_text = page.locator(".sample").inner_text()
        phone = chromium.new_page(viewport={"width": 390, "height": 800}, is_mobile=True)
        phone.goto(watch)
        phone.wait_for_selector(".three", timeout=PATIENCE_MS)
        seen.phone_overflow = phone.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        seen.observer_buttons = phone.get_by_role("button", name="Abort").count()
        seen.log = [json.loads(line) for line in (data.root / "control.jsonl").open()]
        yield seen


def watch_scan(seen: Watched, page: Any, chromium: Any, watch: str) -> None:
    page.wait_for_selector(".three", timeout=PATIENCE_MS)
    while slices_now(page) < PROJECTIONS // 3:
        count = slices_now(page)
        if not seen.projections or count > seen.projections[-1]:
            seen.projections.append(count)
            seen.slices.append(source(page, ".three img >> nth=1"))
            seen.radiographs.add(source(page, ".frame"))
        page.wait_for_timeout(200)
    seen.said.append(click(page, "Pause"))
    page.get_by_text("paused by").wait_for(timeout=PATIENCE_MS)
    page.wait_for_timeout(500)
    first = taken(page)
    page.wait_for_timeout(700)
    seen.paused_frames = (first, taken(page))
    port = urlsplit(watch).port
    relay = Cuttable(port)
    late = chromium.new_page()
    late.goto(watch.replace(f":{port}/", f":{relay.port}/"))
    late.wait_for_selector(".three", timeout=PATIENCE_MS)
    late.wait_for_selector(".region", timeout=PATIENCE_MS)
    seen.late_slices, seen.late_map = slices_now(late), late.locator(".found circle").count()
    relay.lose()
    seen.said.append(click(page, "Resume"))
    late.wait_for_timeout(1000)
    relay.cut = False
    late.wait_for_selector(".status[data-final='1']", timeout=2 * PATIENCE_MS)
    seen.after_loss = late.locator(".status").inner_text()
    late.close()
    relay.close()


def test_page_waits_before_the_scan(watched):
    assert "Waiting for a scan" in watched.before


def test_slices_and_radiographs_change_while_the_scan_runs(watched):
    assert len(watched.projections) >= 3
    assert watched.projections == sorted(set(watched.projections))
    assert len(set(watched.slices)) == len(watched.slices)
    assert len(watched.radiographs) >= 3


def test_counts_are_those_of_the_results(watched):
    frequency = watched.results["void_frequency"]
    assert watched.shown == {
        "particles": str(watched.results["particles"]["count"]),
        "with voids": str(frequency["k"]),
    }
    assert watched.results["particles"]["count"] > 5


def test_pause_and_resume_by_clicking(watched):
    assert watched.said == ["the scan pauses after this frame", "the scan goes on"]
    assert watched.paused_frames[0] == watched.paused_frames[1] != ""
    assert [entry["action"] for entry in watched.log] == ["pause", "resume"]
    assert all(entry["done"] and entry["who"] and entry["time"] for entry in watched.log)


def test_page_opened_in_the_middle_shows_all_so_far(watched):
    assert watched.late_slices >= PROJECTIONS // 3
    assert watched.late_map > 20


def test_page_that_lost_its_connection_follows_again(watched):
    assert "Tomogram 1 of 1 done" in watched.after_loss


def test_sample_name_is_text_and_nothing_else(watched):
    assert watched.sample_text == HOSTILE
    assert not watched.hacked


def test_phone_shows_it_without_scrolling_sideways(watched):
    assert watched.phone_overflow <= 0


def test_observer_has_no_buttons(watched):
    assert watched.observer_buttons == 0
