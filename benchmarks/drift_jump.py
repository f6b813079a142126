"""How well a jump of the sample is noticed, and how often one is seen that was not there.

Run it with `python benchmarks/drift_jump.py [--seeds 8]`. Each seed is a powder, with all
imperfections of the instrument; jumps of several lengths come at random moments, in each order of
the angles. `analysis/jumps.py` has its thresholds from here.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from zoneplate.analysis import normalize
from zoneplate.analysis.jumps import LEAST_PIXELS, LEAST_SIGMAS, Jump, likeliest_jump
from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.plans import ordered, projection_angles
from zoneplate.simulators import Imperfections, nmc622
from zoneplate.simulators.detector import SimulatedDetector
from zoneplate.simulators.imaging import ImagingModel

PROJECTIONS, BINNING, EXPOSURE_S, FRAME_S = 141, 8, 1.0, 1.7
PLACE_UM = (0.0, 0.0, 4.0)
FLATS = 10
LENGTHS_UM = (0.5, 1.0, 2.0, 5.0)
ORDERS = ("interlaced", "golden", "sequential")
MOMENTS = 2
"""Random moments for each length; as many scans without a jump."""


class Instrument:
    """Radiographs of a powder, displaced as asked for."""

    def __init__(self, seed: int) -> None:
        configuration = InstrumentConfiguration.load()
        self._imperfections = Imperfections(seed=seed)
        self._imaging = ImagingModel(nmc622(seed), configuration, self._imperfections)
        self._detector = SimulatedDetector(
            configuration.camera, configuration.source, self._imperfections, seed
        )
        self.pixel_um = configuration.camera.detector.binned_pixel_um(BINNING)
        self._number = 0

    def image(self, angle_deg: float, jump_um: float) -> NDArray[np.float32]:
        """Return the transmission at an angle."""
        du_um, dv_um = self._imperfections.displacement(angle_deg, 0.0)
        return self._imaging.transmission(
            PLACE_UM, angle_deg, binning=BINNING, displacement_um=(du_um + jump_um, dv_um)
        )

    def frame(self, image: NDArray[np.floating], time_s: float, light: bool = True) -> NDArray:
        """Return what the camera records of it."""
        self._number += 1
        return self._detector.expose(
            image,
            exposure_s=EXPOSURE_S,
            binning=BINNING,
            time_s=time_s,
            shutter_open=light,
            frame_number=self._number,
        )


def scans(seed: int) -> list[tuple[str, float, int, Jump]]:
    """Return (order, jump in um, moment, what was found) of many scans of one powder."""
    instrument, rng = Instrument(seed), np.random.default_rng(seed)
    angles = projection_angles(PROJECTIONS, -90.0, 90.0)
    images = {
        length: {angle: instrument.image(angle, length) for angle in angles}
        for length in (0.0, *LENGTHS_UM)
    }
    open_beam = np.ones_like(images[0.0][0.0])
    flats = np.stack([instrument.frame(open_beam, 0.0) for _ in range(FLATS)])
    darks = np.stack([instrument.frame(open_beam, 0.0, light=False) for _ in range(FLATS)])
    found: list[tuple[str, float, int, Jump]] = []
    for order in ORDERS:
        taken = ordered(angles, order)
        for length in (0.0, *LENGTHS_UM):
            for _ in range(MOMENTS):
                moment = int(rng.integers(5, PROJECTIONS - 5))
                frames = np.stack(
                    [
                        instrument.frame(
                            images[length if number >= moment else 0.0][angle], number * FRAME_S
                        )
                        for number, angle in enumerate(taken)
                    ]
                )
                views = normalize(frames, flats, darks)
                jump = likeliest_jump(views, taken, np.arange(PROJECTIONS))
                assert jump is not None
                found.append((order, length, moment, jump))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    every = [one for seed in range(options.seeds) for one in scans(seed)]
    print(f"thresholds: {LEAST_PIXELS:g} pixels and {LEAST_SIGMAS:g} standard errors")
    for order in ORDERS:
        for length in (0.0, *LENGTHS_UM):
            chosen = [one for one in every if one[0] == order and one[1] == length]
            jumps = [jump for *_, jump in chosen]
            told = [one for one in chosen if one[3].certain]
            right = sum(abs(jump.after - moment) <= 1 for _, _, moment, jump in told)
            lengths = sorted(jump.length for jump in jumps)
            sigmas = sorted(jump.sigmas for jump in jumps)
            print(
                f"{order:<11} jump {length:4.1f} um: told {len(told)} of {len(jumps)}, "
                f"at the right moment {right}; pixels {lengths[0]:.2f} to {lengths[-1]:.2f}, "
                f"sigmas {sigmas[0]:.1f} to {sigmas[-1]:.1f}"
            )


if __name__ == "__main__":
    main()
