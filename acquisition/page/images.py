"""Pictures of the live page as PNG in data addresses: small, and made once for all viewers."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoneplate.acquisition.live import FrameReader
from zoneplate.acquisition.live_pictures import as_grey
from zoneplate.acquisition.map_analysis import stage_reading
from zoneplate.acquisition.runs import FrameReference, RunRecord

logger = logging.getLogger(__name__)

MAP_WIDTH = 640
"""Columns of the map on the page."""

DARKEST = 0.35
"""Transmission shown black in a radiograph: behind two or three particles."""

BRIGHTEST = 1.05
"""Transmission shown white: the open beam, with its noise."""

PARTICLE_RGB, VOID_RGB = (0, 158, 115), (213, 94, 0)
"""The colours of particles and voids in every figure of ours."""


def data_address(image: NDArray[np.uint8]) -> str:
    """Return a grey (rows, columns) or coloured (rows, columns, 3) image as `data:` address."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def outlined(
    grey: NDArray[np.uint8], particles: NDArray[Any] | None, voids: NDArray[Any] | None
) -> NDArray[np.uint8]:
    """Return a slice in colour with the rims of particles green and voids red."""
    image = np.repeat(grey[:, :, None], 3, axis=2)
    for labels, color in ((particles, PARTICLE_RGB), (voids, VOID_RGB)):
        if labels is not None and labels.shape == grey.shape:
            image[_rim(labels)] = color
    return image


def _rim(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the pixels of objects that have a neighbour of another label."""
    rim = np.zeros(labels.shape, dtype=bool)
    rim[1:] |= labels[1:] != labels[:-1]
    rim[:-1] |= labels[:-1] != labels[1:]
    rim[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    rim[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return rim & (labels > 0)


class Radiographs:
    """Frames of one run as transmission images, and its map as it grows.

    Parameters
    ----------
    record
        The run.
    """

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._reader = FrameReader()
        self._references: dict[str, tuple[int, NDArray[np.float32]]] = {}
        self._canvas: _Canvas | None = None
        self._placed: set[int] = set()

    def close(self) -> None:
        """Close the frame files."""
        self._reader.close()

    def transmission(self, frame: FrameReference) -> NDArray[np.float32]:
        """Return a frame over the mean flat; over its own brightest part before there is one.

        Raises
        ------
        OSError
            If the frame cannot be read.
        """
        image = self._reader.read(frame).astype(np.float32)
        dark = self._mean("dark", image.shape)
        flat = self._mean("flat", image.shape)
        if dark is not None:
            image = image - dark
        if frame.stream == "dark":
            return image / max(float(image.max()), 1.0)
        if flat is not None:
            beam = np.maximum(flat - dark if dark is not None else flat, 1.0)
            return (image / beam).astype(np.float32)
        return image / max(float(np.percentile(image, 95)), 1.0)

    def picture(self, frame: FrameReference) -> str:
        """Return a frame as the address of a picture."""
        image = self.transmission(frame)
        # Where the tape is seen edge on, all is dark: let it show what it has.
        low = min(DARKEST, float(np.percentile(image, 1)))
        return data_address(as_grey(image, low, BRIGHTEST))

    def growing_map(self) -> tuple[str, tuple[float, float, float, float]] | None:
        """Return the tiles taken so far in their places, and the edges (x, y, width, height) in um.

        None before the first tile, or where the plan did not say where they will be.
        """
        tiles = self._record.stream("primary")
        if not tiles:
            return None
        if self._canvas is None:
            self._canvas = _Canvas.for_map(self._record)
        if self._canvas is None:
            return None
        for tile in tiles:
            if tile.seq_num not in self._placed:
                x_um, y_um = stage_reading(tile, "x"), stage_reading(tile, "y")
                self._canvas.place(self.transmission(tile), x_um, y_um)
                self._placed.add(tile.seq_num)
        return data_address(as_grey(self._canvas.image, DARKEST, BRIGHTEST)), self._canvas.edges_um

    def _mean(self, stream: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        frames = self._record.stream(stream)
        if not frames:
            return None
        known = self._references.get(stream)
        if known is None or known[0] != len(frames):
            stack = np.stack([self._reader.read(frame) for frame in frames])
            known = (len(frames), stack.mean(axis=0, dtype=np.float32))
            self._references[stream] = known
        return known[1] if known[1].shape == shape else None


class _Canvas:
    """A map on which tiles are put where the stage says they are."""

    def __init__(self, edges_um: tuple[float, float, float, float]) -> None:
        self.edges_um = edges_um
        self._scale = MAP_WIDTH / edges_um[2]
        rows = max(1, round(edges_um[3] * self._scale))
        self.image = np.full((rows, MAP_WIDTH), 0.9, dtype=np.float32)
        self._pixel_um = 1.0

    @classmethod
    def for_map(cls, record: RunRecord) -> _Canvas | None:
        plan = record.start.get("mosaic")
        acquisition = record.start["acquisition"]
        positions = _positions_um(plan) if isinstance(plan, dict) else None
        if not positions:
            return None
        pixel_um = float(acquisition["pixel_um"])
        height_um, width_um = (n * pixel_um for n in acquisition["frame_shape"])
        xs, ys = [x for x, _ in positions], [y for _, y in positions]
        left, low = min(xs) - width_um / 2, min(ys) - height_um / 2
        edges = (left, low, max(xs) + width_um / 2 - left, max(ys) + height_um / 2 - low)
        canvas = cls(edges)
        canvas._pixel_um = pixel_um
        return canvas

    def place(self, tile: NDArray[np.float32], x_um: float, y_um: float) -> None:
        """Put a tile down, thinned to the canvas."""
        left, low, _, height_um = self.edges_um
        rows, columns = tile.shape
        size_um = (rows * self._pixel_um, columns * self._pixel_um)
        top = round((low + height_um - (y_um + size_um[0] / 2)) * self._scale)
        first = round((x_um - size_um[1] / 2 - left) * self._scale)
        shape = (max(1, round(size_um[0] * self._scale)), max(1, round(size_um[1] * self._scale)))
        thin = tile[
            (np.arange(shape[0]) * rows // shape[0])[:, None],
            (np.arange(shape[1]) * columns // shape[1])[None, :],
        ]
        top, first = max(top, 0), max(first, 0)
        part = self.image[top : top + shape[0], first : first + shape[1]]
        part[...] = thin[: part.shape[0], : part.shape[1]]


def _positions_um(plan: dict[str, Any]) -> Sequence[tuple[float, float]] | None:
    positions = plan.get("positions_um")
    if not isinstance(positions, list):
        return None
    return [(float(one[0]), float(one[1])) for one in positions]
