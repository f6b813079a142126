"""`python -m zoneplate.simulators.ioc`: serve the simulated microscope over Channel Access."""

from __future__ import annotations

import os
import sys

# This process serves Channel Access; ophyd's classes are only read for the names of their PVs.
os.environ["OPHYD_CONTROL_LAYER"] = "dummy"

from .command import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is closed; taking the interpreter down in good order would take another second, and
    # whoever restarts a server waits for it.
    os._exit(code)
