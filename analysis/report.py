"""The report: one self-contained HTML page, readable in a minute, with everything behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import to_hex

from . import report_pictures as pictures
from . import report_sentences as sentences
from . import report_tables as more
from . import report_text as text
from .figures_style import VOID
from .figures_volume import VolumeView
from .meshes import (
    DEAD_COLORS,
    DEAD_FULL,
    PLAIN,
    TRIANGLE_BUDGET,
    surface_meshes,
    viewer_payload,
)
from .mosaic import Mosaic
from .particle_defects import find_defects
from .report_format import MISSING, NBSP, format_date, format_number
from .report_pictures import RadiographSeries
from .report_verdict import verdict_figures, verdict_text
from .summary import MINIMUM_VOID_UM

HERE = Path(__file__).parent

MAX_RADIOGRAPH_SERIES = 2
"""Regions whose radiographs are shown; more would only make the page heavy."""

MAX_VOLUMES = 8
"""Tomograms that are drawn, the first ones; each adds about 0.7 MB to the page."""


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
        Table of `measure_radii` of one region; a column ``region`` says of which.
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
    defects = find_defects(particles, voids, minimum_void_um=limit_um or MINIMUM_VOID_UM)
    shown, scenes = _volumes(volumes, particles, voids, defects)
    of_radii = _view_of(volumes, radii)
    series = radiographs[:MAX_RADIOGRAPH_SERIES]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html").render(
        sample=str(results.get("sample") or "Unnamed sample"),
        created=format_date(results.get("created")),
        measured=sentences.measured_sentence(results),
        has_truth=bool(results.get("truth")),
        verdict=verdict_text(results),
        verdict_pictures=[pictures.picture(*one) for one in verdict_figures(results)],
        data=json_for_page(results),
        cards=text.cards(results),
        warnings=sentences.warnings(results, _notes(mosaic, regions)),
        count_particles=_count(results, "particles"),
        count_voids=_count(results, "voids"),
        particle_rows=text.table_one(results, "particles"),
        void_rows=text.table_one(results, "voids"),
        dead_rows=text.dead_volume_rows(results),
        defects=more.defects_table(results),
        population=more.population_tables(results),
        volumes=shown,
        scenes=scenes,
        viewer_code=Markup((HERE / "viewer.js").read_text(encoding="utf-8")),  # our own file
        colors={"plain": PLAIN, "void": VOID, "dead": _stops(), "full": f"{100 * DEAD_FULL:g}"},
        histograms=pictures.histograms(particles, voids, limit_um, volumes[0] if volumes else None)
        if len(particles)
        else None,
        radii=pictures.radii(radii, results.get("roughness") or {}, of_radii),
        radii_tables=more.radii_tables(
            radii, pictures.particles_shown(radii) if radii is not None else []
        ),
        roughness=more.roughness_table(results),
        map=pictures.mosaic_map(mosaic, map_particles, regions),
        turned=pictures.turned(series[0]) if series else None,
        regions=_region_rows(regions),
        radiographs=[pictures.radiographs(one) for one in series],
        convergence=pictures.convergence(convergence),
        measurement=pictures.measurement(results, volumes, series, particles),
        throughput=more.throughput_table(results),
        trade_off=pictures.trade_off(results.get("trade_off")),
        trade_off_tables=more.trade_off_tables(results),
        facts=text.tomogram_facts(results),
        many_tomograms=len(results.get("tomograms") or []) > 1,
        timing=text.timing_facts(results),
        limit=sentences.detection_limit(results),
        interval_method=sentences.interval_method(results),
        area_text=sentences.area_definition(results),
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
    volumes: Sequence[VolumeView],
    particles: pd.DataFrame,
    voids: pd.DataFrame,
    defects: pd.DataFrame,
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
                "slices": pictures.slices(view, names),
                "solid": pictures.solid(view, meshes, names) if meshes else None,
                "gallery": pictures.gallery(view, own_particles, own_voids) if meshes else None,
                "cracked": pictures.cracked(view, own_particles, defects),
                "misshapen": pictures.misshapen(view, own_particles, defects),
            }
        )
        payload = viewer_payload(view, meshes, own_particles)
        if payload["objects"]:
            scenes.append({"number": number, "payload": payload})
    return shown, scenes


def _view_of(volumes: Sequence[VolumeView], radii: pd.DataFrame | None) -> VolumeView | None:
    """Return the tomogram that radii are of."""
    if radii is None or radii.empty or not volumes:
        return None
    region = radii["region"].iloc[0] if "region" in radii else None
    return next((view for view in volumes if region is None or view.region == region), None)


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
