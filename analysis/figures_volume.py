"""Figures of a tomogram: slices with what was found, and the particles with the largest voids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from .figures_style import PARTICLE, VOID, new_figure, note, rows_where, scale_bar, style
from .mosaic import NORMAL_MAD
from .open_pores import VOLUME as OPEN_VOLUME

if TYPE_CHECKING:
    from .segmentation import Segmentation

Plane = Literal["xy", "xz", "yz"]
PLANES: tuple[Plane, ...] = ("xy", "xz", "yz")
_AXIS = {"xy": 1, "xz": 0, "yz": 2}
"""Axis of the [y, z, x] volume that a slice in the plane holds constant."""
_NORMAL = {"xy": "z", "xz": "y", "yz": "x"}

GREY_PERCENTILES = (1.0, 99.7)
GREY_SIGMAS = 4.0
"""White is this many standard deviations above the median of the particles."""
SAMPLED_ROWS = 64
GALLERY_MARGIN_UM = 1.5


@dataclass(frozen=True)
class VolumeView:
    """A tomogram as the pictures need it.

    Attributes
    ----------
    volume : (rows, depth, columns) array
        Attenuation in 1/um, indexed [y, z, x], row 0 at the top.
    particles, voids : (rows, depth, columns) arrays of int
        Labels, 0 is background.
    voxel_um
        Voxel edge.
    center_um
        (x, y, z) of the centre of the volume in the specimen frame.
    title
        Name in captions, such as "Region 1".
    region
        Value of the ``region`` column of the tables that belongs to this tomogram, where they
        hold several.
    """

    volume: NDArray[np.floating]
    particles: NDArray[np.integer]
    voids: NDArray[np.integer]
    voxel_um: float
    center_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    title: str = "Tomogram"
    region: object = None

    @classmethod
    def from_segmentation(
        cls, segmentation: Segmentation, title: str = "Tomogram", region: object = None
    ) -> VolumeView:
        """Take what the pictures need from a segmentation."""
        return cls(
            volume=segmentation.volume,
            particles=segmentation.particles,
            voids=segmentation.voids,
            voxel_um=segmentation.voxel_um,
            center_um=segmentation.center_um,
            title=title,
            region=region,
        )

    def rows_of(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table of several regions that belong to this tomogram."""
        if self.region is None or "region" not in table:
            return table
        return rows_where(table, table["region"] == self.region)

    def axis_um(self, name: str) -> NDArray[np.float64]:
        """Coordinates of the voxel centres along x, y or z in the specimen frame."""
        axis = {"y": 0, "z": 1, "x": 2}[name]
        size = self.volume.shape[axis]
        steps = np.arange(size) - (size - 1) / 2
        return self.center_um["xyz".index(name)] + self.voxel_um * (
            -steps if name == "y" else steps
        )


