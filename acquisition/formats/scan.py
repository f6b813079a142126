"""One scan, whatever file it came from: frames read when they are sliced, units in the names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Index = int | slice | NDArray[np.intp]
"""What may index rows or columns of a frame."""

_TO_DEG = {
    **dict.fromkeys(("deg", "degree", "degrees", "°"), 1.0),
    **dict.fromkeys(("rad", "radian", "radians"), 180.0 / np.pi),
}
_TO_UM = {
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    "cm": 1e4,
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
}
_TO_KEV = {"ev": 1e-3, "kev": 1.0, "mev": 1e3, "j": 1.0 / 1.602176634e-16}
_TO_S = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6}
_FACTORS = {"angle": _TO_DEG, "length": _TO_UM, "energy": _TO_KEV, "time": _TO_S}


class ScanFormatError(ValueError):
    """A file that is not a usable scan: what is wrong, in which file, what to do.

    Parameters
    ----------
    source : Path or str
        The file or folder.
    problem : str
        What is wrong with it.
    remedy : str
        What the user can do about it.
    """

    def __init__(self, source: Path | str, problem: str, remedy: str) -> None:
        super().__init__(f"{source}: {problem}; {remedy}")
        self.source = Path(source)
        self.problem = problem
        self.remedy = remedy


class Frames:
    """A stack of frames on disk that reads like an array of shape (n, rows, columns).

    Parameters
    ----------
    shape : tuple of int
        Frames, rows, columns.
    dtype : dtype
        Type of a pixel.
    read : callable
        ``read(indices, (rows, columns))`` returns those frames, cut to those rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> stack = Frames.of(np.arange(24).reshape(4, 2, 3))
    >>> stack.shape, stack[1:3].shape, int(stack[3, 1, 2])
    ((4, 2, 3), (2, 2, 3), 23)
    """

    ndim = 3

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: DTypeLike,
        read: Callable[[NDArray[np.intp], tuple[Index, Index]], NDArray[Any]],
    ) -> None:
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._read = read

    @classmethod
    def of(cls, array: NDArray[Any]) -> Frames:
        """Frames of an array (n, rows, columns) in memory."""
        rows, columns = array.shape[1:]
        return cls(
            (len(array), rows, columns),
            array.dtype,
            lambda which, part: array[which][:, part[0]][..., part[1]],
        )

    @classmethod
    def each(
        cls, shape: tuple[int, int, int], dtype: DTypeLike, read: Callable[[int], NDArray[Any]]
    ) -> Frames:
        """Frames that are read one by one, whole: ``read(i)`` returns frame i (rows, columns)."""

        def several(which: NDArray[np.intp], part: tuple[Index, Index]) -> NDArray[Any]:
            return np.stack([read(int(i))[part[0]][..., part[1]] for i in which])

        return cls(shape, dtype, several)

    @classmethod
    def of_hdf5(cls, dataset: h5py.Dataset, which: NDArray[np.intp]) -> Frames:
        """Frames number `which` of an HDF5 dataset (n, rows, columns)."""

        def read(indices: NDArray[np.intp], part: tuple[Index, Index]) -> NDArray[Any]:
            wanted = which[indices]
            # Neighbouring frames come in one call; HDF5 selections cost far more than pixels.
            runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
            cut = part if all(map(_hdf5_can, part)) else (slice(None), slice(None))
            blocks = [dataset[(slice(int(r[0]), int(r[-1]) + 1), *cut)] for r in runs]
            frames = np.concatenate(blocks) if len(blocks) > 1 else np.asarray(blocks[0])
            return frames if cut is part else frames[:, part[0]][..., part[1]]

        return cls((len(which), *dataset.shape[1:]), dataset.dtype, read)

    @classmethod
    def none(cls, rows: int, columns: int, dtype: DTypeLike = np.float32) -> Frames:
        """No frames: shape (0, rows, columns)."""
        return cls.of(np.zeros((0, rows, columns), dtype))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis:
            first = slice(None)
        if len(rest) > 2:
            raise IndexError(f"frames have 3 axes, {1 + len(rest)} were indexed")
        part: tuple[Index, Index] = (*rest, *(slice(None),) * (2 - len(rest)))  # type: ignore[assignment]
        which = np.arange(self.shape[0])[first]
        if which.size == 0 and which.ndim:
            empty = np.zeros(self.shape[1:], self.dtype)[part[0]][..., part[1]]
            return np.zeros((0, *empty.shape), self.dtype)
        frames = self._read(np.atleast_1d(which), part)
        return frames if which.ndim else frames[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("frames on disk cannot be viewed without reading them")
        return np.asarray(self[:], dtype=dtype)

    def __repr__(self) -> str:
        return f"<Frames {self.shape} {self.dtype}>"


@dataclass
class Scan:
    """A tomographic scan, a radiograph or a mosaic: frames and what is known about them.

    Attributes
    ----------
    projections, flats, darks : Frames
        (n, rows, columns); flats and darks may have no frames. Row 0 is the top of the image.
    angles_deg : ndarray (n,)
        Rotation of the sample at each projection, in the order of the file.
    source : Path
        Where the scan was read from.
    format : str
        ``"nxtomo"``, ``"dxchange"``, ``"xradia"`` or ``"tiff"``.
    pixel_um : float or None
        Pixel size at the sample, None if the file does not say.
    energy_kev : float or None
        Photon energy.
    exposure_s : float or None
        Exposure of one projection (median).
    sample : str
        Name of the sample, empty if the file does not say.
    positions_um : ndarray (n, 3)
        Stage position x, y, z at each projection; zero if the file does not say.
    already_normalized : bool
        Projections are absorption (-log of transmission): do not apply flats or -log again.
    exposures_s, times_s : dict
        For `"projections"`, `"flats"` and `"darks"`, how long each frame was exposed and when it
        was taken (any zero); without an entry where the file does not say.
    invalid : int
        Frames in the file that are marked invalid and are left out here.
    metadata : dict
        Everything else worth keeping. ``"warnings"`` lists what had to be assumed.
    """

    projections: Frames
    angles_deg: NDArray[np.float64]
    source: Path
    format: str
    flats: Frames
    darks: Frames
    pixel_um: float | None = None
    energy_kev: float | None = None
    exposure_s: float | None = None
    sample: str = ""
    positions_um: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    already_normalized: bool = False
    exposures_s: dict[str, NDArray[np.float64]] = field(
        default_factory=dict[str, NDArray[np.float64]]
    )
    times_s: dict[str, NDArray[np.float64]] = field(default_factory=dict[str, NDArray[np.float64]])
    invalid: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    on_close: Callable[[], None] = field(default=lambda: None, repr=False)

    def __post_init__(self) -> None:
        self.metadata.setdefault("warnings", [])
        self.angles_deg = np.asarray(self.angles_deg, dtype=np.float64)
        n = len(self.projections)
        if n == 0:
            raise ScanFormatError(
                self.source, "it holds no projections", "give a file with at least one"
            )
        if self.angles_deg.shape != (n,):
            raise ScanFormatError(
                self.source,
                f"{n} projections but {self.angles_deg.size} angles",
                "one angle per projection is needed",
            )
        if not np.isfinite(self.angles_deg).all():
            raise ScanFormatError(
                self.source, "some angles are not numbers", "repair the angles in the file"
            )
        for name, frames in (("flats", self.flats), ("darks", self.darks)):
            if frames.shape[1:] != self.projections.shape[1:]:
                raise ScanFormatError(
                    self.source,
                    f"{name} are {frames.shape[1:]} pixels, projections "
                    f"{self.projections.shape[1:]}",
                    "references must be taken with the binning and field of the projections",
                )
        if not len(self.positions_um):
            self.positions_um = np.zeros((n, 3))

    @property
    def kind(self) -> str:
        """``"tomography"``, ``"radiograph"`` (one projection) or ``"mosaic"`` (tiles in one)."""
        if "mosaic_rows" in self.metadata:
            return "mosaic"
        return "tomography" if len(self.projections) > 1 else "radiograph"

    @property
    def center_um(self) -> tuple[float, float, float]:
        """Stage position x, y, z of the scan (median over projections)."""
        x, y, z = np.median(self.positions_um, axis=0)
        return float(x), float(y), float(z)

    @property
    def warnings(self) -> list[str]:
        """What the reader had to assume."""
        return self.metadata["warnings"]

    def close(self) -> None:
        """Close the files; frames cannot be read afterwards. May be called twice."""
        self.on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def convert(
    values: ArrayLike, quantity: str, units: str | None, default: str, source: Path | str
) -> NDArray[np.float64]:
    """Values in the house units: degrees, micrometres, keV or seconds.

    Parameters
    ----------
    values : array_like
        As stored.
    quantity : {"angle", "length", "energy", "time"}
        What they are.
    units : str or None
        Units as the file gives them; None or empty when it does not.
    default : str
        Units to assume then.
    source : Path or str
        For the error message.

    Returns
    -------
    ndarray
        In degrees, um, keV or s.

    Raises
    ------
    ScanFormatError
        The units are not known.

    Examples
    --------
    >>> convert([0.05], "length", "mm", "m", "file.h5").tolist()
    [50.0]
    """
    name = (units or default).strip()
    table = _FACTORS[quantity]
    # "mm" is not "MM", but electronvolts and angles are written in every case.
    factor = table.get(name, table.get(name.lower()))
    if factor is None:
        raise ScanFormatError(
            source,
            f"unknown unit {name!r} of {quantity}",
            f"known are {', '.join(sorted(table))}",
        )
    return np.asarray(values, dtype=np.float64) * factor


def _hdf5_can(index: Index) -> bool:
    """Whether HDF5 itself can cut an axis like this (no lists, no reversed slices)."""
    return isinstance(index, int | np.integer) or (
        isinstance(index, slice) and (index.step is None or index.step > 0)
    )
