"""The twin of a scan: voids of known size, scanned, reconstructed and looked for in the same way.

How small a void a scan shows depends on its exposure, projections and binning, and on the analysis.
A twin is a simulated powder whose voids have all sizes about the limit, scanned with the settings
of the scan by the simulated microscope. What was found is kept, void by void, with the settings, so
that every result with these settings can say what it would have missed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoneplate.analysis.detection import DetectionCurve, DetectionError, fit_detection, rate
from zoneplate.devices import ConfigurationError, InstrumentConfiguration
from zoneplate.simulators import SAMPLES, Particle, Specimen, Void

from .data_directory import DataDirectory
from .tomogram_file import StoredTomogram

logger = logging.getLogger(__name__)

SCHEMA = "zoneplate-detection/1"
SHIPPED = Path(__file__).parent
"""Twins of the study's settings, which need not be made."""

CENTERS_UM = ((-110.0, 0.0, 3.0), (0.0, 0.0, 3.0), (110.0, 0.0, 3.0))
"""Fields of a powder, far from each other and from its rim."""
POWDERS = 2
POWDER = "nmc622"
FIRST_SEED = 1000
"""Not those of examples and tests."""

USUAL = {"exposure_rule": "constant", "exposures_s": None, "angles_deg": None, "motion": "step"}
"""Arguments of `tomography` that a twin has no other value for."""

VOID_VOXELS = (1.2, 5.0)
"""Diameters of the voids: from those that nobody sees to those that nobody misses."""
WALL_UM = 1.0
SAME_VOID_UM = 1.0
"""A void was found when one was measured this near to its centre."""

Progress = Callable[[int, int], None]
"""Told how many tomograms are done, and of how many."""
CENTER = ["center_x_um", "center_y_um", "center_z_um"]


@dataclass(frozen=True)
class ScanSettings:
    """What a scan was told that matters to what it shows.

    Attributes
    ----------
    binning, projections, exposure_s, frames_per_angle
        As of the plan `tomography`; `projections` are those that were taken.
    start_deg, stop_deg
        Range of angles.
    """

    binning: int = 8
    projections: int = 141
    exposure_s: float = 1.0
    frames_per_angle: int = 1
    start_deg: float = -90.0
    stop_deg: float = 90.0

    @classmethod
    def of_run(cls, start: Mapping[str, Any], projections: int) -> ScanSettings | None:
        """Take them from the start document of a tomogram.

        None where angles or exposures are not the usual ones, or the stage did not stand, and on
        other instruments than the simulated one: a twin of theirs would need their flux and noise.
        """
        arguments = start["plan_args"]
        if start.get("instrument") != InstrumentConfiguration.load().name:
            return None
        if any(arguments.get(name, usual) != usual for name, usual in USUAL.items()):
            return None
        names = [field.name for field in fields(cls) if field.name in arguments]
        return cls(**{**{name: arguments[name] for name in names}, "projections": projections})

    @property
    def file_name(self) -> str:
        """Of the file of their twin."""
        text = json.dumps({name: float(value) for name, value in asdict(self).items()})
        return f"twin_{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


@dataclass(frozen=True)
class Twin:
    """What was found in the twin of a scan.

    Attributes
    ----------
    settings
        Of the scan.
    diameters_um, found
        Of each void: what it is, and whether it was found.
    particles, false_voids
        Whole particles that were measured, and the voids in them that are none.
    software
        Version that made it.
    """

    settings: ScanSettings
    diameters_um: tuple[float, ...]
    found: tuple[bool, ...]
    particles: int
    false_voids: int
    software: str

    @property
    def curve(self) -> DetectionCurve:
        """The probability of detection."""
        return fit_detection(self.diameters_um, self.found)

    def summary(self) -> dict[str, Any]:
        """Return what stands in `results.json` under `detection_limit.twin`."""
        curve = self.curve
        false = rate(self.false_voids, self.particles)
        return {
            "d50_um": asdict(curve.diameter_um(0.5)),
            "d90_um": asdict(curve.diameter_um(0.9)),
            "false_voids_per_particle": asdict(false),
            "voids": len(self.diameters_um),
            "particles": self.particles,
            "settings": asdict(self.settings),
            "software": self.software,
        }


def twin_powder(seed: int, voxel_um: float) -> Specimen:
    """Return NMC622 with one void in each particle, of any size about the limit.

    Parameters
    ----------
    seed
        Of the powder and its voids.
    voxel_um
        Voxel of the scan: the sizes are between `VOID_VOXELS` times as much.
    """
    rng = np.random.default_rng(seed)
    low, high = np.log(np.array(VOID_VOXELS) * voxel_um)
    particles: list[Particle] = []
    for number, particle in enumerate(SAMPLES[POWDER](seed).particles):
        radius = float(np.exp(rng.uniform(low, high))) / 2
        room = min(particle.semi_axes_um) - WALL_UM - radius
        way = rng.normal(size=3)
        way *= max(room, 0.0) * rng.uniform() ** (1 / 3) / np.linalg.norm(way)
        x, y, z = (np.array(particle.center_um) + way).tolist()
        void = Void(f"twin-{number}", (x, y, z), (radius, radius, radius))
        particles.append(replace(particle, voids=(void,) if room > 0 else ()))
    return Specimen(tuple(particles), name="twin")


