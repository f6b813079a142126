"""What page and live analysis cost a scan, and how soon the page shows a frame.

Pairs of the same tomogram, alternately alone and with live analysis, page and a browser that looks:
`python benchmarks/page_cost.py --pairs 3`. Prints by how much the scan took longer (of its own
clock, which runs at `--speed` times wall time), and from when a frame was in the journal to when
its picture was on the screen. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "acquisition"))
from browser import browser

from zoneplate.acquisition import open_session
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.page.process import PageProcess
from zoneplate.plans import tomography

WATCH = """() => {
  const deep = (root, what) => {
    const hit = root.querySelector(what);
    if (hit) return hit;
    for (const one of root.querySelectorAll('*'))
      if (one.shadowRoot) { const found = deep(one.shadowRoot, what); if (found) return found; }
    return null;
  };
  window.seen = {};
  const look = () => {
    const image = deep(document, '.frame');
    if (image && image.complete && !(image.dataset.frame in seen))
      seen[image.dataset.frame] = Date.now() / 1000;
    requestAnimationFrame(look);
  };
  look();
}"""


def scan(data: Path, speed: float, projections: int, *, live: bool) -> tuple[float, list[float]]:
    """Return how long a tomogram took of its own clock, and when each frame was in the journal."""
    frames: list[float] = []
    streams: dict[str, str] = {}

    def note(name: str, doc: dict[str, Any]) -> None:
        if name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        elif name == "event" and streams[doc["descriptor"]] != "baseline":
            frames.append(time.time())

    with open_session("simulated", seed=0, data_dir=data, speed=speed, live=live) as session:
        session.RE.subscribe(note)
        plan = tomography(session.microscope, center_um=(0, 0, 3), projections=projections)
        (uid,) = session.RE(plan)
        took_s = session.run(uid).duration_s()
    assert took_s is not None
    return took_s, frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--speed", type=float, default=4.0)
    parser.add_argument("--projections", type=int, default=41)
    options = parser.parse_args()
    ratios: list[float] = []
    delays_s: list[float] = []
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        for pair in range(options.pairs):
            alone = DataDirectory(Path(folder) / f"alone{pair}")
            watched = DataDirectory(Path(folder) / f"watched{pair}")
            watched.create()
            arguments = (options.speed, options.projections)
            alone_s, _ = scan(alone.root, *arguments, live=False)
            with PageProcess(watched) as server:
                server.wait_ready()
                page = chromium.new_page()
                page.goto(server.addresses[0].split()[-1])
                page.wait_for_selector(".status")
                page.evaluate(WATCH)
                found: list[tuple[float, list[float]]] = []
                taking = threading.Thread(
                    target=lambda: found.append(scan(watched.root, *arguments, live=True))  # noqa: B023
                )
                taking.start()
                while taking.is_alive():
                    page.wait_for_timeout(100)
                seen = {int(k): v for k, v in page.evaluate("window.seen").items()}
                page.close()
            watched_s, frames = found[0]
            ratios.append(watched_s / alone_s)
            delays_s += [seen[n] - at for n, at in enumerate(frames, start=1) if n in seen]
            print(f"pair {pair + 1}: {alone_s:.2f} s alone, {watched_s:.2f} s watched")
    print(f"slowed by           {100 * (statistics.median(ratios) - 1):+.2f} % (median of pairs)")
    print(f"frame to pixel      p50 {np.percentile(delays_s, 50):.2f} s, p95 "
          f"{np.percentile(delays_s, 95):.2f} s ({len(delays_s)} frames seen)")  # fmt: skip


if __name__ == "__main__":
    main()
