"""`python -m zoneplate.simulators.ioc`: serve the simulated microscope over Channel Access."""

from __future__ import annotations

import os

# This process serves Channel Access; ophyd's classes are only read for the names of their PVs.
os.environ["OPHYD_CONTROL_LAYER"] = "dummy"

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
