"""Numbers as people read them: significant digits, units, intervals; never an exponent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeGuard

Json = Mapping[str, Any]

HOUR_MIN, DAY_MIN = 60, 24 * 60
MISSING = "–"
NBSP = "\N{NO-BREAK SPACE}"


def is_finite(value: object) -> TypeGuard[float]:
    """Tell whether a value from JSON is a usable number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def capitalized(text: str) -> str:
    """Return text that begins with a capital letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def format_number(value: object, digits: int = 3) -> str:
    """Format to significant digits, without an exponent, thousands apart.

    Examples
    --------
    >>> format_number(0.0438), format_number(171798.7), format_number(None), format_number(0)
    ('0.0438', '171,799', '–', '0')
    """
    if isinstance(value, bool) or not is_finite(value):
        return MISSING
    number = float(value)  # type: ignore[arg-type]
    if number == 0 or float(number).is_integer():
        return f"{number:,.0f}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{number:,.{decimals}f}"


def format_estimate(value: object, se: object = None, unit: str = "") -> str:
    """Format a value with its standard error, both to the error's second digit.

    Examples
    --------
    >>> format_estimate(238.37, 41.2, "µm³").replace(NBSP, " ")
    '238 ± 41 µm³'
    >>> format_estimate(6.4127, 0.3149).replace(NBSP, " "), format_estimate(6.4127, None)
    ('6.41 ± 0.31', '6.41')
    """
    if not is_finite(value):
        return MISSING
    tail = f"{NBSP}{unit}" if unit else ""
    if not is_finite(se) or not se:
        return format_number(value) + tail
    decimals = max(0, 1 - math.floor(math.log10(float(se))))  # type: ignore[arg-type]
    return f"{value:,.{decimals}f}{NBSP}±{NBSP}{se:,.{decimals}f}{tail}"


def format_percent(value: object, spread: float | None = None) -> str:
    """Format a fraction in percent, with a decimal where it or its spread is small.

    Examples
    --------
    >>> [format_percent(v).replace(NBSP, " ") for v in (0.5484, 0.0213, 0.0, 1.0)]
    ['55 %', '2.1 %', '0 %', '100 %']
    """
    if not is_finite(value):
        return MISSING
    percent = 100 * float(value)  # type: ignore[arg-type]
    small = percent < 10 if spread is None else spread < 10
    text = f"{percent:.1f}" if small and percent not in (0, 100) else f"{percent:.0f}"
    return f"{text}{NBSP}%"


def format_interval(block: Json) -> str:
    """Format the interval of a fraction, such as ``95 % interval 40 % to 69 %``."""
    low, high = block.get("low"), block.get("high")
    if not (is_finite(low) and is_finite(high)):
        return "no interval"
    confidence = block.get("confidence", 0.95)
    return f"{format_percent(confidence)} interval {format_percent(low)} to {format_percent(high)}"


def format_interval_of(block: Json, unit: str = "", digits: int = 2) -> str:
    """Format a value with its interval, such as ``6.1 µm (5.6 to 6.7)``; or why there is none.

    Examples
    --------
    >>> format_interval_of({"value": 0.21, "low": -0.16, "high": 0.53})
    '0.21 (−0.16 to 0.53)'
    >>> format_interval_of({"value": None, "warning": "no particles"})
    '–'
    """
    value, low, high = (block.get(name) for name in ("value", "low", "high"))
    if not is_finite(value):
        return MISSING
    text = format_with_unit(value, unit, digits).replace("-", "−")
    if not (is_finite(low) and is_finite(high)):
        return f"{text} (no interval)"
    ends = (format_number(one, digits).replace("-", "−") for one in (low, high))
    return f"{text} ({' to '.join(ends)})"


def format_date(moment: object) -> str:
    """Format an ISO 8601 moment to the minute; anything else stays as it is.

    Examples
    --------
    >>> format_date("2026-11-23T07:33:15+00:00"), format_date("last week"), format_date(None)
    ('2026-11-23 07:33 UTC', 'last week', '')
    """
    if not moment:
        return ""
    try:
        when = datetime.fromisoformat(str(moment))
    except ValueError:
        return str(moment)
    zone = "" if when.tzinfo is None else f" {when.strftime('%Z')}"
    return f"{when:%Y-%m-%d %H:%M}{zone}"


def format_seconds(seconds: object) -> str:
    """Format a duration.

    Examples
    --------
    >>> format_seconds(52.34).replace(NBSP, " "), format_seconds(281.0).replace(NBSP, " ")
    ('52 s', '4 min 41 s')
    >>> format_seconds(586132).replace(NBSP, " ")
    '6.8 days'
    """
    if not is_finite(seconds):
        return MISSING
    whole = round(float(seconds))  # type: ignore[arg-type]
    minutes, rest = divmod(whole, 60)
    if minutes >= DAY_MIN:
        return f"{minutes / DAY_MIN:.1f}{NBSP}days"
    if minutes >= HOUR_MIN:
        return f"{minutes / HOUR_MIN:.1f}{NBSP}h"
    return f"{minutes}{NBSP}min {rest}{NBSP}s" if minutes else f"{rest}{NBSP}s"


def format_with_unit(value: object, unit: str, digits: int) -> str:
    """Format a number to significant digits with its unit."""
    text = format_number(value, digits)
    return f"{text}{NBSP}{unit}" if unit and text != MISSING else text


def format_limit(value: object) -> str:
    """Format a set value as it was set: no digits are added.

    Examples
    --------
    >>> format_limit(1.8), format_limit(2.0), format_limit(None)
    ('1.8', '2', '–')
    """
    return f"{value:g}" if is_finite(value) else MISSING
