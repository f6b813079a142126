"""Errors of volume, area, sphericity and diameter, beside other libraries: docs/accuracy.md.

    pip install -e '.[bench]'
    python benchmarks/bias_table.py [FILE]

Spheres, ellipsoids (1.3 : 1 : 1/1.3, turned at random), rough particles and spherical voids with
random sub-voxel centres (small ones beside a larger particle, as in any powder, so that the grey
level of the solid can be known) are blurred as the microscope blurs (standard deviation 0.7 voxels
beside the voxel itself), given white noise and segmented once; every library then measures the same
labels (`skimage grey` and ours also see the grey values). The number is the root of the mean
squared relative error in per cent: clean / signal-to-noise 10 / 5. With FILE the tables are
written there too, as Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import diplib
import numpy as np
import porespy
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scipy.special import elliprg
from skimage.measure import marching_cubes, mesh_surface_area, regionprops

from zoneplate.analysis import measure_particles, measure_voids, segment

Array = NDArray[np.float64]
RADII = (1.5, 2.35, 3.0, 4.0, 6.25, 10.0, 20.0, 40.0)
NOISES = (np.inf, 10.0, 5.0)
QUANTITIES = ("volume", "area", "sphericity", "diameter")
OBJECTS = {1.5: 16, 2.35: 16, 3.0: 24, 4.0: 16, 6.25: 12, 10.0: 8, 20.0: 3, 40.0: 2}
BLUR = 0.7
SUBSAMPLES = 4
WALL = 6.0
"""Solid around a void, in voxels."""
NEIGHBOUR_RADIUS = 8.0
SPEAKING_RADIUS = 3.0
TIE = 0.1
"""Errors that differ by less than this, or by less than twice the standard error of the
difference, are equal (per cent)."""


@dataclass(frozen=True)
class Body:
    """A closed surface ``center + s rho(s)`` with known volume and area."""

    inside: Callable[[Array, Array, Array], NDArray[np.bool_]]
    volume: float
    area: float


def ellipsoid(center: Array, axes: Array, turn: Array) -> Body:
    def inside(i: Array, j: Array, k: Array) -> NDArray[np.bool_]:
        offsets = (i - center[0], j - center[1], k - center[2])
        return sum(
            (sum(turn[a, b] * offsets[b] for b in range(3)) / axes[a]) ** 2 for a in range(3)
        ) <= 1  # fmt: skip

    area = 4 * np.pi * axes.prod() * elliprg(*(1 / axes**2))
    return Body(inside, float(4 / 3 * np.pi * axes.prod()), float(area))


def rough(center: Array, radius: float, random: np.random.Generator) -> Body:
    """A sphere with waves of about 1.5 radii length and 3 % height (rms), never below 8 voxels."""
    waves = random.standard_normal((12, 3))
    length = max(1.5, 8.0 / radius)
    waves *= 2 * np.pi / length / np.linalg.norm(waves, axis=1, keepdims=True)
    phases = random.uniform(0, 2 * np.pi, 12)
    height = 0.03 * np.sqrt(2 / 12)

    def rho(s: Array) -> Array:
        return radius * (1 + height * np.cos(s @ waves.T + phases).sum(axis=-1))

    nodes, weights = np.polynomial.legendre.leggauss(96)
    angle = np.arange(192) * (2 * np.pi / 192)
    flat = np.sqrt(1 - nodes**2)[:, None]
    s = np.stack([flat * np.cos(angle), flat * np.sin(angle), nodes[:, None] + 0 * angle], axis=-1)
    slope = -radius * height * np.sin(s @ waves.T + phases) @ waves
    slope -= (slope * s).sum(axis=-1, keepdims=True) * s
    solid_angle = weights[:, None] * (2 * np.pi / 192)
    r = rho(s)
    volume = (solid_angle * r**3 / 3).sum()
    area = (solid_angle * r * np.sqrt(r**2 + (slope**2).sum(axis=-1))).sum()

    def inside(i: Array, j: Array, k: Array) -> NDArray[np.bool_]:
        offset = np.stack(np.broadcast_arrays(i - center[0], j - center[1], k - center[2]), axis=-1)
        distance = np.linalg.norm(offset, axis=-1)
        result = distance < 0.8 * radius
        edge = ~result & (distance < 1.2 * radius)
        result[edge] = distance[edge] <= rho(offset[edge] / distance[edge, None])
        return result

    return Body(inside, float(volume), float(area))


def body_of(shape: str, center: Array, radius: float, random: np.random.Generator) -> Body:
    if shape == "rough":
        return rough(center, radius, random)
    stretch = np.array([1.3, 1.0, 1 / 1.3]) if shape == "ellipsoid" else np.ones(3)
    turn = Rotation.random(rng=random).as_matrix()
    return ellipsoid(center, radius * stretch, turn)


def coverage(size: int, body: Body) -> Array:
    """Share of each voxel inside the body."""
    fine = ((np.arange(size)[:, None] + (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES) - 0.5).ravel()
    result = np.empty((size, size, size))
    for row in range(size):  # a row of voxels at a time: 160 million points are too many at once
        some = fine[row * SUBSAMPLES : (row + 1) * SUBSAMPLES]
        points = body.inside(some[:, None, None], fine[:, None], fine)
        parts = points.reshape(SUBSAMPLES, size, SUBSAMPLES, size, SUBSAMPLES)
        result[row] = parts.mean(axis=(0, 2, 4))
    return result


def with_neighbour(share: Array) -> Array:
    """Put a larger sphere beside an object, behind the last column."""
    size = len(share)
    radius = NEIGHBOUR_RADIUS
    beside = coverage(size, ellipsoid(np.full(3, size // 2), np.full(3, radius), np.eye(3)))
    return np.concatenate([share, beside], axis=2)


def measured(grey: Array, hollow: bool) -> dict[str, tuple[float, float]] | None:
    """Return volume and area by library; None when the object was not found."""
    found = segment(
        grey, 1.0, split=False, field_radius_um=2.0 * len(grey), minimum_contrast_per_um=0.3
    )
    labels = found.voids if hollow else found.particles
    if not labels.any():
        return None
    middle = np.full(3, len(grey) // 2)
    where = np.argwhere(labels)
    nearest = where[np.linalg.norm(where - middle, axis=1).argmin()]
    if np.linalg.norm(nearest - middle) > 3:
        return None
    own = int(labels[tuple(nearest)])
    table = measure_voids(found, 1.0) if hollow else measure_particles(found, 1.0)
    row = table[table["void_id" if hollow else "particle_id"] == own].iloc[0]
    mask = labels == own
    integers = mask.astype(np.uint8)
    padded = np.pad(mask, 2)
    mesh = marching_cubes(padded.astype(np.float32), 0.5)
    shapes = SimpleITK.LabelShapeStatisticsImageFilter()
    shapes.ComputePerimeterOn()
    shapes.Execute(SimpleITK.GetImageFromArray(integers))
    dip = diplib.MeasurementTool.Measure(
        diplib.Image(integers.astype(np.uint32)), features=["Size", "SurfaceArea"]
    )
    pores = porespy.metrics.regionprops_3D(integers.astype(int))[0]
    result = {
        "ours": (float(row["volume_grey_um3"]), float(row["surface_area_grey_um2"])),
        "ours, voxels": (float(row["volume_um3"]), float(row["surface_area_um2"])),
        "scikit-image": (float(regionprops(integers)[0].area), mesh_surface_area(*mesh[:2])),
        "skimage grey": _grey_mesh(grey, found.half_contrast_threshold, mask, hollow),
        "SimpleITK": (shapes.GetPhysicalSize(1), shapes.GetPerimeter(1)),
        "DIPlib": (dip[1]["Size"][0], dip[1]["SurfaceArea"][0]),
        "porespy": (float(pores.volume), float(pores.surface_area)),
    }
    return {name: (float(v), float(a)) for name, (v, a) in result.items()}


def _grey_mesh(
    grey: Array, level: float, mask: NDArray[np.bool_], hollow: bool
) -> tuple[float, float]:
    """Marching cubes on the grey values around the object, as a careful user would."""
    near = ndimage.binary_dilation(mask, iterations=3)
    outside = 2.0 * level if hollow else 0.0
    own = np.pad(np.where(near, grey, outside), 2, constant_values=outside)
    vertices, faces, _, _ = marching_cubes(own, level)
    corners = vertices[faces]
    signed = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    return abs(float(signed.sum())), float(mesh_surface_area(vertices, faces))


def errors(shape: str, radius: float) -> list[dict[str, Array]]:
    """Return relative errors in per cent, [object, quantity] by library, for every noise."""
    random = np.random.default_rng([round(100 * radius), ord(shape[0])])
    hollow = shape == "void"
    rows: list[dict[str, list[list[float]]]] = [{} for _ in NOISES]
    for _ in range(OBJECTS[radius]):
        reach = radius + (WALL if hollow else 0.3 * radius)
        size = 2 * int(np.ceil(reach)) + 2 * (12 if radius < 12 else 7) + 1
        center = size // 2 + random.uniform(-0.5, 0.5, 3)
        body = body_of(shape, center, radius, random)
        share = coverage(size, body)
        if hollow:
            share = coverage(size, body_of("sphere", center, radius + WALL, random)) - share
        elif radius < NEIGHBOUR_RADIUS:
            share = with_neighbour(share)
        blurred = ndimage.gaussian_filter(share, BLUR)
        for noise, row in zip(NOISES, rows, strict=True):
            grey = blurred + random.normal(0, 1 / noise, share.shape)
            for name, (volume, area) in (measured(grey, hollow) or {}).items():
                v, a = volume / body.volume, area / body.area
                diameter = np.cbrt(v)
                row.setdefault(name, []).append(
                    [100 * (value - 1) for value in (v, a, diameter**2 / a, diameter)]
                )
    return [{name: np.array(values) for name, values in row.items()} for row in rows]


def tables() -> tuple[list[str], list[str]]:
    """Measure everything; return the Markdown lines and the rows in which ours is not best."""
    names = (
        "ours", "ours, voxels", "scikit-image", "skimage grey", "SimpleITK", "DIPlib", "porespy",
    )  # fmt: skip
    lines: dict[str, list[str]] = {quantity: [] for quantity in QUANTITIES}
    lost: list[str] = []
    for shape in ("sphere", "ellipsoid", "rough", "void"):
        for radius in RADII:
            found = errors(shape, radius)
            for number, quantity in enumerate(QUANTITIES):
                cells = [" / ".join(_rms(one.get(name), number) for one in found) for name in names]
                lines[quantity].append(f"| {shape} | {radius:g} | " + " | ".join(cells) + " |")
                if radius >= SPEAKING_RADIUS:
                    lost += _lost(found, number, f"{quantity} of {shape}, radius {radius:g}")
            print(f"{shape} {radius:g} done", file=sys.stderr, flush=True)
    text: list[str] = []
    for quantity in QUANTITIES:
        text += ["", f"### {quantity.capitalize()}", ""]
        text += ["| shape | radius | " + " | ".join(names) + " |"]
        text += ["|---|---|" + "---|" * len(names)]
        text += lines[quantity]
    return text, lost


def _rms(values: Array | None, quantity: int) -> str:
    if values is None or not np.isfinite(values[:, quantity]).any():
        return "-"
    error = float(np.sqrt(np.nanmean(values[:, quantity] ** 2)))
    return f"{error:.2f}" if error < 10 else f"{error:.0f}"


def _lost(found: list[dict[str, Array]], quantity: int, name: str) -> list[str]:
    """Say where another library is better than ours by more than chance."""
    lost: list[str] = []
    for noise, one in zip(NOISES, found, strict=True):
        if "ours" not in one:
            continue
        ours = np.abs(one["ours"][:, quantity])
        for other, values in one.items():
            if other.startswith("ours"):
                continue
            gain = ours - np.abs(values[:, quantity])
            chance = 2 * gain.std(ddof=1) / np.sqrt(len(gain))
            if gain.mean() > max(TIE, chance):
                lost.append(f"{name}, SNR {noise:g}: {other} is better by {gain.mean():.2f} %")
    return lost


def main() -> None:
    """Print the tables, and where ours is beaten."""
    text, lost = tables()
    verdict = ["", f"Rows from radius {SPEAKING_RADIUS:g} in which another library is better:", ""]
    verdict += [f"- {line}" for line in lost] or ["- none"]
    print("\n".join(text + verdict))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("\n".join(text + verdict) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
