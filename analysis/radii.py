"""Radii of particles in three planes, and the roughness proxy made from them.

A radius is the distance from a particle's centre to its surface, at equal steps of azimuth in the
planes xy, xz and yz (the study: eight of them). The roughness proxy is the spread of the radii of
one plane. A smooth sphere has one too, from voxels and noise: `roughness_floor_um` says how much,
and a proxy means nothing without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .particles import measure_particles
from .segmentation import Segmentation, segment
from .uncertainty import BoundaryUncertainty

RadiusMode = Literal["voxel", "subvoxel"]

PLANES = ("xy", "xz", "yz")
RAY_STEP_VOXELS = 0.125
"""Well below the scatter of a voxel boundary, 0.29 voxels."""
CROSSING_REACH_VOXELS = 2.0
"""How far from the label's boundary the grey value may cross the threshold."""
PARTICLES_AT_ONCE = 64
"""Keeps the rays of a crowded volume within some tens of megabytes."""
INTERPOLATION_SE_VOXELS = 0.05
"""Scatter of a linearly interpolated crossing on noise-free blurred spheres."""
FLOOR_MARGIN_VOXELS = 5
FLOOR_REPEATS = 6

Array = NDArray[np.float64]


def measure_radii(
    segmentation_or_labels: Segmentation | ArrayLike,
    voxel_um: float,
    azimuths: int = 8,
    *,
    mode: RadiusMode = "voxel",
    center_um: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Measure the radii of every particle in three planes through its centre.

    Parameters
    ----------
    segmentation_or_labels : Segmentation or (rows, depth, columns) array of int
        Particles with internal voids filled in.
    voxel_um : float
        Voxel edge.
    azimuths : int
        Radii per plane, at equal steps from 0 deg. Azimuth runs from the first axis of the
        plane's name to the second: in "xz" 90 deg points along +z.
    mode : {"voxel", "subvoxel"}
        To the boundary of the voxels, or to where the interpolated grey value crosses the
        threshold (needs a Segmentation). At a cut between touching particles there is no
        crossing, and the voxel boundary stands.
    center_um : (x, y, z), optional
        Where the centre of the volume lies in the specimen frame, for the particle centres.

    Returns
    -------
    pandas.DataFrame
        A row per particle, plane and azimuth: ``particle_id, plane, azimuth_deg, radius_um,
        radius_um_se, center_x_um, center_y_um, center_z_um, touches_border``.

    Raises
    ------
    ValueError
        When `azimuths` is less than 2, the mode is unknown, or "subvoxel" has no grey values.

    Examples
    --------
    >>> i, j, k = np.mgrid[:21, :21, :21] - 10
    >>> radii = measure_radii((i**2 + j**2 + k**2 <= 49).astype(int), 0.5)
    >>> len(radii), bool(abs(radii["radius_um"].mean() - 3.5) < 0.2)
    (24, True)
    """
    if azimuths < 2:
        raise ValueError(f"azimuths must be at least 2, not {azimuths}")
    if mode not in ("voxel", "subvoxel"):
        raise ValueError(f'mode must be "voxel" or "subvoxel", not {mode!r}')
    if isinstance(segmentation_or_labels, Segmentation):
        segmentation = segmentation_or_labels
        labels: NDArray[np.integer[Any]] = segmentation.particles
        boundary = BoundaryUncertainty.of_segmentation(segmentation)
    else:
        segmentation = None
        labels = np.asarray(segmentation_or_labels)
        boundary = BoundaryUncertainty.of_labels(voxel_um)
    if mode == "subvoxel" and segmentation is None:
        raise ValueError('mode "subvoxel" needs grey values: pass the Segmentation, not labels')
    particles = measure_particles(segmentation_or_labels, voxel_um, "faces", center_um=(0, 0, 0))
    directions, planes, angles = _directions(azimuths)
    radii = np.zeros((len(particles), len(directions)))
    middle = (np.array(labels.shape) - 1) / 2
    position = particles[["center_y_um", "center_z_um", "center_x_um"]].to_numpy() / voxel_um
    centers = position * (-1, 1, 1) + middle
    reach = particles[["extent_y_um", "extent_z_um", "extent_x_um"]].to_numpy() / voxel_um
    for start in range(0, len(particles), PARTICLES_AT_ONCE):
        some = slice(start, start + PARTICLES_AT_ONCE)
        ids = particles["particle_id"].to_numpy()[some]
        found = _label_radii(labels, ids, centers[some], directions, float(reach[some].max()))
        if mode == "subvoxel" and segmentation is not None:
            found = _grey_radii(segmentation, centers[some], directions, found)
        radii[some] = found
    radius_um = radii.ravel() * voxel_um
    x, y, z = _offset(segmentation, center_um)
    repeat = len(directions)
    return pd.DataFrame(
        {
            "particle_id": np.repeat(particles["particle_id"].to_numpy(), repeat),
            "plane": np.tile(planes, len(particles)),
            "azimuth_deg": np.tile(angles, len(particles)),
            "radius_um": radius_um,
            "radius_um_se": _radius_se(radius_um, boundary, mode),
            "center_x_um": np.repeat(particles["center_x_um"].to_numpy() + x, repeat),
            "center_y_um": np.repeat(particles["center_y_um"].to_numpy() + y, repeat),
            "center_z_um": np.repeat(particles["center_z_um"].to_numpy() + z, repeat),
            "touches_border": np.repeat(particles["touches_border"].to_numpy(), repeat),
        }
    )


def local_roughness(radii: pd.DataFrame) -> pd.DataFrame:
    """Difference of each radius to the next azimuth of its plane.

    Parameters
    ----------
    radii : DataFrame
        From `measure_radii`.

    Returns
    -------
    pandas.DataFrame
        ``particle_id, plane, azimuth_deg`` (of the first of the two) and ``local_proxy_um``.
    """
    ordered = radii.sort_values(["particle_id", "plane", "azimuth_deg"], ignore_index=True)
    grouped = ordered.groupby(["particle_id", "plane"], sort=False)["radius_um"]
    following = grouped.shift(-1).fillna(grouped.transform("first"))  # the last meets the first
    ordered["local_proxy_um"] = (following - ordered["radius_um"]).abs()
    return ordered.filter(["particle_id", "plane", "azimuth_deg", "local_proxy_um"])


def roughness_proxy(radii: pd.DataFrame) -> pd.DataFrame:
    """Mean radius, diameter and roughness proxies of every particle and plane.

    Parameters
    ----------
    radii : DataFrame
        From `measure_radii`.

    Returns
    -------
    pandas.DataFrame
        A row per particle and plane: ``particle_id, plane, mean_radius_um, diameter_um,
        diameter_um_se, total_proxy_um`` (largest minus smallest radius), ``local_proxy_mean_um``
        and ``local_proxy_max_um`` (between neighbouring azimuths).
    """
    keys = ["particle_id", "plane"]
    table = radii.groupby(keys).agg(
        mean_radius_um=("radius_um", "mean"),
        largest=("radius_um", "max"),
        smallest=("radius_um", "min"),
        radius_se=("radius_um_se", "mean"),
    )
    local = local_roughness(radii).groupby(keys)
    local = local.agg(mean=("local_proxy_um", "mean"), largest=("local_proxy_um", "max"))
    table["diameter_um"] = 2 * table["mean_radius_um"]
    # The radii of a plane share most of their uncertainty: it does not average out.
    table["diameter_um_se"] = 2 * table["radius_se"]
    table["total_proxy_um"] = table["largest"] - table["smallest"]
    table["local_proxy_mean_um"] = local["mean"]
    table["local_proxy_max_um"] = local["largest"]
    return table.drop(columns=["largest", "smallest", "radius_se"]).reset_index()


@lru_cache(maxsize=256)
def roughness_floor_um(
    diameter_um: float,
    voxel_um: float,
    *,
    mode: RadiusMode = "voxel",
    signal_to_noise: float = 10.0,
    blur_voxels: float = 0.7,
    azimuths: int = 8,
) -> float:
    """Total roughness proxy that a perfectly smooth sphere shows, by simulation.

    Parameters
    ----------
    diameter_um, voxel_um : float
        Size of the sphere and of the voxels.
    mode : {"voxel", "subvoxel"}
        How the radii are measured.
    signal_to_noise : float
        Mean over standard deviation inside the sphere; infinite for no noise.
    blur_voxels : float
        Standard deviation of the blur.
    azimuths : int
        Radii per plane.

    Returns
    -------
    float
        Mean total proxy over planes and over spheres with random sub-voxel centres; NaN when the
        sphere is too small to be found.

    Notes
    -----
    At 512 nm voxels about 0.35 um without noise and 0.5 um at a signal-to-noise of 10, whatever
    the diameter: half of the micrometre that the study reports.
    """
    rng = np.random.default_rng(0)
    radius = 0.5 * diameter_um / voxel_um
    size = 2 * int(np.ceil(radius + FLOOR_MARGIN_VOXELS)) + 1
    axes = np.arange(size) - size // 2
    proxies: list[float] = []
    for _ in range(FLOOR_REPEATS):
        i, j, k = np.meshgrid(*(axes - shift for shift in rng.uniform(-0.5, 0.5, 3)), indexing="ij")
        sphere = np.clip(radius - np.sqrt(i**2 + j**2 + k**2) + 0.5, 0, 1)
        volume = ndimage.gaussian_filter(sphere, blur_voxels)
        volume += rng.normal(0, 1 / signal_to_noise, volume.shape)
        found = segment(volume, voxel_um, split=False)
        radii = measure_radii(found, voxel_um, azimuths, mode=mode)
        if not radii.empty:
            proxy = roughness_proxy(radii).set_index("particle_id")["total_proxy_um"]
            proxies.append(float(proxy.loc[_largest(found)].to_numpy().mean()))
    return float(np.mean(proxies)) if proxies else float("nan")


def _largest(segmentation: Segmentation) -> int:
    return int(np.argmax(np.bincount(segmentation.particles.ravel())[1:])) + 1


def _directions(azimuths: int) -> tuple[Array, list[str], Array]:
    """Make the unit vectors (row, depth, column) of all rays, with planes and azimuths."""
    angles = np.arange(azimuths) * 360.0 / azimuths
    cosine, sine = np.cos(np.deg2rad(angles)), np.sin(np.deg2rad(angles))
    zero = np.zeros(azimuths)
    vectors = {  # x is along columns, y against rows, z along depth
        "xy": np.stack([-sine, zero, cosine], axis=1),
        "xz": np.stack([zero, sine, cosine], axis=1),
        "yz": np.stack([-cosine, sine, zero], axis=1),
    }
    planes = [plane for plane in PLANES for _ in range(azimuths)]
    return np.concatenate([vectors[plane] for plane in PLANES]), planes, np.tile(angles, 3)


def _label_radii(
    labels: NDArray[np.integer[Any]],
    ids: NDArray[np.int64],
    centers: Array,
    directions: Array,
    reach: float,
) -> Array:
    """Find the distance, in voxels, at which each ray leaves its label."""
    steps = (np.arange(int(np.ceil(reach / RAY_STEP_VOXELS)) + 1) + 0.5) * RAY_STEP_VOXELS
    inside = np.ones((len(ids), len(directions), len(steps)), dtype=bool)
    index: list[NDArray[np.intp]] = []
    for axis, size in enumerate(labels.shape):
        along = directions[:, axis, None] * steps
        position = np.rint(centers[:, axis, None, None] + along).astype(np.intp)
        inside &= (position >= 0) & (position < size)
        index.append(np.clip(position, 0, size - 1))
    inside &= labels[tuple(index)] == ids[:, None, None]
    # The first exit: specks of noise that hang on to the surface are no part of a radius. Only
    # where the centre itself lies outside (a bent particle) the last exit stands for it.
    first = np.where(inside.all(axis=2), len(steps), np.argmin(inside, axis=2))
    last = np.where(inside.any(axis=2), len(steps) - np.argmax(inside[:, :, ::-1], axis=2), 0)
    return np.where(inside[:, :, 0], first, last) * RAY_STEP_VOXELS


def _grey_radii(
    segmentation: Segmentation, centers: Array, directions: Array, voxel_radii: Array
) -> Array:
    """Refine radii to the nearest downward crossing of the threshold."""
    offsets = np.arange(-CROSSING_REACH_VOXELS, CROSSING_REACH_VOXELS + 1e-9, 2 * RAY_STEP_VOXELS)
    distance = np.maximum(voxel_radii[:, :, None] + offsets, 0.0)
    points = [
        centers[:, axis, None, None] + directions[:, axis, None] * distance for axis in range(3)
    ]
    grey = np.asarray(
        ndimage.map_coordinates(segmentation.volume, points, order=1, mode="nearest")
    ).astype(np.float64)
    above, below = grey[:, :, :-1], grey[:, :, 1:]
    crossing = (above >= segmentation.threshold) & (below < segmentation.threshold)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (above - segmentation.threshold) / (above - below)
        where = distance[:, :, :-1] + share * np.diff(distance, axis=2)
    gap = np.where(crossing, np.abs(where - voxel_radii[:, :, None]), np.inf)
    best = np.argmin(gap, axis=2)[:, :, None]
    refined = np.take_along_axis(where, best, axis=2)[:, :, 0]
    return np.where(crossing.any(axis=2), refined, voxel_radii)


def _radius_se(radius_um: Array, boundary: BoundaryUncertainty, mode: RadiusMode) -> Array:
    if mode == "voxel":
        reading = boundary.voxel_um / np.sqrt(12)  # anywhere within one voxel
    else:
        reading = INTERPOLATION_SE_VOXELS * boundary.voxel_um
    curvature = boundary.blur_um**2 / np.maximum(radius_um, boundary.voxel_um)
    fixed = reading**2 + boundary.noise_um**2 + boundary.shift_um**2
    return np.sqrt(fixed + curvature**2)


def _offset(
    segmentation: Segmentation | None, center_um: Sequence[float] | None
) -> tuple[float, float, float]:
    if center_um is None:
        return segmentation.center_um if segmentation is not None else (0.0, 0.0, 0.0)
    x, y, z = (float(value) for value in center_um)
    return x, y, z
