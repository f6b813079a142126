"""The cards of the page, drawn once for all who look."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson
from jinja2 import Environment, PackageLoader

from zoneplate.acquisition.control.channel import ask_state
from zoneplate.acquisition.data_directory import DataDirectory
from zoneplate.acquisition.live_pictures import LABELS, SLICES, as_grey, read_picture
from zoneplate.acquisition.map_analysis import load_map
from zoneplate.analysis.figures_volume import VolumeView
from zoneplate.analysis.meshes import surface_meshes, viewer_payload

from .facts import AXES, LotFacts, lot_facts, read_results
from .follower import FollowedRun, Follower
from .images import MAP_WIDTH, Radiographs, data_address, outlined

logger = logging.getLogger(__name__)

DRAW_S = 0.15
"""Wall time between two looks whether something is new to draw."""

SCENE_INTERVAL_S = 15.0
"""Wall time between two 3D scenes: each takes a second or so, and whoever turns it begins again."""

SCENE_TRIANGLES = 40_000
HISTORY = 8
ASK_S = 0.7
"""Wall time between two questions to the session."""

IDLE_S = 3.0
"""How long cards are drawn after the last viewer asked for them."""

CARDS = ("status", "map", "radiograph", "counts", "slices", "solid", "state", "warnings", "history")


class Board:
    """Draws cards whenever the runs or their pictures change and somebody looks.

    Parameters
    ----------
    data
        The data directory.
    lot
        Uid of the lot to show; the newest if empty.

    Attributes
    ----------
    data
        The data directory.
    cards
        HTML by name; replaced, never changed in place.
    facts
        What the cards say.
    control_state
        What the session says of itself.
    """

    def __init__(self, data: DataDirectory, lot: str = "") -> None:
        self._lot = lot
        self.follower = Follower(data, lot=lot)
        self.cards: dict[str, str] = dict.fromkeys(CARDS, "")
        self.facts = LotFacts()
        self.control_state: dict[str, Any] = {}
        self.data = data
        loader = PackageLoader("zoneplate.acquisition", "page")
        self._templates = Environment(loader=loader, autoescape=True)
        self._templates.filters["plain"] = plain_number
        self._radiographs: tuple[str, Radiographs] | None = None
        self._seen: dict[str, Any] = {}
        self._scene_s = -math.inf
        self._asked_s = -math.inf
        self._asked_session_s = -math.inf
        self._stopped = threading.Event()
        self._artist = threading.Thread(target=self._run, name="artist", daemon=True)

    def start(self) -> None:
        """Begin to follow and to draw."""
        self.follower.start()
        self._artist.start()

    def close(self) -> None:
        """Stop."""
        self._stopped.set()
        if self._artist.is_alive():
            self._artist.join()
        self.follower.close()
        if self._radiographs is not None:
            self._radiographs[1].close()

    def look(self) -> dict[str, str]:
        """Return the cards; they are kept up to date as long as somebody asks."""
        self._asked_s = time.monotonic()
        return self.cards

    def draw(self) -> None:
        """Draw what has changed."""
        with self.follower.lock:
            runs = self.follower.lot(self._lot)
            shown = dict(self.cards)
            tomograms = [run for run in runs if run.plan_name == "tomography"]
            tomogram = tomograms[-1] if tomograms else None
            slices = self._new_slices(tomogram)
            analysed = int(self._seen.get("analysed", 0))
            self.facts = facts = lot_facts(self.follower, runs, analysed)
        newest = runs[-1] if runs else None
        if slices is not None:
            shown["slices"] = slices
        if self._changed("map", self._map_version(runs)):
            shown["map"] = self._map(runs)
        frame = newest.newest if newest is not None else None
        if newest is None or self._changed("frame", (newest.uid, newest.taken)):
            shown["radiograph"] = self._radiograph(newest)
        shown["status"] = self._html("status", facts=facts, wall_s=self._frame_wall_s(newest))
        shown["counts"] = self._html("counts", facts=facts, curve=curve(facts.rows))
        shown["state"] = self._html(
            "state",
            facts=facts,
            axes=axes_of(frame),
            other=state_of(frame),
            control=self.control_state,
        )
        shown["warnings"] = self._html("warnings", facts=facts)
        known = len(self.follower.runs())
        if self._changed("history", (facts.uid, facts.final, facts.running, known)):
            shown["history"] = self._html("history", lots=self._history())
        scene = self._scene(tomogram)
        if scene is not None:
            shown["solid"] = scene
        self.cards = shown

    def _run(self) -> None:
        while not self._stopped.wait(DRAW_S):
            if time.monotonic() - self._asked_s > IDLE_S:
                continue
            try:
                self._ask_session()
                self.draw()
            except Exception:
                # One picture that fails must not end the page; the next look tries again.
                logger.exception("A card could not be drawn")

    def _ask_session(self) -> None:
        """Ask the session how it is, once a second."""
        if time.monotonic() - self._asked_session_s > ASK_S:
            self._asked_session_s = time.monotonic()
            self.control_state = ask_state(self.data.root)

    def _html(self, card: str, **values: Any) -> str:
        return self._templates.get_template("cards.html").render(card=card, **values)

    def _changed(self, what: str, version: Any) -> bool:
        if self._seen.get(what) == version:
            return False
        self._seen[what] = version
        return True

    def _frame_wall_s(self, run: FollowedRun | None) -> float:
        return run.newest_wall_s if run is not None else 0.0

    def _pictures_of(self, run: FollowedRun) -> Radiographs:
        if self._radiographs is None or self._radiographs[0] != run.uid:
            if self._radiographs is not None:
                self._radiographs[1].close()
            self._radiographs = (run.uid, Radiographs(run.record))
        return self._radiographs[1]

    def _radiograph(self, run: FollowedRun | None) -> str:
        if run is None or run.newest is None:
            return self._html("radiograph", picture="", caption="No frame yet.")
        frame = run.newest
        what = {"primary": "Projection", "flat": "Open beam", "dark": "Shutter closed"}
        caption = f"{what.get(frame.stream, frame.stream)} {frame.seq_num}"
        if run.plan_name == "mosaic" and frame.stream == "primary":
            caption = f"Tile {frame.seq_num} of {run.record.start['frames']['projections']}"
        elif frame.stream == "primary":
            caption += f" of {run.record.start['frames']['projections']}"
            angle = next(
                (v for k, v in frame.data.items() if k.endswith("_camera_angle_deg")), None
            )
            caption += f" at {angle:.1f}°" if angle is not None else ""
        try:
            picture = self._pictures_of(run).picture(frame)
        except (OSError, KeyError, ValueError) as error:
            return self._html("radiograph", picture="", caption=f"The frame is not there: {error}")
        return self._html("radiograph", picture=picture, caption=caption, frame=run.taken)

    def _map_version(self, runs: list[FollowedRun]) -> Any:
        if not runs:
            return None
        folder = self.data.result_of(runs[0].lot)
        growing = runs[0].projections if runs[0].plan_name == "mosaic" else 0
        return (runs[0].uid, growing, _stamp(folder / "regions.csv"), runs[-1].region, len(runs))

    def _map(self, runs: list[FollowedRun]) -> str:
        first = runs[0] if runs else None
        if first is None or first.plan_name != "mosaic":
            return self._html("map", picture="", caption="No map in this lot.")
        found = load_map(self.data.result_of(first.lot)) if first.record.stop else None
        if found is None:
            try:
                growing = self._pictures_of(first).growing_map()
            except (OSError, KeyError, ValueError) as error:
                return self._html("map", picture="", caption=f"The tiles are not there: {error}")
            if growing is None:
                return self._html("map", picture="", caption="The first tile is still to come.")
            picture, edges_um = growing
            tiles = f"{first.projections} of {first.record.start['frames']['projections']} tiles"
            return self._html(
                "map", picture=picture, box=edges_um, circles=[], regions=[], caption=tiles
            )
        mosaic = found.mosaic
        left, right, bottom, top = mosaic.extent_um
        step = max(1, mosaic.image.shape[1] // MAP_WIDTH)
        known = mosaic.image[np.isfinite(mosaic.image)]
        low, high = np.percentile(known, (0.5, 99.5)) if known.size else (0.0, 1.0)
        names = ["center_x_um", "center_y_um", "equivalent_diameter_um"]
        circles = found.particles[names].to_numpy(float).tolist() if len(found.particles) else []
        current = runs[-1].region[0] if len(runs) > 1 else -1
        return self._html(
            "map",
            picture=data_address(as_grey(mosaic.image[::step, ::step], float(low), float(high))),
            box=(left, bottom, right - left, top - bottom),
            circles=circles,
            regions=found.regions.to_dict("records"),
            current=current,
            caption=f"{len(found.particles)} particles; regions chosen: {len(found.regions)}",
        )

    def _new_slices(self, run: FollowedRun | None) -> str | None:
        """Return the card with the slices if there are new ones."""
        if run is None:
            self._seen["analysed"] = 0
            return (
                self._html("slices", views=[]) if self._changed("slices", "no tomogram") else None
            )
        live = self.data.live_of(run.uid)
        stored = self.data.result_of(run.uid) / "volume.h5"
        version = (run.uid, _stamp(live / SLICES), _stamp(live / LABELS), _stamp(stored))
        if not self._changed("slices", version):
            return None
        views = stored_slices(stored) if version[3] else None
        if views is None:
            views = live_slices(live)
        if views is None:
            self._seen["analysed"] = 0
            return self._html("slices", views=[])
        self._seen["analysed"] = views["projections"]
        return self._html("slices", **views)

    def _scene(self, run: FollowedRun | None) -> str | None:
        """Return the card with the surfaces if there are new ones, and not too often."""
        if run is None or time.monotonic() - self._scene_s < SCENE_INTERVAL_S:
            return self._html("solid", scene=None) if not self.cards["solid"] else None
        live = self.data.live_of(run.uid) / LABELS
        stored = self.data.result_of(run.uid) / "volume.h5"
        if not self._changed("scene", (run.uid, _stamp(live), _stamp(stored))):
            return None
        view = _labelled(stored, live)
        if view is None:
            return self._html("solid", scene=None)
        meshes = surface_meshes(view, triangle_budget=SCENE_TRIANGLES)
        self._scene_s = time.monotonic()
        viewer = self._templates.get_template("viewer.html")
        code = (files("zoneplate.analysis") / "viewer.js").read_text(encoding="utf-8")
        page = viewer.render(scene=viewer_payload(view, meshes), code=code)
        return self._html("solid", scene=page)

    def _history(self) -> list[dict[str, Any]]:
        """Return the newest lots, the newest first."""
        lots: dict[str, list[FollowedRun]] = {}
        for run in self.follower.runs():
            lots.setdefault(run.lot, []).append(run)
        found: list[dict[str, Any]] = []
        for uid, runs in reversed(list(lots.items())):
            results = read_results(self.data, uid)
            frequency = (results or {}).get("void_frequency") or {}
            stop = runs[-1].record.stop
            found.append(
                {
                    "sample": runs[-1].sample,
                    "time_s": runs[0].start_s,
                    "regions": sum(run.plan_name == "tomography" for run in runs),
                    "particles": frequency.get("n"),
                    "frequency": frequency,
                    "verdict": verdict_of(results),
                    "ended": "running"
                    if runs[-1].open
                    else str(stop.get("exit_status"))
                    if stop is not None
                    else "broken off",
                }
            )
            if len(found) == HISTORY:
                break
        return found


def stored_slices(path: Path) -> dict[str, Any] | None:
    """Return the middle slices of a finished tomogram with its outlines; None if not there."""
    try:
        with h5py.File(path, "r") as file:
            group: Any = file["region_0"]
            y, z, x = (n // 2 for n in group["volume"].shape)
            cuts = {"zx": np.s_[y], "yx": np.s_[:, z], "yz": np.s_[:, :, x]}
            grey = {name: group["volume"][cut] for name, cut in cuts.items()}
            labels = {
                name: (group["particles"][cut], group["voids"][cut]) for name, cut in cuts.items()
            }
            facts = group["facts"][()]
    except (OSError, KeyError, ValueError):
        return None
    high = max(float(np.percentile(grey["zx"], 99.8)), 1e-6)
    projections = int(orjson.loads(facts)["projections"])
    views = [
        {"name": name, "picture": data_address(outlined(as_grey(image, 0.0, high), *labels[name]))}
        for name, image in grey.items()
    ]
    return {"views": views, "projections": projections, "planned": projections, "final": True}


def live_slices(folder: Path) -> dict[str, Any] | None:
    """Return the slices that the live analysis published, with the outlines it last found."""
    found = read_picture(folder / SLICES)
    if found is None:
        return None
    labels = read_picture(folder / LABELS)
    views: list[dict[str, str]] = []
    try:
        for name in ("zx", "yx", "yz"):
            outlines = [
                None if labels is None else _middle(labels[kind], name)
                for kind in ("particles", "voids")
            ]
            views.append({"name": name, "picture": data_address(outlined(found[name], *outlines))})
        counts = {name: int(found[name]) for name in ("projections", "planned")}
    except (KeyError, ValueError, TypeError):
        return None
    return {"views": views, "final": False, **counts}


def curve(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the void frequency over the projections as points of a drawing 300 x 90."""
    # The last look comes twice, the second time with the refined rotation axis.
    latest = {row.get("projections"): row for row in rows}.values()
    good = [row for row in latest if math.isfinite(row.get("void_frequency", math.nan))]
    if len(good) < 2:
        return None
    last = max(float(row["projections"]) for row in good)
    top = min(1.0, max(0.1, *(float(row["void_frequency_high"]) for row in good)))

    def point(row: dict[str, Any], name: str) -> str:
        x, y = 300 * float(row["projections"]) / last, 90 * (1 - float(row[name]) / top)
        return f"{x:.1f},{y:.1f}"

    upper = [point(row, "void_frequency_high") for row in good]
    lower = [point(row, "void_frequency_low") for row in reversed(good)]
    return {
        "band": " ".join(upper + lower),
        "line": " ".join(point(row, "void_frequency") for row in good),
        "top": top,
        "last": round(last),
    }


