"""The names that outside scripts rely on."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

NAMES = {
    "zoneplate.acquisition": ["open_session"],
    "zoneplate.plans": ["mosaic", "tomography", "screen", "flats", "darks", "estimate"],
    "zoneplate.analysis": [
        "stitch",
        "normalize",
        "StreamingReconstruction",
        "reconstruct",
        "segment",
        "measure_particles",
        "measure_voids",
        "measure_radii",
        "summarize",
        "write_report",
    ],
    "zoneplate.simulators": [
        "Specimen",
        "Particle",
        "Void",
        "nmc622",
        "nmc811",
        "simulated_microscope",
    ],
}


@pytest.mark.parametrize(("module", "names"), NAMES.items())
def test_promised_names_are_there(module, names):
    found = importlib.import_module(module)
    for name in names:
        assert callable(getattr(found, name)), name
    assert set(names) <= set(found.__all__)
    for name in found.__all__:
        assert hasattr(found, name), name


def test_unknown_name_is_an_attribute_error():
    analysis = importlib.import_module("zoneplate.analysis")
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = analysis.magic


def test_arrays_in_tables_out_without_any_device():
    code = (
        "import sys, numpy as np\n"
        "from zoneplate.analysis import segment, measure_particles, measure_voids, summarize\n"
        "i, j, k = np.mgrid[:30, :40, :40] - np.array([15, 20, 20])[:, None, None, None]\n"
        "d = np.sqrt(i**2 + j**2 + k**2)\n"
        "found = segment(np.where((d < 11) & (d > 4), 0.044, 0.0), 0.512)\n"
        "table = measure_particles(found, 0.512)\n"
        "print(summarize(table, measure_voids(found, 0.512))['particles']['count'])\n"
        "assert not {'bluesky', 'ophyd', 'tiled'} & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "1"


def test_labels_of_somebody_else_can_be_measured():
    from zoneplate.analysis import measure_particles

    labels = np.zeros((20, 22, 24), dtype=np.int32)
    labels[5:9, 6:10, 7:11] = 1
    table = measure_particles(labels, 0.5, area="faces")
    assert table["volume_um3"].iloc[0] == pytest.approx(64 * 0.125)
    assert table["surface_area_um2"].iloc[0] == pytest.approx(6 * 16 * 0.25)
