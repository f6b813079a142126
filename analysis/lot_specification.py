"""What a lot must fulfil: limits, the risks of judging wrongly, and what a judgement may cost.

A specification is a TOML file. Everything is checked when it is read, and unknown keys are
refused, so that a misspelled limit cannot pass unnoticed.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Quantity = Literal["void_frequency", "dead_volume_fraction", "percentile", "mean", "share"]

FRACTIONS = ("void_frequency", "dead_volume_fraction", "share")
UNITS = {"_um": "um", "_um2": "um2", "_um3": "um3", "_per_um": "1/um"}
"""Endings of column names that tell the unit, the longest match first."""

TYPICAL_SPREADS = {
    "dead_volume_fraction": 2.6,
    "mean particles.equivalent_diameter_um": 0.45,
    "mean particles.volume_um3": 1.6,
    "mean particles.sphericity": 0.05,
    "mean particles.surface_to_volume_per_um": 0.5,
    "d50": 0.54,
}
"""Relative standard deviation that one particle brings in, for planning only. The study's powder
(lognormal, sigma 0.43): its coefficients of variation, and ``sigma sqrt(pi / 2)`` of the median;
of the dead
volume, that of its linearised ratio with a void (2.3 um, sigma 0.27) in 55 % of particles."""


class SpecificationError(ValueError):
    """A lot specification cannot be used; the message says which entry and what is allowed."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limit(_Entry):
    """A limit on one quantity: a level that is still good, and one that is bad.

    Between the two either decision is tolerable. With ``rejectable`` above ``acceptable`` large
    values are bad, with ``rejectable`` below it small ones are; a window is two limits.
    """

    quantity: Quantity = Field(description="What is judged")
    acceptable: float = Field(description="A lot at this level is rejected with probability alpha")
    rejectable: float = Field(description="A lot at this level is accepted with probability beta")
    column: str | None = Field(default=None, description="Of `mean` and `share`: the column")
    of: Literal["particles", "voids"] = Field(
        default="particles", description="Of `mean`: whose table the column is in"
    )
    percent: float | None = Field(
        default=None, gt=0, lt=100, description="Of `percentile`: 50 is the median diameter"
    )
    above: float | None = Field(default=None, description="Of `share`: particles above this")
    below: float | None = Field(default=None, description="Of `share`: particles below this")
    spread: float | None = Field(
        default=None, gt=0, description="Relative standard deviation of a particle, for planning"
    )
    title: str | None = Field(
        default=None, min_length=1, description="What the report calls it; by default its name"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.acceptable == self.rejectable:
            raise ValueError("acceptable and rejectable must differ")
        levels = (self.acceptable, self.rejectable)
        if self.quantity in FRACTIONS and not all(0 < level < 1 for level in levels):
            raise ValueError(f"{self.quantity} is a fraction: levels lie between 0 and 1")
        if not all(level > 0 and math.isfinite(level) for level in levels):
            raise ValueError("levels must be positive")
        if (self.column is not None) != (self.quantity in ("mean", "share")):
            raise ValueError("column belongs to the quantities mean and share, and to no other")
        if (self.percent is not None) != (self.quantity == "percentile"):
            raise ValueError("percent belongs to the quantity percentile, and to no other")
        if ((self.above is None) == (self.below is None)) != (self.quantity != "share"):
            raise ValueError("the quantity share needs either above or below; no other has them")
        if self.of == "voids" and self.quantity != "mean":
            raise ValueError("of = voids belongs to the quantity mean")
        return self

    @property
    def upper(self) -> bool:
        """Whether large values are bad."""
        return self.rejectable > self.acceptable

    @property
    def name(self) -> str:
        """Short name, such as ``void_frequency`` or ``d50_number_um``."""
        if self.quantity == "percentile":
            return f"d{self.percent:g}_number_um"
        if self.quantity == "mean":
            return f"mean {self.of}.{self.column}"
        if self.quantity == "share":
            side, level = ("above", self.above) if self.above is not None else ("below", self.below)
            return f"share {self.column} {side} {level:g}"
        return self.quantity

    @property
    def words(self) -> str:
        """The title, or the name in words, such as ``void frequency`` or ``d50 by number``."""
        return self.title or words_of(self.name)

    @property
    def unit(self) -> str:
        """Unit of the levels; ``1`` for fractions and ratios."""
        if self.quantity == "percentile":
            return "um"
        if self.quantity != "mean":
            return "1"
        endings = sorted(UNITS, key=len, reverse=True)
        return next((UNITS[end] for end in endings if str(self.column).endswith(end)), "1")

    @property
    def planning_spread(self) -> float | None:
        """Relative spread of one particle for planning; None when nobody said one."""
        if self.spread is not None or self.quantity in ("void_frequency", "share"):
            return self.spread
        name = "d50" if self.quantity == "percentile" and self.percent == 50 else self.name
        return TYPICAL_SPREADS.get(name)


def words_of(name: str) -> str:
    """Return the name of a limit in words.

    Examples
    --------
    >>> words_of("void_frequency"), words_of("d50_number_um"), words_of("mean voids.volume_um3")
    ('void frequency', 'd50 by number', 'mean voids volume')
    """
    words = name.replace("_number_um", " by number").replace("particles.", "").replace(".", " ")
    for ending in sorted(UNITS, key=len, reverse=True):
        words = words.removesuffix(ending)
    return words.replace("_", " ")


class Risks(_Entry):
    """How often a judgement may be wrong."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="Producer's: a good lot rejected")
    beta: float = Field(default=0.05, gt=0, lt=0.5, description="Consumer's: a bad lot accepted")


class Budget(_Entry):
    """What a judgement may cost."""

    regions: int = Field(default=12, ge=1, le=100, description="Tomograms at most")
    minimum_regions: int = Field(default=2, ge=1, description="No judgement with fewer")
    instrument_s: float | None = Field(
        default=None, gt=0, description="Instrument time at most, the map included"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minimum_regions > self.regions:
            raise ValueError("minimum_regions must not exceed regions")
        return self


class Assumed(_Entry):
    """What is assumed before anything is measured: for planning, and `correlation` for the test."""

    particles_per_region: float = Field(default=25.0, gt=1)
    correlation: float = Field(
        default=0.05, ge=0, lt=1, description="How alike particles of one region are, at least"
    )
    tomogram_s: float = Field(default=295.0, gt=0, description="One tomogram, all included")
    map_s: float = Field(default=64.0, ge=0, description="The map with its references")


class LotSpecification(_Entry):
    """A lot specification; see `docs/lots.md`."""

    name: str = Field(min_length=1)
    limits: tuple[Limit, ...] = Field(min_length=1)
    risks: Risks = Risks()
    budget: Budget = Budget()
    assumed: Assumed = Assumed()

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if self.most_regions < self.budget.minimum_regions:
            raise ValueError(
                f"instrument_s pays for {self.most_regions} regions, minimum_regions asks for "
                f"{self.budget.minimum_regions}"
            )
        names = [(limit.name, limit.upper) for limit in self.limits]
        if len(set(names)) < len(names):
            raise ValueError("a quantity has two limits on the same side")
        return self

    @property
    def most_regions(self) -> int:
        """Regions that the budget pays for."""
        if self.budget.instrument_s is None:
            return self.budget.regions
        paid = math.floor(
            max(self.budget.instrument_s - self.assumed.map_s, 0) / self.assumed.tomogram_s
        )
        return min(self.budget.regions, paid)

    @property
    def alpha_each(self) -> float:
        """Producer's risk that each limit may use: any of them can reject, so they share."""
        return self.risks.alpha / len(self.limits)

    def instrument_s(self, regions: float) -> float:
        """Return the instrument time that a number of regions takes."""
        return self.assumed.map_s + regions * self.assumed.tomogram_s


def load_specification(path: str | Path) -> LotSpecification:
    """Read a lot specification from a TOML file.

    Raises
    ------
    SpecificationError
        If the file cannot be read or an entry is not possible; the message names it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecificationError(f"lot specification {path} cannot be read: {error}") from None
    try:
        return LotSpecification.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SpecificationError(f"lot specification {path} is not TOML: {error}") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'file'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise SpecificationError(f"lot specification {path}: {problems}") from None
