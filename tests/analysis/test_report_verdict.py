"""The verdict comes first, and every number of the page is that of the results."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import orjson
import pandas as pd
import pytest
from test_report import example_results

from zoneplate.analysis.acceptance import judge, verdict_document
from zoneplate.analysis.lot_specification import LotSpecification
from zoneplate.analysis.report import write_report
from zoneplate.analysis.report_tables import population_tables
from zoneplate.analysis.report_verdict import verdict_text
from zoneplate.analysis.statistics_percentiles import LOGNORMAL

LOT = {
    "name": "incoming",
    "limits": [{"quantity": "void_frequency", "acceptable": 0.2, "rejectable": 0.4}],
}


class Numbers(HTMLParser):
    """Collects what the page says is a number of the results."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag == "data":
            self.found.append(dict(attrs))


def results_with(frequency, regions=4, lot=LOT):
    rng = np.random.default_rng(0)
    size = 30 * regions
    particles = pd.DataFrame({"particle_id": np.arange(size), "region": np.arange(size) // 30})
    particles["equivalent_diameter_um"], particles["volume_um3"] = 6.0, 113.0
    voids = particles.loc[rng.random(size) < frequency].assign(equivalent_diameter_um=2.4)
    results = example_results()
    verdict = judge(LotSpecification.model_validate(lot), particles, voids)
    results["verdict"] = verdict_document(verdict)
    return results


def look_up(results, path):
    value = results
    for name in re.findall(r"[^.\[\]]+", path):
        value = value[int(name) if name.isdigit() else name]
    return value


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    results = results_with(0.7)
    path = tmp_path_factory.mktemp("verdict") / "report.html"
    write_report(path, results, particles=pd.DataFrame(), voids=pd.DataFrame())
    return results, path.read_text()


def test_verdict_is_the_first_thing_on_the_page(page):
    _, text = page
    assert text.index("Rejected") < text.index('class="cards"')
    assert 'class="verdict reject"' in text
    assert text.count("data:image/png") >= 2  # the way to the verdict, and what the test can tell


def test_every_number_is_that_of_the_results(page):
    results, text = page
    numbers = Numbers()
    numbers.feed(text)
    assert len(numbers.found) >= 15
    for number in numbers.found:
        assert number["value"] == repr(look_up(results, number["data-path"])), number
    paths = {number["data-path"] for number in numbers.found}
    assert "verdict.limits[0].path[1].value" in paths
    assert "dead_volume_fraction.value" in paths


def test_page_carries_the_whole_results(page):
    results, text = page
    (inside,) = re.findall(r'<script type="application/json" id="results">(.*?)</script>', text)
    assert json.loads(inside) == orjson.loads(orjson.dumps(results))


@pytest.mark.parametrize(
    ("frequency", "regions", "word"),
    [(0.02, 4, "Accepted"), (0.7, 4, "Rejected"), (0.3, 1, "Undecided")],
)
def test_words_say_what_was_decided(frequency, regions, word):
    text = verdict_text(results_with(frequency, regions))
    assert text.word == word
    assert "of at most 12 regions" in text.risks
    assert text.rows[0].good.endswith("%")
    assert ("yet" in text.sentence) == (word == "Undecided")


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("frequency", "lot"), [(0.02, "bad lot (at 40 %)"), (0.7, "good lot (at 20 %)")]
)
def test_evidence_says_what_is_compared_with_what(frequency, lot):
    results = results_with(frequency)
    limit = results["verdict"]["limits"][0]
    for bound, words, explained in ((0.03, "3.0 %", False), (0.08, "8.0 %", True)):
        limit["risk_if_accepted"] = limit["risk_if_rejected"] = bound
        text = verdict_text(results)
        said = f"a {lot} looks like this in at most {words} of cases"  # the stated risk is 5 %
        assert plain(text.rows[0].evidence) == said
        assert ("ceiling" in text.ceiling) == explained


def test_evidence_of_an_undecided_lot_says_both_risks():
    evidence = plain(verdict_text(results_with(0.3, 1)).rows[0].evidence)
    assert "if accepted now" in evidence
    assert "if rejected now" in evidence


def test_without_a_specification_there_is_no_verdict():
    assert verdict_text(example_results()) is None


def test_the_page_says_what_is_wrong_with_single_particles():
    results = results_with(0.7)
    assert verdict_text(results).defects == ""
    share = {"value": 0.158, "low": 0.07, "high": 0.33, "n": 171, "k": 27}
    few = {**share, "value": 0.041, "k": 7}
    results["defects"] = {
        "hollow": {**share, "value": 0.0, "k": 0},
        "misshapen": share,
        "cracked": few,
    }
    said = verdict_text(results).defects.replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("16 % of the particles are far from round")
    assert "(27 of 171)" in said
    assert said.endswith(
        "and 4.1 % of the particles are cracked, with a narrow pore that is open to "
        "the outside (7 of 171)."
    )
    assert "hollow" not in said


def interval(value, low, high, warning=None, method="order statistics"):
    return {"value": value, "low": low, "high": high, "n": 60, "warning": warning, "method": method}


def test_population_shows_intervals_models_and_refusals():
    refused = interval(9.0, None, None, "60 particles, and their sizes are not lognormal")
    sizes = {f"d{p}_number_um": interval(6.1, 5.6, 6.7) for p in (10, 50, 90)}
    sizes |= {f"d{p}_volume_um": interval(9.0, 8.0, 10.0, method=LOGNORMAL) for p in (10, 50)}
    sizes |= {"d90_volume_um": refused, "span_number": {"value": 0.9, "warning": None}}
    sizes |= {"n": 60, "span_volume": {"value": None, "warning": "no span: too few"}}
    results = example_results()
    results["population"] = {"sizes_tomograms": sizes, "void_frequency": interval(0.5, 0.4, 0.6)}
    powder, voids = population_tables(results)
    shown = {line.name: line.cells[0] for line in powder.lines}
    texts = {name: cell.text.replace("\N{NO-BREAK SPACE}", " ") for name, cell in shown.items()}
    assert texts["d50, by number"] == "6.1 µm (5.6 to 6.7)"
    assert texts["d50, by volume"].endswith("lognormal model")
    assert texts["d90, by volume"].endswith("their sizes are not lognormal")
    assert texts["span (d90 − d10) / d50, by volume"] == "no span: too few"
    assert shown["d50, by number"].path == "population.sizes_tomograms.d50_number_um.value"
    assert voids.lines[1].cells[0].text.replace("\N{NO-BREAK SPACE}", " ") == "50 % (40 % to 60 %)"
