"""Draw the pictures of `docs/imperfections.md`: the simulated microscope with and without them.

    python docs/draw_imperfections.py

Takes about a minute. Frames come from the simulated optics and camera directly, on the time table
of a scan of the study (141 projections, 1 s, binning 8); corrections are those of the analysis.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from zoneplate.analysis.geometry import find_geometry
from zoneplate.analysis.normalization import FlatField, absorption
from zoneplate.analysis.reconstruction import StreamingReconstruction
from zoneplate.analysis.rings import remove_rings
from zoneplate.analysis.rotation_axis import find_center
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.simulators import Imperfections, Particle, Specimen, nmc622
from zoneplate.simulators.detector import SimulatedDetector
from zoneplate.simulators.imaging import ImagingModel

PICTURES = Path(__file__).with_name("pictures")
CONFIGURATION = InstrumentConfiguration.load()
CAMERA = CONFIGURATION.camera
PERFECT = Imperfections.none()
DEFAULT = Imperfections()

SEED = 0
FIELD_AT_UM = (-45.0, -5.0)  # where the powder has three voids in one slice
CENTER_UM = (0.0, 0.0, 4.0)
ANGLES_DEG = np.linspace(-90.0, 90.0, 141)
SECONDS_PER_VIEW = 1.67
FLATS_TAKEN_S, SCAN_STARTS_S = 0.0, 20.0
FLATS, DARKS = 10, 5
IN_FIELD_UM = 40.0  # a layer this wide stays in the field of 64 um at every angle
ROW = 64  # of the slice and the sinogram
BINNING = 8
DETAIL = np.s_[440:584, 440:584]  # of an unbinned frame

DPI, PANEL_INCHES, GREYS = 100, 2.35, 64
SLICE_LIMITS = (-0.012, 0.06)  # 1/um; NMC622 is 0.044

Array = NDArray[np.floating]
Panel = tuple[Array, tuple[float, float]]


@cache
def specimen(width_um: float | None = None) -> Specimen:
    """Return the powder: as wide as the map, or a narrow strip of it."""
    powder = nmc622(SEED)
    shifted = tuple(shift(particle) for particle in powder.particles)
    if width_um is None:
        return replace(powder, particles=shifted)
    inside = tuple(
        particle
        for particle in shifted
        if abs(particle.center_um[0]) + max(particle.semi_axes_um) < width_um / 2
    )
    return replace(powder, particles=inside, support=replace(powder.support, width_um=width_um))


def shift(item: Particle) -> Particle:
    """Return a particle with its voids, moved so that the field of interest is at 0."""
    x, y = FIELD_AT_UM

    def moved(center: tuple[float, float, float]) -> tuple[float, float, float]:
        return center[0] - x, center[1] - y, center[2]

    voids = tuple(replace(void, center_um=moved(void.center_um)) for void in item.voids)
    return replace(item, center_um=moved(item.center_um), voids=voids)


@cache
def shadows(powder: Specimen, optics: Imperfections, scale: float = 1.0) -> NDArray[np.float32]:
    """Return the transmission of all views; `scale` multiplies run-out and drift."""
    model = ImagingModel(powder, CONFIGURATION, optics)
    views = []
    for number, theta in enumerate(ANGLES_DEG):
        u, v = optics.displacement(theta, SCAN_STARTS_S + number * SECONDS_PER_VIEW)
        moved = (u * scale, v * scale)
        views.append(model.transmission(CENTER_UM, theta, binning=BINNING, displacement_um=moved))
    return np.stack(views)


def only_optics(imperfections: Imperfections) -> Imperfections:
    """Return what `shadows` depends on, so that its results are shared."""
    names = ("blur", "axis_offset_um", "runout_um", "drift_um_per_hour", "drift_settling_hours")
    return replace(PERFECT, **{name: getattr(imperfections, name) for name in names})


@dataclass(frozen=True, eq=False)
class Scan:
    """Frames of a scan and what the analysis makes of them."""

    raw: Array
    flats: Array
    darks: Array

    @property
    def uncorrected(self) -> Array:
        """Return transmission by the nominal open beam only."""
        offset = CAMERA.offset_adu
        return (self.raw - offset) / (self.flats.mean() - offset)

    @property
    def corrected(self) -> Array:
        """Return transmission by flats and darks, bad pixels repaired."""
        return FlatField.from_references(self.flats, self.darks).transmission(self.raw)


def scan(
    imperfections: Imperfections,
    powder: Specimen | None = None,
    *,
    exposure_s: float = 1.0,
    scale: float = 1.0,
) -> Scan:
    """Take the references and 141 projections."""
    seen = shadows(powder or specimen(IN_FIELD_UM), only_optics(imperfections), scale)
    detector = SimulatedDetector(CAMERA, CONFIGURATION.source, imperfections, SEED)
    clear = np.ones(seen.shape[1:], dtype=np.float32)

    def frame(light: NDArray[np.float32], number: int, time_s: float, shutter: bool) -> Array:
        return detector.expose(
            light,
            exposure_s=exposure_s,
            binning=BINNING,
            time_s=time_s,
            frame_number=number,
            shutter_open=shutter,
        ).astype(float)

    last = len(seen)
    return Scan(
        np.stack(
            [frame(s, n, SCAN_STARTS_S + n * SECONDS_PER_VIEW, True) for n, s in enumerate(seen)]
        ),
        np.stack([frame(clear, last + n, FLATS_TAKEN_S, True) for n in range(FLATS)]),
        np.stack([frame(clear, last + FLATS + n, 0.0, False) for n in range(DARKS)]),
    )


def volume_slice(depth: Array, center: float | None = None) -> Array:
    """Return a slice across the rotation axis, z up so that the tape lies below."""
    lines = np.ascontiguousarray(depth[:, ROW - 1 : ROW + 2])
    live = StreamingReconstruction(
        lines.shape[1:],
        angles_hint=np.deg2rad(ANGLES_DEG),
        center=center,
        pixel_um=CAMERA.detector.binned_pixel_um(BINNING),
    )
    live.add(lines, np.deg2rad(ANGLES_DEG))
    return live.volume[1, ::-1]


def centred_slice(depth: Array) -> Array:
    """Return the slice with the rotation centre that the analysis finds."""
    return volume_slice(depth, find_center(depth, np.deg2rad(ANGLES_DEG)).column)


def picture(
    name: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Panel]]],
) -> None:
    """Write a grid of pictures, what is off above what is on."""
    size = (PANEL_INCHES * len(columns) + 0.25, PANEL_INCHES * len(rows) + 0.25)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (label, panels) in zip(axes, rows, strict=True):
        for place, (image, (low, high)) in zip(line, panels, strict=True):
            place.imshow(image, cmap="gray", vmin=low, vmax=high, aspect="auto")
            place.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=9, fontweight="bold")
    for place, title in zip(axes[0], columns, strict=True):
        place.set_title(title, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    path = PICTURES / f"imperfections-{name}.png"
    # Few greys: noise is all there is to compress.
    Image.open(buffer).convert("RGB").quantize(GREYS, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


def standard_panels(one: Scan, center: Callable[[Array], Array] = centred_slice) -> list[Panel]:
    """Return radiograph, sinogram and slice of a scan as the analysis corrects it."""
    depth = absorption(one.corrected)
    return [
        (one.corrected[70], (0.55, 1.0)),
        (depth[:, ROW], (0.0, 1.2)),
        (center(depth), SLICE_LIMITS),
    ]


STANDARD = ("Radiograph at 0°", "Sinogram (row 64)", "Slice across the axis")


def everything() -> None:
    """Draw a perfect instrument beside the default one."""
    rows = []
    for label, imperfections, powder in (
        ("a perfect microscope", PERFECT, specimen(IN_FIELD_UM)),
        ("the default one", DEFAULT, specimen()),
    ):
        tiles = mosaic(imperfections, corrected=True)
        rows.append((label, [(tiles, (0.55, 1.0)), *standard_panels(scan(imperfections, powder))]))
    picture("all", ("Map of 2 × 2 fields", *STANDARD), rows)


def mosaic(imperfections: Imperfections, corrected: bool) -> Array:
    """Return 2 x 2 radiographs of the wide layer side by side, half an hour after the flats."""
    model = ImagingModel(specimen(), CONFIGURATION, imperfections)
    detector = SimulatedDetector(CAMERA, CONFIGURATION.source, imperfections, SEED)
    step = CAMERA.detector.field_um()[0]
    clear = np.ones(CAMERA.detector.shape(BINNING), dtype=np.float32)

    def frame(light: NDArray[np.float32], number: int, time_s: float, opened: bool = True) -> Array:
        return detector.expose(
            light,
            exposure_s=1.0,
            binning=BINNING,
            frame_number=number,
            time_s=time_s,
            shutter_open=opened,
        ).astype(float)

    tiles = []
    for row in range(2):
        for column in range(2):
            place = ((column - 0.5) * step, (0.5 - row) * step, CENTER_UM[2])
            light = model.transmission(place, 0.0, binning=BINNING)
            tiles.append(frame(light, len(tiles), 1800.0))
    flats = np.stack([frame(clear, 10 + n, 0.0) for n in range(FLATS)])
    darks = np.stack([frame(clear, 30 + n, 0.0, False) for n in range(DARKS)])
    one = Scan(np.stack(tiles), flats, darks)
    images = one.corrected if corrected else one.uncorrected
    return np.block([[images[0], images[1]], [images[2], images[3]]])


def photon_noise() -> None:
    """Draw counting statistics at two exposures."""
    noisy = replace(PERFECT, photon_noise=True)
    picture(
        "photon-noise",
        STANDARD,
        [
            ("off", standard_panels(scan(PERFECT))),
            ("on, 1 s", standard_panels(scan(noisy))),
            ("on, 0.1 s", standard_panels(scan(noisy, exposure_s=0.1))),
        ],
    )


def read_noise() -> None:
    """Draw the electronics' noise where it matters and where it does not."""
    model = ImagingModel(specimen(), CONFIGURATION, PERFECT)
    rows = []
    for label, imperfections in (("off", PERFECT), ("on", replace(PERFECT, read_noise=True))):
        detector = SimulatedDetector(CAMERA, CONFIGURATION.source, imperfections, SEED)
        panels: list[Panel] = []
        for binning, exposure_s in ((8, 1.0), (8, 0.01), (1, 0.1)):
            light = model.transmission(CENTER_UM, 0.0, binning=binning)
            frame = detector.expose(light, exposure_s=exposure_s, binning=binning).astype(float)
            photons = detector.open_beam_photons(exposure_s, binning).mean()
            seen = (frame - CAMERA.offset_adu) / CAMERA.gain_adu_per_photon / photons
            shown = seen[DETAIL] if binning == 1 else seen
            panels.append((shown, (0.4, 1.1)))
        rows.append((label, panels))
    picture("read-noise", ("Binning 8, 1 s", "Binning 8, 0.01 s", "Binning 1, 0.1 s, 9 µm"), rows)


