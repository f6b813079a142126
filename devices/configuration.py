"""The instrument file: every constant of one microscope, validated, each with its source.

`InstrumentConfiguration.load()` reads the file that ships with zoneplate
(`devices/instrument.toml`); a path reads your own. Unknown keys are refused, so a
misspelled one cannot pass unnoticed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import ConfigurationError
from .optics import Detector, ZonePlate

DEFAULT_INSTRUMENT_FILE = Path(__file__).with_name("instrument.toml")

FOCUS = "zone_plate_z"
"""Name of the axis that focuses."""

AXES = ("x", "y", "z", "theta", FOCUS)
"""All axes of a microscope: the stage's, then the zone plate's."""

OPTIONAL_RECORDS = ("Source:Current", "Source:Energy_RBV", "Environment:Temperature_RBV")
"""What an instrument may be without: its constant in the instrument file stands for it."""

RECORDS = (
    "Stage:X",
    "Stage:Y",
    "Stage:Z",
    "Stage:Theta",
    "Optics:ZonePlateZ",
    "cam1:",
    "image1:",
    "HDF1:",
    "Stats1:",
    "Shutter:Command",
    "Shutter:State_RBV",
    *OPTIONAL_RECORDS,
)
"""Our names of what is driven over EPICS; those that end in a colon stand for all below them."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(description="Where the numbers of this section come from")


class AxisConfiguration(_Section):
    """One motion axis."""

    low: float = Field(description="Lower soft limit, in `unit`")
    high: float = Field(description="Upper soft limit, in `unit`")
    unit: str
    velocity: float = Field(gt=0, description="`unit` per second")
    acceleration_s: float = Field(ge=0, description="Time from rest to full velocity")
    settle_s: float = Field(ge=0, description="Wait after the profile ended")
    deadband: float = Field(gt=0, description="Largest accepted |readback - setpoint|, in `unit`")
    repeatability: float = Field(ge=0, description="Standard deviation of arrival, in `unit`")
    backlash: float = Field(
        default=0.0,
        ge=0,
        description="Lost motion when the axis turns round, in `unit`: positions where frames are "
        "taken are reached from below. 0 where the controller takes care of it",
    )


class StageConfiguration(BaseModel):
    """The four axes of the sample stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: AxisConfiguration
    y: AxisConfiguration
    z: AxisConfiguration
    theta: AxisConfiguration


class SourceConfiguration(_Section):
    """The X-ray source."""

    energy_kev: float = Field(gt=1, lt=30)
    flux_per_um2_s: float = Field(gt=0, description="Detected photons per um2 of sample, open beam")


class OpticsConfiguration(_Section):
    """Condenser and zone plate."""

    outer_zone_width_nm: float = Field(gt=0)
    diameter_um: float = Field(gt=0)
    zone_plate_z: AxisConfiguration = Field(description="Focus: the zone plate along the beam")

    @property
    def zone_plate(self) -> ZonePlate:
        """The zone plate as geometry."""
        return ZonePlate(self.outer_zone_width_nm, self.diameter_um)


class CameraConfiguration(_Section):
    """The camera."""

    rows: int = Field(gt=0)
    columns: int = Field(gt=0)
    pixel_um: float = Field(gt=0, description="Unbinned pixel in the sample plane")
    readout_s: dict[int, float] = Field(description="Readout time by binning")
    exposure_min_s: float = Field(gt=0)
    exposure_max_s: float = Field(gt=0)
    gain_adu_per_photon: float = Field(gt=0)
    offset_adu: float = Field(ge=0)
    dark_adu_per_s: float = Field(ge=0, description="Dark current per unbinned pixel")
    read_noise_adu: float = Field(ge=0, description="Standard deviation per readout, any binning")
    full_well_adu: float = Field(gt=0)

    @property
    def detector(self) -> Detector:
        """The camera as geometry."""
        return Detector(self.rows, self.columns, self.pixel_um)


class ShutterConfiguration(_Section):
    """The beam shutter."""

    travel_s: float = Field(ge=0, description="Time to open or close")


class EnvironmentConfiguration(_Section):
    """The air around the microscope."""

    temperature_c: float = Field(description="What it should be")
    tolerance_c: float = Field(gt=0, description="Largest deviation at which frames are good")


class EnvelopeConfiguration(_Section):
    """What could collide: sizes and distances for `zoneplate.devices.envelope`."""

    holder_half_width_um: float = Field(gt=0, description="Sample holder along x, to each side")
    holder_front_um: float = Field(ge=0, description="How far it reaches to +z of the support")
    holder_back_um: float = Field(ge=0, description="How far it reaches to -z of the support")
    zone_plate_distance_um: float = Field(
        gt=0, description="Rotation axis to the zone plate's housing, at zone_plate_z = 0"
    )
    condenser_distance_um: float = Field(gt=0, description="Rotation axis to the condenser")
    clearance_um: float = Field(gt=0, description="Smallest distance that is allowed")


class ShutterWords(BaseModel):
    """What the records of a shutter call its two positions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    open: str = "open"
    closed: str = "closed"


class EpicsConfiguration(_Section):
    """Where the instrument is found over EPICS."""

    prefix: str = Field(min_length=1, description="Begin of every PV name that is not in `names`")
    names: dict[str, str] = Field(
        default_factory=dict,
        description="What stands at this instrument for one of `RECORDS`; empty: there is none",
    )
    shutter_words: ShutterWords = ShutterWords()

    @field_validator("names")
    @classmethod
    def _known(cls, names: dict[str, str]) -> dict[str, str]:
        for ours, theirs in names.items():
            if ours not in RECORDS:
                raise ValueError(f"{ours!r} is not driven: choose from {', '.join(RECORDS)}")
            if not theirs and ours not in OPTIONAL_RECORDS:
                raise ValueError(
                    f"{ours!r} has no PV, but only {', '.join(OPTIONAL_RECORDS)} may be missing"
                )
            if theirs and ours.endswith(":") != theirs.endswith(":"):
                raise ValueError(f"{ours!r} and {theirs!r}: both end in a colon, or none does")
        return names


class InstrumentConfiguration(BaseModel):
    """Everything that distinguishes one microscope from another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    stage: StageConfiguration
    source: SourceConfiguration
    optics: OpticsConfiguration
    camera: CameraConfiguration
    shutter: ShutterConfiguration
    environment: EnvironmentConfiguration | None = None
    """None: nobody watches the temperature."""
    envelope: EnvelopeConfiguration | None = None
    """None: nothing is known that could collide."""
    epics: EpicsConfiguration | None = None
    """None: it is simulated."""

    def axis(self, name: str) -> AxisConfiguration:
        """Return the section of an axis: `x`, `y`, `z`, `theta` or `zone_plate_z`."""
        section: AxisConfiguration = getattr(self.optics if name == FOCUS else self.stage, name)
        return section

    @classmethod
    def load(cls, path: str | Path | None = None) -> InstrumentConfiguration:
        """Read an instrument file.

        Parameters
        ----------
        path
            A TOML file; the one that ships with zoneplate if None.

        Raises
        ------
        ConfigurationError
            If the file cannot be read, or a value is missing, unknown or out of range.
        """
        file = Path(path) if path is not None else DEFAULT_INSTRUMENT_FILE
        try:
            return cls.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigurationError(
                f"instrument file {file} cannot be read: {error.strerror}; check the path"
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"instrument file {file} is not TOML: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(
                f"instrument file {file}: {where}: {first['msg']} (got {first.get('input')!r})"
            ) from error
