"""Screening a powder: a map, the best region of it, its tomogram, a report.

    python examples/screen_powder.py [DATA_DIRECTORY]

Small, to be quick: `zoneplate screen` does the same at the study's settings.
"""

import sys
import tempfile
from pathlib import Path

from zoneplate.acquisition import open_session, screen_sample

data_dir = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="zoneplate-")
out = Path(data_dir) / "report"

with open_session("simulated", sample="nmc622", seed=2, data_dir=data_dir) as session:
    results = screen_sample(session, out, regions=1, shape=(2, 2), projections=61, progress=print)

document = results.document
particles, voids = document["particles"], document["void_frequency"]
diameter = particles["equivalent_diameter_um"]
print(f"map: {document['mosaic']['particles']} particles, {document['mosaic']['area_um2']:.0f} um2")
print(f"{particles['count']} whole particles, {diameter['mean']:.2f} +- {diameter['se']:.2f} um")
print(f"{voids['k']} of {voids['n']} hold a void larger than {voids['larger_than_um']} um")
print(f"truth: {document['truth']['particles']['count']} particles")
print(out / "report.html")
