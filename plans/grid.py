"""The tiles of a mosaic as a small immutable value."""

from dataclasses import dataclass

from zoneplate.devices import ConfigurationError

FIELD_STEP_UM = 64.0
"""Distance of neighbouring tiles: the nominal field of view of the study, which leaves an
overlap of three binned pixels between fields of 65.5 um."""


@dataclass(frozen=True)
class TileGrid:
    """A grid of fields: `shape` = (rows, columns), rows from the top (largest y) down.

    Attributes
    ----------
    shape
        Number of (rows, columns).
    step_um
        Distance between neighbouring tile centres.
    center_um
        Stage (x, y) of the centre of the grid.

    Examples
    --------
    >>> TileGrid((2, 2), 64.0).positions_um()
    [(-32.0, 32.0), (32.0, 32.0), (32.0, -32.0), (-32.0, -32.0)]
    """

    shape: tuple[int, int]
    step_um: float = FIELD_STEP_UM
    center_um: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        rows, columns = self.shape
        if rows < 1 or columns < 1:
            raise ConfigurationError(
                f"a mosaic of {rows} x {columns} tiles is not possible: it needs at least 1 x 1"
            )
        if not self.step_um > 0:
            raise ConfigurationError(
                f"a tile step of {self.step_um} um is not possible: it must be positive"
            )

    @property
    def area_um2(self) -> float:
        """Area mapped: every tile counts one step by one step, overlaps are not counted twice."""
        return self.shape[0] * self.shape[1] * self.step_um**2

    def positions_um(self) -> list[tuple[float, float]]:
        """Return the tile centres (x, y) in serpentine order, so that no move is long."""
        rows, columns = self.shape
        center_x_um, center_y_um = self.center_um
        positions: list[tuple[float, float]] = []
        for row in range(rows):
            y_um = center_y_um + ((rows - 1) / 2 - row) * self.step_um
            line = [
                (center_x_um + (column - (columns - 1) / 2) * self.step_um, y_um)
                for column in range(columns)
            ]
            positions.extend(line if row % 2 == 0 else reversed(line))
        return positions
