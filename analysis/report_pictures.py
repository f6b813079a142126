"""The pictures of the report, each with its words: the study's figures, for this sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .figures_error import error_figure
from .figures_map import mosaic_figure, radiographs_figure, turned_figure
from .figures_radii import radii_figure, roughness_figure, spread_over_sizes
from .figures_scan import exposure_figure, noise_figure, trade_off_figure, transmission_figure
from .figures_statistics import convergence_figure, histograms_figure
from .figures_style import data_uri, whole_rows
from .figures_surfaces import solid_figure
from .figures_volume import VolumeView, gallery_figure, slices_figure
from .meshes import Mesh
from .mosaic import Mosaic
from .open_pores import PLACE as OPEN_PLACE
from .open_pores import VOLUME as OPEN_VOLUME
from .particle_defects import MISSHAPEN_SPHERICITY, SHAPE
from .report_format import format_interval_of, format_limit, format_number, is_finite

MIN_UPDATES = 3
"""Fewer live values make no curve."""
STILL_DPI = 110
"""Resolution of pictures of voxels and pixels, which gain nothing from more."""
FRONT_DEG, EDGE_DEG = 20.0, 70.0
"""Angles up to and from which a radiograph is called front-on and edge-on."""

CRACKED_SHOWN, MISSHAPEN_SHOWN = 2, 2
"""Particles with open pores, and far from round, that are shown of each tomogram."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class RadiographSeries:
    """Radiographs of one region over the angles.

    Attributes
    ----------
    transmission : (n, rows, columns) array
        Normalised, 1 is open beam.
    angles_deg : (n,) array
        Their angles, in any order.
    pixel_um
        Pixel size.
    title
        Name in the caption, such as "Region 1".
    """

    transmission: NDArray[np.floating]
    angles_deg: NDArray[np.floating]
    pixel_um: float
    title: str = "The region"

    @property
    def turns(self) -> bool:
        """Whether it was seen both front-on and edge-on."""
        away = np.abs(np.asarray(self.angles_deg, dtype=float))
        return bool(len(away)) and bool(away.min() <= FRONT_DEG) and bool(away.max() >= EDGE_DEG)


@dataclass(frozen=True)
class Picture:
    """A picture with its words.

    Attributes
    ----------
    uri
        ``data:`` address.
    alt
        For those who do not see it.
    caption
        Below it.
    study
        Figure of the study that it stands for; empty if none.
    """

    uri: str
    alt: str
    caption: str
    study: str = ""


def picture(
    figure: Figure, alt: str, caption: str, *, study: str = "", dpi: int | None = None
) -> Picture:
    """Draw a figure."""
    return Picture(data_uri(figure, dpi) if dpi else data_uri(figure), alt, caption, study)


def slices(view: VolumeView, names: str) -> Picture:
    """Show slices of a tomogram, with what was found in it."""
    return picture(
        slices_figure(view),
        f"Three orthogonal slices through {view.title}; {names} outlined.",
        f"{view.title}: slices through the reconstructed volume as measured (top) and with what "
        "was found (bottom): particles outlined in green, internal voids in red. Each slice is "
        "the one that cuts the most void, or the most particle when there is no void.",
        study="S7",
        dpi=STILL_DPI,
    )


def solid(view: VolumeView, meshes: Sequence[Mesh], names: str) -> Picture:
    """Show a tomogram in three dimensions."""
    return picture(
        solid_figure(view, meshes),
        f"Three-dimensional view of {view.title}: {names}.",
        f"{view.title} in three dimensions: {names}, voids in red inside their particles, which "
        "are the darker the more of their volume is void. "
        "Smoothed for display; no number is taken from these surfaces.",
        dpi=STILL_DPI,
    )


def gallery(view: VolumeView, particles: pd.DataFrame, voids: pd.DataFrame) -> Picture:
    """Show the worst particles of a tomogram."""
    return picture(
        gallery_figure(view, particles, voids),
        f"Close-up slices of single particles of {view.title}.",
        "The whole particles with the largest voids (the largest particles, when there are no "
        "voids), cut through the middle of the void in three directions.",
        dpi=STILL_DPI,
    )


def cracked(view: VolumeView, particles: pd.DataFrame, defects: pd.DataFrame) -> Picture | None:
    """Show the particles of a tomogram with the largest open pores; None if none has any."""
    own = view.rows_of(defects)
    if "cracked" not in own:
        return None
    worst = own.loc[own["cracked"]].sort_values(OPEN_VOLUME, ascending=False)
    if worst.empty:
        return None
    shown = worst.head(CRACKED_SHOWN)
    return picture(
        gallery_figure(
            view,
            particles,
            particle_ids=shown["particle_id"].astype(int).tolist(),
            through_um=shown[[*OPEN_PLACE]].to_numpy(np.float64),
        ),
        f"Close-up slices of particles of {view.title} with open cracks.",
        f"Cracked: {len(shown)} of {len(worst)} whole particles of {view.title} with a narrow pore "
        "that is open to the outside, cut through the middle of the largest one in three "
        "directions. What is open is no internal void, and no part of the particle.",
        dpi=STILL_DPI,
    )


