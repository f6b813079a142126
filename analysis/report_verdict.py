"""The first screen of the report: the verdict on the lot, in words and in two pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from .acceptance import LINK
from .acceptance_plan import plan_limit
from .figures_lots import path_figure, plan_figure
from .lot_specification import LotSpecification, SpecificationError, words_of
from .report_format import MISSING, NBSP, capitalized, format_number, format_percent, is_finite

WORDS = {
    "accept": ("✓", "Accepted", "The lot fulfils its specification."),
    "reject": ("✗", "Rejected", "The lot does not fulfil its specification."),
    "undecided": ("?", "Undecided", "What was measured does not decide the lot."),
}
FRACTIONS = ("void_frequency", "dead_volume_fraction", "share")
CEILING = (
    "The share in the last column is a ceiling that holds for any plan of regions. The stated risk "
    "is worked out for this plan, which can do better than the ceiling: so a decision that keeps "
    "to the stated risk may stand beside a larger share."
)
"""Why the two differ, for who finds 8 % in a table below a stated risk of 5 %."""

DEFECTS = {
    "misshapen": "far from round (broken, widely open, or pieces of open shells)",
    "hollow": "hollow shells, more than a quarter of them void",
    "cracked": "cracked, with a narrow pore that is open to the outside",
}
UNITS = {"um": "µm", "um2": "µm²", "um3": "µm³", "1/um": "1/µm"}


@dataclass(frozen=True)
class LimitRow:
    """One limit, as the table of the verdict shows it.

    Attributes
    ----------
    name, good, bad, estimate, decision, evidence
        Texts.
    exact, path
        The estimate as `results.json` holds it, and where.
    tone
        ``accept``, ``reject`` or ``undecided``.
    """

    name: str
    good: str
    bad: str
    estimate: str
    decision: str
    evidence: str
    exact: str
    path: str
    tone: str


@dataclass(frozen=True)
class VerdictText:
    """The verdict in words."""

    tone: str
    mark: str
    word: str
    sentence: str
    lot: str
    why: tuple[str, ...]
    defects: str
    risks: str
    ceiling: str
    rows: tuple[LimitRow, ...]


def verdict_text(results: Mapping[str, Any]) -> VerdictText | None:
    """Return the verdict of results in words; None if no lot specification was given."""
    verdict = results.get("verdict")
    if not verdict:
        return None
    tone = str(verdict["decision"])
    mark, word, sentence = WORDS[tone]
    risks, measured = verdict["risks"], len(results.get("tomograms") or [])
    most = verdict["budget"]["regions"]
    return VerdictText(
        tone=tone,
        mark=mark,
        word=word,
        sentence=sentence if verdict["final"] or tone != "undecided" else f"{sentence[:-1]} yet.",
        lot=str(verdict["lot"]),
        why=tuple(_sentence(part) for part in str(verdict["why"]).split(LINK)),
        defects=_defects(results.get("defects") or {}),
        risks=(
            f"Stated risks: a good lot is rejected in at most {format_percent(risks['alpha'])}, a "
            f"bad one accepted in at most {format_percent(risks['beta'])} of cases. Decided after "
            f"{verdict['regions']} of at most {most} regions; {measured} measured."
            if tone != "undecided"
            else f"{measured} of at most {most} regions were measured; deciding now would break "
            f"the stated risks of {format_percent(risks['alpha'])} (a good lot rejected) and "
            f"{format_percent(risks['beta'])} (a bad one accepted)."
        ),
        ceiling=CEILING if any(_above_risk(one) for one in verdict["limits"]) else "",
        rows=tuple(_row(number, one) for number, one in enumerate(verdict["limits"])),
    )


def _defects(found: Mapping[str, Any]) -> str:
    """Say what is wrong with single particles; nothing where nothing is."""
    parts = [
        f"{format_percent(found[name]['value'])} of the particles are {words} "
        f"({found[name]['k']} of {found[name]['n']})"
        for name, words in DEFECTS.items()
        if (found.get(name) or {}).get("k")
    ]
    if not parts:
        return ""
    *others, last = parts
    return f"{capitalized(', and '.join([', '.join(others), last] if others else [last]))}."


def _sentence(part: str) -> str:
    return f"{capitalized(part)}.".replace(" um", f"{NBSP}µm")


def _words(one: Mapping[str, Any]) -> str:
    """Return what a limit is called; verdicts of earlier versions have only its name."""
    return str(one.get("words") or words_of(str(one["name"])))


def _bound(one: Mapping[str, Any]) -> float:
    """Return Wald's bound on the risk of the decision on a limit."""
    accepted = one["decision"] == "accept"
    return float(one["risk_if_accepted" if accepted else "risk_if_rejected"])


def _above_risk(one: Mapping[str, Any]) -> bool:
    """Whether a limit was decided at a stated risk that is below the bound."""
    return one["risk"] is not None and _bound(one) > one["risk"]


def _row(number: int, one: Mapping[str, Any]) -> LimitRow:
    place = max(int(one["regions"]) - 1, 0)
    look = one["path"][place] if one["path"] else {}
    value = look.get("value")
    tone = str(one["decision"])
    other, level = ("bad", "rejectable") if tone == "accept" else ("good", "acceptable")
    evidence = (
        f"a {other} lot (at {_value(one, one[level])}) looks like this in at most "
        f"{format_percent(_bound(one))} of cases"
    )
    if tone == "undecided":
        evidence = (
            f"wrong in at most {format_percent(one['risk_if_accepted'])} of cases if accepted now, "
            f"{format_percent(one['risk_if_rejected'])} if rejected now"
        )
    return LimitRow(
        name=capitalized(_words(one)),
        good=_value(one, one["acceptable"]),
        bad=_value(one, one["rejectable"]),
        estimate=_value(one, value),
        decision=f"{WORDS[tone][1]} after {one['regions']} regions, {look.get('n', 0)} objects",
        evidence=evidence,
        exact="" if value is None else repr(value),
        path=f"verdict.limits[{number}].path[{place}].value",
        tone=tone,
    )


def _value(one: Mapping[str, Any], value: object) -> str:
    if not is_finite(value):
        return MISSING
    if str(one["name"]).startswith(FRACTIONS):
        return format_percent(value)
    unit = UNITS.get(str(one["unit"]), "")
    return f"{format_number(value)}{NBSP}{unit}".rstrip()


def verdict_figures(results: Mapping[str, Any]) -> list[tuple[Figure, str, str]]:
    """Return pictures of the verdict, each with its alternative text and caption."""
    verdict = results.get("verdict")
    if not verdict:
        return []
    names = ", ".join(_words(one) for one in verdict["limits"])
    figures = [
        (
            path_figure(verdict),
            f"Log likelihood ratio after each region for {names}, with the limits of the test.",
            "How the verdict came about: the evidence after each region. In the green area the lot "
            "is accepted, in the red one rejected; the circle marks the decision, which stands.",
        )
    ]
    specification = LotSpecification.model_validate(verdict["specification"])
    try:
        plans = [plan_limit(specification, limit) for limit in specification.limits]
    except SpecificationError:
        return figures  # nobody said how much single particles differ: no curve can be drawn
    figures.append(
        (
            plan_figure(specification, plans),
            f"Probability of acceptance and average number of regions against the true {names}.",
            "What this test can tell: for every true level of a lot, how often it is accepted or "
            "rejected (left), and how many regions that takes on average beside a plan of fixed "
            "size with the same risks (right). Dots: the stated risks.",
        )
    )
    return figures