def blur() -> None:
    """Draw optics in and out of focus, around the particle with the largest void."""
    rows = []
    powder = specimen()
    near = [one for one in powder.particles if one.voids and np.hypot(*one.center_um[:2]) < 30]
    x, y, _ = max(near, key=lambda one: max(one.voids[0].semi_axes_um)).center_um
    for label, imperfections, defocus_um in (
        ("off", PERFECT, 0.0),
        ("on, in focus", replace(PERFECT, blur=True), 0.0),
        ("on, stage 1 mm away", replace(PERFECT, blur=True), 1000.0),
    ):
        model = ImagingModel(powder, CONFIGURATION, imperfections)
        panels: list[Panel] = []
        for binning, half in ((1, 96), (2, 48), (8, 12)):
            light = model.transmission((x, y, CENTER_UM[2] + defocus_um), 0.0, binning=binning)
            middle = light.shape[0] // 2
            shown = slice(middle - half, middle + half)
            panels.append((light[shown, shown], (0.6, 1.0)))
        rows.append((label, panels))
    picture("blur", ("Binning 1, 12 µm", "Binning 2, 12 µm", "Binning 8, 12 µm"), rows)


def illumination() -> None:
    """Draw the structure of the open beam and its drift."""
    rows = []
    structured = replace(PERFECT, flat_structure=True)
    for label, imperfections in (
        ("off", PERFECT),
        ("structure on", structured),
        ("structure and drift on", replace(structured, flat_drift=True)),
    ):
        detector = SimulatedDetector(CAMERA, CONFIGURATION.source, imperfections, SEED)
        beam = [detector.open_beam_photons(1.0, BINNING, time_s) for time_s in (0.0, 1800.0)]
        rows.append(
            (
                label,
                [
                    (beam[0] / beam[0].mean(), (0.85, 1.15)),
                    (mosaic(imperfections, corrected=False), (0.6, 1.05)),
                    (mosaic(imperfections, corrected=True), (0.6, 1.05)),
                    (beam[1] / beam[0], (0.96, 1.04)),
                ],
            )
        )
    columns = ("Open beam", "Map, no flats", "Map, flats", "Beam 30 min later / flats")
    picture("illumination", columns, rows)


