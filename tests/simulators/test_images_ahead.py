"""Images made ahead are the images that are asked for, and cost nothing where they cannot be."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plans as bp

from zoneplate.devices.configuration import InstrumentConfiguration
from zoneplate.plans import mosaic, tomography
from zoneplate.simulators import attach, simulated_microscope
from zoneplate.simulators.images_ahead import Exposure, ImagesAhead, Question
from zoneplate.simulators.imaging import ImagingModel
from zoneplate.simulators.powders import nmc622


def question(theta_deg):
    return Question((0.0, 0.0, 4.0), theta_deg, 8, (0.1, -0.2), 3.0)


def exposure(theta_deg, current=1.0):
    return Exposure(question(theta_deg), current, 1.0, 12.5, True, 3)


def expose(image, exposure):
    """Stand in for the detector: what matters here is which frame is made of which image."""
    return np.rint(60000 * exposure.current * image).astype(np.uint16)


class CountingModel(ImagingModel):
    """Counts what it computes."""

    def __init__(self):
        super().__init__(nmc622(1, width_um=100, height_um=100), InstrumentConfiguration.load())
        self.computed = []
        self.asked = threading.Event()

    def transmission(self, position_um, theta_deg, **seen):
        self.computed.append(theta_deg)
        self.asked.set()
        return super().transmission(position_um, theta_deg, **seen)


@pytest.fixture
def model():
    return CountingModel()


@pytest.fixture
def ahead(model):
    return ImagesAhead(model, expose)


def test_image_that_was_begun_is_the_image_and_is_made_once(model, ahead):
    ahead.guess(question(30.0))
    ahead.expect(exposure(30.0))
    image = ahead.image(question(30.0))
    assert model.computed == [30.0]
    np.testing.assert_array_equal(image, ahead.image(question(30.0)))


def test_after_a_right_guess_the_next_image_is_begun_before_anybody_asks(model, ahead):
    ahead.guess(question(30.0))
    assert not model.asked.is_set()  # nobody knows yet whether guesses come true
    ahead.expect(exposure(30.0))
    ahead.image(question(30.0))
    model.asked.clear()
    ahead.guess(question(31.0))
    assert model.asked.wait(5)
    assert model.computed == [30.0, 31.0]


def test_an_image_that_was_begun_for_something_else_is_not_used(ahead):
    ahead.expect(exposure(30.0))
    np.testing.assert_array_equal(
        ahead.image(question(60.0)), ImagesAhead(CountingModel(), expose).image(question(60.0))
    )


def test_a_wrong_guess_changes_no_image_and_ends_the_guessing(model, ahead):
    for theta_deg in (30.0, 31.0):  # the first right guess earns trust
        ahead.guess(question(theta_deg))
        ahead.expect(exposure(theta_deg))
        ahead.image(question(theta_deg))
    ahead.guess(question(50.0))
    ahead.expect(exposure(32.0))
    image = ahead.image(question(32.0))
    np.testing.assert_array_equal(
        image,
        CountingModel().transmission(
            (0.0, 0.0, 4.0), 32.0, binning=8, displacement_um=(0.1, -0.2), defocus_um=3.0
        ),
    )
    wasted = len(model.computed)
    ahead.guess(question(51.0))
    ahead.expect(exposure(33.0))
    ahead.image(question(33.0))
    assert len(model.computed) == wasted + 1


def test_frame_of_an_exposure_that_was_begun_is_made_beside(model):
    made_in = []

    def noted(image, exposure):
        made_in.append(threading.current_thread())
        return expose(image, exposure)

    ahead = ImagesAhead(model, noted)
    ahead.expect(exposure(30.0))
    frame = ahead.frame(exposure(30.0))
    assert made_in[0] is not threading.current_thread()
    np.testing.assert_array_equal(frame, expose(ahead.image(question(30.0)), exposure(30.0)))


def test_frame_that_was_begun_before_the_beam_changed_is_not_used(model, ahead):
    ahead.expect(exposure(30.0))
    dimmer = exposure(30.0, current=0.5)
    np.testing.assert_array_equal(ahead.frame(dimmer), expose(ahead.image(question(30.0)), dimmer))
    assert model.computed == [30.0, 30.0]  # the image was used for the second frame as well


@pytest.mark.parametrize("what", ["beam", "shutter"])
def test_what_happens_between_trigger_and_exposure_is_seen(tmp_path, what):
    """The frame is begun at the trigger; its light falls half an exposure later."""
    microscope = simulated_microscope(seed=4, directory=tmp_path)
    camera, instrument = microscope.camera, microscope.instrument
    microscope.shutter.set("open").wait(5)
    camera.trigger().wait(5)
    bright = camera.mean_counts.get()
    status = camera.trigger()
    with microscope.clock.lock:
        if what == "beam":
            instrument.source.intensity = 0.1
        else:
            instrument.shutter.go("closed", lambda: None)
    status.wait(5)
    assert camera.mean_counts.get() < 0.3 * bright
    microscope.clock.close()


def frames_of(folder, plan_of, *, look_ahead, monkeypatch):
    """Run a plan; return its frames and how many guesses were right."""
    right = []
    with monkeypatch.context() as patch:
        if not look_ahead:
            patch.setattr(ImagesAhead, "_begin", lambda self, question: None)
        expect = ImagesAhead.expect

        def recorded(self, exposure):
            expect(self, exposure)
            right.append(self._trusted)

        patch.setattr(ImagesAhead, "expect", recorded)
        microscope = simulated_microscope(seed=4, directory=folder)
        RE = RunEngine({}, context_managers=[])
        attach(RE, microscope.clock)
        means = []
        RE.subscribe(
            lambda name, doc: means.append(
                (doc["data"]["microscope_camera_mean_counts"], doc["time"])
            ),
            "event",
        )
        RE(plan_of(microscope))
        microscope.clock.close()
    return means, right


@pytest.mark.parametrize(
    ("plan_of", "right_share"),
    [
        (lambda m: bp.scan([m.camera], m.stage.theta, -90, 90, 12), 1.0),
        (
            lambda m: tomography(
                m, center_um=(0, 0, 4), projections=12, flat_frames=2, dark_frames=2
            ),
            0.6,
        ),
        (lambda m: mosaic(m, (2, 3), flat_frames=2, dark_frames=2), 0.3),
    ],
    ids=["scan", "tomography", "mosaic"],
)
def test_scans_see_the_same_with_and_without_and_guesses_are_mostly_right(
    tmp_path, monkeypatch, plan_of, right_share
):
    ahead, right = frames_of(tmp_path / "a", plan_of, look_ahead=True, monkeypatch=monkeypatch)
    plain, _ = frames_of(tmp_path / "b", plan_of, look_ahead=False, monkeypatch=monkeypatch)
    assert [mean for mean, _ in ahead] == [mean for mean, _ in plain]
    assert np.mean(right) >= right_share


def test_no_frame_of_a_scan_is_computed_twice(tmp_path, monkeypatch):
    computed = []
    compute = ImagesAhead._compute

    def counted(self, question):
        computed.append(question)
        return compute(self, question)

    monkeypatch.setattr(ImagesAhead, "_compute", counted)
    _, right = frames_of(
        tmp_path,
        lambda m: bp.scan([m.camera], m.stage.theta, -20, 20, 9),
        look_ahead=True,
        monkeypatch=monkeypatch,
    )
    assert len(computed) == len(right) == 9
