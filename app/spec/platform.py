"""What every role answers, for whoever keeps it running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from app.access.routes import AUDIT_PAGE, MOST, PAGE
from app.errors import InvalidRequest, StoreUnavailable
from app.spec.operation import Answer, Operation, Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """The process answers."""

    status: Literal["alive"] = "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Each part of the process: `ok`, or what is not well with it.

    `lag` is records not handled, by group and topic; `oldest` how many seconds ago the oldest of them was published.
    `recorded` counts the results that this process applied since it started, by road. `provider` is how cj finds the
    provider when it runs apart: one that is away makes no cj unready, for pages work and what is owed to it waits.
    """

    status: Literal["ready", "not ready"]
    parts: Mapping[str, str]
    lag: Mapping[str, int]
    oldest: float
    recorded: Mapping[str, int] | None
    provider: str | None


ALIVE = TypeAdapter(Alive)
READINESS = TypeAdapter(Readiness)

OPERATIONS = (
    Operation(
        method="GET",
        path="/healthz",
        name="alive",
        module="platform",
        summary="Whether the process is alive",
        answers=(Answer(status=200, description="It is.", body=ALIVE),),
    ),
    Operation(
        method="GET",
        path="/readyz",
        name="ready",
        module="platform",
        summary="Whether every part can do its work",
        answers=(
            Answer(status=200, description="Every part can.", body=READINESS),
            Answer(status=503, description="Some part cannot; the others go on.", body=READINESS),
        ),
    ),
    Operation(
        method="GET",
        path="/api/v1/audit",
        name="audit",
        module="platform",
        summary="What operators did, and who was refused",
        parameters=(
            Parameter(
                name="after",
                where="query",
                description="Begin behind this number: `next` of the page before.",
                schema={"type": "integer", "minimum": 0, "maximum": 10**18, "default": 0},
            ),
            Parameter(
                name="limit",
                where="query",
                description="At most so many rows.",
                schema={"type": "integer", "minimum": 1, "maximum": MOST, "default": PAGE},
            ),
        ),
        answers=(Answer(status=200, description="A page of rows, the oldest first.", body=AUDIT_PAGE),),
        problems=(InvalidRequest, StoreUnavailable),
    ),
)
