"""Journalled runs are found in the catalog, whatever dies in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import MsgGenerator
from ophyd.sim import det, motor
from stream_camera import StreamCamera

from zoneplate.acquisition import catalog as catalog_module
from zoneplate.acquisition.catalog import CatalogError, EmbeddedCatalog, RemoteCatalog
from zoneplate.acquisition.catalog_writer import FrameNormalizer
from zoneplate.acquisition.journal import DocumentJournal, frame_numbers, journals

FRAMES = {
    "dark": [0, 1, 2],
    "flat": [3, 4, 5, 6, 14, 15],
    "primary": [7, 8, 9, 10, 11, 12, 13, 16, 17, 18],
}


@dataclass
class Bench:
    """A data directory with runs in it, and its catalog."""

    data_dir: Path
    RE: RunEngine
    camera: StreamCamera
    catalog: EmbeddedCatalog
    tomography: str
    scan: str

    @property
    def service_pid(self) -> int:
        (pid,) = _service_pids(self.data_dir)
        return pid


def _service_pids(data_dir: Path) -> set[int]:
    """Catalog processes of a data directory, from the process table."""
    command = ["pgrep", "-f", f"catalog_service --data-dir {data_dir} "]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return {int(pid) for pid in found.stdout.split()}


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def _runs(pid: int) -> bool:
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return bool(state) and not state.startswith("Z")


def _tomography(camera: StreamCamera) -> MsgGenerator[None]:
    """References before, in the middle of and among the projections."""

    def take(kind: str, stream: str, n: int) -> MsgGenerator[None]:
        camera.expose(kind)
        for _ in range(n):
            yield from bps.trigger_and_read([camera, motor], name=stream)

    @bpp.stage_decorator([camera])
    @bpp.run_decorator(md={"plan_name": "tomography", "sample": "nmc622"})
    def inner() -> MsgGenerator[None]:
        yield from take("dark", "dark", 3)
        yield from take("flat", "flat", 4)
        yield from take("projection", "primary", 7)
        yield from take("flat", "flat", 2)
        yield from take("projection", "primary", 3)

    return inner()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    data_dir = tmp_path_factory.mktemp("data")
    RE, camera = RunEngine(context_managers=[], call_returns_result=False), StreamCamera(data_dir)
    RE.subscribe(DocumentJournal(data_dir / "journal"))
    catalog = EmbeddedCatalog(data_dir)
    assert not list((data_dir / "catalog").iterdir())  # nothing runs before it is needed
    (tomography,) = RE(_tomography(camera))
    (scan,) = RE(bp.scan([det], motor, -1, 1, 5, md={"sample": "foam"}))
    bench = Bench(data_dir, RE, camera, catalog, tomography, scan)
    yield bench
    bench.catalog.close()


def test_runs_are_found_as_beamline_people_expect(bench: Bench) -> None:
    catalog = bench.catalog
    (last,) = bench.RE(bp.count([det]))
    assert catalog[-1].start["uid"] == last
    assert catalog[bench.tomography].table().shape[0] == len(FRAMES["primary"])
    assert list(catalog[bench.tomography].table("dark")["camera_mean"]) == FRAMES["dark"]
    assert catalog[bench.tomography[:8]].start["scan_id"] == 1
    assert catalog[1].start["uid"] == bench.tomography
    assert [h.start["uid"] for h in catalog(sample="nmc622")] == [bench.tomography]
    assert [h.start["uid"] for h in catalog(plan_name="scan", sample="foam")] == [bench.scan]
    assert catalog[bench.scan].stop["exit_status"] == "success"
    assert set(catalog) >= {bench.tomography, bench.scan, last}
    assert len(catalog) == len(list(catalog)) >= 3


@pytest.mark.parametrize("stream", FRAMES)
def test_each_stream_reads_exactly_its_frames(bench: Bench, stream: str) -> None:
    images = bench.catalog.broker.v3[bench.tomography][stream]["camera_image"]
    assert images.shape == (len(FRAMES[stream]), 6, 8)
    assert images.read()[:, 0, 0].tolist() == FRAMES[stream]
    assert int(images[-1, 2, 3]) == FRAMES[stream][-1]


def test_images_come_with_their_motor_positions(bench: Bench) -> None:
    dataset = bench.catalog.v2[bench.tomography].primary.read()
    np.testing.assert_array_equal(dataset["camera_image"][:, 0, 0], dataset["camera_mean"])
    assert "motor" in dataset


def test_documents_can_be_exported_and_say_which_frames(bench: Bench) -> None:
    documents = list(bench.catalog[bench.tomography].documents())
    assert (documents[0][0], documents[-1][0]) == ("start", "stop")
    streams = {d["uid"]: d["name"] for name, d in documents if name == "descriptor"}
    resources = {d["uid"]: d for name, d in documents if name == "stream_resource"}
    data = {streams[d["descriptor"]]: d for name, d in documents if name == "stream_datum"}
    views = {stream: resources[d["stream_resource"]] for stream, d in data.items()}
    frames = {stream: frame_numbers(views[stream], d) for stream, d in data.items()}
    assert frames == FRAMES
    assert views["dark"]["parameters"]["slice"] == "0:3"  # in one piece: any reader copes


def test_frames_of_a_stream_in_two_files_are_refused() -> None:
    normalizer = FrameNormalizer()
    for k, uid in enumerate("ab"):
        resource = {"uid": uid, "data_key": "image", "mimetype": "application/x-hdf5"}
        resource |= {"uri": f"file://localhost/{uid}.h5", "parameters": {"dataset": "/data"}}
        normalizer.stream_resource(resource)
        datum = {"stream_resource": uid, "descriptor": "d", "indices": {"start": k, "stop": k + 1}}
        normalizer.stream_datum(datum)
    with pytest.raises(ValueError, match="frames of image in one stream are in 2 places"):
        normalizer.stop({"uid": "s"})


def test_stock_plan_with_the_camera_is_entered(bench: Bench) -> None:
    bench.camera.expose("projection")
    (uid,) = bench.RE(bp.count([bench.camera], 3))
    images = bench.catalog.broker.v3[uid]["primary"]["camera_image"]
    assert images.read()[:, 0, 0].tolist() == [0, 1, 2]


def test_stalled_catalog_does_not_delay_a_scan(bench: Bench) -> None:
    bench.catalog.wait_until_caught_up()
    os.kill(bench.service_pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        (uid,) = bench.RE(bp.count([det], 20))
        assert time.monotonic() - began < 5.0
        with pytest.raises(CatalogError, match="1 runs are still to be entered"):
            bench.catalog.wait_until_caught_up(timeout_s=0.3)
    finally:
        os.kill(bench.service_pid, signal.SIGCONT)
    assert len(bench.catalog[uid].table()) == 20


@pytest.mark.long
def test_second_process_shares_the_catalog(bench: Bench) -> None:
    with EmbeddedCatalog(bench.data_dir) as other:
        assert other[bench.scan].start["sample"] == "foam"
        (uid,) = bench.RE(bp.count([det], 2))
        assert other[-1].start["uid"] == uid
    assert bench.catalog[-1].start["uid"] == uid


@pytest.mark.long
def test_shared_server_gets_the_runs_of_the_data_directory(bench: Bench) -> None:
    bench.catalog.wait_until_caught_up()
    address = bench.catalog.address()
    with RemoteCatalog(bench.data_dir, *address, container="shared") as shared:
        assert list(shared) == list(bench.catalog)
        images = shared.broker.v3[bench.tomography]["primary"]["camera_image"]
        assert images.read()[:, 0, 0].tolist() == FRAMES["primary"]


@pytest.mark.long
def test_killed_catalog_comes_back_with_everything(bench: Bench) -> None:
    """Also a run that was entered in part, and one whose scanning process died."""
    bench.catalog.wait_until_caught_up()
    before = list(bench.catalog)
    partial = "00000000-aaaa-bbbb-cccc-000000000001"
    from tiled.client import from_uri
    from tiled.structures.core import Spec

    uri, key = bench.catalog.address()
    from_uri(uri, api_key=key)["raw"].create_container(
        partial, metadata={"start": {"uid": partial}}, specs=[Spec("BlueskyRun", "3.0")]
    )
    os.kill(bench.service_pid, signal.SIGKILL)
    (after_kill,) = bench.RE(bp.count([det], 2))
    _journal(bench, partial, time.time(), finished=True)
    died = "00000000-aaaa-bbbb-cccc-000000000002"
    _journal(bench, died, time.time() + 1, finished=False)

    assert set(bench.catalog) >= {*before, after_kill, partial}
    assert bench.catalog[partial].table()["x"].tolist() == [0.5, 1.0]
    assert _wait(lambda: died in set(bench.catalog), 10)
    assert bench.catalog[died].stop["exit_status"] == "fail"
    assert bench.catalog[died].table()["x"].tolist() == [0.5, 1.0]
    np.testing.assert_array_equal(
        bench.catalog.broker.v3[bench.tomography]["primary"]["camera_image"][:, 0, 0],
        FRAMES["primary"],
    )


def _journal(bench: Bench, uid: str, time_s: float, finished: bool) -> None:
    """Journal of a run by hand; unfinished as a dead process leaves it."""
    numbers = {"source": "test", "dtype": "number", "shape": []}
    descriptor = {"uid": f"d-{uid}", "run_start": uid, "name": "primary", "time": time_s}
    descriptor |= {"data_keys": {"x": numbers}, "configuration": {}, "hints": {}}
    journal = DocumentJournal(bench.data_dir / "journal")
    journal("start", {"uid": uid, "time": time_s})
    journal("descriptor", descriptor | {"object_keys": {}})
    for k in (1, 2):
        event = {"uid": f"e{k}-{uid}", "descriptor": f"d-{uid}", "seq_num": k, "time": time_s}
        journal("event", event | {"data": {"x": 0.5 * k}, "timestamps": {"x": time_s}})
    if finished:
        stop = {"uid": f"s-{uid}", "run_start": uid, "time": time_s, "exit_status": "success"}
        journal("stop", stop | {"num_events": {"primary": 2}})
    journal.close()


def test_one_bad_run_is_reported_and_does_not_keep_out_others(bench: Bench) -> None:
    bad = "00000000-aaaa-bbbb-cccc-000000000003"
    _journal(bench, bad, time.time() + 2, finished=True)
    path = next(p for p in journals(bench.data_dir / "journal") if bad in p.name)
    (good,) = bench.RE(bp.count([det], 2))
    bench.catalog.wait_until_caught_up()

    worse = bad[:-1] + "4"
    damaged = path.read_bytes().replace(bad.encode(), worse.encode()).replace(b'["event', b'["e"')
    path = path.with_name(path.name.replace(bad, worse))
    path.write_bytes(damaged)
    try:
        with pytest.raises(CatalogError, match=r"1 runs could not be entered .*line 3 is damaged"):
            bench.catalog.wait_until_caught_up()
        assert bench.catalog[good].stop["exit_status"] == "success"
    finally:
        path.unlink()


@pytest.mark.long
def test_catalog_process_never_outlives_its_parent(bench: Bench) -> None:
    script = f"""
