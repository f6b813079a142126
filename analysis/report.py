"""The report: one self-contained HTML page, readable in a minute, with everything behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import report_text as text
from .figures_map import mosaic_figure, radiographs_figure
from .figures_statistics import (
    convergence_figure,
    histograms_figure,
    radii_figure,
    roughness_figure,
)
from .figures_style import VOID, data_uri
from .figures_volume import VolumeView, gallery_figure, slices_figure
from .meshes import (
    DEAD_COLORS,
    DEAD_FULL,
    PLAIN,
    TRIANGLE_BUDGET,
    Mesh,
    solid_figure,
    surface_meshes,
    viewer_payload,
)
from .mosaic import Mosaic
from .report_format import MISSING, NBSP, format_date, format_limit, format_number
from .report_verdict import verdict_figures, verdict_text

HERE = Path(__file__).parent

MAX_RADIOGRAPH_SERIES = 2
"""Regions whose radiographs are shown; more would only make the page heavy."""

MAX_VOLUMES = 8
"""Tomograms that are drawn, the first ones; each adds about 0.7 MB to the page."""

MIN_UPDATES = 3
"""Fewer live values make no curve."""

STILL_DPI = 110
"""Resolution of pictures of voxels and pixels, which gain nothing from more."""


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


@dataclass(frozen=True)
class _Picture:
    uri: str
    alt: str
    caption: str


def write_report(
    path: str | os.PathLike[str],
    results: Mapping[str, Any],
    *,
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    mosaic: Mosaic | None = None,
    map_particles: pd.DataFrame | None = None,
    regions: pd.DataFrame | None = None,
    volumes: Sequence[VolumeView] = (),
    radii: pd.DataFrame | None = None,
    roughness_floor_um: float | None = None,
    radiographs: Sequence[RadiographSeries] = (),
    convergence: pd.DataFrame | None = None,
) -> Path:
    """Write the report.

    Every number comes from `results`; tables and volumes feed the pictures only. Whatever is
    not given is left out of the page.

    Parameters
    ----------
    path
        The HTML file; replaced in one step, so a reader never sees half a page.
    results
        What ``results.json`` holds (schema ``zoneplate-results/1``). Optional keys may be
        absent, values may be None.
    particles, voids
        Tables of `measure_particles` and `measure_voids`, of all regions; a column ``region``
        tells them apart (see `VolumeView.region`).
    mosaic, map_particles, regions
        The map, and the tables of `find_particles_2d` and `choose_regions`.
    volumes
        The tomograms; each of the first eight gets slices, a three-dimensional view and a
        gallery.
    radii
        Table of `measure_radii` of one region.
    roughness_floor_um
        Roughness proxy of a perfectly smooth sphere under the same conditions.
    radiographs
        Radiographs over the angles, a series per region; the first two are shown.
    convergence
        The live values: see `convergence_figure`.

    Returns
    -------
    pathlib.Path
        The file written.
    """
    target = Path(path)
    limit_um = (results.get("void_frequency") or {}).get("larger_than_um")
    shown, scenes = _volumes(volumes, particles, voids)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template(
        "report.html"
    ).render(
        sample=str(results.get("sample") or "Unnamed sample"),
        created=format_date(results.get("created")),
        measured=text.measured_sentence(results),
        has_truth=bool(results.get("truth")),
        verdict=verdict_text(results),
        verdict_pictures=[_picture(*one) for one in verdict_figures(results)],
        data=json_for_page(results),
        cards=text.cards(results),
        warnings=text.warnings(results, _notes(mosaic, regions)),
        count_particles=_count(results, "particles"),
        count_voids=_count(results, "voids"),
        particle_rows=text.table_one(results, "particles"),
        void_rows=text.table_one(results, "voids"),
        dead_rows=text.dead_volume_rows(results),
        volumes=shown,
        scenes=scenes,
        viewer_code=Markup((HERE / "viewer.js").read_text(encoding="utf-8")),  # our own file
        colors={"plain": PLAIN, "void": VOID, "dead": _stops(), "full": f"{100 * DEAD_FULL:g}"},
        histograms=_histograms(particles, voids, limit_um) if len(particles) else None,
        radii=_radii(radii, roughness_floor_um),
        map=_map(mosaic, map_particles, regions),
        regions=_region_rows(regions),
        radiographs=[_radiographs(series) for series in radiographs[:MAX_RADIOGRAPH_SERIES]],
        convergence=_convergence(convergence),
        facts=text.tomogram_facts(results),
        many_tomograms=len(results.get("tomograms") or []) > 1,
        timing=text.timing_facts(results),
        limit=text.detection_limit(results),
        interval_method=text.interval_method(results),
        area_text=text.area_definition(results),
        provenance=text.provenance(results),
    )
    unfinished = target.with_name(f".{target.name}.part")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(target)
    return target


def json_for_page(results: Mapping[str, Any]) -> Markup:
    """Return the results as JSON that may stand in a script element: no tag can end it."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return Markup(orjson.dumps(dict(results), option=options).decode().replace("<", r"\u003c"))


def _stops() -> str:
    """Return the colours of particles with voids for a gradient of the page."""
    return ", ".join(to_hex(DEAD_COLORS(place)) for place in np.linspace(0, 1, 5))


def _picture(figure: Figure, alt: str, caption: str, dpi: int | None = None) -> _Picture:
    return _Picture(data_uri(figure, dpi) if dpi else data_uri(figure), alt, caption)


def _count(results: Mapping[str, Any], kind: str) -> str:
    return format_number((results.get(kind) or {}).get("count"))


