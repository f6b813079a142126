"""When a screening has seen enough: small rules over the results so far, which can be combined.

A rule is a value that is called with the results so far (what `results.json` holds, after each
tomogram) and returns why to stop, in words, or None to go on. ``a | b`` stops when either does,
``a & b`` when both do. Any callable of that kind is a rule too; `Verdict` makes one combinable.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Results = Mapping[str, Any]

Decide = Callable[[Results], str | None]
"""Gets the results so far, returns a reason to stop or None."""


@runtime_checkable
class StopWhen(Protocol):
    """Anything that says when to stop."""

    def __call__(self, results: Results, /) -> str | None:
        """Return why to stop; None to go on."""
        ...


class _Rule:
    """What all rules share: they can be combined."""

    def __call__(self, results: Results, /) -> str | None:
        raise NotImplementedError

    def __or__(self, other: Decide) -> AnyOf:
        return AnyOf((self, other))

    def __and__(self, other: Decide) -> AllOf:
        return AllOf((self, other))


@dataclass(frozen=True)
class Budget(_Rule):
    """Stop when another tomogram would cost more instrument time than is left.

    The map counts, and so does what a screening took before it was resumed.

    Attributes
    ----------
    seconds
        Of the instrument, for the whole screening.

    Examples
    --------
    >>> timing = {"mosaic_with_references_s": 64, "tomography_s": [295, 292]}
    >>> Budget(900)({"timing": timing})
    'budget: 651 of 900 s are spent, another tomogram takes 295 s'
    >>> Budget(1000)({"timing": timing}) is None
    True
    """

    seconds: float

    def __post_init__(self) -> None:
        _check(self.seconds > 0, f"a budget of {self.seconds:g} s is not possible: give some")

    def __call__(self, results: Results, /) -> str | None:
        """Return why to stop."""
        timing = results.get("timing", {})
        each_s = [float(value) for value in timing.get("tomography_s", []) if value]
        spent_s = float(timing.get("mosaic_with_references_s") or 0.0) + sum(each_s)
        next_s = max(each_s, default=0.0)
        if spent_s + next_s <= self.seconds:
            return None
        return (
            f"budget: {spent_s:.0f} of {self.seconds:g} s are spent, another tomogram takes "
            f"{next_s:.0f} s"
        )

    def __str__(self) -> str:
        return f"budget={self.seconds:g}"


@dataclass(frozen=True)
class Particles(_Rule):
    """Stop when so many whole particles were measured.

    Attributes
    ----------
    count
        How many.

    Examples
    --------
    >>> Particles(50)({"particles": {"count": 53}})
    'particles: 53 of 50 are measured'
    """

    count: int

    def __post_init__(self) -> None:
        _check(self.count > 0, f"{self.count} particles are not possible: give 1 or more")

    def __call__(self, results: Results, /) -> str | None:
        """Return why to stop."""
        count = int(results["particles"]["count"])
        return f"particles: {count} of {self.count} are measured" if count >= self.count else None

    def __str__(self) -> str:
        return f"particles={self.count}"


@dataclass(frozen=True)
class IntervalWidth(_Rule):
    """Stop when the 95 % interval of the void frequency is narrow enough.

    Attributes
    ----------
    width
        From its low to its high end: 0.2 are 20 percentage points.

    Examples
    --------
    >>> IntervalWidth(0.2)({"void_frequency": {"low": 0.42, "high": 0.61}})
    'interval: 0.42 to 0.61 is 0.19 wide (wanted: 0.2)'
    """

    width: float

    def __post_init__(self) -> None:
        _check(0 < self.width < 1, f"an interval {self.width:g} wide is not possible: give 0 to 1")

    def __call__(self, results: Results, /) -> str | None:
        """Return why to stop."""
        low, high = (results["void_frequency"].get(end) for end in ("low", "high"))
        if low is None or high is None or high - low > self.width:
            return None
        return (
            f"interval: {low:.2f} to {high:.2f} is {high - low:.2f} wide (wanted: {self.width:g})"
        )

    def __str__(self) -> str:
        return f"width={self.width:g}"


@dataclass(frozen=True)
class Verdict(_Rule):
    """Stop when somebody's test has decided the lot.

    Attributes
    ----------
    decide
        Called with the results so far; returns the verdict in words, or None while it is open.
    name
        How to call it, `package.module:function` if it came from a command line.

    Examples
    --------
    >>> def decide(results):
    ...     low = results["void_frequency"]["low"]
    ...     return "rejected: more than 30 % hold voids" if low > 0.3 else None
    >>> (Verdict(decide) | Particles(100))(
    ...     {"void_frequency": {"low": 0.42}, "particles": {"count": 25}}
    ... )
    'verdict: rejected: more than 30 % hold voids'
    """

    decide: Decide
    name: str = ""

    def __call__(self, results: Results, /) -> str | None:
        """Return why to stop."""
        reason = self.decide(results)
        return f"verdict: {reason}" if reason else None

    def __str__(self) -> str:
        return f"verdict={self.name or getattr(self.decide, '__name__', 'decide')}"


@dataclass(frozen=True)
class AnyOf(_Rule):
    """Stop when one of the rules does."""

    rules: tuple[Decide, ...]

    def __call__(self, results: Results, /) -> str | None:
        """Return the first reason."""
        return next((reason for rule in self.rules if (reason := rule(results))), None)

    def __str__(self) -> str:
        return " or ".join(map(str, self.rules))


@dataclass(frozen=True)
class AllOf(_Rule):
    """Stop when all of the rules do."""

    rules: tuple[Decide, ...]

    def __call__(self, results: Results, /) -> str | None:
        """Return all reasons, or None."""
        reasons = [rule(results) for rule in self.rules]
        return None if None in reasons else "; ".join(str(reason) for reason in reasons)

    def __str__(self) -> str:
        parts = [f"({rule})" if isinstance(rule, AnyOf) else str(rule) for rule in self.rules]
        return " and ".join(parts)


def parse_stop_when(texts: Sequence[str]) -> StopWhen | None:
    """Return the rule that command-line options ask for; None if there are none.

    Parameters
    ----------
    texts
        Each ``budget=SECONDS``, ``particles=COUNT``, ``width=WIDTH`` or
        ``verdict=package.module:function``; joined by ``+`` all of them must say so, several
        texts are alternatives.

    Raises
    ------
    ValueError
        If a text is none of these; the message says what is possible.

    Examples
    --------
    >>> str(parse_stop_when(["budget=3600", "particles=100+width=0.2"]))
    'budget=3600 or particles=100 and width=0.2'
    """
    alternatives: list[StopWhen] = []
    for text in texts:
        rules = tuple(_parse_one(part.strip()) for part in text.split("+"))
        alternatives.append(rules[0] if len(rules) == 1 else AllOf(rules))
    if not alternatives:
        return None
    return alternatives[0] if len(alternatives) == 1 else AnyOf(tuple(alternatives))


def _parse_one(text: str) -> StopWhen:
    kind, _, value = text.partition("=")
    try:
        if kind == "budget":
            return Budget(float(value))
        if kind == "particles":
            return Particles(int(value))
        if kind == "width":
            return IntervalWidth(float(value))
        if kind == "verdict":
            return Verdict(_imported(value), value)
    except ValueError as error:
        raise ValueError(f"--stop-when {text!r}: {error}") from error
    raise ValueError(
        f"--stop-when {text!r} is unknown: use budget=SECONDS, particles=COUNT, width=WIDTH or "
        "verdict=package.module:function"
    )


def _imported(path: str) -> Decide:
    """Return a function by its path."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"there is no function {path!r}: give package.module:function ({error})"
        ) from error
    if not callable(found):
        raise ValueError(f"{path!r} cannot be called: give a function")
    return found  # type: ignore[no-any-return]


def _check(good: bool, message: str) -> None:
    if not good:
        raise ValueError(message)
