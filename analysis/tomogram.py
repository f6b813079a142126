"""One tomogram from raw frames to tables, a few frames at a time.

The same code follows a scan while it is taken and analyses one that is stored: feed it darks,
flats and projections in any order, look at a `Preview` whenever you like, `finish` at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from .filters import FilterName
from .geometry import Geometry, find_geometry, geometry_bytes
from .growing_volume import GrowingVolume
from .jumps import Jump, likeliest_jump
from .memory import DEFAULT_KEEP_LIMIT_BYTES, available_bytes
from .open_pores import measure_open_pores
from .particles import measure_particles, measure_voids
from .quality import signal_to_noise, transmission_statistics
from .reconstruction import StreamingReconstruction
from .references import FlatDrift, ReferenceFrame
from .rotation_axis import (
    RotationCenter,
    RotationCenterError,
    find_center,
    find_rotation_center,
)
from .segmentation import Segmentation, segment
from .summary import MINIMUM_VOID_UM, summarize
from .tomogram_limits import limits, measurable, needed_projections, spread_over
from .views import Projection, Views

Frame = NDArray[Any]

MINIMUM_CONTRAST_PER_UM = 0.01
"""Between the support tape (0.003 1/um) and NMC (0.044 1/um): an empty tape is no particle."""

SAME_VIEW_TOLERANCE_DEG = 0.1
"""How far from half a turn two projections may be and still show the rotation axis as a pair."""

LOW_SNR = 7.0
"""Below this signal-to-noise ratio voids of the minimum size are not told from noise."""

LOW_SNR_VOID_VOXELS = 8
"""Minimum size of a void then: at a signal-to-noise of 5 no false ones."""

VERY_LOW_SNR = 5.0
"""Below this the noise tears surfaces open: the volume is smoothed to be segmented."""

SMOOTHING_VOXELS = 1.0
"""Standard deviation of that smoothing; voids below four voxels do not survive it."""

FACES_COLUMN = "surface_area_faces_um2"
"""Column with the area counted in voxel faces, beside the unbiased `surface_area_um2`."""

PREVIEW_SHARE = 0.15
"""Of the projections that the Crowther criterion asks for: fewer show streaks, not particles."""


@dataclass(frozen=True)
class Preview:
    """What a scan shows so far.

    Attributes
    ----------
    projections, planned
        How many are in, and how many are planned.
    summary
        As `summarize` returns it.
    segmentation
        What was measured; None where only the numbers are known.
    """

    projections: int
    planned: int
    summary: dict[str, Any]
    segmentation: Segmentation | None = None


@dataclass(frozen=True, eq=False)
class Tomogram:
    """A reconstructed, segmented and measured tomogram.

    Attributes
    ----------
    volume
        (rows, columns, columns), [y, z, x], attenuation in 1/um.
    segmentation
        Particles and voids in it.
    particles, voids
        A row per object; `measure_particles`, `measure_voids`.
    summary
        As `summarize` returns it.
    snr
        Signal-to-noise ratios by definition.
    transmission
        Mean, footprint and minimum over all projections and per angle.
    angles_deg
        Angle of each projection, as in ``transmission["per_angle"]``.
    radiographs, radiograph_angles_deg
        A few transmission images over the range of angles, for people to look at.
    rotation_center
        Column of the rotation axis.
    projections
        How many angles were used.
    frames
        How many frames they are made of: several may have been taken at each angle.
    flat_drift
        How the open beam changed between references; None if they were taken once.
    jump
        A jump of the sample in the images during the scan; None if there was none.
    geometry
        Tilt of the axis and movement of the sample, and whether they were corrected; None if they
        were not looked for.
    voxel_um, center_um
        Voxel edge, and the place of the volume's centre in the sample.
    warnings
        What a reader must know, in words.
    """

    volume: NDArray[np.float32]
    segmentation: Segmentation
    particles: pd.DataFrame
    voids: pd.DataFrame
    summary: dict[str, Any]
    snr: dict[str, float | int | None]
    transmission: dict[str, Any]
    angles_deg: NDArray[np.float64]
    radiographs: NDArray[np.float32]
    radiograph_angles_deg: NDArray[np.float64]
    rotation_center: RotationCenter
    projections: int
    frames: int
    flat_drift: FlatDrift | None
    jump: Jump | None
    geometry: Geometry | None
    voxel_um: float
    center_um: tuple[float, float, float]
    warnings: list[str] = field(default_factory=list[str])


class TomogramAnalysis:
    """Analyses a tomogram while its frames arrive.

    Parameters
    ----------
    shape
        (rows, columns) of a frame.
    pixel_um
        Pixel size at the sample.
    planned_angles_deg
        All angles that are planned; None if nobody knows.
    center_um
        Point of the sample (x, y, z) on the rotation axis at the centre of the field.
    already_normalized
        Projections are absorption: references are not needed.
    minimum_void_um
        Equivalent diameter from which a void counts.
    minimum_contrast_per_um
        Fainter things are no particles; 0 where the scale is not known.
    filter
        Of the reconstruction.
    keep_limit_bytes
        Volumes of scans larger than this cannot be corrected in place: they are made again, when
        the scan is finished and if that is needed, and previews have a coarser one.
    frames_per_view
        Frames that are planned at each angle.
    correct_geometry
        Whether `finish` looks for a tilt of the axis and movements of the sample, and corrects
        those that show.
    remove_rings
        Whether what is sharp in the mean of all projections is taken for rings and subtracted.

    Attributes
    ----------
    views
        What the frames show at each angle.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        pixel_um: float,
        *,
        planned_angles_deg: Sequence[float] | None = None,
        center_um: tuple[float, float, float] = (0.0, 0.0, 0.0),
        already_normalized: bool = False,
        minimum_void_um: float = MINIMUM_VOID_UM,
        minimum_contrast_per_um: float = MINIMUM_CONTRAST_PER_UM,
        filter: FilterName = "ramp",
        keep_limit_bytes: int = DEFAULT_KEEP_LIMIT_BYTES,
        frames_per_view: int = 1,
        correct_geometry: bool = True,
        remove_rings: bool = False,
    ) -> None:
        self._remove_rings = remove_rings
        self._correct_geometry = correct_geometry
        self.minimum_contrast_per_um = minimum_contrast_per_um
        self.shape = shape
        self.pixel_um = pixel_um
        self.center_um = center_um
        self.minimum_void_um = minimum_void_um
        self._planned_deg = (
            np.asarray(planned_angles_deg, dtype=np.float64)
            if planned_angles_deg is not None
            else None
        )
        self._filter: FilterName = filter
        self.views = Views(already_normalized=already_normalized, frames_per_view=frames_per_view)
        self._pending: list[int] = []
        self._in_volume: set[int] = set()
        self._center: RotationCenter | None = None
        self._unseen_pixels = 0.0
        self._keep_limit_bytes = keep_limit_bytes
        self._volume = GrowingVolume(self._new_reconstruction, shape)

    @property
    def projections(self) -> int:
        """How many projections are in the volume."""
        return self._volume.fine.count

    @property
    def planned(self) -> int:
        """How many projections there will be."""
        return len(self._planned_deg) if self._planned_deg is not None else len(self.views.members)

    @property
    def reconstruction(self) -> StreamingReconstruction:
        """The volume that grows."""
        return self._volume.fine

    @property
    def shown(self) -> StreamingReconstruction:
        """What people look at meanwhile: the same with larger voxels where the scan is large."""
        return self._volume.shown

    @property
    def shown_voxel_um(self) -> float:
        """Voxel edge of `shown`, and of the labels of a preview."""
        return self.pixel_um * self._volume.factor

    def add_reference(
        self,
        kind: str,
        seq_num: int,
        frame: Frame,
        *,
        time_s: float | None = None,
        exposure_s: float | None = None,
    ) -> None:
        """Take a `"dark"` or a `"flat"`; the same number again replaces it.

        Parameters
        ----------
        kind, seq_num, frame
            What it is, its number among those, and the counts (rows, columns).
        time_s, exposure_s
            When it was taken and for how long, if that is known.
        """
        self.views.add_reference(kind, seq_num, ReferenceFrame(frame, time_s, exposure_s))

    def add_projection(
        self,
        seq_num: int,
        frame: Frame,
        angle_deg: float,
        *,
        view: int | None = None,
        time_s: float | None = None,
        exposure_s: float | None = None,
    ) -> None:
        """Take a projection; the same number again replaces it.

        Parameters
        ----------
        seq_num, frame, angle_deg
            Its number, the counts (rows, columns) and where the stage was.
        view
            Frames with the same one show the same and are added up; by default each frame is its
            own view.
        time_s, exposure_s
            When it was taken and for how long, if that is known.
        """
        view = seq_num if view is None else view
        projection = Projection(frame, angle_deg, time_s, exposure_s)
        if self.views.add_projection(seq_num, view, projection):
            self._pending.append(view)

    def process(self) -> int:
        """Bring the volume up to date with the views that are whole; return how many were new.

        Without a flat, projections wait. Later flats count for the projections that follow them;
        `finish` corrects all with what was taken before and after each.
        """
        if not self._pending or not self.views.has_references:
            return 0
        self._note_new_references()
        views, self._pending = list(dict.fromkeys(self._pending)), []
        if self._center is None:
            # Before they are added: a volume that is too large to be centred again is made once.
            self._find_center_of_pair(sorted(self._in_volume.union(views)))
        self._add(views)
        return len(views)

    def preview(self) -> Preview | None:
        """Segment and measure what is there; None while that is too little to see anything."""
        if self.projections < min(PREVIEW_SHARE * needed_projections(self.shape[1]), self.planned):
            return None
        segmentation, *_, summary = self._measure(self._volume.shown.volume, self._volume.factor)
        return Preview(self.projections, self.planned, summary, segmentation)

    def finish(self, progress: Callable[[str], None] = lambda _: None) -> Tomogram:
        """Refine the geometry with all data, reconstruct, segment and measure.

        Parameters
        ----------
        progress
            Told in words what is being done.

        Returns
        -------
        Tomogram

        Raises
        ------
        ValueError
            If there is nothing to reconstruct.
        """
        # A view that was broken off in the middle counts with the frames it has.
        self._pending += [view for view in self.views.members if view not in self._in_volume]
        self._note_new_references()
        self.process()
        views = sorted(self.views.members)
        if not views or not self.views.has_references:
            raise ValueError("no tomogram: projections or flats are missing; take them first")
        notes: list[str] = []
        angles_deg = np.array([self.views.angle_deg(view) for view in views])
        self._unseen_pixels = 0.0
        progress("finding the rotation axis")
        frames = self.views.absorption(views, notes)
        angles_rad = np.deg2rad(angles_deg)
        center = self._final_center(frames, angles_rad, notes)
        notes += limits(angles_deg, self.shape[1])
        times = self._times(views)
        jump = likeliest_jump(frames, angles_deg, times)
        if jump is not None and not jump.certain:
            jump = None
        if jump is not None:
            notes.append(jump.note(self.pixel_um, len(views)))
        progress("reconstructing")
        self._volume.recenter(center.column)
        if self._volume.outdated:
            self._rebuild(frames, views, angles_rad, center)
        geometry: Geometry | None = None
        wanted = self._correct_geometry and jump is None and measurable(angles_deg, self.shape[1])
        needed, free = geometry_bytes(self.shape, len(views)), available_bytes()
        if wanted and needed > free:
            notes.append(
                f"tilt of the axis and movements of the sample were not looked for: that needs "
                f"{needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"
            )
        elif wanted:
            progress("looking for movements of the sample")
            # Of a large scan it is made again from binned frames.
            volume = self._volume.fine.volume if self._volume.coarse is None else None
            geometry = find_geometry(frames, angles_rad, center, times, volume)
            notes += geometry.notes(self.pixel_um)
            if geometry.corrected:
                frames = geometry.correct(frames, out=frames)  # two of them might not fit
                center = geometry.center(center)
                self._unseen_pixels = geometry.unseen_pixels(self.shape[0])
                self._rebuild(frames, views, angles_rad, center)
                self._volume.outdated = True  # for who adds more and finishes again
        volume = self._volume.fine.copy()
        progress("measuring particles and voids")
        segmentation, particles, voids, summary = self._measure(volume)
        snr = signal_to_noise(volume, segmentation)
        value = snr["snr"]
        if value is not None and value < LOW_SNR:
            noisy = value < VERY_LOW_SNR
            treated = gaussian_filter(volume, SMOOTHING_VOXELS) if noisy else volume
            notes.append(
                f"signal-to-noise ratio {value:.1f} is low: "
                + ("the volume was smoothed and leaks of two voxels closed, and " if noisy else "")
                + f"voids below {LOW_SNR_VOID_VOXELS} voxels are not reported; expose longer"
            )
            segmentation, particles, voids, summary = self._measure(
                treated, minimum_void_voxels=LOW_SNR_VOID_VOXELS, seal_voxels=int(noisy)
            )
        if not measurable(angles_deg, self.shape[1]):
            particles, voids = particles.iloc[:0].copy(), voids.iloc[:0].copy()
            summary = summarize(particles, voids, minimum_void_um=self.minimum_void_um)
        particles = particles.merge(measure_open_pores(segmentation), on="particle_id", how="left")
        # The study's areas, by counting voxel faces, stand beside ours.
        for table, crossings, name in (
            (particles, segmentation.particle_crossings, "particle_id"),
            (voids, segmentation.void_crossings, "void_id"),
        ):
            faces = crossings.area("faces") * self.pixel_um**2
            table[FACES_COLUMN] = faces[table[name]]
        transmission = np.exp(-frames)
        shown = spread_over(angles_deg)
        return Tomogram(
            volume=volume,
            segmentation=segmentation,
            particles=particles,
            voids=voids,
            summary=summary,
            snr=snr,
            transmission=transmission_statistics(transmission),
            angles_deg=angles_deg,
            radiographs=transmission[shown],
            radiograph_angles_deg=angles_deg[shown],
            rotation_center=center,
            projections=len(views),
            frames=len(self.views.raw),
            flat_drift=self.views.flat_drift,
            jump=jump,
            geometry=geometry,
            voxel_um=self.pixel_um,
            center_um=self.center_um,
            warnings=notes,
        )

    def _new_reconstruction(self, factor: int, column: float | None) -> StreamingReconstruction:
        rows, columns = self.shape
        axis = (columns - 1) / 2 if column is None else column
        return StreamingReconstruction(
            (rows // factor, columns // factor),
            angles_hint=np.deg2rad(self._planned_deg) if self._planned_deg is not None else None,
            center=(axis + 0.5) / factor - 0.5,
            pixel_um=self.pixel_um * factor,
            filter=self._filter,
            keep_limit_bytes=self._keep_limit_bytes,
            remove_rings=self._remove_rings,
        )

    def _rebuild(
        self,
        frames: Frame,
        views: Sequence[int],
        angles_rad: NDArray[np.float64],
        center: RotationCenter,
    ) -> None:
        self._volume.rebuild(center.column)
        places = {view: place for place, view in enumerate(views)}
        self._volume.add(lambda some: frames[[places[v] for v in some]], views, angles_rad)

    def _note_new_references(self) -> None:
        if self._in_volume and not self.views.fresh:
            self._volume.outdated = True

    def _add(self, views: Sequence[int]) -> None:
        angles_rad = np.deg2rad([self.views.angle_deg(view) for view in views])
        self._volume.add(self.views.absorption, views, angles_rad)
        self._in_volume.update(views)

    def _find_center_of_pair(self, views: Sequence[int]) -> None:
        """Centre the volume as soon as two projections half a turn apart are there."""
        angles_deg = np.array([self.views.angle_deg(view) for view in views])
        low, high = int(angles_deg.argmin()), int(angles_deg.argmax())
        if abs(angles_deg[high] - angles_deg[low] - 180.0) > SAME_VIEW_TOLERANCE_DEG:
            return
        pair = self.views.absorption([views[low], views[high]])
        try:
            self._center = find_rotation_center(pair[0], pair[1])
        except RotationCenterError:
            return
        self._volume.recenter(self._center.column)

    def _final_center(
        self, frames: Frame, angles_rad: ArrayLike, notes: list[str]
    ) -> RotationCenter:
        try:
            if len(frames) < 2:
                raise RotationCenterError("one projection shows no axis")
            return find_center(frames, angles_rad)
        except RotationCenterError as error:
            middle = (self.shape[1] - 1) / 2
            notes.append(
                f"the rotation axis was not found ({error}): the middle of the image is used, so "
                "positions and shapes may be off"
            )
            return self._center or RotationCenter(middle, math.inf)

    def _measure(
        self, volume: Frame, factor: int = 1, **options: Any
    ) -> tuple[Segmentation, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
        voxel_um = self.pixel_um * factor
        segmentation = segment(
            volume,
            voxel_um,
            center_um=self.center_um,
            minimum_contrast_per_um=self.minimum_contrast_per_um,
            field_radius_um=self._field_radius_um(),
            **options,
        )
        particles = measure_particles(segmentation, voxel_um)
        voids = measure_voids(segmentation, voxel_um, minimum_void_um=self.minimum_void_um)
        summary = summarize(particles, voids, minimum_void_um=self.minimum_void_um)
        return segmentation, particles, voids, summary

    def _times(self, views: Sequence[int]) -> list[Any]:
        """Return when views were taken; their numbers where that is not known."""
        known = [self.views.time_s(view) for view in views]
        return list(views) if None in known else known

    def _field_radius_um(self) -> float:
        """Return how far from the axis every angle was seen."""
        columns = self.shape[1]
        column = self._volume.fine.center
        seen = min(column, columns - 1 - column) + 0.5 - self._unseen_pixels
        return seen * self.pixel_um
