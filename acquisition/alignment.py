"""What views taken for alignment show; kept as an analysis of their run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoneplate.analysis.alignment import axis_offset
from zoneplate.analysis.centering import CenteringError, center_region
from zoneplate.analysis.focus import FocusError, find_focus, sharpness
from zoneplate.analysis.normalization import FlatField, normalize
from zoneplate.analysis.rotation_axis import RotationCenterError
from zoneplate.devices import AcquisitionError

from .derived_run import DerivedRun
from .journal import DocumentJournal
from .live import FrameReader
from .runs import RunRecord

Stacks = dict[str, NDArray[Any]]


def found_axis(session: Any, uid: str) -> float:
    """Return the offset of the rotation axis in um that a pair of views shows."""
    record, stacks = _frames(session, uid)
    views = normalize(stacks["primary"], stacks["flat"], stacks.get("dark"))
    found = axis_offset(views[0], views[1], float(record.start["acquisition"]["pixel_um"]))
    row = {
        "axis_offset_um": found.offset_um,
        "axis_offset_um_se": found.standard_error_um,
        "axis_column": found.column,
    }
    _keep(session, record, {"rotation_axis": [row]})
    return found.offset_um


def found_focus(session: Any, uid: str) -> float:
    """Return the zone-plate position in um at which a series is sharpest.

    Raises
    ------
    AcquisitionError
        If the series does not show it.
    """
    record, stacks = _frames(session, uid)
    flat = FlatField.from_references(stacks["flat"], stacks.get("dark"))
    each = int(record.start["focus"]["frames"])
    images = flat.transmission(stacks["primary"])
    # Where the zone plate was, not where it was sent.
    places = [_reading(frame.data, "zone_plate_z") for frame in record.stream("primary")]
    groups = range(0, len(places), each)
    place_um = [float(np.mean(places[first : first + each])) for first in groups]
    sharp = [sharpness(images[first : first + each]) for first in groups]
    series = [
        {"zone_plate_z_um": place, "sharpness": value}
        for place, value in zip(place_um, sharp, strict=True)
    ]
    try:
        found = find_focus(place_um, sharp)
    except FocusError as error:
        _keep(session, record, {"sharpness": series}, failed=str(error))
        raise AcquisitionError(str(error)) from error
    row = {"focus_um": found.position_um, "focus_um_se": found.standard_error_um}
    _keep(session, record, {"sharpness": series, "focus": [row]})
    return found.position_um


def found_center(session: Any, uid: str) -> tuple[float, float, float]:
    """Return the stage position (x, y, z) in um that centres what three views show.

    Raises
    ------
    AcquisitionError
        If that is not possible.
    """
    record, stacks = _frames(session, uid)
    flat = FlatField.from_references(stacks["flat"], stacks.get("dark"))
    minus, front, plus = flat.transmission(stacks["primary"])
    arguments = record.start["plan_args"]
    try:
        found = center_region(
            front,
            minus,
            plus,
            float(record.start["acquisition"]["pixel_um"]),
            arguments["center_um"],
            arguments["particles_um"],
        )
    except (CenteringError, RotationCenterError) as error:
        _keep(session, record, {}, failed=str(error))
        raise AcquisitionError(str(error)) from error
    x_um, y_um, z_um = found.center_um
    row = {
        "center_x_um": x_um,
        "center_y_um": y_um,
        "center_z_um": z_um,
        "center_z_um_se": found.standard_error_um,
        "axis_offset_um": found.axis_offset_um,
        "particles": len(found.particles),
    }
    particles = found.particles.to_dict("records")
    _keep(session, record, {"centered_particles": particles, "region_center": [row]})
    return found.center_um


def _frames(session: Any, uid: str) -> tuple[RunRecord, Stacks]:
    """Return a run and its frames by stream."""
    record = session.run(uid)
    reader = FrameReader()
    try:
        stacks = {
            name: np.stack([reader.read(frame) for frame in record.stream(name)])
            for name in ("primary", "flat", "dark")
            if record.stream(name)
        }
    finally:
        reader.close()
    return record, stacks


def _keep(
    session: Any,
    record: RunRecord,
    tables: dict[str, list[dict[Any, Any]]],
    failed: str = "",
) -> None:
    """Keep what was found as an analysis of the run, a stream per table."""
    sample, time_s = str(record.start.get("sample", "")), float((record.stop or {})["time"])
    derived = DerivedRun(DocumentJournal(session.data.journal), record.uid, sample, {}, time_s)
    for stream, rows in tables.items():
        for row in rows:
            units = {str(name): "um" for name in row if "_um" in str(name)}
            derived.row(stream, {str(name): value for name, value in row.items()}, units)
    derived.close("fail" if failed else "success", failed)


def _reading(data: dict[str, Any], axis: str) -> float:
    return next(float(value) for name, value in data.items() if name.endswith(f"_optics_{axis}"))