def axes_of(frame: Any) -> list[tuple[str, float, str]]:
    """Return (axis, reading, unit) of the stage at a frame."""
    data = frame.data if frame is not None else {}
    found: list[tuple[str, float, str]] = []
    for axis, unit in AXES:
        value = next((v for k, v in data.items() if k.endswith(f"_stage_{axis}")), None)
        if isinstance(value, int | float):
            found.append((axis, float(value), unit))
    return found


def state_of(frame: Any) -> list[tuple[str, str]]:
    """Return what else the instrument read at a frame, in words."""
    data = frame.data if frame is not None else {}
    wanted = (
        ("_shutter_state", "shutter", "{}"),
        ("_source_current", "source", "{:.0%}"),
        ("_environment_temperature_c", "temperature", "{:.2f} °C"),
        ("_camera_mean_counts", "mean counts", "{:.0f}"),
        ("_camera_maximum_counts", "brightest pixel", "{:.0f}"),
    )
    found: list[tuple[str, str]] = []
    for ending, name, form in wanted:
        value = next((v for k, v in data.items() if k.endswith(ending)), None)
        if value is not None:
            try:
                found.append((name, form.format(value)))
            except ValueError:
                found.append((name, str(value)))
    return found


def verdict_of(results: dict[str, Any] | None) -> str:
    """Return the decision on a lot; empty if none was asked for."""
    verdict = (results or {}).get("verdict")
    return str(verdict.get("decision", "")) if isinstance(verdict, dict) else ""


def plain_number(value: float | None, digits: int = 1) -> str:
    """Return a number for people; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}"


def _labelled(stored: Path, live: Path) -> VolumeView | None:
    try:
        with h5py.File(stored, "r") as file:
            group: Any = file["region_0"]
            particles, voids = group["particles"][()], group["voids"][()]
            voxel_um = float(group["x"][1] - group["x"][0])
    except (OSError, KeyError, ValueError):
        found = read_picture(live)
        if found is None:
            return None
        particles, voids = found["particles"].astype(np.int32), found["voids"].astype(np.int32)
        voxel_um = float(found["voxel_um"])
    blank = np.broadcast_to(np.float32(0), particles.shape)
    return VolumeView(blank, particles, voids, voxel_um)


def _middle(labels: Any, name: str) -> Any:
    y, z, x = (n // 2 for n in labels.shape)
    return {"zx": labels[y], "yx": labels[:, z], "yz": labels[:, :, x]}[name]


def _stamp(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
