"""What every role answers, for whoever keeps it running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from app.access.routes import AUDIT_PAGE, MOST, PAGE
from app.bus.redrive import MOST_REDRIVES
from app.dead_letters import LETTER, LETTERS, RECORD, REDRIVEN, WAITING, RedriveRequest
from app.dead_letters import MOST as MOST_LETTERS
from app.dead_letters import PAGE as LETTERS_PAGE
from app.errors import (
    BusUnavailable,
    Conflict,
    InvalidRequest,
    MalformedBody,
    NotFound,
    RequestTimeout,
    StoreUnavailable,
    TooLarge,
)
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


_TOPIC = Parameter(
    name="topic",
    where="query",
    description="The topic they died on; without it the callback topic of this process.",
    schema={"type": "string"},
)
_LETTER_ID = {"type": "string", "pattern": r"^[0-9]{1,9}-[0-9]{1,18}$"}
_LETTER = (
    Parameter(
        name="topic",
        where="path",
        description="The topic it died on.",
        schema={"type": "string", "pattern": r"^[a-zA-Z0-9._-]{1,249}$"},
    ),
    Parameter(
        name="letter_id",
        where="path",
        description="From the list: partition and offset.",
        schema=_LETTER_ID,
    ),
)

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
    Operation(
        method="GET",
        path="/api/v1/dead-letters",
        name="deadLetters",
        module="platform",
        summary="Records that could not be handled and wait for a person",
        parameters=(
            _TOPIC,
            Parameter(
                name="where",
                where="query",
                description=(
                    "Only those that meet a condition: `field=text` (exactly) or `field~text` (has it in it), on "
                    "reason, group, error, key or id."
                ),
                schema={"type": "string", "pattern": "^(reason|group|error|key|id)[=~].+$"},
            ),
            Parameter(
                name="after",
                where="query",
                description="Begin behind this letter: `next` of the page before.",
                schema=_LETTER_ID,
            ),
            Parameter(
                name="limit",
                where="query",
                description="At most so many.",
                schema={"type": "integer", "minimum": 1, "maximum": MOST_LETTERS, "default": LETTERS_PAGE},
            ),
        ),
        answers=(
            Answer(
                status=200,
                description="A page of letters, without what they hold.",
                body=LETTERS,
            ),
        ),
        problems=(NotFound, InvalidRequest, BusUnavailable),
    ),
    Operation(
        method="GET",
        path="/api/v1/dead-letters/topics",
        name="deadLetterTopics",
        module="platform",
        summary="How many dead letters wait, by topic",
        answers=(Answer(status=200, description="Counts.", body=WAITING),),
        problems=(InvalidRequest, BusUnavailable),
    ),
    Operation(
        method="POST",
        path="/api/v1/dead-letters/redrive",
        name="redrive",
        module="platform",
        summary="Send dead letters again, to the topic they died on",
        description=(
            "Same key, id and bytes. A letter counts as sent only once its copy is stored, so after anything unclear ask "
            "again: at worst a copy comes twice, under the same id. One that was sent again "
            f"{MOST_REDRIVES} times and died each time is refused and stays. With `dry_run` nothing is sent, only counted."
            "\n\nAt most `max` are sent by one request; go on with `next` as `cursor` until it is null."
        ),
        body=TypeAdapter(RedriveRequest),
        example={"where": ["reason~unknown correlation_id"], "dry_run": True},
        answers=(
            Answer(status=200, description="What was sent, by reason, and what was not.", body=REDRIVEN),
        ),
        problems=(
            NotFound,
            Conflict,
            MalformedBody,
            InvalidRequest,
            RequestTimeout,
            TooLarge,
            BusUnavailable,
            StoreUnavailable,
        ),
    ),
    Operation(
        method="GET",
        path="/api/v1/dead-letters/{topic}/{letter_id}",
        name="deadLetter",
        module="platform",
        summary="One dead letter, without what it holds",
        parameters=_LETTER,
        answers=(Answer(status=200, description="Whose it was, and why it died.", body=LETTER),),
        problems=(NotFound, InvalidRequest, BusUnavailable),
    ),
    Operation(
        method="GET",
        path="/api/v1/dead-letters/{topic}/{letter_id}/record",
        name="deadLetterRecord",
        module="platform",
        summary="What a dead letter holds",
        description="It may be personal data; the audit log says who looked.",
        parameters=_LETTER,
        answers=(Answer(status=200, description="Headers and body.", body=RECORD),),
        problems=(NotFound, InvalidRequest, BusUnavailable, StoreUnavailable),
    ),
)
