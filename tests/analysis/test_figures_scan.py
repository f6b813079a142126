"""Pictures of the measurement say what the numbers say."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from volume_scene import VOXEL_UM, tables, volume_view

from zoneplate.analysis.figures_error import error_figure
from zoneplate.analysis.figures_scan import (
    exposure_figure,
    noise_figure,
    trade_off_figure,
    transmission_figure,
)
from zoneplate.analysis.figures_style import rendered

FACTS = {
    "threshold_per_um": 0.02,
    "half_contrast_threshold_per_um": 0.022,
    "snr_definitions": {"snr": 10.6, "snr_pooled": 10.0, "solid_mean": 0.0437},
    "transmission_per_angle": {
        "angles_deg": [-90.0, 0.0, 90.0],
        "mean": [0.5, 0.84, 0.5],
        "footprint": [0.2, 0.65, None],
        "minimum": [0.01, 0.45, 0.01],
    },
}
SETTING = {
    "volume_bytes": 4e6, "raw_bytes": 5e6, "memory_bytes": 18e6, "time_s": 295.0,
    "smallest_void_um": 1.8, "resolution_um": 1.0,
}  # fmt: skip


def line(figure: Figure, axes: int, label: str) -> np.ndarray:
    (found,) = (one for one in figure.axes[axes].lines if one.get_label() == label)
    return np.column_stack([np.asarray(v, dtype=float) for v in found.get_data()])


def test_best_thickness_is_where_absorbance_stands_out_most_from_noise():
    frames = np.full((3, 8, 8), 0.8)
    figure = transmission_figure(FACTS, frames, [-90, 0, 90], [5.0, 6.0, 7.0])
    curve = line(figure, 2, "contrast to noise, of the best")
    assert curve[np.argmax(curve[:, 1]), 0] == pytest.approx(2 / 0.0437, rel=0.02)
    assert curve[:, 1].max() == pytest.approx(100, abs=0.1)
    through = line(figure, 2, "transmission")
    assert np.interp(2 / 0.0437, *through.T) == pytest.approx(100 * np.exp(-2), abs=0.1)
    behind = line(figure, 1, "behind particles")
    assert behind[:2, 1].tolist() == [20, 65]
    assert np.isnan(behind[2, 1])


def test_exposure_curves_go_through_the_scan():
    figure = exposure_figure(exposure_s=1.0, projections=141, time_s=295.0, snr=10.6)
    minutes, noise = line(figure, 0, "from this scan"), line(figure, 1, "from this scan")
    assert np.interp(1.0, *minutes.T) == pytest.approx(295 / 60, rel=1e-3)
    assert minutes[-1, 1] == pytest.approx((295 + 141 * 9) / 60)
    assert noise[-1, 1] / noise[0, 1] == pytest.approx(10)


def test_trade_off_shows_every_binning():
    rows = [{"binning": n, "voxel_um": 0.064 * n, **SETTING} for n in (1, 2, 4, 8)]
    figure = trade_off_figure({"binning": 8, "same_exposure": rows, "same_noise": rows[1:]})
    assert line(figure, 0, "frames")[:, 0].tolist() == [64, 128, 256, 512]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == [
        "64", "128", "256", "512"
    ]  # fmt: skip
    assert len(line(figure, 1, "same noise")) == 3
    assert rendered(figure, 40).width > 100


def test_grey_values_of_particles_and_voids_are_told_apart():
    figure = noise_figure(volume_view(), FACTS)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels[:3] == ["outside of particles", "particles", "voids"]
    assert labels[3] == "threshold 0.0200 / µm"
    assert [round(bar.get_width(), 1) for bar in figure.axes[1].patches] == [10.6, 10.0]


def test_error_of_a_particle_is_half_a_voxel_of_its_surface():
    particles, _ = tables()
    particles["volume_um3_se"] = 3.0
    figure = error_figure(volume_view(), particles, 2, FACTS)
    volume, area = particles.loc[1, ["volume_um3", "surface_area_um2"]]
    (ends,) = (one for one in figure.axes[1].lines if "half a voxel" in str(one.get_label()))
    assert np.diff(ends.get_ydata()) == pytest.approx(area * VOXEL_UM)
    assert f"{100 * area * VOXEL_UM / 2 / volume:.0f} %" in str(ends.get_label())
    curve = figure.axes[2].lines[0].get_ydata()
    assert (np.diff(curve) <= 0).all()  # a higher threshold leaves less
    assert np.median(curve) == pytest.approx(volume, rel=0.05)
