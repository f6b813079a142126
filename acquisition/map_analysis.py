"""The map of a powder: stitched, its particles found, the regions for tomograms chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from zoneplate.analysis.mosaic import Mosaic, stitch
from zoneplate.analysis.normalization import FlatField
from zoneplate.analysis.radiograph import find_particles_2d
from zoneplate.analysis.regions import Strategy, choose_regions
from zoneplate.simulators.materials import attenuation_per_um

from .data_directory import check_writable
from .live import FrameReader
from .runs import FrameReference, RunRecord
from .tomogram_file import write_table


@dataclass(frozen=True, eq=False)
class MapResult:
    """A map and what is on it.

    Attributes
    ----------
    mosaic
        The stitched image.
    particles
        A row per particle (`find_particles_2d`).
    regions
        A row per region chosen for a tomogram (`choose_regions`); empty if none was.
    facts
        The block `mosaic` of `results.json`.
    """

    mosaic: Mosaic
    particles: pd.DataFrame
    regions: pd.DataFrame
    facts: dict[str, Any]


def analyze_map(record: RunRecord) -> MapResult:
    """Stitch the tiles of a mosaic run and find the particles.

    Raises
    ------
    ValueError
        If the run has no tiles or no flats.
    """
    tiles, flats, darks = (record.stream(name) for name in ("primary", "flat", "dark"))
    if not tiles or not flats:
        raise ValueError(f"run {record.uid} is no map: tiles or flats are missing")
    reader = FrameReader()
    try:
        dark = np.stack([reader.read(frame) for frame in darks]) if darks else None
        blocks = [
            (
                float(np.mean([frame.time_s for frame in block])),
                FlatField.from_references(np.stack([reader.read(one) for one in block]), dark),
            )
            for block in _blocks(flats, tiles)
        ]
        images = np.stack([_transmission(reader.read(tile), tile.time_s, blocks) for tile in tiles])
        images /= _relative_exposure(record, len(tiles))[:, None, None]
    finally:
        reader.close()
    acquisition = record.start["acquisition"]
    positions_um = [(stage_reading(frame, "x"), stage_reading(frame, "y")) for frame in tiles]
    mosaic = stitch(images, positions_um, acquisition["pixel_um"])
    material = record.start.get("material")
    attenuation = (
        attenuation_per_um(material, acquisition["energy_kev"]) if material is not None else None
    )
    particles = find_particles_2d(mosaic, attenuation_per_um=attenuation)
    facts = {
        "uid": record.uid,
        "tiles": len(tiles),
        "shape": list(record.start["shape"]),
        "area_um2": record.start["mosaic"]["area_um2"],
        "field_union_um2": mosaic.area_um2,
        "particles": len(particles),
        "pixel_um": acquisition["pixel_um"],
        "registered": mosaic.registered,
        "notes": list(mosaic.notes),
        "stage_z_um": stage_reading(tiles[0], "z"),
    }
    return MapResult(mosaic, particles, pd.DataFrame(), facts)


def _blocks(
    flats: Sequence[FrameReference], tiles: Sequence[FrameReference]
) -> list[list[FrameReference]]:
    """Return the flats in blocks: those with no tile between them."""
    times_s = np.array([tile.time_s for tile in tiles])
    blocks: dict[int, list[FrameReference]] = {}
    for flat in flats:
        blocks.setdefault(int(np.searchsorted(times_s, flat.time_s)), []).append(flat)
    return list(blocks.values())


def _transmission(
    frame: NDArray[Any], time_s: float, blocks: Sequence[tuple[float, FlatField]]
) -> NDArray[np.float32]:
    """Return the transmission of a tile, its flat interpolated in time between the blocks."""
    after = int(np.searchsorted([block_s for block_s, _ in blocks], time_s))
    last = blocks[min(after, len(blocks) - 1)][1].transmission(frame)
    if not 0 < after < len(blocks):
        return last
    (before_s, before), (after_s, _) = blocks[after - 1], blocks[after]
    share = (time_s - before_s) / (after_s - before_s)
    return ((1 - share) * before.transmission(frame) + share * last).astype(np.float32)


def _relative_exposure(record: RunRecord, tiles: int) -> NDArray[np.float32]:
    """Return how long each tile was exposed, in exposures of the flats."""
    arguments = record.start["plan_args"]
    each_s = arguments.get("exposures_s")
    if each_s is None:
        return np.ones(tiles, dtype=np.float32)
    return np.asarray(each_s[:tiles], dtype=np.float32) / np.float32(arguments["exposure_s"])


def with_regions(
    result: MapResult, field_um: float, count: int, rank: Strategy = "count"
) -> MapResult:
    """Return the map with `count` regions chosen (fewer if no more fit)."""
    regions = choose_regions(result.particles, result.mosaic, field_um, count, strategy=rank)
    regions["center_z_um"] = layer_height_um(result)
    facts = {**result.facts, "regions_note": str(regions.attrs.get("note", ""))}
    return MapResult(result.mosaic, result.particles, regions, facts)


def layer_height_um(result: MapResult) -> float:
    """Return the stage z that puts the middle of the particle layer on the rotation axis.

    The map is taken with the support's surface on the axis; particles that rest on it have their
    centres half a typical diameter above.
    """
    if result.particles.empty:
        return float(result.facts["stage_z_um"])
    typical_um = float(np.median(result.particles["equivalent_diameter_um"].to_numpy(float)))
    return round(float(result.facts["stage_z_um"]) + typical_um / 2, 3)


def stage_reading(frame: FrameReference, axis: str) -> float:
    """Return what the stage reads in an event.

    Raises
    ------
    KeyError
        If the event has no such reading.
    """
    for name, value in frame.data.items():
        if name.endswith(f"_stage_{axis}"):
            return float(value)
    raise KeyError(f"the event has no reading of stage {axis}")


def save_map(folder: Path, result: MapResult) -> None:
    """Keep a map; `load_map` gives it back.

    Each file is replaced in one step: somebody may be reading the one before.
    """
    check_writable(folder)
    for name, table in (("mosaic.csv", result.particles), ("regions.csv", result.regions)):
        write_table(folder / f"{name}.part", table)
        (folder / f"{name}.part").replace(folder / name)
    mosaic = result.mosaic
    temporary = folder / "mosaic.h5.part"
    with h5py.File(temporary, "w") as file:
        file["image"] = mosaic.image
        file["coverage"] = mosaic.coverage
        file["positions_um"] = mosaic.positions_um
        file["stage_positions_um"] = mosaic.stage_positions_um
        file["registered_tiles"] = mosaic.registered_tiles
        file["intensity_correction"] = mosaic.intensity_correction
        constants = {
            "pixel_um": mosaic.pixel_um,
            "center_um": list(mosaic.center_um),
            "tile_shape": list(mosaic.tile_shape),
            "area_um2": mosaic.area_um2,
            "transmission": mosaic.transmission,
            "notes": list(mosaic.notes),
        }
        file["constants"] = orjson.dumps(constants, option=orjson.OPT_SERIALIZE_NUMPY)
        file["facts"] = orjson.dumps(result.facts, option=orjson.OPT_SERIALIZE_NUMPY)
    temporary.replace(folder / "mosaic.h5")


def load_map(folder: Path) -> MapResult | None:
    """Return a map that was kept; None if there is none."""
    try:
        with h5py.File(folder / "mosaic.h5", "r") as file:
            stored: Any = file
            constants = orjson.loads(stored["constants"][()])
            facts = orjson.loads(stored["facts"][()])
            mosaic = Mosaic(
                image=stored["image"][()],
                pixel_um=constants["pixel_um"],
                center_um=tuple(constants["center_um"]),
                positions_um=stored["positions_um"][()],
                stage_positions_um=stored["stage_positions_um"][()],
                tile_shape=tuple(constants["tile_shape"]),
                coverage=stored["coverage"][()],
                area_um2=constants["area_um2"],
                transmission=constants["transmission"],
                registered_tiles=stored["registered_tiles"][()],
                intensity_correction=stored["intensity_correction"][()],
                notes=tuple(constants["notes"]),
            )
        tables = [_read(folder / name) for name in ("mosaic.csv", "regions.csv")]
    except OSError:
        return None
    return MapResult(mosaic, tables[0], tables[1], facts)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
