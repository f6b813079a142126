"""What `screen` and `analyze` leave behind: `results.json`, tables, volume and report.

`results.json` follows the schema named in its `schema` field; `docs/results.md` describes it.
Every number in it has its unit in its name or beside it, and an uncertainty where it has one.
"""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from zoneplate.analysis.acceptance import judge, verdict_document
from zoneplate.analysis.lot_specification import LotSpecification
from zoneplate.analysis.particle_defects import describe_defects
from zoneplate.analysis.population import Field, describe_population, detected_share
from zoneplate.analysis.summary import MINIMUM_VOID_UM, summarize
from zoneplate.analysis.tomogram import FACES_COLUMN
from zoneplate.devices import ConfigurationError

from .data_directory import check_writable
from .tomogram_file import (
    StoredTomogram,
    load_tomograms,
    save_tomograms,
    with_region,
    write_table,
)
from .versions import software_versions

SCHEMA = "zoneplate-results/1"

DETECTION_LIMIT_NOTE = (
    "frequency of voids larger than {limit:g} um; smaller ones are not counted, because many of "
    "them are missed"
)


@dataclass
class Results:
    """Everything a report is made of.

    Attributes
    ----------
    document
        The content of `results.json`.
    tomograms
        The volumes with their tables.
    map_particles
        Particles in the map; None without a map.
    live
        Rows of the live curve of each tomogram.
    inputs
        Files with the frames that all this comes from.
    radii
        Radii of the whole particles of one region; None until `add_report_facts`.
    """

    document: dict[str, Any]
    tomograms: list[StoredTomogram]
    map_particles: pd.DataFrame | None = None
    live: list[pd.DataFrame] = field(default_factory=list[pd.DataFrame])
    inputs: list[Path] = field(default_factory=list[Path])
    radii: pd.DataFrame | None = None

    @property
    def particles(self) -> pd.DataFrame:
        """Particles of all regions, with the column `region`."""
        return with_region([tomogram.particles for tomogram in self.tomograms])

    @property
    def voids(self) -> pd.DataFrame:
        """Voids of all regions, with the column `region`."""
        return with_region([tomogram.voids for tomogram in self.tomograms])


def collect_results(
    sample: str,
    tomograms: Sequence[StoredTomogram],
    *,
    parameters: Mapping[str, Any],
    source: Mapping[str, Any],
    timing: Mapping[str, Any] | None = None,
    mosaic: Mapping[str, Any] | None = None,
    map_particles: pd.DataFrame | None = None,
    truth: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    live: Sequence[pd.DataFrame] = (),
    minimum_void_um: float = MINIMUM_VOID_UM,
    lot: LotSpecification | None = None,
    inputs: Sequence[Path] = (),
    twin: Mapping[str, Any] | None = None,
    correct_detection: bool = False,
) -> Results:
    """Put the numbers of one sample together.

    Parameters
    ----------
    sample
        Name of the sample.
    tomograms
        What was measured, a region each.
    parameters
        What the acquisition and the analysis were told.
    source
        Where the data are: data directory, files, uids.
    timing
        Instrument times in seconds.
    mosaic, map_particles
        The map: facts and particles.
    truth
        What a simulated specimen really is, with the names of the results.
    notes
        More warnings, in words.
    live
        Rows of the live curve of each tomogram.
    minimum_void_um
        Equivalent diameter from which a void counts.
    lot
        What the lot must fulfil; adds the verdict.
    inputs
        Files with the frames that all this comes from; their hashes are noted when it is saved.
    twin
        What was found in a simulated twin of the scan (`zoneplate.acquisition.detection_twin`).
    correct_detection
        Correct the frequency of voids of the powder for missed and for false voids, as the twin
        shows them.

    Raises
    ------
    ConfigurationError
        If that is asked for and there is no twin.
    """
    if correct_detection and twin is None:
        raise ConfigurationError(
            "the frequency of voids cannot be corrected: there is no twin with the settings of "
            "this scan; make one with zoneplate detection, or leave the correction out"
        )
    results = Results({}, list(tomograms), map_particles, list(live), list(inputs))
    particles, voids = results.particles, results.voids
    warnings = list(notes)
    several = len(tomograms) > 1
    for number, tomogram in enumerate(tomograms):
        prefix = f"region {number + 1}: " if several else ""
        warnings += [prefix + note for note in tomogram.facts["warnings"]]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "sample": sample,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "software": software_versions(),
        "parameters": dict(parameters),
        "source": dict(source),
    }
    if mosaic is not None:
        document["mosaic"] = dict(mosaic)
    if timing is not None:
        document["timing"] = dict(timing)
    document["tomograms"] = [tomogram.facts for tomogram in tomograms]
    if lot is not None:
        verdict = judge(lot, particles, voids, minimum_void_um=minimum_void_um)
        document["verdict"] = verdict_document(verdict)
    document.update(summarize(particles, voids, minimum_void_um=minimum_void_um))
    document["defects"] = describe_defects(particles, voids, minimum_void_um=minimum_void_um)
    if len(particles) and len(tomograms):
        document["population"] = describe_population(
            particles,
            voids,
            {number: field_of(tomogram) for number, tomogram in enumerate(tomograms)},
            minimum_void_um=minimum_void_um,
            map_particles=map_particles,
            **(
                _detection(particles, voids, twin, minimum_void_um)
                if correct_detection and twin is not None
                else {}
            ),
        )
    faces = summarize(
        with_face_areas(particles), with_face_areas(voids), minimum_void_um=minimum_void_um
    )
    document["particles_faces"], document["voids_faces"] = faces["particles"], faces["voids"]
    document["detection_limit"] = {
        "diameter_um": minimum_void_um,
        "statement": DETECTION_LIMIT_NOTE.format(limit=minimum_void_um),
        "twin": dict(twin) if twin is not None else None,
    }
    if truth is not None:
        document["truth"] = dict(truth)
    document["warnings"] = warnings
    results.document = document
    return results


