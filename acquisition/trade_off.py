"""What other binnings would cost and show: the study's trade-off, from the plan's own timing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from zoneplate.analysis import budget as formulas
from zoneplate.devices import ConfigurationError, InstrumentConfiguration
from zoneplate.devices.optics import BINNINGS, projections_needed
from zoneplate.simulators import Specimen, simulated_microscope

REFERENCE_BINNING = 8
"""Of the study: its exposure and number of projections are scaled from here."""


def budget_rows(
    exposure_s: float = 1.0,
    projections: int = 141,
    *,
    equal_noise: bool = False,
    binnings: Sequence[int] = BINNINGS,
) -> list[formulas.BudgetRow]:
    """Return the trade-off, a row per binning; times are those of the plan's dry run.

    Parameters
    ----------
    exposure_s, projections
        At binning 8.
    equal_noise
        Lengthen the exposure at finer binnings so that the noise of a voxel stays the same.
    binnings
        Which to reckon.

    Raises
    ------
    ConfigurationError
        If exposure or projections are impossible.
    """
    from zoneplate.plans import estimate, tomography

    if projections < 2:
        raise ConfigurationError(f"projections {projections} is not possible: choose 2 or more")
    microscope = simulated_microscope(Specimen(particles=()))
    try:
        configuration = microscope.configuration
        detector = configuration.camera.detector
        optics_um = configuration.optics.zone_plate.resolution_um
        reference = projections_needed(detector.shape(REFERENCE_BINNING)[1])
        rows: list[formulas.BudgetRow] = []
        for binning in binnings:
            height, width = detector.shape(binning)
            crowther = projections_needed(width)
            used = formulas.used_projections(crowther, projections / reference)
            each_s = exposure_s
            if equal_noise:
                each_s = formulas.equal_noise_exposure_s(exposure_s, binning, REFERENCE_BINNING)
            cost = estimate(
                tomography(microscope, projections=used, exposure_s=each_s, binning=binning)
            )
            voxel_um = detector.binned_pixel_um(binning)
            rows.append(
                formulas.BudgetRow(
                    binning=binning,
                    voxel_um=voxel_um,
                    resolution_um=formulas.resolution_um(voxel_um, optics_um),
                    crowther=crowther,
                    projections=used,
                    exposure_s=each_s,
                    time_s=cost.time_s,
                    volume_bytes=formulas.volume_bytes(height, width),
                    raw_bytes=cost.disk_bytes,
                    memory_bytes=cost.memory_bytes,
                    smallest_void_um=formulas.smallest_void_um(voxel_um, optics_um),
                )
            )
    finally:
        microscope.clock.close()
    return rows


def trade_off_of(
    instrument: str, *, binning: int, projections: int, exposure_s: float, snr: float | None
) -> dict[str, Any] | None:
    """Return the trade-off about the settings of a tomogram, as `results.json` holds it.

    Parameters
    ----------
    instrument
        Name of the instrument; only of the one that is simulated by default are the times of other
        settings known.
    binning, projections, exposure_s
        Of the tomogram.
    snr
        Signal-to-noise in its particles; other settings follow from it by `relative_snr`.

    Returns
    -------
    dict or None
        None for another instrument. Binnings that would need longer exposures than the camera can
        do are left out.
    """
    configuration = InstrumentConfiguration.load()
    if instrument != configuration.name:
        return None
    # The same share of the views that would resolve every pixel, at every binning.
    views = formulas.used_projections(projections * binning, 1 / REFERENCE_BINNING)
    at_reference_s = {
        "same_exposure": exposure_s,
        "same_noise": formulas.equal_noise_exposure_s(exposure_s, REFERENCE_BINNING, binning),
    }
    found: dict[str, Any] = {"binning": binning}
    for name, each_s in at_reference_s.items():
        equal = name == "same_noise"
        possible = [
            one
            for one in BINNINGS
            if not equal
            or formulas.equal_noise_exposure_s(exposure_s, one, binning)
            <= configuration.camera.exposure_max_s
        ]
        rows = budget_rows(each_s, views, equal_noise=equal, binnings=possible)
        used = next(row for row in rows if row.binning == binning)
        found[name] = [
            {**asdict(row), "snr": snr * formulas.relative_snr(row, used) if snr else None}
            for row in rows
        ]
    return found
