"""What a specimen is made of: particles, voids, cracks and the tape they lie on, as plain data.

Each checks itself when it is built; how they lie to each other is checked by `Specimen`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from zoneplate.devices.errors import ConfigurationError

from .materials import ACRYLIC_ADHESIVE, KAPTON, NMC622, parse_material
from .meshes import Mesh
from .random_shapes import as_quaternion, as_vector
from .surfaces import Roughness

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

QUATERNION_TOLERANCE = 0.01
"""Largest accepted deviation of a quaternion's length from 1; it is then normalised."""

_QUATERNION_ROUNDING = 1e-12


class SpecimenError(ConfigurationError):
    """A specimen that cannot exist.

    Attributes
    ----------
    objects
        The (kind, id) of the particles or voids at fault, so that a file reader can name rows.
    """

    def __init__(self, message: str, objects: tuple[tuple[str, str], ...]) -> None:
        super().__init__(message)
        self.objects = objects


@dataclass(frozen=True)
class _Ellipsoid:
    """A closed ellipsoid, the common part of `Particle` and `Void`."""

    kind: ClassVar[str] = "ellipsoid"

    id: str
    center_um: Vector
    semi_axes_um: Vector
    orientation: Quaternion = (1.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not self.id:
            raise self._error("id is empty; give every row its own")
        if len(self.center_um) != 3 or not all(map(math.isfinite, self.center_um)):
            raise self._error(f"centre {self.center_um} must be three finite numbers in um")
        axes = self.semi_axes_um
        if len(axes) != 3 or not all(math.isfinite(axis) and axis > 0 for axis in axes):
            raise self._error(f"semi-axes {axes} must be three finite numbers above 0 um")
        length = math.hypot(*self.orientation) if len(self.orientation) == 4 else math.nan
        # Written so that NaN fails too.
        if not abs(length - 1) <= QUATERNION_TOLERANCE:
            raise self._error(
                f"orientation {self.orientation} must be a unit quaternion (w, x, y, z); its "
                f"length is {length:.4g}, allowed is 1 within {QUATERNION_TOLERANCE:.0%}"
            )
        # Not the last digit: what was written to a file must read back unchanged.
        if abs(length - 1) > _QUATERNION_ROUNDING:
            w, x, y, z = self.orientation
            object.__setattr__(
                self, "orientation", (w / length, x / length, y / length, z / length)
            )

    def _error(self, reason: str) -> SpecimenError:
        return SpecimenError(f"{self.kind} {self.id!r}: {reason}", ((self.kind, self.id),))


@dataclass(frozen=True)
class Void(_Ellipsoid):
    """A closed hole inside a particle.

    Attributes
    ----------
    id
        Any text, unique among the voids of a specimen.
    center_um
        (x, y, z) in the sample frame.
    semi_axes_um
        (a, b, c).
    orientation
        Unit quaternion (w, x, y, z) that turns the axes a, b, c from x, y, z to where they are.
    defect
        What it is, if not an ordinary void: see `zoneplate.simulators.defects`.
    """

    kind: ClassVar[str] = "void"

    defect: str = ""


@dataclass(frozen=True)
class Crack(_Ellipsoid):
    """An open crack: an ellipsoid that crosses the surface of its particle and empties it there.

    What it takes belongs to the outside. A crack wholly inside its particle is a `Void`.

    Attributes
    ----------
    id
        Any text, unique among the cracks of a specimen.
    center_um
        (x, y, z) in the sample frame.
    semi_axes_um
        (a, b, c); a lens is thin along one of them.
    orientation
        Unit quaternion (w, x, y, z) that turns the axes a, b, c from x, y, z to where they are.
    """

    kind: ClassVar[str] = "crack"


@dataclass(frozen=True)
class Particle(_Ellipsoid):
    """A solid ellipsoid, smooth or rough, or a solid of any shape, with voids and cracks in it.

    Attributes
    ----------
    id
        Any text, unique among the particles of a specimen.
    center_um
        (x, y, z) in the sample frame.
    semi_axes_um
        (a, b, c).
    orientation
        Unit quaternion (w, x, y, z) that turns the axes a, b, c from x, y, z to where they are.
    material
        Formula and density, see `zoneplate.simulators.materials`.
    voids
        Closed holes, inside the particle and not overlapping each other.
    defect
        What it is, if not an ordinary particle: see `zoneplate.simulators.defects`.
    roughness
        None for a smooth surface; else the ellipsoid is the envelope of a rough one, see
        `zoneplate.simulators.surfaces`. Voids keep below its deepest point.
    cracks
        Open cracks, which meet neither each other nor a void; of smooth ellipsoids only.
    mesh
        None for an ellipsoid; else the closed surface of the particle. Centre, semi-axes and
        orientation are then those of an ellipsoid around it, whatever was given: see `of_mesh`.

    Examples
    --------
    >>> Particle("grain", (0.0, 0.0, 3.0), (3.0, 3.0, 3.0)).material
    'LiNi0.6Mn0.2Co0.2O2@4.77'
    """

    kind: ClassVar[str] = "particle"

    material: str = NMC622
    voids: tuple[Void, ...] = ()
    defect: str = ""
    roughness: Roughness | None = None
    cracks: tuple[Crack, ...] = ()
    mesh: Mesh | None = None

    @classmethod
    def of_mesh(
        cls,
        id: str,
        mesh: Mesh,
        *,
        material: str = NMC622,
        voids: tuple[Void, ...] = (),
        defect: str = "",
    ) -> Particle:
        """Return a particle with the surface of a mesh.

        Parameters
        ----------
        id
            Any text, unique among the particles of a specimen.
        mesh
            The surface, where it is in the sample frame.
        material, voids, defect
            As of any particle.
        """
        ball = (1.0, 1.0, 1.0)
        return cls(
            id, (0.0, 0.0, 0.0), ball, (1.0, 0.0, 0.0, 0.0), material, voids, defect, mesh=mesh
        )

    def __post_init__(self) -> None:
        if self.mesh is not None:
            center, axes, quaternion = self.mesh.envelope()
            object.__setattr__(self, "center_um", as_vector(center))
            object.__setattr__(self, "semi_axes_um", as_vector(axes))
            object.__setattr__(self, "orientation", as_quaternion(quaternion))
        super().__post_init__()
        try:
            parse_material(self.material)
            if self.roughness is not None:
                self.roughness.relative_depth(self.semi_axes_um)
        except ConfigurationError as error:
            raise self._error(str(error)) from error
        if self.cracks and self.roughness is not None:
            raise self._error("a rough particle cannot have open cracks; leave one of the two out")
        if self.mesh is not None and (self.cracks or self.roughness is not None):
            raise self._error(
                "a mesh cannot be rough or have open cracks; let its triangles have them"
            )


@dataclass(frozen=True)
class Support:
    """The tape that carries the particles: a film under a layer of adhesive, a finite box.

    The adhesive's upper side is ``z = 0``; the box is centred on ``x = y = 0``.

    Attributes
    ----------
    thickness_um, material
        The film. 25 um Kapton is assumed: the study names the material only.
    adhesive_um, adhesive_material
        The adhesive on it. 10 um of acrylic is assumed. At 5.4 keV a silicone adhesive would
        absorb about four times as much.
    width_um, height_um
        Size along x and y. Seen edge-on, the beam crosses the whole width: 600 um of Kapton
        transmit 18 %.

    Examples
    --------
    >>> Support(thickness_um=50.0, adhesive_um=0.0).layers
    (('C22H10N2O5@1.42', -50.0, -0.0),)
    """

    thickness_um: float = 25.0
    material: str = KAPTON
    adhesive_um: float = 10.0
    adhesive_material: str = ACRYLIC_ADHESIVE
    width_um: float = 600.0
    height_um: float = 400.0

    def __post_init__(self) -> None:
        for name in ("thickness_um", "adhesive_um", "width_um", "height_um"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigurationError(f"support {name} {value} must be a finite number >= 0 um")
        parse_material(self.material)
        parse_material(self.adhesive_material)

    @classmethod
    def none(cls) -> Support:
        """Return no support at all: particles float."""
        return cls(thickness_um=0.0, adhesive_um=0.0)

    @property
    def layers(self) -> tuple[tuple[str, float, float], ...]:
        """The (material, lowest z, highest z) of every layer that has a thickness."""
        stack = (
            (self.adhesive_material, -self.adhesive_um, 0.0),
            (self.material, -self.adhesive_um - self.thickness_um, -self.adhesive_um),
        )
        return tuple(layer for layer in stack if layer[1] < layer[2])

    def enlarged(self, width_um: float, height_um: float) -> Support:
        """Return a support at least this large."""
        return replace(
            self,
            width_um=max(self.width_um, width_um),
            height_um=max(self.height_um, height_um),
        )
