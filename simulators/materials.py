"""X-ray attenuation of materials: the one home of xraydb in the simulated microscope.

A material is a text such as ``LiNi0.6Mn0.2Co0.2O2@4.77``: a chemical formula and its density in
g/cm3. Attenuation is the total cross-section of the Elam tables (doi:10.1016/S0969-806X(01)00227-4)
as xraydb serves them. Chantler's tables are 6-8 % lower for Ni, Co and Mn at 5.4 keV, so a
number that rests on the choice of table is good to about 10 %.
"""

from __future__ import annotations

import math
from functools import lru_cache

from zoneplate.devices.errors import ConfigurationError

NMC622 = "LiNi0.6Mn0.2Co0.2O2@4.77"
"""NMC622 at its crystal density (R-3m lattice constants)."""

NMC811 = "LiNi0.8Mn0.1Co0.1O2@4.77"
"""NMC811 at its crystal density (R-3m lattice constants)."""

KAPTON = "C22H10N2O5@1.42"
"""Polyimide film, density of the manufacturer's data sheet."""

ACRYLIC_ADHESIVE = "C7H12O2@1.08"
"""Poly(butyl acrylate), the usual base of acrylic pressure-sensitive adhesives."""

DENSITY_MAX_G_CM3 = 25.0
"""Osmium, the densest element, has 22.6 g/cm3; more is a slip of the pen."""

_PER_CM_TO_PER_UM = 1e-4
_KEV_TO_EV = 1e3


@lru_cache(maxsize=256)
def parse_material(material: str) -> tuple[str, float]:
    """Split a material into its formula and its density in g/cm3.

    Raises
    ------
    ConfigurationError
        If the text has no ``@density``, or the formula or density is not possible.

    Examples
    --------
    >>> parse_material("LiNi0.8Mn0.1Co0.1O2@4.77")
    ('LiNi0.8Mn0.1Co0.1O2', 4.77)
    """
    # Takes 0.7 s to import; only whoever builds a specimen should pay.
    import xraydb

    formula, separator, density_text = (part.strip() for part in material.partition("@"))
    hint = f"write it as formula@density in g/cm3, for example {NMC622}"
    if not separator or not formula:
        raise ConfigurationError(f"material {material!r} is not possible: {hint}")
    try:
        density = float(density_text)
    except ValueError:
        raise ConfigurationError(
            f"material {material!r}: density is not a number; {hint}"
        ) from None
    if not (math.isfinite(density) and 0 < density <= DENSITY_MAX_G_CM3):
        raise ConfigurationError(
            f"material {material!r}: density must be above 0 and at most "
            f"{DENSITY_MAX_G_CM3:g} g/cm3; {hint}"
        )
    try:
        elements = xraydb.chemparse(formula)
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise ConfigurationError(f"material {material!r}: {reason}; {hint}") from error
    if not elements or not all(amount > 0 for amount in elements.values()):
        raise ConfigurationError(f"material {material!r}: the formula is empty; {hint}")
    return formula, density


@lru_cache(maxsize=1024)
def attenuation_per_um(material: str, energy_kev: float) -> float:
    """Return the linear attenuation coefficient in 1/um.

    Parameters
    ----------
    material
        Formula and density, ``LiNi0.8Mn0.1Co0.1O2@4.77``.
    energy_kev
        Photon energy in keV.

    Raises
    ------
    ConfigurationError
        If the material cannot be read.

    Examples
    --------
    >>> round(attenuation_per_um("LiNi0.8Mn0.1Co0.1O2@4.77", 5.4), 4)
    0.0457
    """
    import xraydb

    formula, density = parse_material(material)
    per_cm = xraydb.material_mu(formula, energy_kev * _KEV_TO_EV, density=density, kind="total")
    return float(per_cm) * _PER_CM_TO_PER_UM
