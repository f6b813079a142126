"""Reconstructed volumes on disk: `volume.h5`, one NXdata group per region.

Layout, for each region ``/region_0``, ``/region_1``, ...::

    volume      float32 [y, z, x]   attenuation, 1/um
    particles   int32   [y, z, x]   particle labels, voids filled in
    voids       int32   [y, z, x]   void labels
    x, y, z     float64             voxel centres in the sample frame, um
    radiographs float32 [n, y, u]   transmission at `radiograph_angles`
    facts       JSON                what else is known about the tomogram
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from zoneplate.analysis.tomogram import Tomogram

ANGLE_DECIMALS, SHARE_DECIMALS = 3, 5
"""Of curves, which are kept to be drawn."""
LABEL_COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


@dataclass(frozen=True, eq=False)
class StoredTomogram:
    """A tomogram as it is kept: what a report needs, without the way there.

    Attributes
    ----------
    volume, particle_labels, void_labels
        [y, z, x].
    radiographs, radiograph_angles_deg
        Transmission images and their angles.
    particles, voids
        Tables, a row per object.
    facts
        Everything else: uid, snr, transmission, rotation centre, warnings...
    """

    volume: NDArray[np.float32]
    particle_labels: NDArray[np.int32]
    void_labels: NDArray[np.int32]
    radiographs: NDArray[np.float32]
    radiograph_angles_deg: NDArray[np.float64]
    particles: pd.DataFrame
    voids: pd.DataFrame
    facts: dict[str, Any]

    @property
    def voxel_um(self) -> float:
        """Voxel edge."""
        return float(self.facts["voxel_um"])

    @property
    def center_um(self) -> tuple[float, float, float]:
        """Place of the volume's centre in the sample."""
        x_um, y_um, z_um = self.facts["center_um"]
        return x_um, y_um, z_um


def keep(tomogram: Tomogram, uid: str, **facts: Any) -> StoredTomogram:
    """Return what is worth keeping of a fresh tomogram."""
    transmission = tomogram.transmission
    segmentation = tomogram.segmentation
    drift, geometry = tomogram.flat_drift, tomogram.geometry
    error = tomogram.rotation_center.standard_error
    known: dict[str, Any] = {
        "uid": uid,
        "center_um": list(tomogram.center_um),
        "voxel_um": tomogram.voxel_um,
        "projections": tomogram.projections,
        "frames": tomogram.frames,
        "jump": _jump(tomogram),
        "geometry": geometry.as_dict(tomogram.voxel_um) if geometry is not None else None,
        "flat_drift": drift.as_dict() if drift is not None else None,
        "snr": tomogram.snr["snr"],
        "snr_definitions": dict(tomogram.snr),
        "transmission_mean": transmission["mean"],
        "transmission_footprint": transmission["footprint"],
        "transmission_min": transmission["minimum"],
        "transmission_per_angle": _per_angle(tomogram),
        "rotation_center_column": float(tomogram.rotation_center.column),
        "rotation_center_se": float(error) if math.isfinite(error) else None,
        "threshold_per_um": _finite(segmentation.threshold),
        "half_contrast_threshold_per_um": _finite(segmentation.half_contrast_threshold),
        "threshold_sensitivity_um4": _finite(segmentation.threshold_sensitivity),
        "field_radius_um": float(segmentation.field_radius_um),
        "whole_radius_um": float(segmentation.whole_radius_um),
        "particles": tomogram.summary["particles"]["count"],
        "voids": tomogram.summary["voids"]["count"],
        "void_frequency": tomogram.summary["void_frequency"],
        "dead_volume_fraction": tomogram.summary["dead_volume_fraction"],
        "warnings": list(tomogram.warnings),
        **facts,
    }
    return StoredTomogram(
        volume=tomogram.volume,
        particle_labels=segmentation.particles,
        void_labels=segmentation.voids,
        radiographs=tomogram.radiographs,
        radiograph_angles_deg=tomogram.radiograph_angles_deg,
        particles=tomogram.particles,
        voids=tomogram.voids,
        facts=known,
    )


