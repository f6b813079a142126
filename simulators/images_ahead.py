"""Images and frames that are computed before they are asked for, while a client is still busy.

Where instrument time jumps, it stands still while a client computes: the next frame is exposed as
soon as the stage stands and the camera is free. Both are known when the move starts, so the image
can be made beside the client. An image is used only for exactly the question it was made for, and a
frame for exactly its exposure, so frames are the same with and without.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .imaging import ImagingModel
from .projection import Image, Position


@dataclass(frozen=True)
class Question:
    """What an image depends on; see `ImagingModel.transmission`."""

    position_um: Position
    theta_deg: float
    binning: int
    displacement_um: tuple[float, float]
    defocus_um: float


@dataclass(frozen=True)
class Exposure:
    """What a frame depends on beside the image; see `SimulatedDetector.expose`."""

    question: Question
    current: float
    exposure_s: float
    time_s: float
    shutter_open: bool
    number: int


Frame = NDArray[np.uint16]


class ImagesAhead:
    """Computes images on demand, and one ahead, with the frame it becomes.

    Parameters
    ----------
    imaging
        Computes images.
    expose
        Makes a frame of an image.
    """

    def __init__(self, imaging: ImagingModel, expose: Callable[[Image, Exposure], Frame]) -> None:
        self._imaging, self._expose = imaging, expose
        self._beside = ThreadPoolExecutor(1, "imaging")
        self._begun: tuple[Question, Future[Image]] | None = None
        self._exposing: tuple[Exposure, Future[Frame]] | None = None
        self._guess: Question | None = None
        self._trusted = False

    def guess(self, question: Question) -> None:
        """Begin what will probably be asked, if the guess before was right.

        A scan in which something else comes between (a plan that reads other devices in instrument
        time, a stage that never stands) makes all guesses wrong, and then they cost nothing.
        """
        self._guess = question
        if self._trusted:
            self._begin(question)

    def expect(self, exposure: Exposure) -> None:
        """Begin what will be asked, unless it is begun."""
        self._trusted = exposure.question == self._guess
        self._begin(exposure.question)
        if self._begun is not None:
            image = self._begun[1]  # done before the frame is begun: there is one thread
            self._exposing = (
                exposure,
                self._beside.submit(lambda: self._expose(image.result(), exposure)),
            )

    def frame(self, exposure: Exposure) -> Frame:
        """Return the frame of an exposure, the one that was begun if it is that."""
        exposing, self._exposing = self._exposing, None
        if exposing is not None and exposing[0] == exposure:
            self._begun = None
            return exposing[1].result()
        if exposing is not None:
            exposing[1].cancel()
        return self._expose(self.image(exposure.question), exposure)

    def image(self, question: Question) -> Image:
        """Return the image, the one that was begun if it is that."""
        begun, self._begun = self._begun, None
        if begun is not None:
            wait([begun[1]])  # two at a time would be in each other's way
            if begun[0] == question:
                return begun[1].result()
        return self._compute(question)

    def _begin(self, question: Question) -> None:
        if self._begun is not None:
            if self._begun[0] == question:
                return
            self._begun[1].cancel()
        self._begun = question, self._beside.submit(self._compute, question)

    def _compute(self, question: Question) -> Image:
        return self._imaging.transmission(
            question.position_um,
            question.theta_deg,
            binning=question.binning,
            displacement_um=question.displacement_um,
            defocus_um=question.defocus_um,
        )