def fixed_pattern() -> None:
    """Draw the pattern of the pixels and the rings it makes."""
    rows = []
    for label, imperfections in (("off", PERFECT), ("on", replace(PERFECT, fixed_pattern=True))):
        one = scan(imperfections)
        raw = absorption(one.uncorrected)
        limits = (-0.006, 0.01)
        rows.append(
            (
                label,
                [
                    (one.flats[0] / one.flats[0].mean(), (0.99, 1.01)),
                    (volume_slice(raw), limits),
                    (volume_slice(remove_rings(raw)), limits),
                    (volume_slice(absorption(one.corrected)), limits),
                ],
            )
        )
    columns = ("Flat field", "Slice, no flats", "Slice, ring removal", "Slice, flats")
    picture("fixed-pattern", columns, rows)


def hot_pixels() -> None:
    """Draw hot and dead pixels, and their repair."""
    rows = []
    on = replace(PERFECT, hot_pixels=True, dark_current=True)
    for label, imperfections in (("off", PERFECT), ("on", on)):
        one = scan(imperfections)
        raw = absorption(one.uncorrected)
        rows.append(
            (
                label,
                [
                    (one.darks[0], (80.0, 2000.0)),
                    (one.uncorrected[70], (0.55, 1.05)),
                    (volume_slice(raw), SLICE_LIMITS),
                    (volume_slice(absorption(one.corrected)), SLICE_LIMITS),
                ],
            )
        )
    columns = ("Dark frame", "Radiograph, no darks", "Slice, no darks", "Slice, darks and repair")
    picture("hot-pixels", columns, rows)


