"""Drawings of surfaces: many particles with their voids, or a few particles side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .figures_style import MUTED, VOID, new_figure, nice_length, note
from .figures_volume import VolumeView
from .meshes import DEAD_COLORS, DEAD_FULL, PLAIN, Mesh, shell_colors

SHELL_TINT = 0.7
"""Strength of a shell's colour where voids shine through it; the rest is white."""
DARKEST = 0.45
"""Brightness of a surface that is seen from its edge."""
GLOSS, GLOSS_POWER = 0.35, 6
"""White that is added where a surface faces the viewer, and how narrowly."""

VIEW_ELEVATION_DEG = 28.0
VIEW_AZIMUTH_DEG = -35.0

Array = NDArray[np.float64]
Bounds = tuple[float, float, float, float]
Paint = Callable[[Mesh, NDArray[np.floating]], Array]
"""Colour (red, green, blue) of each triangle, from its mesh and how much it faces the viewer."""


@dataclass(frozen=True)
class Drawing:
    """Triangles in the order in which they are painted, far ones first.

    Attributes
    ----------
    polygons : (n, 3, 2) array
        Corners in the picture, um to the right and up.
    colors : (n, 3) array
        Of each.
    """

    polygons: Array
    colors: Array

    @classmethod
    def of(cls, meshes: Sequence[Mesh], middle: Sequence[float], paint: Paint) -> Drawing:
        """Turn meshes about a point into view and colour what faces the viewer.

        Parameters
        ----------
        meshes
            What to draw; voids are drawn on their own shell, so that they shine through it.
        middle
            x, y, z of the point in the middle.
        paint
            Colours of triangles.
        """
        turn = view_rotation()
        seen = {
            (mesh.kind, mesh.label): (mesh.vertices - np.asarray(middle)) @ turn.T
            for mesh in meshes
        }
        polygons, colors, depths = [np.empty((0, 3, 2))], [np.empty((0, 3))], [np.empty(0)]
        for mesh in meshes:
            corners = seen[mesh.kind, mesh.label][mesh.faces]
            normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            facing = normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
            front = facing > 0
            depth = corners[front][:, :, 2].mean(axis=1)
            shell = seen.get(("particle", mesh.parent))
            if mesh.kind == "void" and shell is not None and len(depth):
                # Just in front of its own shell: seen through it, yet hidden by nearer particles.
                depth = depth + float(shell[:, 2].max() - depth.min())
            polygons.append(corners[front][:, :, :2])
            depths.append(depth)
            colors.append(paint(mesh, facing[front]))
        order = np.argsort(np.concatenate(depths), kind="stable")
        return cls(np.concatenate(polygons)[order], np.concatenate(colors)[order])

    @property
    def bounds(self) -> Bounds:
        """Left, right, bottom and top of what is drawn, um."""
        if not len(self.polygons):
            return (-1.0, 1.0, -1.0, 1.0)
        left, bottom = self.polygons.reshape(-1, 2).min(axis=0).tolist()
        right, top = self.polygons.reshape(-1, 2).max(axis=0).tolist()
        return left, right, bottom, top

    def put(self, axes: Axes, bounds: Bounds | None = None, *, scale: bool = True) -> None:
        """Draw into an axes without a frame.

        Parameters
        ----------
        axes
            Where.
        bounds
            Left, right, bottom and top of what is shown; by default all.
        scale
            Whether a scale bar stands below.
        """
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.add_collection(
            PolyCollection(
                list(self.polygons), facecolors=self.colors, linewidths=0, antialiased=False
            )
        )
        left, right, bottom, top = bounds or self.bounds
        margin = 0.04 * max(right - left, top - bottom)
        axes.set_xlim(left - margin, right + margin)
        axes.set_ylim(bottom - 4 * margin, top + margin)
        if not scale:
            return
        length, y = nice_length(right - left), bottom - 1.6 * margin
        axes.plot([left, left + length], [y, y], color=MUTED, linewidth=4, solid_capstyle="butt")
        place = left + length / 2, y - 0.5 * margin
        axes.text(*place, f"{length:g} µm", ha="center", va="top", size=9)


def plain_paint(color: str) -> Paint:
    """Return a paint of one colour."""

    def paint(_: Mesh, facing: NDArray[np.floating]) -> Array:
        light, gloss = DARKEST + (1 - DARKEST) * facing, GLOSS * facing**GLOSS_POWER
        rgb = np.asarray(to_rgb(color)) * light[:, None]
        return np.asarray(rgb + gloss[:, None] * (1 - rgb), dtype=np.float64)

    return paint


def solid_figure(view: VolumeView, meshes: Sequence[Mesh]) -> Figure:
    """Draw particles with their voids shining through (the study's figure 3), from one side.

    The picture behind the page's interactive view, for print and for browsers without WebGL.
    """
    figure = new_figure(7.0, 6.0)
    axes = figure.add_subplot()
    axes.set_axis_off()
    if not meshes:
        note(figure, "No particles in this volume.")
        return figure
    shells = shell_colors(view)

    def paint(mesh: Mesh, facing: NDArray[np.floating]) -> Array:
        if mesh.kind == "void":
            rgb = np.asarray(to_rgb(VOID)) * (0.6 + 0.4 * facing)[:, None]
            return rgb.astype(np.float64)
        # Pale where the shell faces the viewer and darker at its rim.
        pale = 1 - SHELL_TINT * (1 - np.asarray(shells[mesh.parent]))
        return np.asarray(pale * (0.55 + 0.45 * facing)[:, None], dtype=np.float64)

    Drawing.of(meshes, view.center_um, paint).put(axes)
    for name, color in (("particle, no void found", PLAIN), ("void", VOID)):
        axes.plot([], [], "o", color=color, markersize=9, label=name)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    scale = ScalarMappable(Normalize(0, 100 * DEAD_FULL), DEAD_COLORS)
    bar = figure.colorbar(scale, ax=axes, shrink=0.5, pad=0.02, extend="max")
    bar.set_label("void in the particle (% of its volume)", color=MUTED)
    return figure


def view_rotation() -> Array:
    """Return the rotation to the picture: right, up, towards the viewer."""
    turn, tilt = np.deg2rad(VIEW_AZIMUTH_DEG), np.deg2rad(VIEW_ELEVATION_DEG)
    about_y = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    )
    return np.asarray(about_x @ about_y, dtype=np.float64)
