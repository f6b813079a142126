"""Figures of the measurement itself: transmission, noise, exposure, and what else it could cost.

They stand for what the study's supporting information describes (figures S1 to S6, S9 and S10),
made from the settings and the frames of this scan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from .figures_style import (
    INK,
    MARKERS,
    MUTED,
    PARTICLE,
    SERIES,
    VOID,
    new_figure,
    plot_grid,
    style,
)
from .figures_volume import VolumeView

OPTIMAL_ABSORBANCE = 2.0
"""Attenuation times thickness at which absorbance stands out most from photon noise: its error is
``exp(mu t / 2)``, so ``mu t exp(-mu t / 2)`` is largest here, and the transmission exp(-2)."""
STUDY_OPTIMUM_UM, STUDY_OPTIMUM = 42.0, 0.14
"""Of the study, for NMC811 at 5.4 keV."""
STUDY_SNR, STUDY_SCAN_S = 10.4, 300.0
SNR_NAMES = {
    "snr": "mean / noise, by particle",
    "snr_pooled": "mean / noise, all together",
    "contrast_over_background_noise": "contrast / background noise",
    "contrast_to_noise": "contrast / both noises",
}
TYPICAL_PERCENTS = (10.0, 90.0)
GREY_PERCENTILES = (0.05, 99.999)
GREY_BINS = 120

Json = Mapping[str, Any]


def transmission_figure(
    tomogram: Json,
    transmission: ArrayLike,
    angles_deg: ArrayLike,
    diameters_um: ArrayLike,
) -> Figure:
    """Draw what is transmitted: over the pixels, over the angle, and against thickness.

    Parameters
    ----------
    tomogram
        Facts of one tomogram (`results.json`): ``transmission_per_angle`` and
        ``snr_definitions.solid_mean``, the attenuation of its particles, 1/um.
    transmission : (n, rows, columns) array
        Radiographs; those nearest to front-on and edge-on are used.
    angles_deg : (n,) array
        Their angles.
    diameters_um : (n,) array
        Of the whole particles.
    """
    figure = new_figure(11.0, 3.8)
    pixels, angles, thickness = figure.subplots(1, 3)
    _transmission_of_pixels(pixels, np.asarray(transmission), np.asarray(angles_deg, dtype=float))
    _transmission_over_angle(angles, tomogram.get("transmission_per_angle") or {})
    attenuation = (tomogram.get("snr_definitions") or {}).get("solid_mean")
    _transmission_of_thickness(thickness, attenuation, np.asarray(diameters_um, dtype=float))
    return figure


def _transmission_of_pixels(
    axes: Axes, frames: NDArray[np.floating], angles: NDArray[np.float64]
) -> None:
    plot_grid(axes)
    edges = np.linspace(0, max(1.05, float(np.nanpercentile(frames, 99.9))), 60)
    for wanted, color, name in ((0.0, SERIES[2], "front-on"), (90.0, SERIES[0], "edge-on")):
        index = int(np.argmin(np.abs(np.abs(angles) - wanted)))
        share = 100 * np.histogram(frames[index], edges)[0] / frames[index].size
        label = f"{name}, mean {100 * float(frames[index].mean()):.0f} %"
        axes.stairs(share, 100 * edges, color=color, lw=1.6, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())  # hundreds of ticks, which take their time
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.legend(frameon=False, fontsize=9, loc="upper center")
    axes.set_ylim(top=8 * axes.get_ylim()[1])
    style(axes, "transmission of a pixel (%)", "share of the pixels (%)", "a  Over the field")


def _transmission_over_angle(axes: Axes, per_angle: Json) -> None:
    plot_grid(axes)
    style(axes, "angle (°)", "transmission (%)", "b  Over the angle")
    if not per_angle:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=MUTED)
        return
    for name, color, label in (
        ("mean", SERIES[2], "mean of the field"),
        ("footprint", PARTICLE, "behind particles"),
        ("minimum", SERIES[0], "darkest spot"),
    ):
        values = np.array(per_angle[name], dtype=float)
        axes.plot(per_angle["angles_deg"], 100 * values, color=color, lw=1.6, label=label)
    axes.set_ylim(0, 145)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xticks(range(-90, 91, 45))
    axes.legend(frameon=False, fontsize=9, loc="upper center")


def _transmission_of_thickness(
    axes: Axes, attenuation_per_um: float | None, diameters_um: NDArray[np.float64]
) -> None:
    plot_grid(axes)
    style(axes, "solid in the beam (µm)", "share (%)", "c  Against thickness")
    if not attenuation_per_um or attenuation_per_um <= 0:
        axes.text(0.5, 0.5, "no particle", transform=axes.transAxes, ha="center", color=MUTED)
        return
    best_um = OPTIMAL_ABSORBANCE / attenuation_per_um
    along = np.linspace(0, 2.2 * best_um, 200)
    absorbance = attenuation_per_um * along
    seen = absorbance * np.exp(-absorbance / 2)
    best = OPTIMAL_ABSORBANCE * math.exp(-OPTIMAL_ABSORBANCE / 2)
    axes.plot(along, 100 * np.exp(-absorbance), color=SERIES[2], lw=1.8, label="transmission")
    axes.plot(
        along, 100 * seen / best, color=SERIES[3], lw=1.8, label="contrast to noise, of the best"
    )
    axes.plot([best_um], [100 * math.exp(-OPTIMAL_ABSORBANCE)], "o", color=SERIES[2], ms=7)
    axes.annotate(
        f"best: {best_um:.0f} µm, {100 * math.exp(-OPTIMAL_ABSORBANCE):.1f} %",
        (best_um, 100 * math.exp(-OPTIMAL_ABSORBANCE)),
        xytext=(4, 8),
        textcoords="offset points",
        fontsize=9,
        color=INK,
    )
    axes.plot(
        [STUDY_OPTIMUM_UM], [100 * STUDY_OPTIMUM], "s", mfc="none", mec=INK, label="study, NMC811"
    )
    if len(diameters_um):
        low, high = np.percentile(diameters_um, TYPICAL_PERCENTS)
        axes.axvspan(low, high, color=PARTICLE, alpha=0.2, lw=0, label="8 of 10 particles")
    axes.set_ylim(0, 165)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlim(0, along[-1])
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")


def exposure_figure(
    *, exposure_s: float, projections: int, time_s: float, snr: float | None
) -> Figure:
    """Draw how long the scan would take, and how noisy it would be, at other exposures.

    Parameters
    ----------
    exposure_s, projections
        Of the scan.
    time_s
        That it took; what is not exposure of projections is taken as the same for all.
    snr
        Signal-to-noise that it had; noise is taken as that of photons.
    """
    figure = new_figure(10.0, 3.6)
    duration, noise = figure.subplots(1, 2)
    along = exposure_s * np.geomspace(0.1, 10, 100)
    rest_s = max(time_s - projections * exposure_s, 0.0)
    for axes, values, here, study, label, title in (
        (
            duration,
            (rest_s + projections * along) / 60,
            time_s / 60,
            (STUDY_SCAN_S / 60, "study: under 5 min"),
            "whole tomogram (min)",
            f"a  Duration of {projections} projections",
        ),
        (
            noise,
            (snr or math.nan) * np.sqrt(along / exposure_s),
            snr or math.nan,
            (STUDY_SNR, f"study: {STUDY_SNR:g}"),
            "signal to noise in particles (1)",
            "b  Signal to noise",
        ),
    ):
        plot_grid(axes)
        axes.plot(along, values, color=SERIES[2], lw=1.8, label="from this scan")
        axes.plot([exposure_s], [here], "o", color=SERIES[0], ms=8, label="this scan")
        axes.axhline(study[0], color=INK, lw=1.2, ls="--", label=study[1])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
        style(axes, "exposure of a projection (s)", label, title)
    return figure


def noise_figure(view: VolumeView, tomogram: Json) -> Figure:
    """Draw the grey values of background, particles and voids, and the ratios made of them.

    Parameters
    ----------
    view
        The tomogram.
    tomogram
        Its facts (`results.json`): ``threshold_per_um`` and ``snr_definitions``.
    """
    figure = new_figure(10.0, 3.8)
    greys, ratios = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.5, 1)})
    plot_grid(greys)
    inside = view.particles > 0
    parts = (
        ("outside of particles", ~inside & (view.volume != 0), MUTED),  # 0: beyond the cylinder
        ("particles", inside & (view.voids == 0), PARTICLE),
        ("voids", view.voids > 0, VOID),
    )
    low, high = np.percentile(view.volume[::2, ::2, ::2], GREY_PERCENTILES)
    edges = np.linspace(low, high, GREY_BINS)
    for name, where, color in parts:
        values = view.volume[where]
        if values.size:
            greys.stairs(np.histogram(values, edges)[0], edges, color=color, lw=1.6, label=name)
    for name, dashes, label in (
        ("threshold_per_um", "--", "threshold"),
        ("half_contrast_threshold_per_um", ":", "half contrast, for comparison"),
    ):
        if tomogram.get(name):
            value = float(tomogram[name])
            greys.axvline(value, color=INK, ls=dashes, lw=1.3, label=f"{label} {value:.4f} / µm")
    greys.set_yscale("log")
    greys.yaxis.set_minor_locator(NullLocator())
    greys.set_ylim(top=300 * greys.get_ylim()[1])
    greys.legend(fontsize=9, loc="upper right", framealpha=1, edgecolor="white")
    style(greys, "attenuation of a voxel (1/µm)", "number of voxels", "a  Grey values")
    _ratios(ratios, tomogram.get("snr_definitions") or {})
    return figure


def _ratios(axes: Axes, definitions: Json) -> None:
    known = [
        (label, float(definitions[name]))
        for name, label in SNR_NAMES.items()
        if definitions.get(name) is not None
    ]
    axes.set_title("b  Signal to noise, by definition", loc="left", fontsize=10, fontweight="bold")
    axes.grid(True, axis="x", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    places = np.arange(len(known))[::-1]
    axes.barh(places, [value for _, value in known], color=SERIES[2], height=0.55)
    for place, (label, value) in zip(places, known, strict=True):
        axes.text(0, place + 0.32, label, fontsize=9, color=INK, va="bottom")
        axes.text(value, place, f" {value:.1f}", fontsize=9, color=INK, va="center")
    axes.axvline(STUDY_SNR, color=INK, ls="--", lw=1.3)
    axes.text(
        STUDY_SNR, -0.75, f"study: {STUDY_SNR:g}, definition not stated", fontsize=8, ha="center"
    )
    axes.set_ylim(-0.95, max(len(known) - 0.2, 0.5))
    axes.set_xlim(0, 1.25 * max([STUDY_SNR * 1.3, *(value for _, value in known)]))
    axes.set_yticks([])
    axes.set_xlabel("ratio (1)", color=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def trade_off_figure(trade_off: Json) -> Figure:
    """Draw what finer voxels cost and show: size, time and the smallest void.

    Parameters
    ----------
    trade_off
        Block of `results.json`: rows ``same_exposure`` and ``same_noise``, one per binning.
    """
    figure = new_figure(11.0, 3.9)
    size, duration, detail = figure.subplots(1, 3)
    same: Sequence[Json] = trade_off["same_exposure"]
    quiet: Sequence[Json] = trade_off["same_noise"]
    voxel = [1000 * row["voxel_um"] for row in same]
    used = trade_off["binning"]
    _trend(size, same, lambda row: row["volume_bytes"] / 1e6, 0, "volume, 16 bit")
    _trend(size, same, lambda row: row["raw_bytes"] / 1e6, 1, "frames")
    _trend(size, same, lambda row: row["memory_bytes"] / 1e6, 2, "memory in use")
    _trend(duration, same, lambda row: row["time_s"] / 3600, 0, "same exposure")
    _trend(duration, quiet, lambda row: row["time_s"] / 3600, 1, "same noise")
    _trend(detail, same, lambda row: row["smallest_void_um"], 0, "smallest void")
    _trend(detail, same, lambda row: row["resolution_um"], 1, "resolution")
    for axes, label, title in (
        (size, "size (MB)", "a  Data of a tomogram"),
        (duration, "instrument time (h)", "b  Time of a tomogram"),
        (detail, "diameter, distance (µm)", "c  What it shows"),
    ):
        plot_grid(axes)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(voxel, [f"{one:.0f}" for one in voxel])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if axes is detail else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.yaxis.set_minor_locator(NullLocator())
        here = [1000 * row["voxel_um"] for row in same if row["binning"] == used]
        for place in here:
            axes.axvline(place, color=MUTED, lw=6, alpha=0.25, zorder=0, label="this scan")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.35)
        axes.legend(frameon=False, fontsize=9, loc="upper right")
        style(axes, "voxel (nm)", label, title)
    return figure


def _trend(
    axes: Axes, rows: Sequence[Json], of: Callable[[Json], float], number: int, label: str
) -> None:
    x, y = [1000 * row["voxel_um"] for row in rows], [of(row) for row in rows]
    axes.plot(x, y, color=SERIES[number + 2], marker=MARKERS[number], ms=5, lw=1.6, label=label)


def _plain(value: float, _: object) -> str:
    """Write a tick without an exponent."""
    return f"{value:,.10g}"
