"""A small labelled volume with an asymmetric set of particles, for figures and reports."""

from __future__ import annotations

import numpy as np
import pandas as pd

from zoneplate.analysis.figures import VolumeView

VOXEL_UM = 0.5
CENTER_UM = (100.0, -40.0, 7.0)
SHAPE = (40, 36, 44)  # rows (y), depth (z), columns (x)

BALLS = ((104.0, -36.0, 9.0, 4.0), (94.0, -45.0, 4.0, 3.0), (107.0, -46.0, 11.0, 1.6))
"""x, y, z, radius in um; the first holds a void."""
VOID = (105.0, -36.5, 9.5, 1.2)


def ball(x: float, y: float, z: float, radius: float) -> np.ndarray:
    rows, depth, columns = SHAPE
    ys = CENTER_UM[1] + ((rows - 1) / 2 - np.arange(rows)) * VOXEL_UM
    zs = CENTER_UM[2] + (np.arange(depth) - (depth - 1) / 2) * VOXEL_UM
    xs = CENTER_UM[0] + (np.arange(columns) - (columns - 1) / 2) * VOXEL_UM
    square = (ys - y)[:, None, None] ** 2 + (zs - z)[None, :, None] ** 2 + (xs - x)[None, None] ** 2
    return square <= radius**2


def volume_view(*, voids: bool = True, particles: bool = True, region: object = None) -> VolumeView:
    labels = np.zeros(SHAPE, dtype=np.int32)
    for number, spot in enumerate(BALLS, start=1):
        labels[ball(*spot)] = number
    hollow = ball(*VOID).astype(np.int32)
    grey = 0.044 * ((labels > 0) & (hollow == 0))
    grey = grey + np.random.default_rng(0).normal(0, 0.003, SHAPE)
    return VolumeView(
        volume=grey.astype(np.float32),
        particles=labels if particles else np.zeros_like(labels),
        voids=hollow if voids else np.zeros_like(hollow),
        voxel_um=VOXEL_UM,
        center_um=CENTER_UM,
        title="Region 1",
        region=region,
    )


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Particle and void tables with the columns that the metrology gives."""

    def measured(radius: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "volume_um3": 4 / 3 * np.pi * radius**3,
            "surface_area_um2": 4 * np.pi * radius**2,
            "sphericity": np.full(len(radius), 0.98),
            "surface_to_volume_per_um": 3 / radius,
            "equivalent_diameter_um": 2 * radius,
        }

    radius = np.array([spot[3] for spot in BALLS])
    particles = pd.DataFrame({"particle_id": [1, 2, 3], **measured(radius)})
    particles["touches_border"] = [False, False, True]
    particles["dead_volume_fraction"] = [0.027, 0.0, 0.0]
    voids = pd.DataFrame({"void_id": [1], "particle_id": [1], **measured(np.array([VOID[3]]))})
    return particles, voids


def radii_table() -> pd.DataFrame:
    rows = [
        {
            "particle_id": particle,
            "plane": plane,
            "azimuth_deg": azimuth,
            "radius_um": radius + 0.1 * np.cos(np.deg2rad(2 * azimuth)),
            "radius_um_se": 0.1,
            "touches_border": False,
        }
        for particle, radius in ((1, 4.0), (2, 3.0))
        for plane in ("xy", "xz", "yz")
        for azimuth in range(0, 360, 45)
    ]
    return pd.DataFrame(rows)
