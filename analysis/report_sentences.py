"""What the report says in sentences: what was measured, how, and what to beware of."""

from __future__ import annotations

from .report_format import Json, format_limit, format_number, format_seconds, is_finite


def measured_sentence(results: Json) -> str:
    """Say in one sentence what was measured."""
    parts = []
    mosaic = results.get("mosaic")
    timing = results.get("timing") or {}
    if mosaic:
        area = mosaic.get("area_um2")
        square = f" ({format_number(area / 1e6, 2)} mm²)" if is_finite(area) else ""
        text = f"a radiograph map of {format_number(mosaic.get('tiles'))} tiles{square}"
        if is_finite(mosaic.get("particles")):
            text += f" with {format_number(mosaic['particles'])} particles"
        if is_finite(timing.get("mosaic_s")):
            text += f", taken in {format_seconds(timing['mosaic_s'])}"
        parts.append(text)
    tomograms = results.get("tomograms") or []
    if tomograms:
        views = sorted({t["projections"] for t in tomograms if is_finite(t.get("projections"))})
        number = "one tomogram" if len(tomograms) == 1 else f"{len(tomograms)} tomograms"
        text = number
        if views:
            text += " of " + " or ".join(format_number(v) for v in views) + " projections"
            text += " each" if len(tomograms) > 1 else ""
        seconds = [s for s in timing.get("tomography_s") or [] if is_finite(s)]
        if seconds:
            text += f", {format_seconds(max(seconds))}" + (" at most" if len(seconds) > 1 else "")
        parts.append(text)
    if not parts:
        return "Measured tables only."
    sentence = ", then ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def warnings(results: Json, extra: list[str]) -> list[str]:
    """Collect every warning once, in order of importance."""
    found = [str(w) for w in results.get("warnings") or []]
    tomograms = results.get("tomograms") or []
    for number, tomogram in enumerate(tomograms, start=1):
        prefix = f"Region {number}: " if len(tomograms) > 1 else ""
        found += [f"{prefix}{w}" for w in tomogram.get("warnings") or [] if str(w) not in found]
    about: dict[str, list[str]] = {}
    for name in ("void_frequency", "dead_volume_fraction"):
        warning = (results.get(name) or {}).get("warning")
        if warning:
            about.setdefault(str(warning), []).append(_WORDS[name])
    found += [f"{' and '.join(names).capitalize()}: {warning}." for warning, names in about.items()]
    # The same sentence with and without a capital letter is one.
    first = {one.lower(): one for one in reversed([*found, *extra])}
    return [one for one in dict.fromkeys([*found, *extra]) if first[one.lower()] == one]


_WORDS = {"void_frequency": "void frequency", "dead_volume_fraction": "dead volume"}


def detection_limit(results: Json) -> str:
    """Say which voids count and what that leaves out."""
    limit = (results.get("void_frequency") or {}).get("larger_than_um")
    if not is_finite(limit):
        return "No size limit was applied to voids; the smallest ones may be noise."
    return (
        f"Voids count from an equivalent diameter of {format_limit(limit)} µm. Smaller ones are "
        "missed too often at these settings to be counted fairly, so “no void found” means none "
        f"larger than that. {_twin((results.get('detection_limit') or {}).get('twin'))}"
    )


def _twin(twin: Json | None) -> str:
    """Say what a simulated twin of the scan showed."""
    if not twin:
        return (
            "How small a void these settings show was not tried in simulation (zoneplate detection "
            "does)."
        )
    half, most, false = twin["d50_um"], twin["d90_um"], twin["false_voids_per_particle"]
    return (
        f"In a simulated twin of this scan half of the voids of {half['value']:.2f} µm were found, "
        f"and nine of ten of {most['value']:.2f} µm ({most['low']:.2f} to {most['high']:.2f} µm, "
        f"{twin['voids']} voids), with {false['value']:.3f} false voids per particle (at most "
        f"{false['high']:.3f}, {twin['particles']} particles)."
    )


def interval_method(results: Json) -> str:
    """Say how the intervals were made."""
    frequency = results.get("void_frequency") or {}
    dead = results.get("dead_volume_fraction") or {}
    methods = []
    if frequency.get("method"):
        methods.append(f"void frequency: {frequency['method']}, n = {frequency.get('n')}")
    if dead.get("method"):
        methods.append(f"dead volume: {dead['method']}")
    told = f" Methods: {'; '.join(methods)}." if methods else ""
    return (
        "They tell how far the number could be off because only these particles were measured. "
        "They do not cover whether these particles represent the lot: that depends on how the "
        f"powder was sampled.{told}"
    )


def area_definition(results: Json) -> str:
    """Say which surface areas the tables hold."""
    ours = (
        "Ours is the Crofton estimate over 13 directions, free of bias on smooth surfaces. The "
        "study added up voxel faces, which reads 1.5 times as much and makes a perfect sphere's "
        "sphericity 0.67."
    )
    if results.get("particles_faces"):
        return f"{ours} Rows “from voxel faces” use the study's way."
    return f"{ours} Its areas, SA:V and sphericity therefore do not compare directly."
