"""Re-analysis of stored synthetic tomograms: rate, memory, cost per volume, a killed worker.

    python benchmarks/reanalysis.py [--tomograms 200] [--rows 48] [--projections 48]

Tomograms are small so that the benchmark ends: each is an analytic phantom of three spheres, one
with a void, with noise. Times of one computer; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.journal import DocumentJournal
from zoneplate.acquisition.reanalysis import Campaign, find_tomograms, reanalyze
from zoneplate.acquisition.results import load_tomogram_result
from zoneplate.simulators.frame_file import FrameFile, FrameRecord

PIXEL_UM = 0.512
EPOCH_S = 1_790_000_000.0
COUNTS = 4000.0


def transmission(rows: int, angle_deg: float, shift_um: float) -> np.ndarray:
    """Radiograph of three spheres, one hollow: (x, y, z, radius, sign) in um."""
    half = (rows - 1) / 2
    u = (np.arange(rows) - half) * PIXEL_UM
    v = (half - np.arange(rows)) * PIXEL_UM
    theta = np.radians(angle_deg)
    path = np.zeros((rows, rows))
    scale = rows / 64
    for x, y, z, radius, sign in (
        (6 + shift_um, 5, -3, 4.5, 1),
        (6 + shift_um, 5, -2.5, 1.6, -1),
        (-6, -6 + shift_um, 4, 3.5, 1),
        (2, -7, -7, 2.5, 1),
    ):
        center = scale * (x * np.cos(theta) + z * np.sin(theta))
        inside = (scale * radius) ** 2 - (u - center)[None] ** 2 - (v - scale * y)[:, None] ** 2
        path += sign * 2 * np.sqrt(np.maximum(inside, 0))
    return np.exp(-0.0438 * path)


def store(data: DataDirectory, number: int, rows: int, projections: int) -> None:
    """One tomography run as a scan leaves it: frames, journal."""
    rng = np.random.default_rng(number)
    uid, time_s = f"{number:08d}-5eed-4000-8000-000000000000", EPOCH_S + 400 * number
    angles = np.linspace(-90, 90, projections, endpoint=False)
    file = FrameFile(
        data.frames / f"{number:05d}.nxs",
        (rows, rows),
        pixel_um=PIXEL_UM,
        energy_kev=5.4,
        sample_name="spheres",
        instrument_name="synthetic",
        start_s=time_s,
    )
    journal = DocumentJournal(data.journal)
    journal(
        "start",
        {
            "uid": uid,
            "time": time_s,
            "plan_name": "tomography",
            "sample": "spheres",
            "acquisition": {"frame_shape": [rows, rows], "pixel_um": PIXEL_UM, "exposure_s": 1.0},
            "tomography": {"center_um": [0.0, 0.0, 0.0], "angles_deg": angles.tolist()},
        },
    )
    shift_um = float(rng.uniform(-0.5, 0.5))
    kinds = [("dark", 2, 0.0)] * 2 + [("flat", 1, 0.0)] * 4
    kinds += [("primary", 0, float(angle)) for angle in angles]
    counters: dict[str, int] = {}
    for place, (stream, key, angle) in enumerate(kinds):
        if stream not in counters:
            counters[stream] = 0
            head = {"uid": f"d-{stream}", "run_start": uid, "name": stream, "time": time_s}
            number_key = {"source": "stage", "dtype": "number", "shape": []}
            keys = {"microscope_stage_theta": number_key}
            head |= {"data_keys": keys, "configuration": {}, "object_keys": {}, "hints": {}}
            journal("descriptor", head)
            resource: dict[str, Any] = {"uid": f"r-{stream}", "run_start": uid}
            resource |= {"uri": f"file://localhost{file.path}", "data_key": "image"}
            resource |= {"mimetype": "application/x-hdf5"}
            view = {"dataset": "/entry/instrument/detector/data", "slice": f"{place}:"}
            journal("stream_resource", resource | {"parameters": view})
        beam = 0.0 if stream == "dark" else COUNTS
        if stream == "primary":
            beam = COUNTS * transmission(rows, angle, shift_um)
        pixels = rng.poisson(beam, (rows, rows)) + 100
        record = FrameRecord(key, angle, 0, 0, 0, 1.0, time_s + place, place)
        file.append(pixels.astype(np.uint16), record)
        index = counters[stream]
        counters[stream] += 1
        datum = {"uid": f"{stream}/{index}", "descriptor": f"d-{stream}"}
        datum |= {"stream_resource": f"r-{stream}", "indices": {"start": index, "stop": index + 1}}
        journal("stream_datum", datum | {"seq_nums": {"start": index + 1, "stop": index + 2}})
        event = {"uid": f"e{place}", "descriptor": f"d-{stream}", "seq_num": index + 1}
        readings = {"microscope_stage_theta": angle}
        event |= {"data": readings, "timestamps": {"microscope_stage_theta": time_s}}
        journal("event", event | {"time": time_s + place})
    file.close()
    stop = {"uid": f"s-{uid}", "run_start": uid, "time": time_s + len(kinds)}
    journal("stop", stop | {"exit_status": "success", "num_events": counters})


def numbers(data: DataDirectory, uids: list[str]) -> dict[str, tuple[bytes, str, str]]:
    """Everything that was measured, to be compared bit for bit."""
    found = {}
    for uid in uids:
        kept = load_tomogram_result(data.result_of(uid))
        assert kept is not None
        tables = (kept.particles.to_csv(), kept.voids.to_csv())
        found[uid] = (kept.volume.tobytes() + kept.particle_labels.tobytes(), *tables)
    return found


def line(what: str, campaign: Campaign) -> None:
    rows = campaign.done
    quarter = max(1, len(rows) // 4)
    peaks = [max(row["peak_mb"] for row in part) for part in (rows[:quarter], rows[-quarter:])]
    seconds = np.median([row["seconds"] for row in rows])
    print(
        f"{what:<32} {len(rows):4d} tomograms  {campaign.per_minute:7.1f}/min  "
        f"{seconds:.3f} s each (median)  peak memory {peaks[0]:.0f} -> {peaks[1]:.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tomograms", type=int, default=200)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--projections", type=int, default=48)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = DataDirectory(Path(folder))
        data.create()
        began = time.monotonic()
        for number in range(options.tomograms):
            store(data, number, options.rows, options.projections)
        took = time.monotonic() - began
        shape = f"{options.projections} x {options.rows} x {options.rows}"
        print(f"{options.tomograms} tomograms of {shape} stored in {took:.0f} s", flush=True)
        uids = find_tomograms(data, "sample=spheres")
        few = uids[:20]
        line("one by one, in this process", reanalyze(data, few, name="serial"))
        serial = numbers(data, few)
        line("1 worker, the first 20", reanalyze(data, few, workers=1, name="one-20"))
        assert numbers(data, few) == serial
        line("1 worker, all", reanalyze(data, uids, workers=1, name="one-all"))
        line("2 workers, all", reanalyze(data, uids, workers=2, name="two-all"))
        assert numbers(data, few) == serial
        print("20 volumes, labels and tables: bit for bit those of the serial analysis")

        killed: list[int] = []
        clients: list[Any] = []

        def kill_one(row: dict[str, Any]) -> None:
            if not killed and len(seen) == len(uids) // 4:
                pids = clients[0].run(os.getpid).values()
                killed.append(next(iter(pids)))
                os.kill(killed[0], signal.SIGKILL)
            seen.append(row["uid"])

        seen: list[str] = []
        campaign = reanalyze(
            data, uids, workers=2, name="killed", on_task=kill_one, on_ready=clients.append
        )
        line("2 workers, one killed midway", campaign)
        done = sorted(row["uid"] for row in campaign.done)
        lost = len(uids) - len(set(done))
        print(f"killed process {killed[0]}: {lost} tomograms lost, {len(campaign.failed)} failed")
        assert done == uids
        assert numbers(data, few) == serial
        again = reanalyze(data, uids, workers=0, name="killed")
        print(f"the same campaign again: {len(again.skipped)} skipped, {len(again.done)} analysed")
        with h5py.File(data.result_of(uids[0]) / "volume.h5") as file:
            print("results are readable:", list(file))


if __name__ == "__main__":
    main()
