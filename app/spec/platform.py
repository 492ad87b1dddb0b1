"""What every role answers, for whoever keeps it running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from app.spec.operation import Answer, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """The process answers."""

    status: Literal["alive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Each part of the process: `ok`, or what is not well with it."""

    status: Literal["ready", "not ready"]
    parts: Mapping[str, str]


_READINESS = TypeAdapter(Readiness)

OPERATIONS = (
    Operation(
        method="GET",
        path="/healthz",
        name="alive",
        module="platform",
        summary="Whether the process is alive",
        answers=(Answer(status=200, description="It is.", body=TypeAdapter(Alive)),),
    ),
    Operation(
        method="GET",
        path="/readyz",
        name="ready",
        module="platform",
        summary="Whether every part can do its work",
        answers=(
            Answer(status=200, description="Every part can.", body=_READINESS),
            Answer(status=503, description="Some part cannot; the others go on.", body=_READINESS),
        ),
    ),
)
