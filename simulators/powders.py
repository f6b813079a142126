"""The powders of the study, by name.

Sizes of NMC622 follow Table 1 of Heenan et al. 2020 (doi:10.1002/advs.202000362): its mean
equivalent diameter (6.4 um) and mean volume (238 um3) together fix a log-normal distribution, and
so do those of the voids (2.4 um, 9 um3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .defects import Defects
from .materials import NMC622, NMC811
from .settling import Powder, settle
from .specimen import Specimen

LAYER_WIDTH_UM = 544.0
LAYER_HEIGHT_UM = 352.0
"""Default extent along x and y: the study's map of 8 x 5 fields and a quarter of a field around."""


def nmc622(
    seed: int = 0,
    *,
    width_um: float = LAYER_WIDTH_UM,
    height_um: float = LAYER_HEIGHT_UM,
    per_field: float = 30.0,
    void_fraction: float = 0.55,
    defects: Defects | None = None,
    stratified: bool = False,
) -> Specimen:
    """Return a monolayer of NMC622 whose truth is Table 1 of the study.

    Parameters
    ----------
    seed
        The same seed gives the same specimen.
    width_um, height_um
        Extent along x and y, centred on 0.
    per_field
        Particles per 64 x 64 um.
    void_fraction
        Fraction of the particles with a void. A void keeps a wall of 1 um where it can, so the
        smallest particles carry fewer of them.
    defects
        What else is wrong with it; nothing by default.
    stratified
        Draw sizes class by class, so that they follow the distribution closely: the mean volume
        of 3,000 independent draws varies by 3.7 %, that of stratified ones by about a quarter
        of that.

    Raises
    ------
    ConfigurationError
        If a value is not possible, or so many particles find no place.

    Examples
    --------
    >>> specimen = nmc622(seed=1, width_um=128, height_um=128)
    >>> len(specimen.particles), len(specimen.voids)
    (120, 66)
    """
    powder = Powder(
        name="nmc622",
        material=NMC622,
        median_um=5.84,
        sigma=0.428,
        smallest_um=1.0,
        largest_um=40.0,
        per_field=per_field,
        void_fraction=void_fraction,
    )
    return settle(
        powder,
        seed,
        width_um=width_um,
        height_um=height_um,
        defects=defects,
        stratified=stratified,
    )


def nmc811(
    seed: int = 0,
    *,
    width_um: float = LAYER_WIDTH_UM,
    height_um: float = LAYER_HEIGHT_UM,
    per_field: float = 14.0,
    roughness_um: float = 0.0,
    defects: Defects | None = None,
) -> Specimen:
    """Return a monolayer of NMC811: near-spherical, dense, 5 to 30 um.

    The study gives the range of sizes; the median of 10 um, the spread and the density on the
    tape, which covers about 40 % of the area, are assumptions. Surfaces are smooth by default.

    Parameters
    ----------
    seed
        The same seed gives the same specimen.
    width_um, height_um
        Extent along x and y, centred on 0.
    per_field
        Particles per 64 x 64 um.
    roughness_um
        From the highest to the lowest point of a surface: 2 um makes radii at eight azimuths
        differ by 1 um, as in the study. It is cut into the particles, so their diameters shrink
        by about as much as it is deep; it never exceeds 0.3 of the radius.
    defects
        What is wrong with it; nothing by default.

    Raises
    ------
    ConfigurationError
        If a value is not possible, or so many particles find no place.
    """
    powder = Powder(
        name="nmc811",
        material=NMC811,
        median_um=10.0,
        sigma=0.4,
        smallest_um=5.0,
        largest_um=30.0,
        per_field=per_field,
        roughness_um=roughness_um,
    )
    return settle(powder, seed, width_um=width_um, height_um=height_um, defects=defects)


BAD_LOT = Defects(
    hollow_fraction=0.25,
    cracked_fraction=0.05,
    open_cracked_fraction=0.15,
    satellite_fraction=0.05,
)
"""What is wrong with a lot that must be rejected: hollow shells from precipitation or drying that
went wrong, cracks from calcination or pressing. The shares are assumed; they more than double the
dead volume of the good powder."""


def nmc622_bad(
    seed: int = 0, *, width_um: float = LAYER_WIDTH_UM, height_um: float = LAYER_HEIGHT_UM
) -> Specimen:
    """Return a monolayer of a bad lot of NMC622: `nmc622` with the defects `BAD_LOT`.

    Parameters
    ----------
    seed
        The same seed gives the same specimen.
    width_um, height_um
        Extent along x and y, centred on 0.

    Raises
    ------
    ConfigurationError
        If a value is not possible.
    """
    good = nmc622(seed, width_um=width_um, height_um=height_um, defects=BAD_LOT)
    return replace(good, name="nmc622-bad")


SAMPLES: dict[str, Callable[..., Specimen]] = {
    "nmc622": nmc622,
    "nmc811": nmc811,
    "nmc622-bad": nmc622_bad,
}
"""The powders that have a name, made from a seed and, as `width_um` and `height_um`, an extent."""
