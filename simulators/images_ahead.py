"""Images that are computed before they are asked for, while a client is still busy.

Where instrument time jumps, it stands still while a client computes: the next frame is exposed as
soon as the stage stands and the camera is free. Both are known when the move starts, so the image
can be made beside the client. An image is used only for exactly the question it was made for, so
frames are the same with and without.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

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


class ImagesAhead:
    """Computes images on demand, and one ahead.

    Parameters
    ----------
    imaging
        Computes them.
    """

    def __init__(self, imaging: ImagingModel) -> None:
        self._imaging = imaging
        self._beside = ThreadPoolExecutor(1, "imaging")
        self._begun: tuple[Question, Future[Image]] | None = None
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

    def expect(self, question: Question) -> None:
        """Begin what will be asked, unless it is begun."""
        self._trusted = question == self._guess
        self._begin(question)

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
