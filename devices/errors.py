"""The exceptions that operators read: what, where, what is allowed, what to do."""


class ZoneplateError(Exception):
    """Base of every error that zoneplate raises on purpose.

    The message is one line that a tired operator understands: the value, where it was found,
    the allowed range and what to do.
    """


class ConfigurationError(ZoneplateError, ValueError):
    """A value in a request, an instrument file or a specimen file is not possible."""


class AcquisitionError(ZoneplateError, RuntimeError):
    """Something went wrong while the microscope was moving or exposing."""


class FrameError(AcquisitionError):
    """A frame is lost or spoiled; taking it again may mend it."""
