"""Does a catalog of 10,000 runs stay fast? Searches, and the time a new run takes to get in.

    python benchmarks/catalog_size.py --runs 10000 [--postgres URI]

The runs get their entries from the writer that enters every run (`TiledWriter`), for start and
stop documents only: streams, which take most of the time of entering, lie in tables of their own
that searches do not touch. Times of one computer; minimum of several. Entering 10,000 takes about
ten minutes; without --runs, 1,000 are entered.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bluesky_tiled_plugins import TiledWriter
from tiled.client import from_uri

from zoneplate.acquisition.catalog_choice import open_catalog
from zoneplate.acquisition.catalog_writer import FrameNormalizer
from zoneplate.acquisition.journal import DocumentJournal

EPOCH_S = 1_780_000_000.0
EVENTS = 156
THREADS = 4


def run_uid(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def start_document(number: int, time_s: float | None = None) -> dict[str, Any]:
    return {
        "uid": run_uid(number),
        "time": EPOCH_S + 300 * number if time_s is None else time_s,
        "scan_id": number,
        "plan_name": "tomography" if number % 6 else "mosaic",
        "sample": f"lot-{number // 20:04d}",
        "acquisition": {"binning": 8, "exposure_s": 1.0, "pixel_um": 0.512},
        "tomography": {"angles_deg": [round(-90 + 180 * k / 141, 4) for k in range(141)]},
    }


def enter_quickly(client: Any, numbers: range) -> None:
    for number in numbers:
        writer = TiledWriter(client, normalizer=FrameNormalizer)
        start = start_document(number)
        writer("start", start)
        stop = {"uid": f"s{number}", "run_start": start["uid"], "time": start["time"] + 299}
        writer("stop", stop | {"exit_status": "success", "num_events": {}})


def scan(journal: DocumentJournal, number: int) -> str:
    """A new run with as many events as a tomogram."""
    now = time.time()
    start = start_document(number, now)
    uid = start["uid"]
    value = {"source": "bench", "dtype": "number", "shape": []}
    descriptor = {"uid": f"d{number}", "run_start": uid, "name": "primary", "time": now}
    descriptor |= {"data_keys": {"theta": value}, "configuration": {}, "object_keys": {}}
    journal("start", start)
    journal("descriptor", descriptor | {"hints": {}})
    for k in range(1, EVENTS + 1):
        event = {"uid": f"e{number}-{k}", "descriptor": f"d{number}", "seq_num": k, "time": now}
        journal("event", event | {"data": {"theta": 1.0 * k}, "timestamps": {"theta": now}})
    stop = {"uid": f"s{number}", "run_start": uid, "time": now, "exit_status": "success"}
    journal("stop", stop | {"num_events": {"primary": EVENTS}})
    return uid


def best(action: Callable[[], Any], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times)


def measure(catalog: Any, journal: DocumentJournal, size: int, numbers: list[int]) -> None:
    lot = f"lot-{size // 40:04d}"
    searches: dict[str, Callable[[], Any]] = {
        f"catalog(sample={lot!r}), first 20": lambda: [r.start for r in catalog(sample=lot)][:20],
        "two terms": lambda: len(list(catalog(sample=lot, plan_name="mosaic"))),
        "catalog[uid]": lambda: catalog[run_uid(size // 2)].start,
        "catalog[-1]": lambda: catalog[-1].start,
        "len(catalog)": lambda: len(catalog),
    }
    print(f"{size} runs", flush=True)
    for name, search in searches.items():
        print(f"  {name:<36} {best(search):7.3f} s", flush=True)
    entering, journalling = [], []
    for number in numbers:
        began = time.perf_counter()
        uid = scan(journal, number)
        journalling.append(time.perf_counter() - began)
        began = time.perf_counter()
        catalog.wait_until_caught_up()
        entering.append(time.perf_counter() - began)
        assert len(catalog[uid].table()) == EVENTS
    print(f"  {'journal of a new run, per document':<36} {min(journalling) / EVENTS * 1e6:7.0f} us")
    print(f"  {'a new run is in the catalog after':<36} {min(entering):7.3f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--postgres", default="", help="postgresql:// address instead of SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_catalog(folder, options.postgres) as catalog:
        uri, key = catalog.address()
        journal = DocumentJournal(Path(folder) / "journal")
        size, new = 0, options.runs
        for target in (options.runs // 10, options.runs):
            began = time.monotonic()
            chunks = [range(size + k, target, THREADS) for k in range(THREADS)]
            with ThreadPoolExecutor(THREADS) as pool:
                clients = [from_uri(uri, api_key=key)["raw"] for _ in chunks]
                list(pool.map(enter_quickly, clients, chunks))
            print(f"{target - size} entered in {time.monotonic() - began:.0f} s", flush=True)
            size = target
            measure(catalog, journal, size, [new, new + 1, new + 2])
            new += 3


if __name__ == "__main__":
    main()
