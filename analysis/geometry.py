"""Geometry of a whole scan: tilt and lean of the axis, movement of the sample; what is corrected.

What is found is always told, with its error. Projections are changed only where it is certain,
large enough to show in shapes, and makes views agree better with the volume: interpolating costs a
little sharpness, and a clean scan must not become worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .axis_lean import AxisLean, find_axis_lean
from .axis_tilt import AxisTilt, find_axis_tilt
from .engines import reconstruct
from .memory import BATCH_FRAMES, DEFAULT_KEEP_LIMIT_BYTES
from .motion import LEAST_PIXELS, LEAST_SIGMAS, Motion, find_motion, shifted_back
from .region import bin_frames
from .rotation_axis import RotationCenter, RotationCenterError, nearest_pair

WIDEST_PIXELS: Final = 256
"""Larger images are binned to at most this to find movements: they still show a tenth of a pixel
of the unbinned ones."""

LEAST_LEAN_PIXELS: Final = 0.3
"""Leans that move what is in the field by less along the axis (root mean square) cost the Dice of
solid and voids less than 0.01: see `benchmarks/geometry_correction.py`."""

_STACKS, _VOLUMES = 4, 7
"""Binned projections and volumes that are in memory at the same time, at most."""

KNOWN_DRIFT_PIXELS: Final = 1.0
"""A drift that is known no better is not told: it cannot be told from run-out."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """What was found, and what of it was corrected.

    Attributes
    ----------
    tilt
        Of the axis in the image; None without a pair of views half a turn apart.
    motion
        Of the sample in the images; None if there is nothing to go by.
    tilt_corrected, motion_corrected
        Whether projections were changed for it.
    lean
        Of the axis along the beam; None if there is nothing to go by. It is not corrected.
    lean_shows
        Whether it is certain, and large enough to show in shapes.
    """

    tilt: AxisTilt | None
    motion: Motion | None
    tilt_corrected: bool
    motion_corrected: bool
    lean: AxisLean | None = None
    lean_shows: bool = False

    @property
    def corrected(self) -> bool:
        """Whether projections are to be changed."""
        return self.tilt_corrected or self.motion_corrected

    def center(self, found: RotationCenter) -> RotationCenter:
        """Return the rotation centre of the corrected projections; `found` is the one before."""
        if self.motion is not None and self.motion_corrected:
            return RotationCenter(self.motion.column, self.motion.column_error)
        if self.tilt is not None and self.tilt_corrected:
            return RotationCenter(self.tilt.column, found.standard_error)
        return found

    def correct(
        self, frames: NDArray[np.float32], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return projections with an upright axis and a sample that does not move.

        Parameters
        ----------
        frames : ndarray of float32, shape (n, rows, columns)
            Absorption.
        out : ndarray of float32, shape (n, rows, columns), optional
            Where to put them; may be `frames`.
        """
        if not self.corrected:
            return frames
        shifts = np.zeros((len(frames), 2))
        if self.motion is not None and self.motion_corrected:
            shifts = self.motion.shifts
        tilt = self.tilt.tilt_deg if self.tilt is not None and self.tilt_corrected else 0.0
        return shifted_back(frames, shifts, math.radians(tilt), out=out)

    def unseen_pixels(self, rows: int) -> float:
        """Return how far from the sides corrected projections may hold what no camera saw."""
        unseen = 0.0
        if self.motion is not None and self.motion_corrected:
            unseen += float(np.abs(self.motion.shifts[:, 0]).max())
        if self.tilt is not None and self.tilt_corrected:
            unseen += math.radians(abs(self.tilt.tilt_deg)) * rows / 2
        return unseen

    def notes(self, pixel_um: float) -> list[str]:
        """Say in words what was corrected, and what should have been."""
        said: list[str] = []
        if self.tilt is not None and self.tilt_corrected:
            said.append(
                f"the rotation axis is tilted by {self.tilt.tilt_deg:.2f} degrees against the "
                "columns of the camera: the projections were turned"
            )
        if self.motion is not None and self.motion_corrected:
            said.append(
                f"the sample moved by {self.motion.rms * pixel_um:.2f} um (root mean square) in "
                "the images: the projections were shifted back"
            )
        if self.lean is not None and self.lean_shows:
            said.append(
                f"the rotation axis leans by {self.lean.lean_deg:.2f} degrees along the beam: this "
                "smears shapes along it and is not corrected: level the rotation stage"
            )
        return said

    def as_dict(self, pixel_um: float) -> dict[str, Any]:
        """Return it as `results.json` holds it."""
        told: dict[str, Any] = {
            "tilt_deg": None,
            "tilt_se_deg": None,
            "tilt_corrected": self.tilt_corrected,
            "lean_deg": None,
            "lean_se_deg": None,
            "motion_rms_um": None,
            "motion_rms_se_um": None,
            "jitter_rms_um": None,
            "jitter_rms_se_um": None,
            "drift_um": None,
            "drift_se_um": None,
            "center_column": None,
            "center_se": None,
            "motion_corrected": self.motion_corrected,
        }
        if self.tilt is not None:
            told["tilt_deg"] = round(self.tilt.tilt_deg, 5)
            told["tilt_se_deg"] = round(self.tilt.standard_error_deg, 5)
        if self.lean is not None:
            told["lean_deg"] = round(self.lean.lean_deg, 5)
            told["lean_se_deg"] = round(self.lean.standard_error_deg, 5)
        if self.motion is not None:
            motion = self.motion
            lengths = {
                "motion_rms": (motion.rms, motion.rms_error),
                "jitter_rms": (motion.jitter, motion.jitter_error),
            }
            if motion.drift_error < KNOWN_DRIFT_PIXELS:
                lengths["drift"] = (motion.drift, motion.drift_error)
            for name, (value, error) in lengths.items():
                told[f"{name}_um"] = round(value * pixel_um, 5)
                told[f"{name}_se_um"] = round(error * pixel_um, 5)
            told["center_column"] = round(motion.column, 4)
            told["center_se"] = round(motion.column_error, 4)
        return told