import time
from zoneplate.acquisition.catalog import EmbeddedCatalog
catalog = EmbeddedCatalog({str(bench.data_dir)!r})
catalog.address()
print("started", flush=True)
time.sleep(100)
"""
    ours = _service_pids(bench.data_dir)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    (child,) = _service_pids(bench.data_dir) - ours
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert _wait(lambda: not _runs(child), 10)
    assert _service_pids(bench.data_dir) == ours


def test_closed_catalog_has_no_process_and_says_so(bench: Bench) -> None:
    pid = bench.service_pid
    (uid,) = bench.RE(bp.count([det], 2))
    bench.catalog.close()
    bench.catalog.close()
    assert not _runs(pid)
    entered = (bench.data_dir / "catalog" / "entered.txt").read_text().split()
    assert uid in entered  # it finished the run before it ended
    with pytest.raises(CatalogError, match="is closed"):
        _ = bench.catalog[-1]
    bench.catalog = EmbeddedCatalog(bench.data_dir)  # for tests in another order


def test_process_that_does_not_start_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_SERVICE", "zoneplate.no_such_module")
    with (
        EmbeddedCatalog(tmp_path) as catalog,
        pytest.raises(CatalogError, match=r"ended 3 times .*service\.log.*no_such_module"),
    ):
        _ = catalog[-1]


def test_catalog_module_is_light_to_import() -> None:
    script = "import sys, zoneplate.acquisition.catalog; print('tiled' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "False"
