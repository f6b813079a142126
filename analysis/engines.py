"""Batch reconstruction by one of several engines, all in the same frame, scale and centre.

Whatever an engine calls "up", wherever it puts the axis and however it weights the views, what
comes back is [y, z, x] in 1/um with the rotation axis in the middle. Each engine is imported when
it is asked for.
"""

from __future__ import annotations

import importlib
import math
from types import ModuleType
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import make_interp_spline

from zoneplate.analysis.angles import angular_weights, check_angles
from zoneplate.analysis.filters import FilterName, filter_response
from zoneplate.analysis.projections import ReconstructionError, as_frames, check_center
from zoneplate.analysis.reconstruction import StreamingReconstruction

EngineName: TypeAlias = Literal["streaming", "astra", "tomopy"]

ENGINE_NAMES: Final[tuple[str, ...]] = get_args(EngineName)

DEFAULT_ITERATIONS: Final = 100
"""For iterative algorithms: SIRT-100 was measured to match filtered back-projection here."""

_INSTALL: Final = {
    "astra": "pip install 'zoneplate[astra]' (GPL-3, large), or conda install -c astra-toolbox "
    "-c nvidia astra-toolbox",
    "tomopy": "conda install -c conda-forge tomopy (it is not on PyPI)",
}

_STREAM_BATCH: Final = 16
"""Projections handed over at a time: they share a pass over the volume, and bound the memory."""

_ASTRA_ALGORITHMS: Final = {"fbp": "FBP", "sirt": "SIRT", "cgls": "CGLS"}

_ASTRA_FILTERS: Final[dict[FilterName, str]] = {
    "ramp": "Ram-Lak",
    "shepp-logan": "Shepp-Logan",
    "cosine": "Cosine",
    "hann": "Hann",
    "none": "none",
}

_TOMOPY_FILTERS: Final[dict[FilterName, str]] = {
    "ramp": "ramlak",
    "shepp-logan": "shepp",
    "cosine": "cosine",
    "hann": "hann",
    "none": "none",
}

_TOMOPY_ALGORITHMS: Final = ("gridrec", "sirt")
"""Others were tried and left out: on empty rows mlem and osem return NaN, grad and tikh diverge."""

_CALIBRATION_RADIUS: Final = 0.25
"""Radius of the cylinder that gridrec's grey levels are calibrated with, in widths."""


class MissingEngineError(ImportError):
    """The engine is not installed; the message says how to install it."""


