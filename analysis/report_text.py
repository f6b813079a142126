"""From ``results`` to the words and figures of the report; nothing is computed anew here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .report_format import (
    MISSING,
    NBSP,
    Json,
    format_estimate,
    format_interval,
    format_limit,
    format_number,
    format_percent,
    format_seconds,
    format_with_unit,
    is_finite,
)

STUDY = {
    "particles": {
        "volume_um3": "238",
        "surface_area_um2": "234",
        "sphericity": "0.8",
        "surface_to_volume_per_um": "1.7",
        "equivalent_diameter_um": "6.4",
    },
    "voids": {
        "volume_um3": "9",
        "surface_area_um2": "30",
        "sphericity": "0.7",
        "surface_to_volume_per_um": "4.1",
        "equivalent_diameter_um": "2.4",
    },
}
"""Table 1 of Heenan et al. 2020, doi:10.1002/advs.202000362, for NMC622, as printed."""
STUDY_FREQUENCY, STUDY_DEAD_VOLUME, STUDY_NET_DEAD_VOLUME = "55 %", "3.8 %", "≈ 2 %"

OTHER_DEAD_VOLUMES = (
    (
        "dead_volume_fraction_with_voids",
        "Dead volume of particles with voids",
        "All voids over those particles that have one.",
    ),
    (
        "dead_volume_fraction_mean",
        "Dead volume, mean of particles",
        "Every particle counts once, so that small ones with large voids count much.",
    ),
)
UNITS = {"um": "µm", "um2": "µm²", "um3": "µm³", "1/um": "1/µm", "1": ""}
FACES_TOO = ("surface_area_um2", "surface_to_volume_per_um", "sphericity")
ROWS = (
    ("volume_um3", "Volume", "V", "µm³"),
    ("volume_grey_um3", "Volume from grey values", "V", "µm³"),
    ("equivalent_diameter_um", "Equivalent diameter", "dₑ", "µm"),
    ("equivalent_diameter_grey_um", "Equivalent diameter from grey values", "dₑ", "µm"),
    ("surface_area_um2", "Surface area", "SA", "µm²"),
    ("surface_to_volume_per_um", "Surface to volume", "SA:V", "1/µm"),
    ("sphericity", "Sphericity", "ψ", ""),
)


@dataclass(frozen=True)
class Row:
    """One line of a table: what, ours, the study's, the truth's, and a remark.

    `exact` is our value as `results.json` holds it, `path` where.
    """

    name: str
    measured: str
    study: str = MISSING
    truth: str = MISSING
    remark: str = ""
    exact: str = ""
    path: str = ""


@dataclass(frozen=True)
class Card:
    """One headline number."""

    name: str
    value: str
    interval: str
    detail: str
    truth: str = ""
    exact: str = ""
    path: str = ""


@dataclass(frozen=True)
class Fact:
    """A name and its values, one per column."""

    name: str
    cells: list[str] = field(default_factory=list)


def cards(results: Json) -> list[Card]:
    """Return the headline numbers."""
    truth = results.get("truth") or {}
    frequency = results.get("void_frequency") or {}
    dead = results.get("dead_volume_fraction") or {}
    particles = results.get("particles") or {}
    diameter = particles.get("equivalent_diameter_um") or {}
    count = int(frequency.get("n") or 0)
    found = frequency.get("k")
    limit = format_limit(frequency.get("larger_than_um"))
    with_voids = (
        f"{found} of {count} whole particles have an internal void larger than {limit} µm"
        if count
        else "no whole particle in the field, so no frequency can be given"
    )
    return [
        Card(
            "Particles with voids",
            format_percent(frequency.get("value")),
            format_interval(frequency) if count else "",
            with_voids,
            _truth_percent(truth, "void_frequency"),
            *_exact(results, "void_frequency.value"),
        ),
        Card(
            "Dead volume",
            format_percent(dead.get("value")),
            format_interval(dead) if is_finite(dead.get("value")) else "",
            "of the particle volume is internal void (all voids over all particles)",
            _truth_percent(truth, "dead_volume_fraction"),
            *_exact(results, "dead_volume_fraction.value"),
        ),
        Card(
            "Mean particle diameter",
            format_estimate(diameter.get("mean"), None, "µm"),
            f"standard error {format_number(diameter.get('se'), 2)} µm"
            if is_finite(diameter.get("se"))
            else "",
            f"equivalent sphere, {format_number(particles.get('count'))} whole particles",
            _truth_mean(truth, "particles", "equivalent_diameter_um", "µm"),
            *_exact(results, "particles.equivalent_diameter_um.mean"),
        ),
    ]


def _exact(results: Json, path: str) -> tuple[str, str]:
    """Return a value as `results.json` holds it, and where."""
    value: object = results
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return ("" if value is None else repr(value)), path


def _truth_percent(truth: Json, name: str) -> str:
    value = (truth.get(name) or {}).get("value")
    return format_percent(value) if is_finite(value) else ""


def _truth_mean(truth: Json, kind: str, name: str, unit: str) -> str:
    value = ((truth.get(kind) or {}).get(name) or {}).get("mean")
    return format_estimate(value, None, unit) if is_finite(value) else ""


def _of_study(study: Mapping[str, str], name: str, unit: str) -> str:
    """Return what the study printed, with its unit."""
    value = study.get(name, MISSING)
    return f"{value}{NBSP}{unit}" if unit and value != MISSING else value


def table_one(results: Json, kind: str) -> list[Row]:
    """Return the rows of Table 1 for ``"particles"`` or ``"voids"``.

    Where a block ``particles_faces`` or ``voids_faces`` exists, the study's areas stand beside
    it, since the study counted voxel faces; else beside ours, with a remark.
    """
    block = results.get(kind) or {}
    faces = results.get(f"{kind}_faces") or {}
    truth = (results.get("truth") or {}).get(kind) or {}
    study = STUDY[kind]
    rows = []
    for name, label, symbol, unit in ROWS:
        if name not in block:
            continue
        of_areas = name in FACES_TOO
        remark = ""
        if of_areas and not faces:
            remark = "The study's value comes from voxel faces."
        rows.append(
            Row(
                f"{label}, {symbol}",
                _mean(block, name, unit),
                MISSING if of_areas and faces else _of_study(study, name, unit),
                # The truth does not depend on how it is estimated.
                _mean(truth, name.replace("_grey", ""), unit, with_se=False),
                remark,
                *_exact(results, f"{kind}.{name}.mean"),
            )
        )
        if of_areas and name in faces:
            rows.append(
                Row(
                    f"{label} from voxel faces, {symbol}",
                    _mean(faces, name, unit),
                    _of_study(study, name, unit) if name != "sphericity" else MISSING,
                    MISSING,
                    "As the study measured it." if name != "sphericity" else "",
                    *_exact(results, f"{kind}_faces.{name}.mean"),
                )
            )
    definition = faces if "sphericity_of_means" in faces else block
    if is_finite(definition.get("sphericity_of_means")):
        from_faces = definition is faces
        rows.append(
            Row(
                "Sphericity of the mean V and SA" + (" from voxel faces" if from_faces else ""),
                format_number(definition["sphericity_of_means"]),
                study["sphericity"],
                remark="The study's definition." if from_faces else "",
            )
        )
    return rows


def _mean(block: Json, name: str, unit: str, *, with_se: bool = True) -> str:
    quantity = block.get(name) or {}
    unit = UNITS.get(str(quantity.get("unit")), unit)
    return format_estimate(quantity.get("mean"), quantity.get("se") if with_se else None, unit)


def dead_volume_rows(results: Json) -> list[Row]:
    """Return the rows about voids as a share of particles and of volume."""
    truth = results.get("truth") or {}

    def share(source: Json, name: str, *, interval: bool = False) -> str:
        block = source.get(name) or {}
        text = format_percent(block.get("value"))
        known = interval and is_finite(block.get("low")) and is_finite(block.get("high"))
        if not known:
            return text
        return f"{text} ({format_percent(block['low'])} to {format_percent(block['high'])})"

    limit = format_limit((results.get("void_frequency") or {}).get("larger_than_um"))
    rows = [
        Row(
            f"Particles with a void larger than {limit}{NBSP}µm",
            share(results, "void_frequency", interval=True),
            STUDY_FREQUENCY,
            share(truth, "void_frequency"),
            "The study names neither a size limit nor the number of particles.",
            *_exact(results, "void_frequency.value"),
        ),
        Row(
            "Dead volume: all voids over all particles",
            share(results, "dead_volume_fraction", interval=True),
            MISSING,
            share(truth, "dead_volume_fraction"),
            "The headline: what fraction of the material's volume is missing.",
            *_exact(results, "dead_volume_fraction.value"),
        ),
    ]
    for name, words, remark in OTHER_DEAD_VOLUMES:
        if name in results:
            rows.append(
                Row(
                    words,
                    share(results, name, interval=True),
                    MISSING,
                    share(truth, name),
                    remark,
                    *_exact(results, f"{name}.value"),
                )
            )
    if "void_to_particle_volume_ratio" in results:
        rows.append(
            Row(
                "Mean void over mean particle volume",
                share(results, "void_to_particle_volume_ratio"),
                STUDY_DEAD_VOLUME,
                share(truth, "void_to_particle_volume_ratio"),
                "The study's “percentage of dead volume”.",
                *_exact(results, "void_to_particle_volume_ratio.value"),
            )
        )
    if "net_dead_volume_fraction" in results:
        rows.append(
            Row(
                "The two study figures multiplied",
                share(results, "net_dead_volume_fraction"),
                STUDY_NET_DEAD_VOLUME,
                share(truth, "net_dead_volume_fraction"),
                "The study's net dead volume: frequency times the ratio above.",
                *_exact(results, "net_dead_volume_fraction.value"),
            )
        )
    return rows


def tomogram_facts(results: Json) -> list[Fact]:
    """Return the facts of each tomogram, a column per tomogram."""
    tomograms = results.get("tomograms") or []

    def number(name: str, unit: str = "", digits: int = 3):
        return lambda t: format_with_unit(t.get(name), unit, digits)

    wanted = (
        ("Centre x, y, z", lambda t: _center(t.get("center_um"))),
        ("Projections", number("projections")),
        ("Voxel", number("voxel_um", "µm")),
        ("Particles / voids", lambda t: _pair(t.get("particles"), t.get("voids"))),
        ("Signal to noise in particles", number("snr")),
        ("Transmission, mean of field", lambda t: format_percent(t.get("transmission_mean"))),
        ("… behind particles", lambda t: format_percent(t.get("transmission_footprint"))),
        ("… lowest", lambda t: format_percent(t.get("transmission_min"))),
        ("Threshold", number("threshold_per_um", "1/µm")),
        (
            "Rotation centre, column",
            lambda t: format_estimate(t.get("rotation_center_column"), t.get("rotation_center_se")),
        ),
        ("Tilt of the axis", lambda t: _geometry(t, "tilt_deg", "tilt_se_deg", "°")),
        ("Lean along the beam", lambda t: _geometry(t, "lean_deg", "lean_se_deg", "°")),
        ("Movement, rms", lambda t: _geometry(t, "motion_rms_um", "motion_rms_se_um", "µm")),
    )
    facts = [Fact(name, [show(t) for t in tomograms]) for name, show in wanted]
    return [fact for fact in facts if any(value != MISSING for value in fact.cells)]


def _geometry(tomogram: Json, value: str, error: str, unit: str) -> str:
    found = tomogram.get("geometry") or {}
    return format_estimate(found.get(value), found.get(error), unit)


def _center(center: object) -> str:
    if not isinstance(center, (list, tuple)) or not all(is_finite(v) for v in center):
        return MISSING
    return ", ".join(f"{v:.1f}" for v in center) + f"{NBSP}µm"


def _pair(particles: object, voids: object) -> str:
    if not (is_finite(particles) or is_finite(voids)):
        return MISSING
    return f"{format_number(particles)} / {format_number(voids)}"


def timing_facts(results: Json) -> list[Row]:
    """Return measured times beside the study's."""
    timing = results.get("timing") or {}
    rows = []
    if is_finite(timing.get("mosaic_s")):
        rows.append(Row("Radiograph map", format_seconds(timing["mosaic_s"]), "under 1 min"))
    seconds = timing.get("tomography_s") or []
    for number, value in enumerate(seconds, start=1):
        name = f"Tomogram {number}" if len(seconds) > 1 else "Tomogram"
        rows.append(Row(name, format_seconds(value), "under 5 min"))
    if is_finite(timing.get("beam_on_fraction")):
        rows.append(Row("Share of that time exposing", format_percent(timing["beam_on_fraction"])))
    return rows