def _notes(mosaic: Mosaic | None, regions: pd.DataFrame | None) -> list[str]:
    notes = []
    if mosaic is not None and not mosaic.registered:
        notes += [note for note in mosaic.notes if "open-beam" in note or "their stage" in note]
    if regions is not None and regions.attrs.get("note"):
        notes.append(str(regions.attrs["note"]))
    return notes


def _volumes(
    volumes: Sequence[VolumeView], particles: pd.DataFrame, voids: pd.DataFrame
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    shown, scenes = [], []
    drawn = volumes[:MAX_VOLUMES]
    budget = TRIANGLE_BUDGET // max(1, len(drawn))
    for number, view in enumerate(drawn, start=1):
        own_particles, own_voids = view.rows_of(particles), view.rows_of(voids)
        meshes = surface_meshes(view, triangle_budget=budget)
        names = f"{len(own_particles)} particles and {len(own_voids)} voids"
        shown.append(
            {
                "title": view.title,
                "slices": _slices(view, names),
                "solid": _solid(view, meshes, names) if meshes else None,
                "gallery": _gallery(view, own_particles, own_voids) if meshes else None,
            }
        )
        payload = viewer_payload(view, meshes, own_particles)
        if payload["objects"]:
            scenes.append({"number": number, "payload": payload})
    return shown, scenes


def _slices(view: VolumeView, names: str) -> _Picture:
    return _picture(
        slices_figure(view),
        f"Three orthogonal slices through {view.title}; {names} outlined.",
        f"{view.title}: slices through the reconstructed volume as measured (top) and with what "
        "was found (bottom): particles outlined in green, internal voids in red. Each slice is "
        "the one that cuts the most void, or the most particle when there is no void.",
        STILL_DPI,
    )


def _solid(view: VolumeView, meshes: Sequence[Mesh], names: str) -> _Picture:
    return _picture(
        solid_figure(view, meshes),
        f"Three-dimensional view of {view.title}: {names}.",
        f"{view.title} in three dimensions: {names}, voids in red inside their particles, which "
        "are the darker the more of their volume is void. "
        "Smoothed for display; no number is taken from these surfaces.",
        STILL_DPI,
    )


def _gallery(view: VolumeView, particles: pd.DataFrame, voids: pd.DataFrame) -> _Picture:
    return _picture(
        gallery_figure(view, particles, voids),
        f"Close-up slices of single particles of {view.title}.",
        "The whole particles with the largest voids (the largest particles, when there are no "
        "voids), cut through the middle of the void in three directions.",
        STILL_DPI,
    )


def _histograms(particles: pd.DataFrame, voids: pd.DataFrame, limit_um: float | None) -> _Picture:
    limit = f" Pale: voids up to {format_limit(limit_um)} µm, not counted." if limit_um else ""
    return _picture(
        histograms_figure(particles, voids, larger_than_um=limit_um),
        "Histograms of diameter, surface to volume ratio and sphericity of particles and voids.",
        "Distributions behind the means (dashed), whole particles and their voids. "
        f"The three quantities are those of the study's figure 3.{limit}",
    )


def _radii(radii: pd.DataFrame | None, floor_um: float | None) -> list[_Picture]:
    if radii is None or radii.empty:
        return []
    floor = (
        "The dashed line is what a perfectly smooth sphere would read from voxels and noise alone; "
        "only what lies above it is roughness."
        if floor_um is not None
        else "Voxels and noise alone give a smooth sphere a proxy above zero."
    )
    return [
        _picture(
            radii_figure(radii),
            "Radius against azimuth for a few particles in the planes xy, xz and yz.",
            "Radii every 45° in three planes for whole particles from the largest to the "
            "smallest; bars are standard uncertainties. A flat line is a circle.",
        ),
        _picture(
            roughness_figure(radii, noise_floor_um=floor_um),
            "Diameter per plane, and total and local roughness proxy against diameter.",
            "Left: mean diameters of the same particles in each plane. Middle and right: the "
            f"study's roughness proxies of every whole particle. {floor}",
        ),
    ]


def _map(
    mosaic: Mosaic | None, particles: pd.DataFrame | None, regions: pd.DataFrame | None
) -> _Picture | None:
    if mosaic is None:
        return None
    found = "" if particles is None else f", {len(particles):,} particles circled in green"
    boxes = "" if regions is None or regions.empty else "; numbered boxes are the tomogram fields"
    placed = f" {mosaic.notes[-1]}" if mosaic.notes else ""
    return _picture(
        mosaic_figure(mosaic, particles, regions),
        f"Radiograph map of the powder{found}{boxes}.",
        f"Radiograph map: dark is absorbing{found}{boxes}.{placed}",
    )


def _region_rows(regions: pd.DataFrame | None) -> list[dict[str, str]]:
    if regions is None:
        return []
    return [
        {
            "number": str(row["region_id"]),
            "center": f"{row['center_x_um']:.1f}, {row['center_y_um']:.1f}{NBSP}µm",
            "particles": format_number(row.get("particles_expected")),
            "reason": str(row.get("reason") or MISSING),
        }
        for row in regions.to_dict("records")
    ]


def _radiographs(series: RadiographSeries) -> _Picture:
    return _picture(
        radiographs_figure(series.transmission, series.angles_deg, series.pixel_um),
        f"Radiographs of {series.title} at angles from "
        f"{np.min(series.angles_deg):.0f} to {np.max(series.angles_deg):.0f} degrees.",
        f"{series.title} as the camera sees it while it turns; one grey scale for all. Edge-on, "
        "the beam also crosses the powder beside the field.",
        STILL_DPI,
    )


def _convergence(convergence: pd.DataFrame | None) -> _Picture | None:
    if convergence is None or len(convergence) < MIN_UPDATES:
        return None
    return _picture(
        convergence_figure(convergence),
        "Live values against the number of projections taken.",
        "How the answer settled during the scan: values recomputed while projections came in.",
    )
