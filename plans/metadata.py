"""What every start document of ours says."""

from collections.abc import Mapping
from typing import Any

from zoneplate.devices.microscope import Microscope


def run_metadata(
    microscope: Microscope,
    plan_name: str,
    arguments: Mapping[str, Any],
    frames: Mapping[str, int],
    md: Mapping[str, Any] | None,
    **more: Any,
) -> dict[str, Any]:
    """Return metadata for a start document; what the user gave wins.

    Parameters
    ----------
    microscope
        The microscope.
    plan_name
        Name of the plan.
    arguments
        Its arguments, enough to call it again.
    frames
        Planned frames by kind: `darks`, `flats`, `projections`.
    md
        The user's metadata.
    more
        What is particular to the plan.
    """
    configuration = microscope.configuration
    detector = configuration.camera.detector
    binning = int(arguments["binning"])
    points = int(frames.get("projections", 0)) or sum(frames.values())
    metadata: dict[str, Any] = {
        "plan_name": plan_name,
        "plan_args": {"microscope": repr(microscope.name), **arguments},
        "detectors": [microscope.camera.name],
        "num_points": points,
        "num_intervals": max(points - 1, 0),
        "hints": {},
        "instrument": configuration.name,
        "frames": dict(frames),
        "acquisition": {
            "exposure_s": float(arguments["exposure_s"]),
            "binning": binning,
            "pixel_um": detector.binned_pixel_um(binning),
            "frame_shape": list(detector.shape(binning)),
            "energy_kev": configuration.source.energy_kev,
        },
    }
    metadata.update(more)
    metadata.update(md or {})
    return metadata