def find_geometry(
    frames: NDArray[np.float32],
    angles_rad: NDArray[np.float64],
    center: RotationCenter,
    times: ArrayLike,
    volume: NDArray[np.float32] | None = None,
) -> Geometry:
    """Find tilt and lean of the axis and movement of the sample.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, rows, columns)
        Absorption.
    angles_rad : ndarray of float64, shape (n,)
        Angles in radians.
    center
        The rotation centre.
    times : array_like, shape (n,)
        When they were taken, in any unit.
    volume : ndarray of float32, optional
        [y, z, x], what was reconstructed from them with this centre, in any unit.
    """
    rows, columns = frames.shape[1:]
    tilt, column = _tilt(frames, angles_rad, center), center.column
    turned_back = False
    if tilt is not None:
        # A tilt moves rows against each other: root mean square over all of them.
        pixels = math.radians(abs(tilt.tilt_deg)) * rows / math.sqrt(12)
        certain = abs(tilt.tilt_deg) > LEAST_SIGMAS * tilt.standard_error_deg
        turned_back = certain and pixels > LEAST_PIXELS
        column = tilt.column if turned_back else column
    factor = _factor((rows, columns))
    small = _binned(frames, factor) if factor > 1 else frames
    if tilt is not None and turned_back:
        still = np.zeros((len(small), 2))
        small, volume = shifted_back(small, still, math.radians(tilt.tilt_deg)), None
    small_column = (column + 0.5) / factor - 0.5
    if factor > 1 or volume is None:
        volume = reconstruct(small, angles_rad, small_column)
    motion = find_motion(
        small, angles_rad, small_column, times, volume=volume, least_pixels=LEAST_PIXELS / factor
    )
    if motion is None:
        return Geometry(tilt, None, turned_back, False)
    moves = motion.agreement[1] > motion.agreement[0] and motion.scaled(factor).matters()
    if moves:
        small, small_column = shifted_back(small, motion.shifts, 0.0), motion.column
        volume = reconstruct(small, angles_rad, small_column)
    lean = find_axis_lean(small, angles_rad, small_column, volume)
    # Depths in a round field are half its radius, root mean square over the field and the angles.
    pixels = 0.0 if lean is None else math.radians(abs(lean.lean_deg)) * columns / 4
    shows = (
        lean is not None
        and pixels > LEAST_LEAN_PIXELS
        and abs(lean.lean_deg) > LEAST_SIGMAS * lean.standard_error_deg
    )
    return Geometry(tilt, motion.scaled(factor), turned_back, moves, lean, shows)


def geometry_bytes(shape: tuple[int, int], projections: int) -> int:
    """Return an upper bound of what `find_geometry` allocates beside the projections.

    Parameters
    ----------
    shape
        (rows, columns) of a projection.
    projections
        How many there are.

    Examples
    --------
    >>> round(geometry_bytes((128, 128), 141) / 1e6)
    105
    >>> round(geometry_bytes((1024, 1024), 1571) / 1e9, 1)
    2.4
    """
    factor = _factor(shape)
    rows, columns = shape[0] // factor, shape[1] // factor
    stack, volume = projections * rows * columns * 4, rows * columns * columns * 4
    return _STACKS * stack + _VOLUMES * volume + min(stack, DEFAULT_KEEP_LIMIT_BYTES)


def _factor(shape: tuple[int, int]) -> int:
    return math.ceil(max(shape) / WIDEST_PIXELS)


def _binned(frames: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Bin what is whole of the squares, some frames at a time: a scan may fill the memory."""
    rows, columns = (size // factor for size in frames.shape[1:])
    small = np.empty((len(frames), rows, columns), dtype=np.float32)
    for start in range(0, len(frames), BATCH_FRAMES):
        part = frames[start : start + BATCH_FRAMES, : rows * factor, : columns * factor]
        small[start : start + BATCH_FRAMES] = bin_frames(part, factor)
    return small


def _tilt(
    frames: NDArray[np.float32], angles_rad: NDArray[np.float64], center: RotationCenter
) -> AxisTilt | None:
    pair = nearest_pair(angles_rad)
    if pair is None:
        return None
    try:
        return find_axis_tilt(frames[pair[0]], frames[pair[1]], center.column)
    except RotationCenterError:
        return None
