"""A first scan: a small map, a quick tomogram of its middle, and what came out of it.

    python examples/first_scan.py [DATA_DIRECTORY]

Everything is simulated. Time is instrument time: nothing waits for a motor, yet the documents
say when each frame would have been taken.
"""

import sys
import tempfile

from zoneplate.acquisition import open_session
from zoneplate.plans import estimate, mosaic, tomography

data_dir = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="zoneplate-")

with open_session("simulated", sample="nmc622", seed=1, data_dir=data_dir) as session:
    RE, microscope, catalog = session.RE, session.microscope, session.catalog
    catalog.start()  # in the background, so that it is ready when it is asked

    quick = {"center_um": (0, 0, 3), "projections": 61}
    cost = estimate(tomography(microscope, **quick))
    print(f"the tomogram will take {cost.time_s:.0f} s and {cost.disk_bytes / 1e6:.1f} MB")

    (map_uid,) = RE(mosaic(microscope, shape=(2, 2)))
    print(f"map: {session.map(map_uid).facts['particles']} particles on 4 tiles")

    (uid,) = RE(tomography(microscope, **quick))
    tomogram = session.tomogram(uid)
    print(tomogram.particles[["center_x_um", "center_y_um", "equivalent_diameter_um"]].head())

    run = catalog[uid]
    print(f"{run.start['sample']}: {run.stop['num_events']}, {run.stop['exit_status']}")
    print(run.table("primary")[["microscope_stage_theta", "microscope_camera_mean_counts"]].head())
