"""How long a server asks to be left alone, in every form in which servers say it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

LONGEST = 3600.0
"""A server that asks for more is asked again after an hour: its clock may be wrong, or its quota raised."""

_SPAN = re.compile(
    r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?"
)
_PARTS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait by these headers (names in lower case); None when they say nothing that makes sense."""
    return bounded(_milliseconds(headers) or _plain(headers, now) or _window(headers, now))


def bounded(seconds: float | None) -> float | None:
    """Up to an hour; None for what is no time to wait."""
    return min(seconds, LONGEST) if seconds is not None and seconds > 0 else None


def span(text: str) -> float | None:
    """Seconds of `1m30s`, `250ms`, `7.5s`."""
    found = _SPAN.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _PARTS, strict=True) if part)


def _milliseconds(headers: Mapping[str, str]) -> float | None:
    number = _number(headers.get("retry-after-ms", ""))
    return None if number is None else number / 1000


def _plain(headers: Mapping[str, str], now: float) -> float | None:
    said = headers.get("retry-after", "")
    number = _number(said)
    return _until_date(said, now) if number is None else number


def _window(headers: Mapping[str, str], now: float) -> float | None:
    """The longest wait among the limits that are used up, as OpenAI, Groq and Anthropic name them."""
    waits = []
    for name, said in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        left = _number(headers.get(name.replace("reset", "remaining"), "0"))
        if not left:
            wait = span(said) or _until_stamp(said, now) or _until_number(said, now)
            if wait is not None:
                waits.append(wait)
    return max(waits, default=None)


def _until_number(said: str, now: float) -> float | None:
    """Seconds, or a moment as POSIX seconds or milliseconds: what is larger than a year is a moment."""
    number = _number(said)
    if number is None or number < 3e7:  # noqa: PLR2004 - about a year
        return number
    return (number / 1000 if number > 3e11 else number) - now  # noqa: PLR2004 - POSIX seconds are far below


def _until_date(said: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(said)
    except (ValueError, TypeError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now


def _until_stamp(said: str, now: float) -> float | None:
    if "T" not in said:
        return None
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now


def _number(said: str) -> float | None:
    try:
        number = float(said)
    except ValueError:
        return None
    return number if isfinite(number) else None
