import copy
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from volume_scene import radii_table, tables, volume_view

from zoneplate.analysis.mosaic import stitch
from zoneplate.analysis.particle_defects import describe_defects, find_defects
from zoneplate.analysis.report import RadiographSeries, write_report
from zoneplate.analysis.report_pictures import cracked
from zoneplate.analysis.report_sentences import warnings
from zoneplate.analysis.report_tables import defects_table
from zoneplate.analysis.report_text import STUDY, cards, dead_volume_rows, table_one

VOID_TAGS = {"meta", "link", "img", "br", "input"}


def quantity(mean: float, se: float, unit: str) -> dict:
    return {"mean": mean, "se": se, "median": mean, "unit": unit}


def block(count: int, volume: float, diameter: float) -> dict:
    return {
        "count": count,
        "volume_um3": quantity(volume, 41.2, "um3"),
        "surface_area_um2": quantity(151.3, 18.0, "um2"),
        "sphericity": quantity(0.957, 0.006, "1"),
        "surface_to_volume_per_um": quantity(1.247, 0.073, "1/um"),
        "equivalent_diameter_um": quantity(diameter, 0.31, "um"),
        "sphericity_of_means": 0.81,
    }


def example_results() -> dict:
    return {
        "schema": "zoneplate-results/1",
        "sample": "NMC622 lot 7",
        "created": "2026-03-04 10:22 UTC",
        "software": {"zoneplate": "0.1.0"},
        "parameters": {"binning": 8, "angles_deg": list(range(141))},
        "source": {"kind": "simulated", "seed": 3},
        "mosaic": {"uid": "map-uid", "tiles": 40, "area_um2": 171798.7, "particles": 1187},
        "timing": {"mosaic_s": 52.3, "tomography_s": [281.2], "beam_on_fraction": 0.61},
        "tomograms": [
            {
                "uid": "tomo-uid",
                "center_um": [116.7, 73.7, 12.0],
                "projections": 141,
                "snr": 10.4,
                "transmission_mean": 0.92,
                "rotation_center_column": 63.52,
                "rotation_center_se": 0.04,
                "warnings": ["The largest particle is cut by the border."],
            }
        ],
        "particles": block(48, 238.4, 6.41),
        "voids": block(29, 9.1, 2.42),
        "void_frequency": {
            "value": 0.5484, "low": 0.398, "high": 0.693, "n": 31, "k": 17,
            "confidence": 0.95, "method": "wilson", "larger_than_um": 1.8,
        },
        "dead_volume_fraction": {"value": 0.0213, "low": 0.011, "high": 0.034, "n": 31},
        "void_to_particle_volume_ratio": {"value": 0.038},
        "net_dead_volume_fraction": {"value": 0.0209},
        "warnings": [],
    }  # fmt: skip


@pytest.fixture
def results() -> dict:
    return example_results()


