"""What every model on the wire has in common: clean text, finite numbers, moments in UTC (RFC 3339).

Errors never quote what was in a field: it may be an essay, and errors end in logs.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)


def figure(value: float) -> float | None:
    """A figure as JSON can say it: null for one that is not defined."""
    return float(value) if math.isfinite(value) else None


def _clean(text: str) -> str:
    """Refuse what cannot be stored or sent on: NUL (PostgreSQL) and lone surrogates (no UTF-8 form)."""
    if "\x00" in text:
        raise ValueError("NUL characters are not allowed")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError("lone surrogates are not allowed") from error
    return text


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _rfc_3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _posix(at: object) -> object:
    return datetime.fromisoformat(at).timestamp() if isinstance(at, str) else at


Text = Annotated[str, AfterValidator(_clean)]
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
At = Annotated[
    float,
    BeforeValidator(_posix),
    PlainSerializer(_rfc_3339),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment that is POSIX seconds inside the house and RFC 3339 on the wire."""


class Wire(BaseModel):
    """Something a caller sends or gets: unknown fields are refused, so that a typing slip is never lost."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Tolerant(BaseModel):
    """Something read from the bus: unknown fields are ignored, so that writers may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)