def slices_figure(view: VolumeView) -> Figure:
    """Show three orthogonal slices, as measured and with particles and voids drawn in.

    Each slice is the one that cuts the most void (the most particle, when there is no void).
    """
    figure = new_figure(10.0, 6.9)
    if not view.volume.size:
        note(figure, "The volume is empty.")
        return figure
    _, depth, columns = view.volume.shape
    widths = [columns, columns, depth]
    grid = figure.subplots(2, 3, gridspec_kw={"width_ratios": widths}, squeeze=False)
    limits = _grey_limits(view)
    image = None
    for column, plane in enumerate(PLANES):
        index = _telling_index(view, plane)
        normal = _NORMAL[plane]
        place = view.axis_um(normal)[index]
        for row, drawn in enumerate((False, True)):
            axes = grid[row, column]
            image = _show_slice(axes, view, plane, index, limits)
            if drawn:
                _draw_outlines(axes, view, plane, index)
            horizontal, vertical = ("z", "y") if plane == "yz" else (plane[0], plane[1])
            title = f"{plane} slice at {normal} = {place:.1f} µm" if not drawn else ""
            style(axes, f"{horizontal} (µm)", f"{vertical} (µm)", title)
            scale_bar(axes)
    if image is not None:
        figure.colorbar(image, ax=grid, label="attenuation (1/µm)", fraction=0.02, pad=0.01)
    handles = [
        grid[1, 0].plot([], [], color=PARTICLE, linewidth=2, label="particle outline")[0],
        grid[1, 0].plot([], [], color=VOID, linewidth=2, label="internal void")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def gallery_figure(
    view: VolumeView,
    particles: pd.DataFrame | None = None,
    voids: pd.DataFrame | None = None,
    *,
    count: int = 4,
    particle_ids: Sequence[int] | None = None,
    through_um: NDArray[np.float64] | None = None,
) -> Figure:
    """Show the particles with the largest voids, three slices through each largest void.

    Without voids, the largest particles are shown through their centres.

    Parameters
    ----------
    view
        The tomogram.
    particles, voids
        Tables of `measure_particles` and `measure_voids` of this tomogram, for the captions.
    count
        How many particles at most.
    particle_ids
        Show these instead, through their centres.
    through_um
        Shape (len(particle_ids), 3): cut those there instead, (x, y, z) in the specimen frame.
    """
    if particle_ids is not None:
        chosen = [(one, 0) for one in particle_ids]
    else:
        chosen = _worst_particles(view, count, _cut_by_border(particles))
    if not chosen:
        figure = new_figure(8.0, 1.6)
        note(figure, "No whole particles in this volume.")
        return figure
    figure = new_figure(8.4, 2.75 * len(chosen) + 0.3)
    rows = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    for number, (part, (label, void)) in enumerate(zip(rows, chosen, strict=True)):
        caption = _caption(label, void, particles, voids, named=particle_ids is not None)
        part.suptitle(caption, fontsize=10, x=0.02, ha="left")
        if through_um is not None:
            middle = _voxel_at(view, through_um[number])
        else:
            middle = _center_of(view.voids == void if void else view.particles == label)
        box = _box_um(view, label)
        limits = _grey_limits(view, label)
        for axes, plane in zip(part.subplots(1, 3), PLANES, strict=True):
            index = int(middle[_AXIS[plane]])
            _show_slice(axes, view, plane, index, limits)
            _draw_outlines(axes, view, plane, index)
            horizontal, vertical = ("z", "y") if plane == "yz" else (plane[0], plane[1])
            axes.set_facecolor("black")
            axes.set_xlim(*box[horizontal])
            axes.set_ylim(*box[vertical])
            style(axes, f"{horizontal} (µm)", f"{vertical} (µm)")
            axes.tick_params(labelsize=8)
            scale_bar(axes)
    return figure


def _grey_limits(view: VolumeView, label: int | None = None) -> tuple[float, float]:
    """Grey scale for background and particles (or one of them); denser parts may saturate."""
    step = max(1, view.volume.shape[0] // SAMPLED_ROWS)
    sample = view.volume[::step]
    low, high = (float(v) for v in np.nanpercentile(sample, GREY_PERCENTILES))
    particles = view.particles[::step]
    chosen = particles > 0 if label is None else particles == label
    solid = sample[chosen & (view.voids[::step] == 0)]
    if solid.size:
        middle = float(np.median(solid))
        spread = NORMAL_MAD * float(np.median(np.abs(solid - middle)))
        high = min(high, middle + GREY_SIGMAS * spread)
    return low, high if high > low else low + 1.0


def _plane_image(array: NDArray, plane: Plane, index: int) -> NDArray:
    """Slice with the vertical axis of the picture growing downwards in rows."""
    image = array.take(index, axis=_AXIS[plane])
    return image[::-1] if plane == "xz" else image  # rows of xz are z, which shall grow upwards


def _extent(view: VolumeView, plane: Plane) -> tuple[float, float, float, float]:
    horizontal, vertical = ("z", "y") if plane == "yz" else (plane[0], plane[1])
    half = view.voxel_um / 2
    along, up = view.axis_um(horizontal), view.axis_um(vertical)
    return along.min() - half, along.max() + half, up.min() - half, up.max() + half


def _telling_index(view: VolumeView, plane: Plane) -> int:
    others = tuple(axis for axis in range(3) if axis != _AXIS[plane])
    for labels in (view.voids, view.particles):
        area = np.count_nonzero(labels, axis=others)
        if area.any():
            return int(np.argmax(area))
    return view.volume.shape[_AXIS[plane]] // 2


def _show_slice(
    axes: Axes, view: VolumeView, plane: Plane, index: int, limits: tuple[float, float]
):
    return axes.imshow(
        _plane_image(view.volume, plane, index),
        cmap="gray",
        vmin=limits[0],
        vmax=limits[1],
        extent=_extent(view, plane),
        interpolation="nearest",
    )


def _draw_outlines(axes: Axes, view: VolumeView, plane: Plane, index: int) -> None:
    left, _, _, top = _extent(view, plane)
    for labels, color, width in ((view.particles, PARTICLE, 1.3), (view.voids, VOID, 1.6)):
        lines = [
            np.stack(
                [
                    left + (line[:, 1] + 0.5) * view.voxel_um,
                    top - (line[:, 0] + 0.5) * view.voxel_um,
                ],
                axis=1,
            )
            for line in label_outlines(_plane_image(labels, plane, index))
        ]
        axes.add_collection(LineCollection(lines, colors=color, linewidths=width))


def label_outlines(labels: NDArray[np.integer]) -> list[NDArray[np.float64]]:
    """Return the outline of every label as lines of (row, column) points."""
    lines = []
    boxes = ndimage.find_objects(labels)
    for number, box in enumerate(boxes, start=1):
        if box is None:
            continue
        mask = np.pad(labels[box] == number, 1).astype(float)
        start = np.array([box[0].start, box[1].start]) - 1
        lines += [line + start for line in find_contours(mask, 0.5)]
    return lines


def _cut_by_border(particles: pd.DataFrame | None) -> set[int]:
    if particles is None or "touches_border" not in particles:
        return set()
    return set(particles.loc[particles["touches_border"].astype(bool), "particle_id"].astype(int))


def _worst_particles(view: VolumeView, count: int, cut: set[int]) -> list[tuple[int, int]]:
    """List (particle label, label of its largest void or 0), worst first, whole ones only."""
    sizes = np.bincount(view.voids.ravel())
    sizes[0] = 0
    chosen: dict[int, int] = {}
    for void in np.argsort(-sizes, kind="stable"):
        if sizes[void] == 0 or len(chosen) == count:
            break
        owners = view.particles[view.voids == void]
        owner = int(np.bincount(owners).argmax())
        if owner and owner not in cut:
            chosen.setdefault(owner, int(void))
    if chosen:
        return list(chosen.items())
    sizes = np.bincount(view.particles.ravel())
    sizes[0] = 0
    largest = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i] and i not in cut]
    return [(i, 0) for i in largest[:count]]