def reconstruct(
    projections: ArrayLike,
    angles_rad: ArrayLike,
    center: float | None = None,
    pixel_um: float = 1.0,
    engine: EngineName = "streaming",
    algorithm: str | None = None,
    filter: FilterName = "ramp",
    *,
    iterations: int = DEFAULT_ITERATIONS,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Reconstruct a complete parallel-beam scan.

    Parameters
    ----------
    projections : array_like, shape (n, rows, columns)
        Absorption (-ln transmission), see `normalize`.
    angles_rad : array_like, shape (n,)
        Their angles in radians, any order.
    center : float, optional
        Column of the rotation axis, `(columns - 1) / 2` by default.
    pixel_um : float
        Pixel size in micrometres.
    engine : {"streaming", "astra", "tomopy"}
        `streaming` is `StreamingReconstruction`; `astra` the CPU algorithms of the ASTRA
        toolbox, slice by slice; `tomopy` needs conda.
    algorithm : str, optional
        streaming: `fbp`; astra: `fbp` (default), `sirt`, `cgls`; tomopy: `gridrec` (default),
        `sirt`. The grey levels of gridrec are 10-20 % high; they are calibrated here with a
        cylinder, to about 3 %.
    filter : {"ramp", "shepp-logan", "cosine", "hann", "none"}
        For `fbp` and `gridrec`.
    iterations : int
        For the iterative algorithms.
    threads : int, optional
        Threads of `streaming` and `tomopy`, all allowed cores by default.

    Returns
    -------
    ndarray of float32, shape (rows, columns, columns)
        Attenuation [y, z, x] in 1/um; zero outside the circle of the detector's half width.

    Raises
    ------
    ReconstructionError
        For an unknown engine or algorithm, or projections that cannot be used.
    AngleError
        For angles that are not finite, or in degrees.
    MissingEngineError
        If the engine is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> angles = np.linspace(-np.pi / 2, np.pi / 2, 61)
    >>> u = np.arange(32) - 15.5
    >>> chords = 2 * np.sqrt(np.maximum(10.0**2 - u**2, 0))  # a cylinder of radius 10, 0.5 / um
    >>> volume = reconstruct(np.tile(0.5 * chords, (61, 4, 1)), angles)
    >>> volume.shape, round(float(volume[2, 16, 16]), 2)
    ((4, 32, 32), 0.5)
    """
    if engine not in ENGINE_NAMES:
        raise ReconstructionError(
            f"unknown engine {engine!r}: choose one of {', '.join(ENGINE_NAMES)}"
        )
    frames, angles = as_frames(projections), check_angles(angles_rad)
    if len(frames) != len(angles) or len(frames) == 0:
        raise ReconstructionError(
            f"{len(frames)} projections and {len(angles)} angles: give one or more, one angle each"
        )
    axis = check_center(center, frames.shape[2])
    if not pixel_um > 0:
        raise ReconstructionError(f"pixel_um must be positive, got {pixel_um}")
    if iterations < 1:
        raise ReconstructionError(f"iterations must be at least 1, got {iterations}")
    filter_response(2, filter)  # refuses unknown names
    columns = frames.shape[2]
    if engine == "astra":
        name = _choose(engine, algorithm, tuple(_ASTRA_ALGORITHMS))
        volume = _astra(frames, angles, axis, name, filter, iterations)
    elif engine == "tomopy":
        name = _choose(engine, algorithm, _TOMOPY_ALGORITHMS)
        volume = _tomopy(frames, angles, axis, name, filter, iterations, threads)
    else:
        _choose(engine, algorithm, ("fbp",))
        return _streaming(frames, angles, axis, pixel_um, filter, threads)
    volume *= _circle(columns, (columns - 1) / 2) / np.float32(pixel_um)
    return volume


def _choose(engine: str, algorithm: str | None, allowed: tuple[str, ...]) -> str:
    if algorithm is None:
        return allowed[0]
    if algorithm.lower() not in allowed:
        raise ReconstructionError(
            f"engine {engine!r} has no algorithm {algorithm!r}: choose one of {', '.join(allowed)}"
        )
    return algorithm.lower()


def _import(engine: str) -> ModuleType:
    try:
        return importlib.import_module(engine)
    except ImportError as error:
        raise MissingEngineError(
            f"engine {engine!r} is not installed: {_INSTALL[engine]}. The engine 'streaming' is "
            "always there",
            name=engine,
        ) from error


def _circle(columns: int, radius: float) -> NDArray[np.float32]:
    """1 inside a circle about the axis, 0 outside."""
    offset = np.arange(columns) - (columns - 1) / 2
    return (offset[:, np.newaxis] ** 2 + offset**2 <= radius**2).astype(np.float32)


def _streaming(
    frames: NDArray[np.float32],
    angles: NDArray[np.float64],
    axis: float,
    pixel_um: float,
    filter: FilterName,
    threads: int | None,
) -> NDArray[np.float32]:
    stream = StreamingReconstruction(
        (frames.shape[1], frames.shape[2]),
        angles_hint=angles,
        center=axis,
        pixel_um=pixel_um,
        filter=filter,
        threads=threads,
        keep_limit_bytes=0,  # nothing is replaced here, so nothing needs to be kept
    )
    for start in range(0, len(frames), _STREAM_BATCH):
        some = slice(start, start + _STREAM_BATCH)
        stream.add(frames[some], angles[some])
    volume = stream.volume
    volume.flags.writeable = True  # the stream ends here: nobody else holds this memory
    return volume


def _equal_weights(frames: NDArray[np.float32], angles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale projections so that an engine that weights all views equally weights them right."""
    weights = angular_weights(angles)
    relative = weights * (len(angles) / weights.sum())
    return frames * relative.astype(np.float32)[:, np.newaxis, np.newaxis]


def _pad_edges(frames: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    return np.pad(frames, ((0, 0), (0, 0), (columns, columns)), mode="edge")


def _shift_columns(frames: NDArray[np.float32], shift: float) -> NDArray[np.float32]:
    """Move images along their lines (the last axis), by cubic spline interpolation."""
    columns = np.arange(frames.shape[-1], dtype=np.float64)
    spline = make_interp_spline(columns, frames, k=3, axis=-1)
    return spline(np.clip(columns - shift, 0, columns[-1])).astype(np.float32)


def _astra(
    frames: NDArray[np.float32],
    angles: NDArray[np.float64],
    axis: float,
    algorithm: str,
    filter: FilterName,
    iterations: int,
) -> NDArray[np.float32]:
    astra = _import("astra")
    _, rows, columns = frames.shape
    analytic = algorithm == "fbp"
    shift = (columns - 1) / 2 - axis
    # Beyond the edges: room for the shift, and for FBP the continuation that the ramp needs.
    padding = math.ceil(abs(shift)) + (columns // 2 if analytic else 0)
    frames = _pad_edges(_equal_weights(frames, angles) if analytic else frames, padding)
    if shift:  # the CPU projectors of ASTRA know only an axis in the middle
        frames = _shift_columns(frames, shift)
    width = frames.shape[2]
    volume_geometry = astra.create_vol_geom(columns, columns)
    projection_geometry = astra.create_proj_geom("parallel", 1.0, width, angles)
    projector = astra.create_projector("linear", projection_geometry, volume_geometry)
    sinogram = astra.data2d.create("-sino", projection_geometry)
    image = astra.data2d.create("-vol", volume_geometry)
    settings = astra.astra_dict(_ASTRA_ALGORITHMS[algorithm])
    settings.update(ProjectorId=projector, ProjectionDataId=sinogram, ReconstructionDataId=image)
    if analytic:
        settings["option"] = {"FilterType": _ASTRA_FILTERS[filter]}
    volume = np.empty((rows, columns, columns), dtype=np.float32)
    try:
        for row in range(rows):
            if not frames[:, row].any():
                volume[row] = 0  # where CGLS divides zero by zero
                continue
            astra.data2d.store(sinogram, np.ascontiguousarray(frames[:, row]))
            astra.data2d.store(image, 0)
            run = astra.algorithm.create(settings)
            try:
                astra.algorithm.run(run, 1 if analytic else iterations)
            finally:
                astra.algorithm.delete(run)
            volume[row] = astra.data2d.get(image)[::-1]  # its first line is the largest depth
    finally:
        astra.data2d.delete([sinogram, image])
        astra.projector.delete(projector)
    return volume


def _tomopy(
    frames: NDArray[np.float32],
    angles: NDArray[np.float64],
    axis: float,
    algorithm: str,
    filter: FilterName,
    iterations: int,
    threads: int | None,
) -> NDArray[np.float32]:
    tomopy = _import("tomopy")
    columns = frames.shape[2]
    if algorithm == "sirt":
        # Its projector counts columns from the left edge of the detector, not from the middle of
        # the first column.
        volume = tomopy.recon(
            frames, angles, center=axis + 0.5, algorithm="sirt", num_iter=iterations, ncore=threads
        )
        return np.asarray(volume, dtype=np.float32)[:, ::-1].copy()
    calibration = _cylinder(len(angles), columns, axis)
    frames = np.concatenate([_equal_weights(frames, angles), calibration], axis=1)
    # Left alone it pads to the next power of two: 128 columns not at all (gain 1.56, offset
    # -0.2). Three widths leave an offset below half a per cent, and a gain that is calibrated.
    padding = columns
    frames = _pad_edges(frames, padding)
    # gridrec puts the axis on a pixel, half a pixel off the middle of the volume in z and in x.
    for frame, shift in zip(frames, -0.5 * (np.cos(angles) + np.sin(angles)), strict=True):
        frame[:] = _shift_columns(frame, float(shift))
    volume = tomopy.recon(
        frames,
        angles,
        center=axis + padding,
        algorithm="gridrec",
        filter_name=_TOMOPY_FILTERS[filter],
        ncore=threads,
    )
    field = slice(padding, padding + columns)
    volume = np.asarray(volume, dtype=np.float32)[:, ::-1][:, field, field]
    inside = _circle(columns, _CALIBRATION_RADIUS * columns / 2) > 0
    return volume[:-1] / volume[-1][inside].mean()


def _cylinder(count: int, columns: int, axis: float) -> NDArray[np.float32]:
    """Sinogram (count, 1, columns) of a cylinder about the axis with attenuation 1 per pixel."""
    radius = _CALIBRATION_RADIUS * columns
    edges = np.clip(np.arange(columns + 1) - 0.5 - axis, -radius, radius)
    area = edges * np.sqrt(radius**2 - edges**2) + radius**2 * np.arcsin(edges / radius)
    return np.broadcast_to(np.diff(area).astype(np.float32), (count, 1, columns))
