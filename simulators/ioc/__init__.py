"""The simulated microscope as an EPICS Channel Access server.

`python -m zoneplate.simulators.ioc` runs it; `ServerProcess` starts one as a child process and
ends it again.
"""

from .process import ServerProcess

__all__ = ["ServerProcess"]
