"""Streaming filtered back-projection: a volume that is up to date after every projection.

Filtered back-projection is a sum over projections, so adding them one at a time is exact: after
the last one the volume equals the batch reconstruction to rounding, whatever the order was.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoneplate.analysis.accumulator import Accumulator, DeviceName, Selection, new_accumulator
from zoneplate.analysis.angles import PlannedViews, angular_weights, check_angles
from zoneplate.analysis.filters import FilterName, filter_frames, filter_response
from zoneplate.analysis.memory import (
    DEFAULT_KEEP_LIMIT_BYTES,
    batch_frames,
    check_memory,
    keeps_frames,
    reconstruction_bytes,
)
from zoneplate.analysis.projections import ReconstructionError, as_frames, check_center
from zoneplate.analysis.region import Region
from zoneplate.analysis.rings import GrowingPattern
from zoneplate.analysis.workers import available_threads

_DEFER_ABOVE_BYTES: Final = 32 << 20
"""Volumes beyond the caches wait for a full batch of frames before each pass (2-3 times faster);
smaller ones are brought up to date by every `add`."""

_SUBTRACT_PEAK_RATIO: Final = 10.0
"""A replaced frame this much brighter than its successor would leave visible float32 rounding
behind when it is subtracted; the volume is then rebuilt instead."""

_SAME_WEIGHT: Final = 1e-7
"""Relative difference of weights that float32 does not resolve."""


class FramesNotKeptError(ReconstructionError):
    """An operation that needs the projections again, which were too large to keep."""


class OrthogonalSlices(NamedTuple):
    """Three orthogonal slices of a volume through its centre, float32.

    Attributes
    ----------
    zx : ndarray, shape (depth, width)
        Across the rotation axis, at row `rows // 2`.
    yx : ndarray, shape (rows, width)
        Facing the beam at theta = 0, at depth `depth // 2`.
    yz : ndarray, shape (rows, depth)
        Seen along x, at column `width // 2`.
    """

    zx: NDArray[np.float32]
    yx: NDArray[np.float32]
    yz: NDArray[np.float32]


@dataclass(slots=True, eq=False)
class _Frame:
    angle_rad: float
    view: int
    absorption: NDArray[np.float32] | None
    applied: float = 0.0  # the weight with which the volume holds this frame now


class StreamingReconstruction:
    """Filtered back-projection of a parallel-beam scan, one projection at a time.

    The rotation axis is in the middle of the volume (x = z = 0), which is zero outside the circle
    that the detector could show if it were centred on the axis. Where a view does not reach, the
    edge values of its detector lines are used. Every method may be called from any thread, and
    arrays that were handed out never change afterwards.

    Parameters
    ----------
    shape : tuple of int
        (rows, columns) of a projection.
    angles_hint : array_like, optional
        All planned angles in radians. Frames are then added with their final weights at once and
        a preview is scaled by one number; without it, weights follow the angles seen so far, and
        reading the volume may add a few frames again with new weights.
    center : float, optional
        Column of the rotation axis, `(columns - 1) / 2` by default.
    pixel_um : float
        Pixel size in micrometres; the volume is in 1/um (per pixel when it is 1).
    filter : {"ramp", "shepp-logan", "cosine", "hann", "none"}
        See `zoneplate.analysis.filters`.
    threads : int, optional
        Threads to use, never more than the cores this process may use (the default).
    keep_limit_bytes : int
        Memory for keeping projections, which `recenter`, replacing an index and scans without
        `angles_hint` need.
    region : tuple of 3 slices, optional
        Part of the volume to reconstruct, indexed [y, z, x] in whole voxels; everything by
        default. What it holds is what the whole volume would hold there.
    memory_limit_bytes : int, optional
        Refuse to begin if `memory_bytes` is more; what the computer has free by default.
    device : {"auto", "cpu", "gpu"}
        Where the volume grows; `auto` takes a graphics card for large volumes if there is one.
    remove_rings : bool
        Subtract what is sharp in the mean of all projections, see `zoneplate.analysis.rings`.
        Projections are added less the pattern known so far, and reading `volume` adds, for all of
        them, what has become known since: it costs as much as the scan so far. `slices` does not.

    Raises
    ------
    ReconstructionError
        For a shape, centre, region or pixel size that make no sense.
    MemoryLimitError
        A ReconstructionError: the memory does not suffice.
    NoGpuError
        If a graphics card is asked for and there is none.
    AngleError
        If `angles_hint` is not usable, for example in degrees.

    Examples
    --------
    >>> import numpy as np
    >>> angles = np.linspace(-np.pi / 2, np.pi / 2, 61)
    >>> u = np.arange(32) - 15.5
    >>> chords = 2 * np.sqrt(np.maximum(10.0**2 - u**2, 0))  # a cylinder of radius 10, 0.5 / um
    >>> live = StreamingReconstruction((4, 32), angles_hint=angles)
    >>> for angle in angles:
    ...     live.add(np.tile(0.5 * chords, (4, 1)), angle)
    >>> live.volume.shape, round(float(live.volume[2, 16, 16]), 2)
    ((4, 32, 32), 0.5)
    """

    def __init__(
        self,
        shape: tuple[int, int],
        angles_hint: ArrayLike | None = None,
        center: float | None = None,
        pixel_um: float = 1.0,
        filter: FilterName = "ramp",
        *,
        threads: int | None = None,
        keep_limit_bytes: int = DEFAULT_KEEP_LIMIT_BYTES,
        region: tuple[slice, slice, slice] | None = None,
        memory_limit_bytes: int | None = None,
        device: DeviceName = "auto",
        remove_rings: bool = False,
    ) -> None:
        rows, columns = (int(n) for n in shape)
        if rows < 1 or columns < 2:
            raise ReconstructionError(f"shape {shape}: needs at least 1 row and 2 columns")
        if not pixel_um > 0:
            raise ReconstructionError(f"pixel_um must be positive, got {pixel_um}")
        self._shape = (rows, columns)
        self._center = check_center(center, columns)
        self._pixel_um = float(pixel_um)
        self._filter: FilterName = filter
        filter_response(2, filter)  # refuses unknown names
        self._threads = available_threads(threads)
        self._plan = None if angles_hint is None else PlannedViews(angles_hint)
        self._region = Region.of(region, self._shape)
        self._frame_bytes = self._region.shape[0] * columns * np.dtype(np.float32).itemsize
        self._keep_limit_bytes = keep_limit_bytes
        planned = 0 if self._plan is None else int(self._plan.planned.sum())
        self._keeps_frames = keeps_frames(self._frame_bytes, planned, keep_limit_bytes)
        self._memory_bytes = reconstruction_bytes(
            (self._region.shape[0], columns),
            planned or keep_limit_bytes // self._frame_bytes,  # without a plan, as many as may be
            volume_shape=self._region.shape,
            keep_limit_bytes=keep_limit_bytes,
        )
        # Without a plan nobody knows how many there will be: only what is certain is refused.
        certain = self._memory_bytes if planned else 4 * math.prod(self._region.shape)
        check_memory(certain, memory_limit_bytes)
        self._frames: dict[Hashable, _Frame] = {}
        self._accumulator: Accumulator = new_accumulator(
            self._region.shape, self._region.circle, self._threads, device
        )
        self._lock = threading.RLock()
        size = (self._region.shape[0], columns)
        self._rings = GrowingPattern(size) if remove_rings else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the volume, [y, z, x]: (rows, columns, columns) or that of the region."""
        return self._region.shape

    @property
    def memory_bytes(self) -> int:
        """Upper bound of the memory that this takes, see `reconstruction_bytes`."""
        return self._memory_bytes

    @property
    def keeps_frames(self) -> bool:
        """Whether projections are kept, so that `recenter` and replacing one are possible."""
        return self._keeps_frames

    @property
    def center(self) -> float:
        """Column of the rotation axis."""
        return self._center

    @property
    def count(self) -> int:
        """Number of projections in the volume."""
        with self._lock:
            return len(self._frames)

    @property
    def angles_rad(self) -> NDArray[np.float64]:
        """Angles of the projections in the volume, in order of arrival."""
        with self._lock:
            return np.array([frame.angle_rad for frame in self._frames.values()], dtype=np.float64)

    def add(
        self,
        projections: ArrayLike,
        angles_rad: ArrayLike,
        index: int | Sequence[int] | None = None,
    ) -> None:
        """Add projections, any number at a time and in any order.

        Parameters
        ----------
        projections : array_like, shape (n, rows, columns) or (rows, columns)
            Absorption (-ln transmission), see `normalize`.
        angles_rad : array_like, shape (n,) or ()
            Their angles in radians.
        index : int or sequence of int, optional
            A key per projection, such as its `seq_num`. A key that was seen before replaces that
            projection. Without it, every projection is a new one.

        Raises
        ------
        ReconstructionError, AngleError
            For unusable input; nothing has been added then.
        FramesNotKeptError
            If an index comes again, or memory for a scan without `angles_hint` runs out.
        """
        frames = as_frames(projections, self._shape)
        angles = check_angles(angles_rad)
        if angles.size != len(frames):
            raise ReconstructionError(f"{len(frames)} projections but {angles.size} angles")
        keys = _as_keys(index, len(frames))
        views = [-1] * len(frames) if self._plan is None else self._plan.match(angles)
        with self._lock:
            if self._plan is None:
                check_angles(np.concatenate([self.angles_rad, angles]))
            self._check_memory(keys, views)
            for frame, angle, key, view in zip(frames, angles, keys, views, strict=True):
                part = frame[self._region.rows].copy()
                self._store(key, _Frame(float(angle), view, part))
            # Without a plan each frame changes the weights of others: wait until somebody reads.
            if self._plan is not None:
                self._bring_up_to_date(whole_batches=self._accumulator.nbytes > _DEFER_ABOVE_BYTES)

    @property
    def volume(self) -> NDArray[np.float32]:
        """Attenuation of everything added so far, [y, z, x] in 1/um; read-only.

        It stays as it is when more is added. Reading it costs nothing for a complete scan and one
        multiplication per voxel before that.
        """
        with self._lock:
            self._bring_up_to_date()
            self._settle_rings()
            return self._accumulator.whole(self._scale())

    def slices(self) -> OrthogonalSlices:
        """Three orthogonal slices through the centre, without touching the rest of the volume.

        Returns
        -------
        OrthogonalSlices
        """
        with self._lock:
            self._bring_up_to_date()
            scale, every = self._scale(), slice(None)
            y, z, x = (n // 2 for n in self.shape)
            cuts: tuple[Selection, ...] = ((y, every, every), (every, z, every), (every, every, x))
            return OrthogonalSlices(*(self._accumulator.cut(cut, scale) for cut in cuts))

    def copy(self) -> NDArray[np.float32]:
        """Snapshot of `volume` as a writable, C-contiguous array of its own.

        Returns
        -------
        ndarray of float32, the shape of the volume
        """
        return np.array(self.volume, order="C")

    def recenter(self, center: float) -> None:
        """Move the rotation axis to another column; the volume is rebuilt when next needed.

        Parameters
        ----------
        center : float
            Column of the rotation axis.

        Raises
        ------
        ReconstructionError
            If it is off the detector.
        FramesNotKeptError
            If projections in the volume were too large to keep.
        """
        with self._lock:
            center = check_center(center, self._shape[1])
            if any(frame.absorption is None for frame in self._frames.values()):
                raise FramesNotKeptError(self._not_kept("move the rotation centre"))
            self._center = center
            self._discard_volume()

    def _not_kept(self, action: str) -> str:
        return (
            f"cannot {action}: the projections are not kept, they would need more than "
            f"keep_limit_bytes = {self._keep_limit_bytes}; raise it, or start again"
        )

    def _check_memory(self, keys: Sequence[Hashable], views: Sequence[int]) -> None:
        if self._plan is None:
            count = len({*keys, *self._frames})
            if count * self._frame_bytes > self._keep_limit_bytes:
                raise FramesNotKeptError(
                    f"{count} projections are more than keep_limit_bytes = "
                    f"{self._keep_limit_bytes}: give angles_hint, which needs none of them kept"
                )
        elif not self._keeps_frames:
            if len({*keys, *self._frames}) < len(keys) + len(self._frames):
                raise FramesNotKeptError(self._not_kept("replace a projection"))
            seen = [frame.view for frame in self._frames.values()]
            if np.any(self._plan.share([*seen, *views]) > self._plan.planned):
                raise FramesNotKeptError(self._not_kept("take a view twice that is planned once"))

    def _store(self, key: Hashable, new: _Frame) -> None:
        old = self._frames.get(key)
        self._frames[key] = new
        if self._rings is not None:
            self._rings.count(_absorption(new), None if old is None else _absorption(old))
        if old is None or not old.applied:
            return
        assert old.absorption is not None
        assert new.absorption is not None
        peak = float(np.abs(old.absorption).max())
        if peak > _SUBTRACT_PEAK_RATIO * float(np.abs(new.absorption).max()):
            self._discard_volume()
        else:
            self._accumulate([(old, 0.0)])

    def _discard_volume(self) -> None:
        self._accumulator.clear()
        for frame in self._frames.values():
            frame.applied = 0.0

    def _stale(self) -> list[tuple[_Frame, float]]:
        """Every frame that the volume does not hold with its right weight, and that weight."""
        if not self._frames:
            return []
        if self._plan is None:
            weights = angular_weights(self.angles_rad)
            weights *= math.pi / weights.sum()
        else:
            views = [frame.view for frame in self._frames.values()]
            weights = (self._plan.weights / self._plan.share(views))[views]
        return [
            (frame, weight)
            for frame, weight in zip(self._frames.values(), weights.tolist(), strict=True)
            if not math.isclose(frame.applied, weight, rel_tol=_SAME_WEIGHT)
        ]

    def _bring_up_to_date(self, *, whole_batches: bool = False) -> None:
        stale = self._stale()
        held = sum(frame.applied != 0 for frame, _ in stale)
        if 2 * held > len(self._frames):
            # Starting again is cheaper than correcting, and leaves no rounding behind.
            self._discard_volume()
            stale = self._stale()
        size = batch_frames(self._frame_bytes)
        end = len(stale) // size * size if whole_batches else len(stale)
        for start in range(0, end, size):
            self._accumulate(stale[start : min(start + size, end)])

    def _accumulate(self, changes: Sequence[tuple[_Frame, float]]) -> None:
        """Bring frames to new weights in the volume."""
        absorption = np.stack([_absorption(frame) for frame, _ in changes])
        if self._rings is not None:
            absorption -= self._rings.pattern
        self._accumulator.add(
            filter_frames(absorption, self._filter, self._margin, self._threads),
            np.array([frame.angle_rad for frame, _ in changes]),
            np.array([weight - frame.applied for frame, weight in changes]) / self._pixel_um,
            self._center + self._margin,
        )
        for frame, weight in changes:
            frame.applied = weight
            if not self._keeps_frames:
                frame.absorption = None

    @property
    def _margin(self) -> int:
        return math.ceil(abs(self._center - (self._shape[1] - 1) / 2)) + 1

    def _settle_rings(self) -> None:
        """Take what is now known of the rings out of all frames in the volume."""
        change = self._rings.renew() if self._rings is not None else None
        if change is None:
            return
        held = [frame for frame in self._frames.values() if frame.applied]
        filtered = filter_frames(change[np.newaxis], self._filter, self._margin, self._threads)
        size = batch_frames(self._frame_bytes)
        same = np.repeat(filtered, min(size, len(held)), axis=0)
        for start in range(0, len(held), size):
            part = held[start : start + size]
            self._accumulator.add(
                same[: len(part)],
                np.array([frame.angle_rad for frame in part]),
                np.array([-frame.applied for frame in part]) / self._pixel_um,
                self._center + self._margin,
            )

    def _scale(self) -> float:
        """Factor that makes the weights in the volume add up to half a turn."""
        total = math.fsum(frame.applied for frame in self._frames.values())
        if total == 0 or math.isclose(total, math.pi, rel_tol=_SAME_WEIGHT):
            return 1.0
        return math.pi / total


def _absorption(frame: _Frame) -> NDArray[np.float32]:
    assert frame.absorption is not None  # _check_memory refuses what would need it
    return frame.absorption


def _as_keys(index: int | Sequence[int] | None, count: int) -> list[Hashable]:
    if index is None:
        return [object() for _ in range(count)]  # equal to no other key
    keys = [int(key) for key in np.atleast_1d(np.asarray(index))]
    if len(keys) != count:
        raise ReconstructionError(f"{count} projections but {len(keys)} indices")
    if len(set(keys)) != count:
        raise ReconstructionError(f"index holds the same key twice: {keys}")
    return list(keys)
