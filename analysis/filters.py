"""Reconstruction filters for parallel-beam filtered back-projection.

The ramp is built in real space (Kak and Slaney, *Principles of Computerized Tomographic Imaging*,
1988, eq. 3.61, doi:10.1137/1.9780898719277) and transformed: sampling |f| directly in Fourier
space zeroes the mean and shifts all grey levels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Literal, TypeAlias, cast, get_args

import numpy as np
import scipy.fft
from numpy.typing import NDArray

FilterName: TypeAlias = Literal["ramp", "shepp-logan", "cosine", "hann", "none"]
"""`ramp` and `shepp-logan` keep small voids; `cosine` and `hann` trade them for less noise;
`none` is the plain back-projection, whose values are not attenuations."""

FILTER_NAMES: Final[tuple[str, ...]] = get_args(FilterName)


_ELEMENTS_WORTH_A_THREAD: Final = 1 << 19
"""Padded pixels of a frame below which sharing its transform costs more than it saves."""


class FilterError(ValueError):
    """A filter that does not exist."""


def padded_length(columns: int, margin: int) -> int:
    """Length of the padded detector line: at least twice the data, and quick to transform.

    Parameters
    ----------
    columns : int
        Columns of the detector.
    margin : int
        Columns beyond each edge in which the filtered line is wanted too.

    Returns
    -------
    int
    """
    return cast(int, scipy.fft.next_fast_len(2 * columns + 2 * margin, real=True))


@lru_cache(maxsize=32)
def filter_response(length: int, name: FilterName) -> NDArray[np.float32]:
    """Response of a filter at the frequencies of `scipy.fft.rfft`, for a pixel of size 1.

    Parameters
    ----------
    length : int
        Length of the padded line in pixels.
    name : {"ramp", "shepp-logan", "cosine", "hann", "none"}
        Ramp alone or times the window of that name.

    Returns
    -------
    ndarray of float32, shape (length // 2 + 1,)

    Raises
    ------
    FilterError
        For any other name.

    Examples
    --------
    >>> response = filter_response(256, "ramp")
    >>> bool(0 < response[0] < 1e-2), round(float(response[-1]), 2)
    (True, 0.5)
    """
    if name not in FILTER_NAMES:
        raise FilterError(f"unknown filter {name!r}: choose one of {', '.join(FILTER_NAMES)}")
    if name == "none":
        return np.ones(length // 2 + 1, dtype=np.float32)
    lag = np.minimum(np.arange(length), length - np.arange(length)).astype(np.float64)
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = lag % 2 == 1
    kernel[odd] = -1.0 / (math.pi * lag[odd]) ** 2
    response = np.real(np.asarray(scipy.fft.rfft(kernel)))
    frequency = np.asarray(scipy.fft.rfftfreq(length))
    if name == "shepp-logan":
        response = response * np.sinc(frequency)
    elif name == "cosine":
        response = response * np.cos(math.pi * frequency)
    elif name == "hann":
        response = response * (0.5 + 0.5 * np.cos(2 * math.pi * frequency))
    result = response.astype(np.float32)
    result.flags.writeable = False
    return result


def filter_frames(
    frames: NDArray[np.float32], name: FilterName, margin: int = 0, threads: int = 1
) -> NDArray[np.float32]:
    """Filter projections along their detector lines and turn them column-first.

    Lines are continued with their edge values: material that reaches beyond the field (interior
    tomography) would otherwise end in a step that the ramp turns into a bright rim.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, rows, columns)
        Absorption.
    name : str
        Filter, see `filter_response`.
    margin : int
        Columns of the continuation to keep on each side.
    threads : int
        Threads of the transforms.

    Returns
    -------
    ndarray of float32, shape (n, columns + 2 * margin, rows)
        The column of the detector that was `c` is `c + margin`.
    """
    count, rows, columns = frames.shape
    length = padded_length(columns, margin)
    response = filter_response(length, name)[:, np.newaxis]
    left = (length - columns) // 2
    kept = slice(left - margin, left + columns + margin)
    filtered = np.empty((count, columns + 2 * margin, rows), dtype=np.float32)
    line = np.empty((length, rows), dtype=np.float32)
    workers = threads if line.size > _ELEMENTS_WORTH_A_THREAD else 1
    # Frame by frame: a padded, complex batch would be several times the size of its frames.
    for frame, out in zip(frames, filtered, strict=True):
        line[left : left + columns] = frame.T
        line[:left] = frame[:, 0]
        line[left + columns :] = frame[:, -1]
        spectrum = np.asarray(scipy.fft.rfft(line, axis=0, workers=workers))
        spectrum *= response
        out[...] = np.asarray(scipy.fft.irfft(spectrum, length, axis=0, workers=workers))[kept]
    return filtered