def axis() -> None:
    """Draw a rotation axis off the centre of the camera."""
    rows = []
    for label, imperfections in (("off", PERFECT), ("on", replace(PERFECT, axis_offset_um=0.7))):
        depth = absorption(scan(imperfections).corrected)
        pair = depth[0] - depth[-1, :, ::-1]
        rows.append(
            (
                label,
                [
                    (pair, (-0.5, 0.5)),
                    (volume_slice(depth), SLICE_LIMITS),
                    (centred_slice(depth), SLICE_LIMITS),
                ],
            )
        )
    columns = ("−90° minus mirrored +90°", "Slice, axis assumed central", "Slice, axis found")
    picture("axis", columns, rows)


def followed_slice(depth: Array) -> Array:
    """Return the slice with movements corrected as the analysis does it."""
    angles = np.deg2rad(ANGLES_DEG)
    center = find_center(depth, angles)
    geometry = find_geometry(depth, angles, center, np.arange(len(depth)))
    return volume_slice(geometry.correct(depth), geometry.center(center).column)


def motion() -> None:
    """Draw run-out and thermal drift, as they are and far larger."""
    rows = []
    still = volume_slice(absorption(scan(PERFECT).corrected))
    difference = (-0.02, 0.02)
    for label, imperfections, scale in (
        ("run-out 25 nm", replace(PERFECT, runout_um=0.025), 1.0),
        ("run-out 0.5 µm", replace(PERFECT, runout_um=0.025), 20.0),
        ("drift 0.2 µm/h", replace(PERFECT, drift_um_per_hour=0.2), 1.0),
        ("drift 10 µm/h", replace(PERFECT, drift_um_per_hour=0.2), 50.0),
    ):
        depth = absorption(scan(imperfections, scale=scale).corrected)
        found = centred_slice(depth)
        rows.append(
            (
                label,
                [
                    (depth[:, ROW], (0.0, 1.2)),
                    (found, SLICE_LIMITS),
                    (found - still, difference),
                    (followed_slice(depth), SLICE_LIMITS),
                ],
            )
        )
    rows.insert(
        0,
        (
            "off",
            [
                (absorption(scan(PERFECT).corrected)[:, ROW], (0.0, 1.2)),
                (still, SLICE_LIMITS),
                (still - still, difference),
                (still, SLICE_LIMITS),
            ],
        ),
    )
    picture(
        "motion",
        ("Sinogram (row 64)", "Slice", "Slice minus the one without", "Slice, corrected"),
        rows,
    )


def out_of_field() -> None:
    """Draw material beyond the field."""
    rows = []
    for label, powder in (
        ("strip of 40 µm", specimen(IN_FIELD_UM)),
        ("layer of 544 µm", specimen()),
    ):
        one = scan(PERFECT, powder)
        depth = absorption(one.corrected)
        rows.append(
            (
                label,
                [
                    (one.corrected[70], (0.55, 1.0)),
                    (one.corrected[137], (0.0, 1.0)),
                    (depth[:, ROW], (0.0, 2.5)),
                    (volume_slice(depth), SLICE_LIMITS),
                ],
            )
        )
    columns = ("Radiograph at 0°", "Radiograph at 86°", "Sinogram (row 64)", "Slice")
    picture("out-of-field", columns, rows)


if __name__ == "__main__":
    for draw in (
        everything,
        photon_noise,
        read_noise,
        blur,
        illumination,
        fixed_pattern,
        hot_pixels,
        axis,
        motion,
        out_of_field,
    ):
        draw()
