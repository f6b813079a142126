"""Focus and centring of regions against the truth of the simulated microscope, imperfections on."""

from __future__ import annotations

import numpy as np
import pytest

from zoneplate.acquisition import open_session
from zoneplate.acquisition.journal import journals, read_journal
from zoneplate.devices import AcquisitionError, ConfigurationError
from zoneplate.plans import center_region, estimate, focus
from zoneplate.simulators import Specimen, nmc622
from zoneplate.simulators.imperfections import Imperfections
from zoneplate.simulators.projection import View

FOCUS_UM = 210.0
BINNING = 4
HALF_FIELD_UM = 1024 * 0.064 / 2


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    imperfections = Imperfections(focus_um=FOCUS_UM)
    whole = nmc622(1)
    # What lies near: a tenth of the particles, a tenth of the time.
    near = tuple(p for p in whole.particles if np.hypot(*p.center_um[:2]) < 50)
    with open_session(
        specimen=Specimen(near, whole.support, name="near"),
        data_dir=tmp_path_factory.mktemp("focus"),
        live=False,
        imperfections=imperfections,
    ) as session:
        yield session


def rows_of(session, stream):
    """The newest analysis, one of its streams."""
    for path in reversed(journals(session.data.journal)):
        documents = list(read_journal(path))
        if "analysis_of" in documents[0][1]:
            names = {d["uid"]: d["name"] for name, d in documents if name == "descriptor"}
            return [
                d["data"] for n, d in documents if n == "event" and names[d["descriptor"]] == stream
            ]
    return []


def test_zone_plate_goes_to_the_true_focus(session):
    microscope = session.microscope
    expected = estimate(focus(microscope, steps=11, binning=BINNING))
    before_s = microscope.clock.now()
    session.RE(focus(microscope, steps=11, binning=BINNING))
    assert expected.time_s == pytest.approx(microscope.clock.now() - before_s, rel=0.02)
    view = View((0.0, 0.0, 0.0), 0.0, 0.256, (256, 256), 0.7)
    true_um = FOCUS_UM + microscope.instrument._imaging.projector.depth_um(view)
    (found,) = rows_of(session, "focus")
    depth_of_focus_um = microscope.optics.depth_of_focus_um.get()
    assert abs(found["focus_um"] - true_um) < 0.25 * depth_of_focus_um
    assert abs(found["focus_um"] - true_um) < 4 * found["focus_um_se"]
    assert microscope.optics.zone_plate_z.position == pytest.approx(found["focus_um"], abs=0.5)
    series = rows_of(session, "sharpness")
    assert [round(row["zone_plate_z_um"]) for row in series] == list(range(-900, 901, 180))


def test_focus_outside_the_series_is_refused_and_the_zone_plate_goes_back(session):
    zone_plate = session.microscope.optics.zone_plate_z
    before_um = zone_plate.user_setpoint.get()
    with pytest.raises(AcquisitionError, match=r"not inside it; .* larger positions"):
        session.RE(
            focus(session.microscope, center_um=-800, range_um=1000, steps=5, binning=BINNING)
        )
    assert zone_plate.position == pytest.approx(before_um, abs=0.5)
    assert session.microscope.shutter.state.get() == "closed"


def test_region_stays_in_the_field_at_every_angle(session):
    RE, microscope = session.RE, session.microscope
    RE(center_region(microscope, center_um=(6.0, -4.0, -9.0)))
    stage = microscope.stage
    center = np.array([axis.position for axis in (stage.x, stage.y, stage.z)])
    rows = rows_of(session, "centered_particles")
    assert len(rows) > 10
    truth = microscope.instrument.specimen.truth_particles()
    places = truth[["center_x_um", "center_y_um", "center_z_um"]].to_numpy(float)
    for row in rows:
        away = np.hypot(places[:, 0] - row["center_x_um"], places[:, 1] - row["center_y_um"])
        nearest = int(np.argmin(away))
        assert away[nearest] < 0.6
        x, y, z = places[nearest] - center
        radius = truth["equivalent_diameter_um"].iloc[nearest] / 2
        assert np.hypot(x, z) + radius < HALF_FIELD_UM - 0.7  # the axis is 0.7 um off
        assert abs(y) + radius < HALF_FIELD_UM
    # The layer itself is on the axis: weighted by volume, as the beam sees it.
    inside = np.all(np.abs(places[:, :2] - center[:2]) < HALF_FIELD_UM, axis=1)
    weight = truth["volume_um3"].to_numpy(float)[inside]
    assert center[2] == pytest.approx(np.average(places[inside, 2], weights=weight), abs=1.5)


def test_chosen_particles_are_centred_and_a_wrong_choice_is_said(session):
    RE, microscope = session.RE, session.microscope
    truth = microscope.instrument.specimen.truth_particles()
    near = truth[np.hypot(truth["center_x_um"], truth["center_y_um"]) < 20].nlargest(
        2, "equivalent_diameter_um"
    )
    chosen = [(row.center_x_um, row.center_y_um) for row in near.itertuples()]
    RE(center_region(microscope, (0.0, 0.0, 4.0), particles_um=chosen))
    radius = near["equivalent_diameter_um"] / 2
    y_um = ((near["center_y_um"] - radius).min() + (near["center_y_um"] + radius).max()) / 2
    assert microscope.stage.y.position == pytest.approx(y_um, abs=0.5)
    with pytest.raises(AcquisitionError, match=r"no particle is in view at x = 90\.0"):
        RE(center_region(microscope, (0.0, 0.0, 4.0), particles_um=[(90.0, 0.0)]))


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (lambda m: focus(m, steps=3), "steps 3"),
        (lambda m: focus(m, range_um=5000), "limits -1500 to 1500"),
        (lambda m: focus(m, range_um=-1), "range_um -1"),
        (lambda m: center_region(m, (5000.0, 0.0, 0.0)), "limits"),
    ],
)
def test_impossible_alignment_is_refused_before_anything_moves(session, plan, told):
    before_s = session.microscope.clock.now()
    with pytest.raises(ConfigurationError, match=told):
        session.RE(plan(session.microscope))
    assert session.microscope.clock.now() == before_s
