"""Specimens survive the way to a file and back, and bad files are named by row."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoneplate.devices.errors import ConfigurationError
from zoneplate.simulators.powders import nmc622
from zoneplate.simulators.specimen import Particle, Specimen, Support, Void
from zoneplate.simulators.specimen_file import COLUMNS

EXAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "specimen_example.csv"

HEADER = "kind,id,parent,x_um,y_um,z_um,a_um,b_um,c_um,qw,qx,qy,qz,material"
FIRST = "particle,one,,0,0,3,3,3,3,1,0,0,0,LiNiO2@4.8"
HOLE = "void,hole,one,0,0,3,1,1,1,1,0,0,0,"
SECOND = "particle,two,,10,0,3,3,3,3,1,0,0,0,LiNiO2@4.8"


def written(tmp_path, *lines):
    path = tmp_path / "powder.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


lengths = st.floats(0.01, 40.0, allow_nan=False)
coordinates = st.floats(-1e4, 1e4, allow_nan=False)
turns = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: math.hypot(*q) > 0.1)
names = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=1)


@settings(max_examples=60, deadline=None)
@given(
    name=names,
    hole=names,
    x=coordinates,
    y=coordinates,
    axes=st.tuples(lengths, lengths, lengths),
    turn=turns,
)
def test_every_number_reads_back_exactly(tmp_path_factory, name, hole, x, y, axes, turn):
    length = math.hypot(*turn)
    w, i, j, k = (part / length for part in turn)
    center = (x, y, max(axes))
    void = Void(hole, center, (min(axes) / 3,) * 3, (w, i, j, k))
    particle = Particle(name, center, axes, (w, i, j, k), "Fe2O3@5.24", (void,))
    path = tmp_path_factory.mktemp("specimen") / "round.csv"
    Specimen((particle,), name="round").save(path)
    assert Specimen.load(path).particles == (particle,)


def test_generated_specimen_reads_back_exactly(tmp_path):
    specimen = nmc622(3, width_um=128, height_um=64)
    path = tmp_path / "nmc622.csv"
    specimen.save(path)
    again = Specimen.load(path, support=specimen.support)
    assert again.particles == specimen.particles
    assert again.name == "nmc622"
    assert path.read_text().splitlines()[0] == HEADER


def test_example_of_the_project_loads():
    if not EXAMPLE.exists():
        pytest.skip(f"example data is absent: {EXAMPLE}")
    specimen = Specimen.load(EXAMPLE)
    assert (len(specimen.particles), len(specimen.voids)) == (120, 67)
    assert specimen.name == "specimen_example"
    assert specimen.particles[0].voids[0].id == "v1"


def test_order_of_columns_and_rows_is_free(tmp_path):
    order = list(reversed(HEADER.split(",")))
    lines = [",".join(order)]
    for line in (HOLE, SECOND, FIRST):
        record = dict(zip(HEADER.split(","), line.split(","), strict=True))
        lines.append(",".join(record[column] for column in order))
    specimen = Specimen.load(written(tmp_path, *lines))
    assert [particle.id for particle in specimen.particles] == ["two", "one"]
    assert specimen.particles[1].voids[0].id == "hole"


def test_file_without_particles_is_an_empty_field(tmp_path):
    assert Specimen.load(written(tmp_path, HEADER)).particles == ()


def test_default_tape_reaches_beyond_far_particles(tmp_path):
    far = "particle,far,,2000,-900,3,3,3,3,1,0,0,0,LiNiO2@4.8"
    support = Specimen.load(written(tmp_path, HEADER, far)).support
    assert support.width_um / 2 > 2003
    assert support.height_um / 2 > 903
    own = Support(width_um=50)
    assert Specimen.load(written(tmp_path, HEADER, FIRST), support=own).support == own


def replaced(line, **changes):
    record = dict(zip(HEADER.split(","), line.split(","), strict=True))
    return ",".join((record | changes).values())


@pytest.mark.parametrize(
    ("lines", "row", "message"),
    [
        ((HEADER, FIRST, replaced(SECOND, x_um="5.5")), "rows 2 and 3", "'one' and 'two' interp"),
        ((HEADER, FIRST, "", replaced(SECOND, x_um="0")), "rows 2 and 4", "interpenetrate"),
        ((HEADER, FIRST, replaced(HOLE, x_um="2.1")), "rows 3 and 2", "'hole' leaves .* 'one'"),
        (
            (HEADER, FIRST, HOLE, replaced(HOLE, id="other", y_um="1.5")),
            "rows 3 and 4",
            "voids 'hole' and 'other' interpenetrate",
        ),
        ((HEADER, replaced(FIRST, z_um="2.9")), "row 2", "below the tape"),
        ((HEADER, FIRST, replaced(SECOND, x_um="nan")), "row 3", "'two': centre"),
        ((HEADER, FIRST, replaced(SECOND, b_um="-3")), "row 3", "'two': semi-axes"),
        ((HEADER, FIRST, replaced(SECOND, c_um="three")), "row 3", "c_um 'three' is not a number"),
        ((HEADER, FIRST, replaced(SECOND, qw="")), "row 3", "qw '' is not a number"),
        ((HEADER, FIRST, replaced(SECOND, qw="0.98")), "row 3", "unit quaternion"),
        ((HEADER, FIRST, replaced(SECOND, id="one")), "rows 2 and 3", "id 'one' occurs twice"),
        ((HEADER, FIRST, HOLE, replaced(HOLE, z_um="4")), "rows 3 and 4", "void id 'hole'"),
        ((HEADER, FIRST, replaced(HOLE, parent="none")), "row 3", "parent 'none', which is no"),
        ((HEADER, FIRST, replaced(HOLE, parent="")), "row 3", "a void or crack needs"),
        ((HEADER, replaced(FIRST, parent="two")), "row 2", "a particle nothing"),
        ((HEADER, replaced(FIRST, kind="grain")), "row 2", "kind 'grain' is unknown"),
        ((HEADER, replaced(FIRST, material="")), "row 2", "material ''"),
        ((HEADER, replaced(FIRST, material="Nmc@4.8")), "row 2", "not an element"),
        ((HEADER, FIRST, replaced(HOLE, material="Fe@7.8")), "row 3", "leave it empty"),
        ((HEADER, FIRST + ",1"), "row 2", "15 fields where the header has 14"),
        ((HEADER.replace(",qz", ""), FIRST), "row 1", "column qz is missing"),
        ((HEADER + ",colour", FIRST + ",red"), "row 1", "column 'colour' is unknown"),
        ((HEADER + ",qz", FIRST + ",0"), "row 1", "occurs twice"),
        (("",), "row 1", "column kind is missing"),
    ],
)
def test_bad_file_is_refused_with_its_row(tmp_path, lines, row, message):
    path = written(tmp_path, *lines)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Specimen.load(path)
    assert f"specimen file {path}, {row}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nearly_unit_quaternion_is_normalised(tmp_path):
    path = written(tmp_path, HEADER, replaced(FIRST, qw="0.9951"))
    assert Specimen.load(path).particles[0].orientation[0] == pytest.approx(1.0, abs=1e-15)


def test_file_that_cannot_be_read_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        Specimen.load(tmp_path / "absent.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81,kind")
    with pytest.raises(ConfigurationError, match="not a CSV text file"):
        Specimen.load(binary)


def test_columns_are_those_of_the_documented_format():
    assert ",".join(COLUMNS) == HEADER
