"""The analysis that follows a scan: pauses, lost frames, a disk that goes away, falling behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson
import pytest

from zoneplate.acquisition.journal_follower import JournalFollower
from zoneplate.acquisition.live import FRAMES_PATH, LiveTomogram

ROWS, COLUMNS, VIEWS = 12, 40, 41
ANGLES = np.linspace(-90, 90, VIEWS)
FLATS = 4


def counts() -> np.ndarray:
    """Flats first, then projections of one ball."""
    rng = np.random.default_rng(1)
    u, v = np.arange(COLUMNS) - 19.5, np.arange(ROWS) - 5.5
    frames = [rng.poisson(4000, (ROWS, COLUMNS)) for _ in range(FLATS)]
    for angle in np.deg2rad(ANGLES):
        squared = 5.0**2 - (u - 4 * np.cos(angle)) ** 2 - v[:, None] ** 2
        frames.append(rng.poisson(4000 * np.exp(-0.09 * np.sqrt(np.maximum(squared, 0)))))
    return np.array(frames, dtype=np.uint16)


COUNTS = counts()


class Scan:
    """A run as documents tell it, and its file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scan.nxs"
        self.write(COUNTS)
        self.start = {
            "uid": "u",
            "acquisition": {"frame_shape": [ROWS, COLUMNS], "pixel_um": 0.5},
            "tomography": {"center_um": [0, 0, 0], "angles_deg": ANGLES.tolist()},
        }

    def write(self, frames: np.ndarray) -> None:
        with h5py.File(self.path, "w", libver="latest") as file:
            file.create_dataset(FRAMES_PATH, data=frames, maxshape=(None, ROWS, COLUMNS))

    def begin(self, live: LiveTomogram) -> None:
        live("start", self.start)
        for stream in ("flat", "primary"):
            live("descriptor", {"uid": stream, "name": stream})
            live(
                "stream_resource",
                {"uid": f"of {stream}", "uri": f"file://localhost{self.path}", "parameters": {}},
            )

    def event(self, live: LiveTomogram, stream: str, seq_num: int, number: int, angle=0.0) -> None:
        live(
            "stream_datum",
            {
                "stream_resource": f"of {stream}",
                "descriptor": stream,
                "seq_nums": {"start": seq_num, "stop": seq_num + 1},
                "indices": {"start": number, "stop": number + 1},
            },
        )
        data = {"microscope_camera_angle_deg": float(angle)}
        live(
            "event", {"descriptor": stream, "seq_num": seq_num, "data": data, "time": float(number)}
        )

    def flats(self, live: LiveTomogram) -> None:
        for number in range(FLATS):
            self.event(live, "flat", number + 1, number)

    def projection(self, live: LiveTomogram, view: int, number: int | None = None) -> None:
        place = FLATS + view if number is None else number
        self.event(live, "primary", view + 1, place, ANGLES[view])

    def whole(self, live: LiveTomogram) -> None:
        self.begin(live)
        self.flats(live)
        for view in range(VIEWS):
            self.projection(live, view)


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return Scan(tmp_path)


@pytest.fixture
def expected(scan: Scan) -> np.ndarray:
    live = LiveTomogram(previews=False)
    scan.whole(live)
    return live.finish().volume


def test_event_that_comes_again_after_a_pause_replaces_the_first(scan, expected):
    live = LiveTomogram(previews=False)
    scan.begin(live)
    scan.flats(live)
    for view in range(VIEWS):
        # First with the frame of another view, as if the pause had spoiled it.
        if view in (0, 7, 8):
            scan.projection(live, view, number=FLATS + 20)
        scan.projection(live, view)
    assert live.analysis is not None
    assert live.analysis.projections == VIEWS
    np.testing.assert_allclose(live.finish().volume, expected, atol=1e-5)


def test_lost_frame_costs_one_view_and_is_said(scan, expected):
    live = LiveTomogram(previews=False)
    scan.begin(live)
    scan.flats(live)
    for view in range(VIEWS):
        scan.projection(live, view, number=10_000 if view == 5 else None)
    tomogram = live.finish()
    assert tomogram.projections == VIEWS - 1
    assert any("1 frames could not be read" in note for note in tomogram.warnings)
    error = np.abs(tomogram.volume - expected)
    assert 0 < error.max() < 0.3 * expected.max()


def test_disk_that_comes_back_loses_nothing(scan, expected):
    live = LiveTomogram(previews=False)
    scan.begin(live)
    scan.flats(live)
    for view in range(VIEWS):
        if view == 10:
            live._reader.close()
            scan.path.rename(scan.path.with_suffix(".away"))
        if view == 15:
            scan.path.with_suffix(".away").rename(scan.path)
        scan.projection(live, view)
    tomogram = live.finish()
    assert tomogram.projections == VIEWS
    assert tomogram.warnings == [note for note in tomogram.warnings if "read" not in note]
    np.testing.assert_allclose(tomogram.volume, expected, atol=1e-5)


def test_file_that_was_replaced_under_the_reader_is_opened_again(scan):
    live = LiveTomogram(previews=False)
    scan.write(COUNTS[: FLATS + 3])  # what a copy had got so far
    scan.begin(live)
    scan.flats(live)
    scan.projection(live, 0)
    scan.path.unlink()
    scan.write(COUNTS)
    for view in range(1, VIEWS):
        scan.projection(live, view)
    assert live.finish().projections == VIEWS


def test_run_whose_frames_are_gone_is_one_clear_error(scan):
    live = LiveTomogram(previews=False)
    scan.path.unlink()
    scan.whole(live)
    with pytest.raises(ValueError, match=r"45 frames could not be read .*scan\.nxs"):
        live.finish()


def test_previews_give_way_to_frames_and_the_lag_is_told(scan):
    waiting = [0]
    seen: list[tuple[int, int]] = []
    live = LiveTomogram(
        lambda preview: seen.append((preview.projections, live.lag_frames)),
        preview_interval_s=0.0,
        waiting=lambda: waiting[0],
    )
    scan.start["tomography"]["pass_ends"] = [30]
    scan.begin(live)
    scan.flats(live)
    for view in range(VIEWS):
        waiting[0] = 9 if 20 <= view < 35 else 0
        scan.projection(live, view)
    taken = [projections for projections, _ in seen]
    assert live.previews_left_out == 14
    assert [n for n in taken if 21 <= n <= 35] == [30]  # somebody waits for the end of a pass
    assert dict(seen)[30] == 9
    assert taken[-1] == VIEWS
    assert live.analysis is not None
    assert live.analysis.projections == VIEWS


def test_follower_knows_what_waits(tmp_path: Path):
    path = tmp_path / "run.jsonl"

    def line(name: str, doc: dict[str, Any]) -> bytes:
        return orjson.dumps([name, doc]) + b"\n"

    path.write_bytes(line("start", {"uid": "u"}) + line("event", {"seq_num": 1}))
    follower = JournalFollower(path, poll_s=0.001)
    documents = iter(follower)
    assert next(documents)[0] == "start"
    assert follower.waiting() == {"event": 1}
    with path.open("ab") as file:
        file.write(line("event", {"seq_num": 2}) + line("stop", {}) + b'["half')
    assert follower.waiting() == {"event": 2, "stop": 1}
    assert [name for name, _ in documents] == ["event", "event", "stop"]
    assert follower.waiting() == {}
