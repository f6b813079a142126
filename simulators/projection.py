"""Exact X-ray shadows of a specimen: analytic chords through ellipsoids and tape.

For an ellipsoid with shape matrix P, seen along the beam, the shadow is the ellipse of the
projected 2 x 2 matrix Q, and the chord at (u, v) from its centre is
``2 a b c / sqrt(det Q) * sqrt(1 - w^T Q^-1 w)`` with ``w = (u, v)``. Voids count negatively. This
is exact, so the truth tables of a specimen are the truth of its images. Rough particles are
followed along each ray, see `zoneplate.simulators.surfaces`; of open cracks the overlap with their
particle is taken away, see `zoneplate.simulators.open_cracks`; meshes are drawn triangle by
triangle, see `zoneplate.simulators.meshes`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .materials import attenuation_per_um
from .mesh_kernels import add_mesh_shadow
from .open_cracks import add_crack_shadows
from .projection_kernels import add_ellipses, box_average
from .specimen import Specimen
from .surfaces import add_rough_shadows
from .threads import thread_count

Floats = NDArray[np.float64]
Image = NDArray[np.float32]
Position = tuple[float, float, float]

SAMPLING_UM = 0.128
"""Largest step between rays: a quarter of the 512 nm pixel of binning 8, below the 150 nm
resolution. Finer than this, pixels are averaged over several rays."""


def oversampling(pixel_um: float) -> int:
    """Return how many rays per pixel and direction keep the step below `SAMPLING_UM`.

    Examples
    --------
    >>> oversampling(0.512), oversampling(0.064)
    (4, 1)
    """
    return max(1, math.ceil(pixel_um / SAMPLING_UM - 1e-9))


@dataclass(frozen=True)
class View:
    """A grid of parallel rays through the specimen.

    Attributes
    ----------
    position_um
        Sample point (x, y, z) on the rotation axis and the optical axis.
    theta_deg
        Rotation about y.
    step_um
        Distance of neighbouring rays.
    shape
        (rows, columns); row 0 is the top, the column index grows with u.
    axis_offset_um
        Where the rotation axis is seen, from the centre of the grid towards larger columns.
    axis_tilt_deg
        By how much the axis is turned in the image, its upper end towards larger columns.
    axis_lean_deg
        By how much it leans along the beam, its upper end downstream.
    """

    position_um: Position
    theta_deg: float
    step_um: float
    shape: tuple[int, int]
    axis_offset_um: float = 0.0
    axis_tilt_deg: float = 0.0
    axis_lean_deg: float = 0.0

    @property
    def first_u_um(self) -> float:
        """Coordinate u of column 0."""
        return -(self.shape[1] - 1) / 2 * self.step_um - self.axis_offset_um

    @property
    def first_v_um(self) -> float:
        """Coordinate v of row 0."""
        return (self.shape[0] - 1) / 2 * self.step_um

    @property
    def directions(self) -> Floats:
        """Directions u, v and along the beam in the sample frame, a row each."""
        angles_deg = self.theta_deg, self.axis_tilt_deg, self.axis_lean_deg
        theta, tilt, lean = (math.radians(angle) for angle in angles_deg)
        turned = np.array(
            [
                [math.cos(theta), 0.0, math.sin(theta)],
                [0.0, 1.0, 0.0],
                [-math.sin(theta), 0.0, math.cos(theta)],
            ]
        )
        if tilt or lean:
            in_plane = np.array(
                [
                    [math.cos(tilt), math.sin(tilt), 0.0],
                    [-math.sin(tilt), math.cos(tilt), 0.0],
                    [0.0, 0.0, 1.0],
                ]
            )
            along_beam = np.array(
                [
                    [1.0, 0.0, 0.0],
                    [0.0, math.cos(lean), -math.sin(lean)],
                    [0.0, math.sin(lean), math.cos(lean)],
                ]
            )
            turned = in_plane @ along_beam @ turned
        return turned

    def finer(self, factor: int) -> View:
        """Return the same field with `factor` rays for one in each direction."""
        rows, columns = self.shape
        return replace(self, step_um=self.step_um / factor, shape=(rows * factor, columns * factor))


@dataclass(frozen=True, eq=False)
class _Shadows:
    """The ellipses of the ellipsoids that a view sees."""

    center_u: Floats
    center_v: Floats
    depth: Floats
    uu: Floats
    uv: Floats
    vv: Floats
    chord: Floats
    index: NDArray[np.intp]


class SpecimenProjector:
    """Projects one specimen at any angle, prepared once.

    Parameters
    ----------
    specimen
        Particles, voids and tape.
    """

    def __init__(self, specimen: Specimen) -> None:
        self.specimen = specimen
        solids, voids, parent = (
            specimen.particle_geometry,
            specimen.void_geometry,
            specimen.void_parent,
        )
        self._center = np.concatenate([solids.center, voids.center])
        self._shape = np.concatenate([solids.packed_shape, voids.packed_shape])
        self._axes_product = np.concatenate(
            [solids.semi_axes.prod(axis=1), voids.semi_axes.prod(axis=1)]
        )
        self._weight = np.concatenate([solids.volume, np.zeros(len(voids))])
        self._meshed = np.zeros(len(solids) + len(voids), dtype=np.bool_)
        for position, mesh in specimen.meshed.items():
            self._weight[position], self._meshed[position] = mesh.volume_um3, True
        self._sign = np.concatenate([np.ones(len(solids)), -np.ones(len(voids))])
        self._rough = np.zeros(len(self._sign), dtype=np.bool_)
        self._rough[list(specimen.rough)] = True
        owner = np.concatenate([np.arange(len(solids), dtype=np.intp), parent])
        materials, code = np.unique(
            [particle.material for particle in specimen.particles], return_inverse=True
        )
        self._materials = [str(material) for material in materials]
        self._material_code = np.asarray(code, dtype=np.intp)[owner]

    def transmission(
        self,
        position_um: Position,
        theta_deg: float,
        pixel_um: float,
        shape: tuple[int, int],
        axis_offset_um: float = 0.0,
        energy_kev: float = 5.4,
        oversample: int | None = None,
    ) -> Image:
        """Return the fraction of photons that pass, averaged inside each pixel.

        Transmission is averaged, not thickness: a pixel half covered by a thick particle is half
        bright, as on a real detector.

        Parameters
        ----------
        position_um
            Sample point (x, y, z) on the rotation axis: the stage position.
        theta_deg
            Rotation about y.
        pixel_um
            Size of a pixel in the sample plane.
        shape
            (rows, columns).
        axis_offset_um
            Offset of the rotation axis from the centre of the detector.
        energy_kev
            Photon energy.
        oversample
            Rays per pixel and direction; by default what `oversampling` finds necessary.

        Returns
        -------
        ndarray
            Shape (rows, columns), float32, in (0, 1].
        """
        factor = oversample if oversample is not None else oversampling(pixel_um)
        view = View(position_um, theta_deg, pixel_um, shape, axis_offset_um)
        return box_average(self.sample(view.finer(factor), energy_kev), factor)

    def sample(self, view: View, energy_kev: float) -> Image:
        """Return the transmission along each ray of a view, shape `view.shape`, float32."""
        optical_depth = self._tape_depth(view, energy_kev)
        attenuation = np.array(
            [attenuation_per_um(material, energy_kev) for material in self._materials]
        )
        self._add(optical_depth, view, attenuation[self._material_code])
        np.negative(optical_depth, out=optical_depth)
        return np.exp(optical_depth, out=optical_depth)

    def path(
        self,
        position_um: Position,
        theta_deg: float,
        pixel_um: float,
        shape: tuple[int, int],
        axis_offset_um: float = 0.0,
    ) -> Image:
        """Return the length of solid particle, voids and tape left out, along the pixel centres.

        Parameters are those of `transmission`.

        Returns
        -------
        ndarray
            Shape (rows, columns), float32, um.
        """
        view = View(position_um, theta_deg, pixel_um, shape, axis_offset_um)
        path = np.zeros(shape, dtype=np.float32)
        self._add(path, view, np.ones(len(self._sign)))
        return path

    def depth_um(self, view: View) -> float:
        """Return how far downstream of the rotation axis the particles in view lie on average.

        Weighted by volume; 0 if no particle is in view.
        """
        shadows = self._shadows(view)
        weight = self._weight[shadows.index]
        total = weight.sum()
        return float((weight * shadows.depth).sum() / total) if total > 0 else 0.0

    def _shadows(self, view: View) -> _Shadows:
        across, up, beam = view.directions
        place = self._center - np.asarray(view.position_um, dtype=np.float64)
        center_u, center_v, depth = (_component(place, way) for way in (across, up, beam))
        uu, vv = (_quadratic(self._shape, way, way) for way in (across, up))
        rows, columns = view.shape
        far_u = view.first_u_um + (columns - 1) * view.step_um
        far_v = view.first_v_um - (rows - 1) * view.step_um
        reach_u, reach_v = np.sqrt(uu), np.sqrt(vv)
        index = np.flatnonzero(
            (center_u + reach_u > view.first_u_um)
            & (center_u - reach_u < far_u)
            & (center_v - reach_v < view.first_v_um)
            & (center_v + reach_v > far_v)
        )
        uu, vv = uu[index], vv[index]
        uv = _quadratic(self._shape[index], across, up)
        return _Shadows(
            center_u=center_u[index],
            center_v=center_v[index],
            depth=depth[index],
            uu=uu,
            uv=uv,
            vv=vv,
            chord=2 * (self._sign * self._axes_product)[index] / np.sqrt(uu * vv - uv * uv),
            index=index,
        )

    def _add(self, image: Image, view: View, factors: Floats) -> None:
        """Add to an image what a micrometre in each particle and void is worth."""
        shadows = self._shadows(view)
        factor = factors[shadows.index]
        rough, meshed = self._rough[shadows.index], self._meshed[shadows.index]
        smooth = ~(rough | meshed)
        add_ellipses(
            image,
            view.first_u_um,
            view.first_v_um,
            view.step_um,
            shadows.center_u[smooth],
            shadows.center_v[smooth],
            shadows.uu[smooth],
            shadows.uv[smooth],
            shadows.vv[smooth],
            (shadows.chord * factor)[smooth],
        )
        if rough.any():
            self._add_rough(image, view, shadows, factor, np.flatnonzero(rough))
        for row in np.flatnonzero(meshed):
            self._add_mesh(image, view, int(shadows.index[row]), float(factor[row]))
        if self.specimen.cracks:
            self._take_cracks(image, view, factors)

    def _add_mesh(self, image: Image, view: View, position: int, factor: float) -> None:
        mesh = self.specimen.meshed[position]
        corners = view.directions @ (mesh.vertices_um - np.asarray(view.position_um)).T
        add_mesh_shadow(
            image,
            view.first_u_um,
            view.first_v_um,
            view.step_um,
            np.ascontiguousarray(corners.T),
            mesh.faces,
            factor,
        )

    def _take_cracks(self, image: Image, view: View, factors: Floats) -> None:
        specimen = self.specimen
        beam = view.directions
        position = np.asarray(view.position_um, dtype=np.float64)
        cracks, parent = specimen.crack_geometry, specimen.crack_parent
        center = (cracks.center - position) @ beam.T
        reach = np.sqrt(np.einsum("ki,nij,kj->nk", beam[:2], cracks.shape_matrix, beam[:2]))
        first = np.array([view.first_u_um, view.first_v_um])
        rows, columns = view.shape
        middle = first + np.array([columns - 1, 1 - rows]) * view.step_um / 2
        field = np.array([columns - 1, rows - 1]) * view.step_um / 2
        seen = np.flatnonzero((np.abs(center[:, :2] - middle) < field + reach).all(axis=1))
        solids = specimen.particle_geometry.subset(parent[seen])
        add_crack_shadows(
            image,
            view.first_u_um,
            view.first_v_um,
            view.step_um,
            (solids.center - position) @ beam.T,
            solids.whitening @ beam.T,
            center[seen],
            cracks.whitening[seen] @ beam.T,
            reach[seen],
            factors[parent[seen]],
        )

    def _add_rough(
        self, image: Image, view: View, shadows: _Shadows, factor: Floats, rough: NDArray[np.intp]
    ) -> None:
        directions = view.directions
        index = shadows.index[rough]
        envelopes = self.specimen.particle_geometry.subset(index)
        add_rough_shadows(
            image,
            (view.first_u_um, view.first_v_um),
            view.step_um,
            np.stack([shadows.center_u, shadows.center_v], axis=1)[rough],
            np.stack([shadows.uu, shadows.uv, shadows.vv], axis=1)[rough],
            np.einsum("nij,kj->nki", np.linalg.inv(envelopes.generator), directions),
            np.stack([self.specimen.rough_table(int(k)) for k in index]),
            factor[rough],
            thread_count(),
        )

    def _tape_depth(self, view: View, energy_kev: float) -> Image:
        """Return mu times the chord through the tape, a box that ends in x, y and z."""
        depth = np.zeros(view.shape, dtype=np.float32)
        support = self.specimen.support
        across, up, beam = view.directions
        u = view.first_u_um + view.step_um * np.arange(view.shape[1])
        v = view.first_v_um - view.step_um * np.arange(view.shape[0])

        def passes(axis: int, low: float, high: float) -> tuple[Floats, Floats]:
            start = view.position_um[axis] + u * across[axis]
            if up[axis]:
                start = start + (v * up[axis])[:, None]
            return _slab(start, float(beam[axis]), low, high)

        x_slab = passes(0, -support.width_um / 2, support.width_um / 2)
        half_um = support.height_um / 2
        upright = not (across[1] or beam[1])
        # Upright, all rows that see the tape see the same: one line says it.
        sides = [x_slab] if upright else [x_slab, passes(1, -half_um, half_um)]
        total = np.zeros(len(u))
        for material, z_low, z_high in support.layers:
            begin, end = passes(2, z_low, z_high)
            for side_in, side_out in sides:
                begin, end = np.maximum(side_in, begin), np.minimum(side_out, end)
            chord = np.maximum(end - begin, 0.0)
            total = total + attenuation_per_um(material, energy_kev) * chord
        seen = np.abs(v + view.position_um[1]) <= half_um if upright else slice(None)
        depth[seen] = total
        return depth


def _component(place: Floats, way: Floats) -> Floats:
    """Return how far places (n, 3) lie in a direction."""
    x, y, z = place.T
    return x * way[0] + z * way[2] + y * way[1]


def _quadratic(shape: Floats, one: Floats, other: Floats) -> Floats:
    """Return one^T P other for packed symmetric matrices P (n, 6): xx, yy, zz, xy, xz, yz."""
    xx, yy, zz, xy, xz, yz = shape.T
    (a, b, c), (i, j, k) = one, other
    return (
        a * i * xx
        + (a * k + c * i) * xz
        + c * k * zz
        + (a * j + b * i) * xy
        + (c * j + b * k) * yz
        + b * j * yy
    )


def _slab(
    start: NDArray[np.floating], slope: float, low: float, high: float
) -> tuple[Floats, Floats]:
    """Return where rays ``start + t slope`` enter and leave ``low <= . <= high``."""
    if slope == 0.0:
        inside = (start >= low) & (start <= high)
        return np.where(inside, -np.inf, np.inf), np.where(inside, np.inf, -np.inf)
    ends = np.stack([(low - start) / slope, (high - start) / slope])
    return ends.min(axis=0), ends.max(axis=0)