def flatten(block: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and values of nested provenance."""
    if isinstance(block, Mapping):
        for key, value in block.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(block, (list, tuple)) and len(block) > 8:
        yield prefix, f"{block[0]} … {block[-1]} ({len(block)} values)"
    elif isinstance(block, (list, tuple)):
        yield prefix, ", ".join(str(value) for value in block)
    elif block is not None:
        yield prefix, str(block)


def provenance(results: Json) -> list[tuple[str, str]]:
    """Return everything needed to trace and repeat the analysis."""
    rows = [("schema", str(results.get("schema", MISSING)))]
    mosaic = results.get("mosaic") or {}
    if mosaic.get("uid"):
        rows.append(("mosaic run", str(mosaic["uid"])))
    for number, tomogram in enumerate(results.get("tomograms") or [], start=1):
        if tomogram.get("uid"):
            rows.append((f"tomogram {number} run", str(tomogram["uid"])))
    hashes = dict(results.get("hashes") or {})
    inputs = hashes.pop("inputs", [])
    rows += [(f"sha256 of {one['file']}", str(one["sha256"])) for one in inputs]
    rows += [(f"sha256 of {name}", str(value)) for name, value in hashes.items()]
    for name in ("source", "software", "parameters"):
        rows += list(flatten(results.get(name) or {}, name))
    return rows