def misshapen(view: VolumeView, particles: pd.DataFrame, defects: pd.DataFrame) -> Picture | None:
    """Show the particles of a tomogram that are far from round; None if none is."""
    own = view.rows_of(defects)
    if SHAPE not in own:
        return None
    worst = own.loc[own["misshapen"]].sort_values(SHAPE)["particle_id"].astype(int).tolist()
    if not worst:
        return None
    shown = worst[:MISSHAPEN_SHOWN]
    return picture(
        gallery_figure(view, particles, particle_ids=shown),
        f"Close-up slices of particles of {view.title} that are far from round.",
        f"Far from round: {len(shown)} of {len(worst)} whole particles of {view.title} with a "
        f"sphericity from grey values below {MISSHAPEN_SPHERICITY:g}, cut through their centres in "
        "three directions. They are broken or widely open, or pieces of a shell that is open: a "
        "large one is cut into several.",
        dpi=STILL_DPI,
    )


def histograms(
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    limit_um: float | None,
    view: VolumeView | None = None,
) -> Picture:
    """Show the distributions of sizes and shapes, and the particles and voids themselves."""
    limit = f" Pale: voids up to {format_limit(limit_um)} µm, not counted." if limit_um else ""
    drawn = f" Left: the surfaces of {view.title}." if view is not None else ""
    return picture(
        histograms_figure(particles, voids, larger_than_um=limit_um, view=view),
        "Particles in green and voids in red, with histograms of diameter, surface to volume "
        "ratio and sphericity of both.",
        "Distributions behind the means (dashed), whole particles and their voids of all regions."
        f"{drawn}{limit}",
        study="3",
    )


def radii(table: pd.DataFrame | None, roughness: Json, view: VolumeView | None) -> list[Picture]:
    """Show single particles: surfaces, radii, and how rough they seem."""
    if table is None or table.empty:
        return []
    floor_um = roughness.get("noise_floor_um")
    floor = (
        "The dashed line is what a perfectly smooth sphere would read from voxels and noise alone; "
        "only what lies above it is roughness."
        if floor_um is not None
        else "Voxels and noise alone give a smooth sphere a proxy above zero."
    )
    return [
        picture(
            radii_figure(table, view=view),
            "Four particles in red, green, blue and yellow, and their radii against azimuth in "
            "the planes xy, xz and yz.",
            "Whole particles from the largest to a small one, at one scale, and their radii every "
            "45° in three planes through their centres; bars are standard uncertainties. A flat "
            "line is a circle.",
            study="1",
        ),
        picture(
            roughness_figure(table, noise_floor_um=floor_um, view=view),
            "Diameter of four particles per plane, a cut that shows what the roughness proxy is, "
            "and total and local proxy of every whole particle against diameter.",
            "a: mean diameters of the same particles in each plane. b: the outline of the red one "
            "in the xy plane, voxel by voxel, with its eight radii and circles of the largest and "
            "smallest (the study has an electron micrograph here). c, d: the study's proxies of "
            f"every whole particle of one region. {floor}{_correlation(roughness)}",
            study="2",
        ),
    ]


def _correlation(roughness: Json) -> str:
    """Say whether the proxy depends on the size."""
    found = roughness.get("size_correlation") or {}
    if not (is_finite(found.get("value")) and is_finite(found.get("low"))):
        return ""
    low, high = float(found["low"]), float(found["high"])
    says = (
        "so nothing shows that it depends on size"
        if low <= 0 <= high
        else f"so larger particles read {'more' if low > 0 else 'less'}"
    )
    return (
        f" Rank correlation of total proxy and diameter: {format_interval_of(found)}, 95 % "
        f"interval of {found['n']} particles, {says}."
    )


def particles_shown(table: pd.DataFrame) -> list[int]:
    """Return the particles of `radii` that are shown one by one."""
    return spread_over_sizes(table, 4)


def mosaic_map(
    mosaic: Mosaic | None, particles: pd.DataFrame | None, regions: pd.DataFrame | None
) -> Picture | None:
    """Show the map."""
    if mosaic is None:
        return None
    found = "" if particles is None else f", {len(particles):,} particles circled in green"
    boxes = "" if regions is None or regions.empty else "; numbered boxes are the tomogram fields"
    placed = f" {mosaic.notes[-1]}" if mosaic.notes else ""
    return picture(
        mosaic_figure(mosaic, particles, regions),
        f"Radiograph map of the powder{found}{boxes}.",
        f"Radiograph map: dark is absorbing{found}{boxes}.{placed}",
        study="4",
    )


def turned(series: RadiographSeries) -> Picture | None:
    """Show a region front-on and edge-on; None if it was not seen so."""
    if not series.turns:
        return None
    return picture(
        turned_figure(series.transmission, series.angles_deg, series.pixel_um),
        f"{series.title} front-on and edge-on, each beside a sketch of the tape in the beam.",
        f"{series.title} front-on and edge-on. The sketches show the tape (blue) with the powder "
        "(green) from above, as it stands in the beam. Edge-on the beam runs along the tape: "
        "through its length (dark grey) and through all the powder on it (black).",
        study="4",
        dpi=STILL_DPI,
    )