def make_twin(
    settings: ScanSettings,
    *,
    powders: int = POWDERS,
    progress: Progress = lambda _done, _of: None,
) -> Twin:
    """Scan powders of known voids with these settings, and look for the voids.

    Parameters
    ----------
    settings
        Of the scan.
    powders
        How many, of three tomograms each: 25 voids a tomogram.
    progress
        Told how far it is.
    """
    from .opening import open_session
    from .versions import software_versions

    tables: list[pd.DataFrame] = []
    particles = false = 0
    for number in range(powders):
        seed = FIRST_SEED + number
        specimen = twin_powder(seed, _voxel_um(settings.binning))
        with (
            tempfile.TemporaryDirectory() as folder,
            open_session(specimen=specimen, seed=seed, data_dir=folder, live=False) as session,
        ):
            for place, center_um in enumerate(CENTERS_UM):
                progress(len(CENTERS_UM) * number + place, len(CENTERS_UM) * powders)
                (uid,) = session.RE(_plan(session.microscope, settings, center_um))
                table, whole, wrong = _looked_for(specimen, session.tomogram(uid))
                tables.append(table)
                particles, false = particles + whole, false + wrong
    progress(len(tables), len(tables))
    voids = pd.concat(tables)
    return Twin(
        settings,
        tuple(voids["equivalent_diameter_um"].round(4).tolist()),
        tuple(voids["found"].astype(bool).tolist()),
        particles,
        false,
        str(software_versions()["zoneplate"]),
    )


def _voxel_um(binning: int) -> float:
    return InstrumentConfiguration.load().camera.detector.binned_pixel_um(binning)


def _plan(microscope: Any, settings: ScanSettings, center_um: tuple[float, float, float]) -> Any:
    from zoneplate.plans import tomography

    return tomography(microscope, center_um=center_um, **asdict(settings))


def _looked_for(specimen: Specimen, tomogram: StoredTomogram) -> tuple[pd.DataFrame, int, int]:
    """Return the voids of whole particles and which were found, whole particles, false voids."""
    truth, holes = specimen.truth_particles(), specimen.truth_voids()
    inside = specimen.whole_in_field(
        tomogram.center_um,
        tomogram.facts["whole_radius_um"],
        tomogram.volume.shape[0] * tomogram.voxel_um / 2,
    )
    own = truth.loc[np.asarray(inside), "particle_id"]
    voids = holes.take(np.flatnonzero(holes["particle_id"].isin(own.tolist())))
    seen = _distance_um(voids, tomogram.voids) < SAME_VOID_UM
    whole = tomogram.voids.take(np.flatnonzero(~tomogram.voids["touches_border"].to_numpy(bool)))
    false = int((_distance_um(whole, holes) >= SAME_VOID_UM).sum())
    return voids.assign(found=seen), len(own), false


def _distance_um(these: pd.DataFrame, others: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return how far each of these is from the nearest of the others."""
    apart = these[CENTER].to_numpy(float)[:, None] - others[CENTER].to_numpy(float)[None]
    return np.asarray(np.linalg.norm(apart, axis=2).min(axis=1, initial=np.inf))


def save_twin(folder: Path, twin: Twin) -> Path:
    """Keep a twin, under a name made from its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / twin.settings.file_name
    file.write_text(json.dumps({"schema": SCHEMA, **asdict(twin)}) + "\n", encoding="utf-8")
    return file


def load_twin(file: Path) -> Twin:
    """Read a twin.

    Raises
    ------
    ConfigurationError
        If the file is none.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        settings = ScanSettings(**document.pop("settings"))
        lists = {name: tuple(document.pop(name)) for name in ("diameters_um", "found")}
        return Twin(settings, **lists, **document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"{file} is no twin ({error}): make it again with zoneplate detection"
        ) from error


def find_twin(settings: ScanSettings | None, data: DataDirectory | None = None) -> Twin | None:
    """Return the twin of these settings, made here or shipped; None if there is none."""
    if settings is None:
        return None
    folders = [*([data.twins] if data is not None else []), SHIPPED]
    for folder in folders:
        file = folder / settings.file_name
        if file.exists():
            return load_twin(file)
    return None


def detection_of(
    runs: Sequence[tuple[Mapping[str, Any], int]], data: DataDirectory | None
) -> dict[str, Any] | None:
    """Return what the twin of a screening says, if all its tomograms have the same settings.

    Parameters
    ----------
    runs
        Start document of each tomogram, and how many projections were taken.
    data
        Where twins are kept.
    """
    settings = {ScanSettings.of_run(start, taken) for start, taken in runs}
    if len(settings) != 1:
        return None
    try:
        twin = find_twin(settings.pop(), data)
        return None if twin is None else twin.summary()
    except (ConfigurationError, DetectionError) as error:
        # A scan is measured without its twin rather than not at all.
        logger.warning("The twin of this scan says nothing: %s", error)
        return None
