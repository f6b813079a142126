"""The tiles of a mosaic as a small immutable value."""

from dataclasses import dataclass
from typing import Literal, get_args

from zoneplate.devices import ConfigurationError

FIELD_STEP_UM = 64.0
"""Distance of neighbouring tiles: the nominal field of view of the study, which leaves an
overlap of three binned pixels between fields of 65.5 um."""

TileOrder = Literal["serpentine", "raster", "columns", "spiral"]
"""Orders of tiles: line by line turning back at each end, line by line from the same side, column
by column turning back, or from the middle outwards."""

LARGEST_OVERLAP = 0.9
"""Of a field: more than this is a slip of the keyboard."""


def step_of_overlap(field_um: float, overlap: float) -> float:
    """Return the distance of tiles that share this fraction of their field.

    Raises
    ------
    ConfigurationError
        If the fraction is not possible.

    Examples
    --------
    >>> step_of_overlap(65.0, 0.2)
    52.0
    """
    if not 0 <= overlap <= LARGEST_OVERLAP:
        raise ConfigurationError(
            f"an overlap of {overlap:g} is not possible: choose a fraction of the field, 0 to "
            f"{LARGEST_OVERLAP:g}"
        )
    return field_um * (1 - overlap)


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
    order
        In which order the tiles are taken.

    Examples
    --------
    >>> TileGrid((2, 2), 64.0).positions_um()
    [(-32.0, 32.0), (32.0, 32.0), (32.0, -32.0), (-32.0, -32.0)]
    """

    shape: tuple[int, int]
    step_um: float = FIELD_STEP_UM
    center_um: tuple[float, float] = (0.0, 0.0)
    order: TileOrder = "serpentine"

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
        if self.order not in get_args(TileOrder):
            raise ConfigurationError(
                f"tile order {self.order!r} is unknown: use one of {', '.join(get_args(TileOrder))}"
            )

    @property
    def area_um2(self) -> float:
        """Area mapped: every tile counts one step by one step, overlaps are not counted twice."""
        return self.shape[0] * self.shape[1] * self.step_um**2

    def positions_um(self) -> list[tuple[float, float]]:
        """Return the tile centres (x, y) in the order to take them."""
        rows, columns = self.shape
        center_x_um, center_y_um = self.center_um
        return [
            (
                center_x_um + (column - (columns - 1) / 2) * self.step_um,
                center_y_um + ((rows - 1) / 2 - row) * self.step_um,
            )
            for row, column in self._places()
        ]

    def _places(self) -> list[tuple[int, int]]:
        """Return (row, column) of the tiles in order."""
        rows, columns = self.shape
        if self.order == "columns":
            return [
                (row if column % 2 == 0 else rows - 1 - row, column)
                for column in range(columns)
                for row in range(rows)
            ]
        if self.order == "spiral":
            return _spiral(rows, columns)
        turning = self.order == "serpentine"
        return [
            (row, columns - 1 - column if turning and row % 2 else column)
            for row in range(rows)
            for column in range(columns)
        ]


def _spiral(rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the places of a grid from its middle outwards, one step after the other.

    Steps that leave the grid are walked and not taken, until all places are seen.
    """
    row, column = (rows - 1) // 2, (columns - 1) // 2
    found = [(row, column)]
    length, turns = 1, 0
    directions = ((0, 1), (1, 0), (0, -1), (-1, 0))
    while len(found) < rows * columns:
        down, right = directions[turns % 4]
        for _ in range(length):
            row, column = row + down, column + right
            if 0 <= row < rows and 0 <= column < columns:
                found.append((row, column))
        turns += 1
        length += turns % 2 == 0
    return found