def _center_of(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Voxel of the object nearest to its centre of mass."""
    index = np.argwhere(mask)
    offset = index - index.mean(axis=0)
    return tuple(int(i) for i in index[np.argmin((offset**2).sum(axis=1))])


def _voxel_at(view: VolumeView, place_um: NDArray[np.float64]) -> tuple[int, ...]:
    """Voxel (row, depth, column) nearest to a place (x, y, z) of the specimen."""
    places = dict(zip("xyz", place_um, strict=True))
    return tuple(int(np.abs(view.axis_um(name) - places[name]).argmin()) for name in "yzx")


def _box_um(view: VolumeView, label: int) -> dict[str, tuple[float, float]]:
    """Equal-sided box around a particle, along x, y and z."""
    index = np.argwhere(view.particles == label)
    spans = {}
    for axis, name in enumerate("yzx"):
        ends = view.axis_um(name)[[index[:, axis].min(), index[:, axis].max()]]
        spans[name] = (float(ends.min()), float(ends.max()))
    half = max(high - low for low, high in spans.values()) / 2 + GALLERY_MARGIN_UM
    return {
        name: ((low + high) / 2 - half, (low + high) / 2 + half)
        for name, (low, high) in spans.items()
    }


def _caption(
    label: int,
    void: int,
    particles: pd.DataFrame | None,
    voids: pd.DataFrame | None,
    *,
    named: bool,
) -> str:
    text = f"Particle {label}"
    diameter = _looked_up(particles, "particle_id", label, ("equivalent_diameter_um",))
    if diameter is not None:
        text += f", diameter {diameter:.1f} µm"
    if named:
        shape = _looked_up(particles, "particle_id", label, ("sphericity_grey", "sphericity"))
        pores_um3 = _looked_up(particles, "particle_id", label, (OPEN_VOLUME,))
        text += f", sphericity {shape:.2f}" if shape is not None else ""
        return text + (f", open pores {pores_um3:.1f} µm³" if pores_um3 else "")
    if not void:
        return text + ", no void found"
    names = ("equivalent_diameter_grey_um", "equivalent_diameter_um")
    size = _looked_up(voids, "void_id", void, names)
    dead = _looked_up(particles, "particle_id", label, ("dead_volume_fraction",))
    if size is not None:
        text += f"; largest void {size:.1f} µm"
    if dead is not None:
        text += f"; {dead:.1%} of its volume is void".replace("%", " %")
    return text


def _looked_up(
    table: pd.DataFrame | None, key: str, value: int, names: tuple[str, ...]
) -> float | None:
    if table is None or key not in table:
        return None
    rows = rows_where(table, table[key] == value)
    for name in names:
        found = rows[name].to_numpy(dtype=float) if name in rows else np.empty(0)
        if len(found) and np.isfinite(found[0]):
            return float(found[0])
    return None
