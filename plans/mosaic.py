"""A map of the powder: radiographs at one angle, on a grid or wherever you like."""

from collections.abc import Sequence
from typing import Any, Literal

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import CustomPlanMetadata, MsgGenerator

from zoneplate.devices import ConfigurationError
from zoneplate.devices.microscope import Microscope

from .frames import (
    Moves,
    Refresh,
    flats_again,
    left_safe,
    move,
    prepare_camera,
    setpoint,
    take_darks,
    take_flats,
    take_projections,
)
from .grid import FIELD_STEP_UM, TileGrid, step_of_overlap
from .metadata import run_metadata
from .references import DEFAULT_OUT_UM, MAXIMUM_REFERENCES, OutPosition, check_out, out_moves
from .validation import check_axis, check_clearance, check_count, check_exposure, check_frames

MAXIMUM_TILES = 10_000


def check_mosaic(
    microscope: Microscope,
    positions_um: Sequence[tuple[float, float]],
    *,
    exposure_s: float,
    binning: int,
    theta_deg: float = 0.0,
    references: tuple[int, int] = (0, 1),
    out_um: OutPosition = DEFAULT_OUT_UM,
    exposures_s: Sequence[float] | None = None,
    flats_every: int = 0,
) -> None:
    """Refuse an impossible map before anything moves.

    Raises
    ------
    ConfigurationError
        If a value is impossible.
    """
    limits = microscope.configuration.stage
    check_count("tiles", len(positions_um), 1, MAXIMUM_TILES)
    check_frames(microscope.configuration, exposure_s, binning)
    check_count("dark_frames", references[0], 0, MAXIMUM_REFERENCES)
    check_count("flat_frames", references[1], 1, MAXIMUM_REFERENCES)
    check_count("flats_every", flats_every, 0, MAXIMUM_TILES)
    check_axis("x", limits.x, *(x_um for x_um, _ in positions_um))
    check_axis("y", limits.y, *(y_um for _, y_um in positions_um))
    check_axis("theta", limits.theta, theta_deg)
    check_out(microscope, out_um)
    if exposures_s is not None:
        if len(exposures_s) != len(positions_um):
            raise ConfigurationError(
                f"{len(exposures_s)} exposures do not fit {len(positions_um)} tiles: give one per "
                "tile, in the order they are taken"
            )
        for one_s in exposures_s:
            check_exposure(microscope.configuration, one_s)


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
    overlap: float | None = None,
    order: Literal["serpentine", "raster", "columns", "spiral"] = "serpentine",
    tiles_um: Sequence[tuple[float, float]] | None = None,
    exposures_s: Sequence[float] | None = None,
    flats_every: int = 0,
    focus_plane: tuple[float, float, float] | None = None,
    *,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Map the powder with radiographs.

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
    overlap
        Fraction of the field that neighbours share, instead of `step_um`. From 0.1 on, the
        pictures themselves say where the tiles are.
    order
        Order of the tiles: `"spiral"` begins in the middle.
    tiles_um
        Centres (x, y) of tiles anywhere, instead of a grid; taken in this order.
    exposures_s
        Exposure of each tile, in the order they are taken; None: `exposure_s` for all.
    flats_every
        Take flats again after so many tiles; 0: only before the first.
    focus_plane
        (z, slope along x, slope along y): the stage goes to z + slope_x x + slope_y y at each
        tile, for a support that is tilted. None: z stays where it is.
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
        RE(mosaic(microscope, shape=(3, 3), overlap=0.15, flats_every=3))
        RE(mosaic(microscope, tiles_um=[(0, 0), (120, -40)], exposures_s=[1, 4]))
    """
    if overlap is not None:
        # The shorter side decides where the field is not square.
        step_um = step_of_overlap(min(microscope.configuration.camera.detector.field_um()), overlap)
    if tiles_um is None:
        grid = TileGrid((shape[0], shape[1]), step_um, (center_um[0], center_um[1]), order)
        positions_um = grid.positions_um()
        area_um2, layout = grid.area_um2, list(grid.shape)
    else:
        positions_um = [(float(x_um), float(y_um)) for x_um, y_um in tiles_um]
        area_um2, layout = len(positions_um) * FIELD_STEP_UM**2, [len(positions_um)]
    check_mosaic(
        microscope,
        positions_um,
        exposure_s=exposure_s,
        binning=binning,
        theta_deg=theta_deg,
        references=(dark_frames, flat_frames),
        out_um=out_um,
        exposures_s=exposures_s,
        flats_every=flats_every,
    )
    stage = microscope.stage
    here = [
        (yield from setpoint(stage.x)),
        (yield from setpoint(stage.y)),
        (yield from setpoint(stage.z)),
    ]
    targets = [_target(microscope, position, focus_plane) for position in positions_um]
    check_clearance(
        microscope,
        x_um=[here[0], *(x_um for x_um, _ in positions_um)],
        z_um=[here[2], *(place for target in targets for _, place in target[2:])],
        theta_deg=[theta_deg],
    )
    arguments: dict[str, Any] = {
        "shape": list(shape),
        "exposure_s": exposure_s,
        "binning": binning,
        "center_um": list(center_um),
        "step_um": step_um,
        "theta_deg": theta_deg,
        "dark_frames": dark_frames,
        "flat_frames": flat_frames,
        "out_um": list(out_um),
        "overlap": overlap,
        "order": order,
        "tiles_um": None if tiles_um is None else [list(p) for p in positions_um],
        "exposures_s": None if exposures_s is None else [float(one) for one in exposures_s],
        "flats_every": flats_every,
        "focus_plane": None if focus_plane is None else list(focus_plane),
    }
    blocks = -(-len(targets) // flats_every) if flats_every else 1
    frames = {"darks": dark_frames, "flats": flat_frames * blocks, "projections": len(targets)}
    metadata = run_metadata(
        microscope,
        "mosaic",
        arguments,
        frames,
        md,
        motors=[stage.y.name, stage.x.name],
        shape=layout,
        snaking=[False, tiles_um is None and order == "serpentine"][-len(layout) :],
        mosaic={"area_um2": area_um2, "positions_um": [list(p) for p in positions_um]},
    )
    out = out_moves(microscope, out_um)
    # What the sample-out position moves must come back, even an axis that the map leaves alone.
    back = [
        (axis, place)
        for axis, place, away in zip((stage.x, stage.y, stage.z), here, out_um, strict=True)
        if away is not None
    ]

    def sample_in(target: Moves) -> Moves:
        told = {id(axis) for axis, _ in target}
        return [*target, *((axis, place) for axis, place in back if id(axis) not in told)]

    @bpp.stage_decorator([microscope.camera])
    @bpp.run_decorator(md=metadata)
    def inner() -> MsgGenerator[None]:
        yield from prepare_camera(microscope, exposure_s, binning)
        yield from take_darks(microscope, dark_frames)
        yield from move([(stage.theta, theta_deg)])
        for first in range(0, len(targets), flats_every or len(targets)):
            if exposures_s is not None:
                yield from bps.mv(microscope.camera.exposure_s, exposure_s)
            start = sample_in(targets[first])
            yield from take_flats(microscope, flat_frames, out_moves=out, next_moves=start)
            yield from move(start)
            block = slice(first, first + flats_every if flats_every else None)
            times_s = None if exposures_s is None else exposures_s[block]
            yield from _take_tiles(
                microscope,
                [sample_in(target) for target in targets[block]],
                times_s,
                lambda: flats_again(microscope, flat_frames, out_moves=out),
            )

    return (yield from left_safe(microscope, inner()))


def _target(
    microscope: Microscope,
    position_um: tuple[float, float],
    focus_plane: tuple[float, float, float] | None,
) -> Moves:
    """Return the moves to a tile; refuses a focus outside the limits."""
    stage = microscope.stage
    x_um, y_um = position_um
    target = [(stage.x, x_um), (stage.y, y_um)]
    if focus_plane is None:
        return target
    z_um = focus_plane[0] + focus_plane[1] * x_um + focus_plane[2] * y_um
    check_axis("z", microscope.configuration.stage.z, z_um)
    return [*target, (stage.z, z_um)]


def _take_tiles(
    microscope: Microscope,
    targets: Sequence[Moves],
    exposures_s: Sequence[float] | None,
    refresh: Refresh,
) -> MsgGenerator[None]:
    """Take the tiles of one block, each with its exposure; moves overlap readouts."""
    if exposures_s is None:
        yield from take_projections(microscope, targets, refresh=refresh)
        return
    for number, (target, one_s) in enumerate(zip(targets, exposures_s, strict=True)):
        following = targets[number + 1] if number + 1 < len(targets) else ()
        yield from bps.mv(microscope.camera.exposure_s, one_s)
        yield from take_projections(microscope, [target], then=following)