def save_tomograms(path: Path, tomograms: Sequence[StoredTomogram]) -> None:
    """Write `volume.h5`, replacing it in one step."""
    temporary = path.with_name(path.name + ".part")
    with h5py.File(temporary, "w") as file:
        file.attrs["default"] = "region_0"
        for number, tomogram in enumerate(tomograms):
            group = file.create_group(f"region_{number}")
            group.attrs["NX_class"] = "NXdata"
            group.attrs["signal"] = "volume"
            group.attrs["axes"] = ["y", "z", "x"]
            group["volume"] = tomogram.volume
            group["volume"].attrs["units"] = "1/um"
            for name, labels in (
                ("particles", tomogram.particle_labels),
                ("voids", tomogram.void_labels),
            ):
                group.create_dataset(name, data=labels, **LABEL_COMPRESSION)
            for name, values in _axes(tomogram).items():
                group[name] = values
                group[name].attrs["units"] = "um"
            group["radiographs"] = tomogram.radiographs
            group["radiograph_angles"] = tomogram.radiograph_angles_deg
            group["radiograph_angles"].attrs["units"] = "degree"
            group["facts"] = orjson.dumps(tomogram.facts, option=orjson.OPT_SERIALIZE_NUMPY)
    temporary.replace(path)


def load_tomograms(folder: Path) -> list[StoredTomogram]:
    """Read `volume.h5` with the tables beside it.

    Raises
    ------
    OSError
        If a file is missing or damaged.
    """
    particles, voids = (_read_table(folder / f"{name}.csv") for name in ("particles", "voids"))
    found: list[StoredTomogram] = []
    with h5py.File(folder / "volume.h5", "r") as file:
        for number in range(len(file)):
            group: Any = file[f"region_{number}"]
            found.append(
                StoredTomogram(
                    volume=group["volume"][()],
                    particle_labels=group["particles"][()],
                    void_labels=group["voids"][()],
                    radiographs=group["radiographs"][()],
                    radiograph_angles_deg=group["radiograph_angles"][()],
                    particles=_of_region(particles, number),
                    voids=_of_region(voids, number),
                    facts=orjson.loads(group["facts"][()]),
                )
            )
    return found


def read_facts(folder: Path) -> list[dict[str, Any]]:
    """Read what else is known about the tomograms of `volume.h5`, without the volumes.

    Raises
    ------
    OSError
        If the file is missing or damaged.
    """
    with h5py.File(folder / "volume.h5", "r") as file:
        regions: list[Any] = [file[f"region_{number}"] for number in range(len(file))]
        return [orjson.loads(region["facts"][()]) for region in regions]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV table that reads back to the same numbers."""
    table.to_csv(path, index=False)


def with_region(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stack the tables of several regions, with their number in the column `region`."""
    numbered = [table.assign(region=number) for number, table in enumerate(tables)]
    filled = [table for table in numbered if len(table)] or numbered[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def _of_region(table: pd.DataFrame, number: int) -> pd.DataFrame:
    if "region" not in table:
        return table
    own = table.loc[table["region"] == number]
    return own.drop(columns=["region"]).reset_index(drop=True)


def _axes(tomogram: StoredTomogram) -> dict[str, NDArray[np.float64]]:
    rows, depth, columns = tomogram.volume.shape
    center_x_um, center_y_um, center_z_um = tomogram.center_um
    voxel_um = tomogram.voxel_um
    return {
        "y": center_y_um + ((rows - 1) / 2 - np.arange(rows)) * voxel_um,
        "z": center_z_um + (np.arange(depth) - (depth - 1) / 2) * voxel_um,
        "x": center_x_um + (np.arange(columns) - (columns - 1) / 2) * voxel_um,
    }


def _per_angle(tomogram: Tomogram) -> dict[str, list[float | None]]:
    """Return the transmission at each angle, in the order of the angles."""
    angles_deg = tomogram.angles_deg
    order = np.argsort(angles_deg)
    found: dict[str, list[float | None]] = {}
    found["angles_deg"] = [round(float(angles_deg[place]), ANGLE_DECIMALS) for place in order]
    for name, values in tomogram.transmission["per_angle"].items():
        found[name] = [
            None if values[place] is None else round(float(values[place]), SHARE_DECIMALS)
            for place in order
        ]
    return found


def _jump(tomogram: Tomogram) -> dict[str, Any] | None:
    jump = tomogram.jump
    if jump is None:
        return None
    u_um, v_um = (pixels * tomogram.voxel_um for pixels in jump.pixels)
    return {"after": jump.after, "u_um": u_um, "v_um": v_um, "sigmas": jump.sigmas}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