def radiographs(series: RadiographSeries) -> Picture:
    """Show a region at angles across the scan."""
    return picture(
        radiographs_figure(series.transmission, series.angles_deg, series.pixel_um),
        f"Radiographs of {series.title} at angles from "
        f"{np.min(series.angles_deg):.0f} to {np.max(series.angles_deg):.0f} degrees.",
        f"{series.title} as the camera sees it while it turns; one grey scale for all. Edge-on, "
        "the beam also crosses the powder beside the field.",
        study="5",
        dpi=STILL_DPI,
    )


def convergence(table: pd.DataFrame | None) -> Picture | None:
    """Show how the answer settled; None for too few values."""
    if table is None or len(table) < MIN_UPDATES:
        return None
    return picture(
        convergence_figure(table),
        "Live values against the number of projections taken.",
        "How the answer settled during the scan: values recomputed while projections came in.",
    )


def measurement(
    results: Json,
    views: Sequence[VolumeView],
    series: Sequence[RadiographSeries],
    particles: pd.DataFrame,
) -> list[Picture]:
    """Show transmission, exposure, noise and error of the first region, as the study's S1 to S8."""
    tomograms = results.get("tomograms") or []
    found: list[Picture] = []
    if not tomograms:
        return found
    first = tomograms[0]
    which = " of region 1" if len(tomograms) > 1 else ""
    own = views[0].rows_of(particles) if views else particles
    whole = whole_rows(own) if len(own) else own
    if series and series[0].turns and first.get("snr_definitions"):
        sizes = whole["equivalent_diameter_um"] if len(whole) else []
        found.append(
            picture(
                transmission_figure(first, series[0].transmission, series[0].angles_deg, sizes),
                "Transmission of the pixels front-on and edge-on, over the angle, and against the "
                "thickness of solid.",
                f"Transmission{which}. a: of single pixels. b: at every angle. c: through solid of "
                f"the attenuation measured in the particles "
                f"({format_number(first['snr_definitions'].get('solid_mean'))} / µm). Contrast "
                "stands out most from photon noise where 13.5 % are transmitted; one layer of "
                "powder is thinner than that front-on and thicker edge-on.",
                study="S1 to S3",
            )
        )
    settings = _settings(results, first)
    if settings is not None:
        found.append(
            picture(
                exposure_figure(**settings),
                "Duration of a tomogram and signal to noise against the exposure of a projection.",
                f"What another exposure would do, from this scan{which}: its own time besides "
                "exposing, and noise of photons alone (signal to noise grows with the square root "
                "of the exposure).",
                study="S4, S5",
            )
        )
    if views and (first.get("snr_definitions") or {}).get("snr") is not None:
        found.append(
            picture(
                noise_figure(views[0], first),
                "Histogram of the grey values of background, particles and voids, and the "
                "signal-to-noise ratios of four definitions.",
                f"Noise of the reconstruction{which}. a: grey values; what lies above the "
                "threshold is solid. b: signal to noise differs with its definition; the study "
                "does not say which it used.",
                study="S6",
            )
        )
        present = set(np.unique(views[0].particles).tolist())
        if len(whole) and present >= set(whole["particle_id"].tolist()):
            found.append(_error(views[0], whole, first, which))
    return found


def _settings(results: Json, tomogram: Json) -> dict[str, Any] | None:
    """Return exposure, projections, time and signal-to-noise of a tomogram, if known."""
    arguments = ((results.get("parameters") or {}).get("acquisition") or {}).get("tomography") or {}
    exposure_s, time_s = arguments.get("exposure_s"), tomogram.get("time_s")
    projections = tomogram.get("projections")
    if not (is_finite(exposure_s) and is_finite(time_s) and is_finite(projections)):
        return None
    return {
        "exposure_s": float(exposure_s),
        "projections": int(projections),
        "time_s": float(time_s),
        "snr": tomogram.get("snr"),
    }


def _error(view: VolumeView, whole: pd.DataFrame, tomogram: Json, which: str) -> Picture:
    ordered = whole.sort_values("equivalent_diameter_um")["particle_id"].to_numpy()
    typical = int(ordered[len(ordered) // 2])
    return picture(
        error_figure(view, whole, typical, tomogram),
        f"Slice of particle {typical} with its outline and those half a voxel further in and out, "
        "and its volume against the place of the surface and against the threshold.",
        f"Error of one particle of middle size{which}. a: its outline, and half a voxel to either "
        "side. b: the study takes its errors from that; errors of opposite sides cancel in a "
        "volume, so what is stated here is smaller. c: another threshold moves all surfaces the "
        "same way, which more particles do not average out.",
        study="S8",
    )


def trade_off(block: Json | None) -> Picture | None:
    """Show what finer voxels cost; None where that is not known."""
    if not block:
        return None
    return picture(
        trade_off_figure(block),
        "Size of the data, instrument time, and smallest void and resolution against the voxel.",
        "The same field at every binning of the camera. Finer voxels catch fewer photons each: at "
        "the same exposure they are noisier, and with the same noise the time becomes days.",
        study="S9, S10",
    )
