"""Pausing at any moment changes nothing: the frames and events of an undisturbed scan."""

from __future__ import annotations

import contextlib
import random
import threading

import h5py
import numpy as np
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted, TransitionError

from zoneplate.acquisition.runs import RunRecord
from zoneplate.plans import tomography
from zoneplate.simulators import Imperfections, attach, simulated_microscope

PAUSES = 50
IGNORED = ("frame_number", "exposure_start_s")
"""Readings that count frames and time, of which a pause costs some."""

ON_THE_WAY = ("_theta", "_theta_user_setpoint", "_angle_deg")
"""The stage turns during references: where it is then depends on when that is."""


def scan(specimen, folder, pauses):
    """Take a tomogram, pausing at messages of these numbers; return its events and frames."""
    perfect = Imperfections.none()
    device = simulated_microscope(
        specimen, seed=3, directory=folder, epoch_s=1.8e9, imperfections=perfect
    )
    RE = RunEngine({}, context_managers=[])
    attach(RE, device.clock)
    record, messages, interruptions = RunRecord(), 0, 0
    RE.subscribe(lambda name, doc: record(name, doc) and None)

    def pause():
        with contextlib.suppress(TransitionError):  # it is paused already
            RE.request_pause()

    def count(message):
        nonlocal messages
        messages += 1
        if messages in pauses:
            threading.Thread(target=pause).start()

    RE.msg_hook = count
    plan = tomography(
        device, center_um=(0, 0, 4), projections=60, dark_frames=2, flat_frames=3, binning=8
    )
    go_on = lambda: RE(plan)  # noqa: E731
    while True:
        try:
            go_on()
            break
        except RunEngineInterrupted:
            interruptions += 1
            go_on = RE.resume
    device.clock.close()
    return record, interruptions


def facts(record):
    """Return what events say and what their frames show, by stream and number."""
    found = {}
    for stream in ("dark", "flat", "primary"):
        for frame in record.stream(stream):
            with h5py.File(frame.file, "r") as file:
                pixels = file["entry/instrument/detector/data"][frame.number]
                key = int(file["entry/instrument/detector/image_key"][frame.number])
            data = {
                name: value
                for name, value in frame.data.items()
                if isinstance(value, float | int)
                and not name.endswith(IGNORED)
                and (stream == "primary" or not name.endswith(ON_THE_WAY))
            }
            found[stream, frame.seq_num] = (data, pixels, key)
    return found


def test_fifty_pauses_at_random_moments_change_neither_frames_nor_events(
    tmp_path, asymmetric_specimen
):
    moments = set(random.Random(5).sample(range(60, 2000), 3 * PAUSES))
    calm, _ = scan(asymmetric_specimen, tmp_path / "calm", set())
    paused, interruptions = scan(asymmetric_specimen, tmp_path / "paused", moments)
    assert interruptions >= PAUSES
    expected, found = facts(calm), facts(paused)
    assert list(found) == list(expected)
    for key, (data, pixels, image_key) in expected.items():
        assert found[key][0].keys() == data.keys()
        for name, value in data.items():
            assert found[key][0][name] == value, (key, name)
        assert np.array_equal(found[key][1], pixels), key
        assert found[key][2] == image_key
