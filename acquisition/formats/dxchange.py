"""DXchange (Advanced Photon Source): projections, flats and darks in datasets of their own.

Layout: De Carlo et al., J. Synchrotron Rad. 21 (2014) 1224, doi:10.1107/S160057751401604X, and
https://dxfile.readthedocs.io. Only ``/exchange/data`` is mandatory in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .nxtomo import text_of, units_of
from .scan import Frames, Scan, ScanFormatError, convert

# Places of a number in the files of APS beamlines, with the unit where the file gives none.
_PIXEL = (
    ("measurement/instrument/detection_system/objective/resolution", "um"),
    ("measurement/instrument/detector/pixel_size_x", "um"),
)
_ENERGY = (("measurement/instrument/monochromator/energy", "kev"),)
_EXPOSURE = (("measurement/instrument/detector/exposure_time", "s"),)
_STAGE = "measurement/instrument/sample_motor_stack/setup"
_STAGE_UNITS = "mm"
_NORMALIZED = "absorption"


def is_dxchange(file: h5py.File) -> bool:
    """Whether an open HDF5 file has DXchange projections."""
    return isinstance(file.get("exchange/data"), h5py.Dataset)


def read_dxchange(path: Path, file: h5py.File) -> Scan:
    """Scan of an open DXchange file; `Scan.close` closes it.

    Angles are degrees unless their units say radians. Without angles they are taken as equally
    spaced from 0 to 180 degrees, the end included, as the format prescribes, with a warning.
    Data whose attribute ``description`` or ``units`` is "absorption" count as normalized.
    """
    data: Any = file["exchange/data"]
    if data.ndim != 3:
        raise ScanFormatError(
            path, f"exchange/data has {data.ndim} axes", "theta, rows, columns are needed"
        )
    warnings: list[str] = []
    n, rows, columns = data.shape
    if isinstance(theta := file.get("exchange/theta"), h5py.Dataset):
        angles = np.ravel(convert(theta[()], "angle", units_of(theta), "deg", path))
    else:
        angles = np.linspace(0.0, 180.0, n)
        warnings.append("no exchange/theta: angles taken as equally spaced from 0 to 180 degrees")

    def references(name: str) -> Frames:
        dataset = file.get(f"exchange/{name}")
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 3:
            return Frames.none(rows, columns, data.dtype)
        return Frames.of_hdf5(dataset, np.arange(len(dataset)))

    described = {str(data.attrs.get(key, "")).lower() for key in ("description", "units")}
    stage = [_number(path, file, ((f"{_STAGE}/{a}", _STAGE_UNITS),), "length") for a in "xyz"]
    return Scan(
        projections=Frames.of_hdf5(data, np.arange(n)),
        flats=references("data_white"),
        darks=references("data_dark"),
        angles_deg=angles,
        source=path,
        format="dxchange",
        pixel_um=_number(path, file, _PIXEL, "length"),
        energy_kev=_number(path, file, _ENERGY, "energy"),
        exposure_s=_number(path, file, _EXPOSURE, "time"),
        sample=text_of(file.get("measurement/sample/name")),
        positions_um=np.tile([position or 0.0 for position in stage], (n, 1)),
        already_normalized=_NORMALIZED in described,
        metadata={
            "title": text_of(file.get("exchange/title")),
            "instrument": text_of(file.get("measurement/instrument/name")),
            "start_time": text_of(file.get("process/acquisition/start_date")),
            "warnings": warnings,
        },
        on_close=file.close,
    )


def _number(
    path: Path, file: h5py.File, places: tuple[tuple[str, str], ...], quantity: str
) -> float | None:
    """Take the first number found, in house units."""
    for place, default in places:
        dataset = file.get(place)
        if isinstance(dataset, h5py.Dataset) and dataset.size and dataset.dtype.kind in "iuf":
            values: NDArray[np.float64] = convert(
                dataset[()], quantity, units_of(dataset), default, path
            )
            return float(values.flat[0])
    return None