def _detection(
    particles: pd.DataFrame, voids: pd.DataFrame, twin: Mapping[str, Any], minimum_void_um: float
) -> dict[str, float]:
    """Return how many particles with voids are found to have one, and how many without."""
    found = detected_share(
        particles,
        voids,
        d50_um=float(twin["d50_um"]["value"]),
        d90_um=float(twin["d90_um"]["value"]),
        minimum_void_um=minimum_void_um,
    )
    return {"detected": found, "false_alarms": float(twin["false_voids_per_particle"]["value"])}


def field_of(tomogram: StoredTomogram) -> Field:
    """Return where particles of a tomogram count as whole: not in the first or the last slice."""
    height_um = (tomogram.volume.shape[0] - 2) * tomogram.voxel_um
    return Field(float(tomogram.facts["whole_radius_um"]), height_um, tomogram.center_um)


def with_face_areas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the study's areas, counted in voxel faces, for the unbiased ones."""
    if FACES_COLUMN not in table:
        return table
    area_um2, volume_um3 = table[FACES_COLUMN], table["volume_um3"]
    return table.assign(
        surface_area_um2=area_um2,
        surface_to_volume_per_um=area_um2 / volume_um3,
        sphericity=math.pi ** (1 / 3) * (6 * volume_um3) ** (2 / 3) / area_um2,
    )


def save_results(folder: Path, results: Results) -> None:
    """Write `results.json`, the tables and `volume.h5` into a folder.

    The hashes of what was read and written are added to the document.

    Raises
    ------
    ConfigurationError
        If the folder cannot be written.
    """
    check_writable(folder)
    write_table(folder / "particles.csv", results.particles)
    write_table(folder / "voids.csv", results.voids)
    if results.map_particles is not None:
        write_table(folder / "mosaic.csv", results.map_particles)
    if results.radii is not None:
        write_table(folder / "radii.csv", results.radii)
    save_tomograms(folder / "volume.h5", results.tomograms)
    results.document["hashes"] = hashes(folder, results)
    write_json(folder / "results.json", results.document)


def hashes(folder: Path, results: Results) -> dict[str, Any]:
    """Return SHA-256 of the frames, the tables, and of everything that decides the numbers.

    Two reports with the same ``all`` hold the same numbers: it is made from the frames, the tables,
    the parameters and the lot specification, not from the time or the place.
    """
    found: dict[str, Any] = {
        "inputs": [
            {"file": path.name, "sha256": _sha256(path)}
            for path in results.inputs
            if path.is_file()
        ]
    }
    tables = {"particles": "particles.csv", "voids": "voids.csv"}
    if results.map_particles is not None:
        tables["mosaic"] = "mosaic.csv"
    found.update({name: _sha256(folder / file) for name, file in tables.items()})
    document = results.document
    decisive = [
        [one["sha256"] for one in found["inputs"]],
        [found[name] for name in tables],
        document["parameters"],
        (document.get("verdict") or {}).get("specification"),
        document["software"],
    ]
    options = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    found["all"] = hashlib.sha256(orjson.dumps(decisive, option=options)).hexdigest()
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tomogram_result(folder: Path, tomogram: StoredTomogram) -> None:
    """Keep the result of one run; `load_tomogram_result` gives it back.

    A crash leaves the result before or (but for three renames) the one after.
    """
    check_writable(folder)
    tables = {"particles.csv": tomogram.particles, "voids.csv": tomogram.voids}
    for name, table in tables.items():
        write_table(folder / f"{name}.part", table)
    save_tomograms(folder / "volume.h5", [tomogram])
    for name in tables:
        (folder / f"{name}.part").replace(folder / name)


def load_tomogram_result(folder: Path) -> StoredTomogram | None:
    """Return what was kept of a run; None if there is nothing, or not all of it."""
    try:
        return load_tomograms(folder)[0]
    except OSError:
        return None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file in one step."""
    temporary = path.with_name(path.name + ".part")
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    temporary.write_bytes(orjson.dumps(dict(document), option=options) + b"\n")
    temporary.replace(path)