class Page(HTMLParser):
    """Tags in order, their attributes, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag]
        self.open.pop()

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words).replace("\N{NO-BREAK SPACE}", " "))


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    return full_report(tmp_path_factory.mktemp("full") / "report.html", example_results())


def parse(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def plain_report(path: Path, results: dict) -> Page:
    """Write a page without pictures."""
    nothing = pd.DataFrame()
    return parse(write_report(path, results, particles=nothing, voids=nothing))


def full_report(path: Path, results: dict) -> Path:
    particles, voids = tables()
    mosaic = stitch(np.random.default_rng(0).uniform(0.5, 1, (2, 20, 20)), [(0, 0), (20, 0)], 1.0)
    regions = pd.DataFrame(
        {
            "region_id": [1],
            "center_x_um": [3.0],
            "center_y_um": [0.0],
            "width_um": [10.0],
            "height_um": [10.0],
            "particles_expected": [35],
            "reason": ["35 whole particles expected"],
        }
    )
    convergence = pd.DataFrame({"projections": [20, 80, 141], "particles": [30, 33, 31]})
    frames = RadiographSeries(
        np.random.default_rng(0).random((9, 8, 8)), np.linspace(-90, 90, 9), 0.5, "Region 1"
    )
    return write_report(
        path,
        results,
        particles=particles,
        voids=voids,
        mosaic=mosaic,
        map_particles=None,
        regions=regions,
        volumes=[volume_view()],
        radii=radii_table(),
        radiographs=[frames],
        convergence=convergence,
    )


def test_first_screen_has_the_answer_with_its_intervals(full):
    page = parse(full)
    top = page.text.partition("Table 1")[0]
    for words in (
        "NMC622 lot 7",
        "40 tiles (0.17 mm²) with 1,187 particles, taken in 52 s",
        "one tomogram of 141 projections, 4 min 41 s",
        "55 %",
        "95 % interval 40 % to 69 %",
        "17 of 31 whole particles have an internal void larger than 1.8 µm",
        "2.1 %",
        "6.41 µm",
        "The largest particle is cut by the border.",
    ):
        assert words in top, words


def test_table_one_stands_beside_the_study(full):
    page = parse(full)
    assert "238 ± 41 µm³ 238 µm³" in page.text
    assert "6.41 ± 0.31 µm 6.4 µm" in page.text
    assert "55 % (40 % to 69 %) 55 %" in page.text
    assert "3.8 % 3.8 %" in page.text
    assert "Truth" not in page.text


def test_printed_study_values_are_those_of_table_1():
    assert list(STUDY["particles"].values()) == ["238", "234", "0.8", "1.7", "6.4"]
    assert list(STUDY["voids"].values()) == ["9", "30", "0.7", "4.1", "2.4"]


NUMBER = re.compile(r"\d(?!\d*[A-Za-z])")
UNITS = ("µm³", "µm²", "µm", "1/µm", "%", "min", " s", "°", "mm²")


def test_no_number_of_the_tables_stands_without_its_unit(results):
    """Sphericity is a ratio and has none; everything else says what it is in."""
    results["particles_faces"] = block(48, 238.4, 6.41)
    results["voids_faces"] = block(29, 9.1, 2.42)
    results["truth"] = {kind: copy.deepcopy(results[kind]) for kind in ("particles", "voids")}
    rows = [row for kind in ("particles", "voids") for row in table_one(results, kind)]
    rows += dead_volume_rows(results)
    assert len(rows) > 15
    for row in rows:
        for value in (row.measured, row.study, row.truth):
            if NUMBER.search(value) and not row.name.startswith("Sphericity"):
                assert value.endswith(UNITS) or "%" in value, (row.name, value)
    for card in cards(results):
        for value in (card.value, card.interval, card.detail, card.truth):
            if NUMBER.search(value):
                assert any(unit in value for unit in UNITS) or "particles" in value, value


def test_voxel_face_areas_take_the_study_values_when_given(results):
    rows = {row.name: row for row in table_one(results, "particles")}
    assert rows["Surface area, SA"].study == "234\N{NO-BREAK SPACE}µm²"
    assert "voxel faces" in rows["Surface area, SA"].remark
    results["particles_faces"] = block(48, 238.4, 6.41)
    rows = {row.name: row for row in table_one(results, "particles")}
    assert rows["Surface area, SA"].study == "–"
    assert rows["Surface area from voxel faces, SA"].study == "234\N{NO-BREAK SPACE}µm²"
    assert rows["Sphericity of the mean V and SA from voxel faces"].study == "0.8"


def test_two_live_values_make_no_curve(tmp_path, results):
    for count, shown in ((2, 0), (3, 1)):
        live = pd.DataFrame({"projections": range(1, count + 1), "particles": range(count)})
        path = write_report(
            tmp_path / "r.html",
            results,
            particles=pd.DataFrame(),
            voids=pd.DataFrame(),
            convergence=live,
        )
        assert parse(path).text.count("How the answer settled") == shown


def test_truth_appears_for_simulated_runs(tmp_path, results):
    results["truth"] = {
        "particles": block(46, 241.0, 6.5),
        "voids": block(30, 9.0, 2.4),
        "void_frequency": {"value": 0.57},
        "dead_volume_fraction": {"value": 0.022},
    }
    page = plain_report(tmp_path / "report.html", results)
    assert "238 ± 41 µm³ 238 µm³ 241 µm³" in page.text
    assert "Truth of the simulated sample: 57 %" in page.text
    assert dead_volume_rows(results)[0].truth.startswith("57")


def test_page_is_self_contained_valid_and_described(full):
    page = parse(full)
    assert page.open == []
    assert full.stat().st_size < 3e6
    assert list(full.parent.iterdir()) == [full]
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith("data:"), (tag, attributes[name][:60])
        if tag == "img":
            assert len(attributes["alt"]) > 20
        if tag == "canvas":
            assert attributes["aria-label"]
    html = full.read_text(encoding="utf-8")
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|@import|url\(", html)
    assert html.count("mountViewer(document") == 1


@pytest.mark.parametrize(
    "nasty", ["<script>alert(1)</script>", "</title><img src=x onerror=alert(1)>", "\" onload='x'"]
)
def test_names_from_outside_cannot_become_markup(tmp_path, results, nasty):
    results["sample"] = nasty
    results["warnings"] = [nasty]
    results["parameters"]["note"] = {nasty: nasty}
    page = plain_report(tmp_path / "report.html", results)
    clean = plain_report(tmp_path / "clean.html", {**results, "sample": "x", "warnings": ["x"]})
    assert nasty in page.text
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in clean.tags]
    assert not any("onerror" in attributes or "onload" in attributes for _, attributes in page.tags)


def test_names_in_the_viewer_data_cannot_end_the_script(tmp_path, results):
    particles, voids = tables()
    view = volume_view()
    object.__setattr__(view, "title", "</script><b>x")
    path = write_report(
        tmp_path / "r.html", results, particles=particles, voids=voids, volumes=[view]
    )
    page = parse(path)
    assert page.open == []
    assert "b" not in [tag for tag, _ in page.tags]


def test_seven_projections_of_a_file_without_particles(tmp_path):
    said = "7 projections: shapes are smeared; about 200 are needed for sizes."
    results = {
        "schema": "zoneplate-results/1",
        "sample": "chip",
        "tomograms": [{"projections": 7, "snr": None, "warnings": [said]}],
        "particles": {"count": 0},
        "voids": {"count": 0},
        "void_frequency": {"value": None, "low": None, "high": None, "n": 0, "k": 0,
                           "larger_than_um": 1.8},
        "dead_volume_fraction": {"value": None, "low": None, "high": None},
        "warnings": [said],
    }  # fmt: skip
    particles, voids = tables()
    path = write_report(
        tmp_path / "r.html",
        results,
        particles=particles.head(0),
        voids=voids.head(0),
        volumes=[volume_view(voids=False, particles=False)],
    )
    page = parse(path)
    assert page.text.count(said) == 1
    assert "no whole particle in the field" in page.text
    assert "none measured" in page.text
    assert not re.search(r"\bnan\b", page.text.lower())
    assert "None" not in page.text
    assert "canvas" not in [tag for tag, _ in page.tags]


def test_particles_without_voids(tmp_path, results):
    results["void_frequency"].update(value=0.0, low=0.0, high=0.11, k=0)
    results["dead_volume_fraction"].update(value=0.0, low=None, high=None)
    results["voids"] = {"count": 0, "volume_um3": quantity(None, None, "um3")}
    particles, voids = tables()
    path = write_report(
        tmp_path / "r.html",
        results,
        particles=particles,
        voids=voids.head(0),
        volumes=[volume_view(voids=False)],
    )
    page = parse(path)
    assert "0 of 31 whole particles" in page.text
    assert "95 % interval 0 % to 11 %" in page.text
    assert "Volume, V – 9" in page.text


def test_the_least_possible_results_make_a_page(tmp_path):
    path = write_report(tmp_path / "r.html", {}, particles=pd.DataFrame(), voids=pd.DataFrame())
    page = parse(path)
    assert "Unnamed sample" in page.text
    assert "Where it was measured" not in page.text


def test_several_regions_have_their_own_sections_and_columns(tmp_path, results):
    results["tomograms"] = [copy.deepcopy(results["tomograms"][0]) for _ in range(2)]
    particles, voids = tables()
    joint = pd.concat([particles.assign(region=1), particles.assign(region=2)])
    path = write_report(
        tmp_path / "r.html",
        results,
        particles=joint,
        voids=voids.assign(region=1),
        volumes=[volume_view(region=1), volume_view(region=2)],
    )
    page = parse(path)
    assert page.text.count("3 particles and 1 voids") >= 1
    assert page.text.count("3 particles and 0 voids") >= 1
    assert [tag for tag, _ in page.tags].count("canvas") == 2
    assert "Region 1: The largest particle is cut" in page.text
    assert "2 tomograms of 141 projections each" in page.text


def test_cracked_particles_are_counted_and_shown_where_open_pores_were_looked_for(results):
    particles, voids = tables()
    assert cracked(volume_view(), particles, find_defects(particles, voids)) is None
    particles = particles.assign(
        open_pore_count=[0, 2, 1], open_pore_volume_um3=[0.0, 8.2, 5.0],
        open_pore_x_um=95.1, open_pore_y_um=-44.4, open_pore_z_um=3.1,
    )  # fmt: skip
    defects = find_defects(particles, voids)
    shown = cracked(volume_view(), particles, defects)
    assert shown is not None
    assert "Cracked: 1 of 1 whole particles of Region 1" in shown.caption  # one is cut
    none = particles.assign(open_pore_count=0)
    assert cracked(volume_view(), none, find_defects(none, voids)) is None

    results["defects"] = describe_defects(particles, voids)
    table = defects_table(results)
    assert table is not None
    lines = {line.name: [cell.text for cell in line.cells] for line in table.lines}
    assert lines["Cracked: a narrow pore is open to the outside"][1] == "1 of 2"
    assert lines["Internal void or open pore"][1] == "2 of 2"
    for name in ("cracked", "void_or_open_pore", "open_pore_fraction"):
        del results["defects"][name]  # as results of before
    assert len(defects_table(results).lines) == 2


def test_equal_warnings_are_said_once(results):
    results["void_frequency"]["warning"] = "too few regions"
    results["dead_volume_fraction"]["warning"] = "too few regions"
    assert warnings(results, ["extra"]) == [
        "The largest particle is cut by the border.",
        "Void frequency and dead volume: too few regions.",
        "extra",
    ]


def test_a_warning_is_not_repeated_with_a_capital_letter(results):
    results["tomograms"] = [{"warnings": ["too noisy"]}, {"warnings": []}]
    results["warnings"] = ["region 1: too noisy"]
    assert warnings(results, []) == ["region 1: too noisy"]


def test_headlines_do_not_recompute(results):
    results["void_frequency"].update(value=0.123, n=999, k=3)
    assert cards(results)[0].value.replace("\N{NO-BREAK SPACE}", " ") == "12 %"
    assert cards(results)[0].detail.startswith("3 of 999")
