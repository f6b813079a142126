"""What a frame and the shutter can be: known to devices and to servers, which need no ophyd."""

from __future__ import annotations

from enum import IntEnum


class ImageKey(IntEnum):
    """What a frame is, with the codes of the NeXus application definition NXtomo."""

    PROJECTION = 0
    FLAT = 1
    DARK = 2
    INVALID = 3


SHUTTER_OPEN = "open"
SHUTTER_CLOSED = "closed"
