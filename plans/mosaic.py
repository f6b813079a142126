"""A map of the powder: a grid of radiographs at one angle."""

from typing import Any

from bluesky import preprocessors as bpp
from bluesky.utils import CustomPlanMetadata, MsgGenerator

from zoneplate.devices.microscope import Microscope

from .frames import left_safe, move, prepare_camera, take_darks, take_flats, take_projections
from .grid import TileGrid
from .metadata import run_metadata
from .references import DEFAULT_OUT_UM, MAXIMUM_REFERENCES, OutPosition, check_out, out_moves
from .validation import check_axis, check_count, check_frames


def check_mosaic(
    microscope: Microscope,
    grid: TileGrid,
    *,
    exposure_s: float,
    binning: int,
    theta_deg: float = 0.0,
    references: tuple[int, int] = (0, 1),
    out_um: OutPosition = DEFAULT_OUT_UM,
) -> None:
    """Refuse an impossible map before anything moves.

    Raises
    ------
    ConfigurationError
        If a value is impossible.
    """
    positions_um = grid.positions_um()
    limits = microscope.configuration.stage
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("dark_frames", references[0], 0, MAXIMUM_REFERENCES)
    check_count("flat_frames", references[1], 1, MAXIMUM_REFERENCES)
    check_axis("x", limits.x, *(x_um for x_um, _ in positions_um))
    check_axis("y", limits.y, *(y_um for _, y_um in positions_um))
    check_axis("theta", limits.theta, theta_deg)
    check_out(microscope, out_um)


def mosaic(
    microscope: Microscope,
    shape: tuple[int, int] = (5, 8),
    exposure_s: float = 1.0,
    binning: int = 8,
    center_um: tuple[float, float] = (0.0, 0.0),
    step_um: float = 64.0,
    theta_deg: float = 0.0,
    dark_frames: int = 3,
    flat_frames: int = 5,
    out_um: tuple[float | None, float | None, float | None] = (None, 400.0, None),
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Map the powder with a grid of radiographs, in serpentine order.

    Parameters
    ----------
    microscope
        The microscope.
    shape
        (rows, columns) of tiles; rows run along y, columns along x.
    exposure_s, binning
        How each tile is taken.
    center_um
        Stage (x, y) of the centre of the map.
    step_um
        Distance between neighbouring tile centres.
    theta_deg
        Angle of the map.
    dark_frames, flat_frames
        Reference frames, taken before the tiles.
    out_um
        Stage (x, y, z) with the sample out of the beam; None leaves an axis where it is.
    md
        More metadata for the start document.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    ConfigurationError
        If a value is impossible, before anything moves.

    Examples
    --------
    ::

        RE(mosaic(microscope, shape=(5, 8)))
    """
    grid = TileGrid((shape[0], shape[1]), step_um, (center_um[0], center_um[1]))
    check_mosaic(
        microscope,
        grid,
        exposure_s=exposure_s,
        binning=binning,
        theta_deg=theta_deg,
        references=(dark_frames, flat_frames),
        out_um=out_um,
    )
    positions_um = grid.positions_um()
    stage = microscope.stage
    arguments: dict[str, Any] = {
        "shape": list(grid.shape),
        "exposure_s": exposure_s,
        "binning": binning,
        "center_um": list(grid.center_um),
        "step_um": step_um,
        "theta_deg": theta_deg,
        "dark_frames": dark_frames,
        "flat_frames": flat_frames,
        "out_um": list(out_um),
    }
    frames = {"darks": dark_frames, "flats": flat_frames, "projections": len(positions_um)}
    metadata = run_metadata(
        microscope,
        "mosaic",
        arguments,
        frames,
        md,
        motors=[stage.y.name, stage.x.name],
        shape=list(grid.shape),
        snaking=[False, True],
        mosaic={"area_um2": grid.area_um2, "positions_um": [list(p) for p in positions_um]},
    )
    targets = [[(stage.x, x_um), (stage.y, y_um)] for x_um, y_um in positions_um]

    @bpp.stage_decorator([microscope.camera])
    @bpp.run_decorator(md=metadata)
    def inner() -> MsgGenerator[None]:
        yield from prepare_camera(microscope, exposure_s, binning)
        yield from take_darks(microscope, dark_frames)
        yield from move([(stage.theta, theta_deg)])
        yield from take_flats(
            microscope,
            flat_frames,
            out_moves=out_moves(microscope, out_um),
            next_moves=targets[0],
        )
        yield from take_projections(microscope, targets)

    return (yield from left_safe(microscope, inner()))
