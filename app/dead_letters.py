"""Dead letters over HTTP, in every role: to see what could not be handled and why, and to have it tried again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.bus.letter import Letter, Where
from app.bus.redrive import DeadLetters, LetterPage, Redriven
from app.contracts.wire import Text, Wire
from app.edge import number_of, parse, read_body, strict, written

PAGE, MOST = 50, 500
MOST_AT_ONCE = 500
BODY_LIMIT = 200_000
SHOWN = 100_000
"""Bytes of a letter that are shown; a foreign one may be megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingLetters:
    """How many dead letters wait, by the topic they died on."""

    topics: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRecord:
    """What a dead letter holds. `body` is shown as text, U+FFFD for what is none, and may be cut off (`cut`)."""

    letter: Letter
    headers: Mapping[str, str]
    body: str
    cut: bool


class RedriveRequest(Wire):
    """What to send again: letters of `topic` that meet every condition of `where`, at most `max` of them.

    A condition is `field=text` (exactly) or `field~text` (has it in it) on reason, group, error, key or id. `cursor` is
    `next` of an earlier answer: so a run of several requests ends, and takes no letter twice that dies again meanwhile.
    """

    topic: Text | None = None
    where: tuple[Annotated[Text, Field(min_length=1, max_length=300)], ...] = Field((), max_length=5)
    max: int = Field(100, ge=1, le=MOST_AT_ONCE)
    dry_run: bool = False
    cursor: Annotated[Text, Field(max_length=8_000, pattern=r"^[0-9:-]*$")] | None = None


LETTERS = TypeAdapter(LetterPage)
LETTER = TypeAdapter(Letter)
RECORD = TypeAdapter(LetterRecord)
WAITING = TypeAdapter(WaitingLetters)
REDRIVEN = TypeAdapter(Redriven)


def routes(
    letters: DeadLetters,
    *,
    specify: Callable[[Request, str], Awaitable[None]],
    body_deadline: float = 10.0,
) -> list[Route]:
    """Every route; a topic that is not named is the first of `letters`. `specify` tells the audit log more."""

    async def topics(_request: Request) -> Response:
        return written(WAITING, WaitingLetters(topics=await letters.counts()))

    async def index(request: Request) -> Response:
        query = request.query_params
        where = query.get("where")
        page = await letters.page(
            query.get("topic", letters.topics[0]),
            where=() if where is None else (Where.read(where),),
            after=query.get("after"),
            limit=number_of(query.get("limit"), "limit", PAGE, least=1, most=MOST),
        )
        return written(LETTERS, page)

    async def letter(request: Request) -> Response:
        return written(LETTER, Letter.of(await letters.find(**request.path_params)))

    async def record(request: Request) -> Response:
        """What it holds may be personal, so that only operators see it, and the log says who did."""
        found = await letters.find(**request.path_params)
        body = found.record.body
        shown = LetterRecord(
            letter=Letter.of(found),
            headers=found.record.headers,
            body=body[:SHOWN].decode(errors="replace"),
            cut=len(body) > SHOWN,
        )
        return written(RECORD, shown)

    async def redrive(request: Request) -> Response:
        asked = parse(RedriveRequest, await read_body(request, limit=BODY_LIMIT, deadline=body_deadline))
        topic = letters.topics[0] if asked.topic is None else asked.topic
        await specify(request, _words(topic, asked.where, asked))
        done = await letters.redrive(
            topic,
            where=[Where.read(each) for each in asked.where],
            most=asked.max,
            dry_run=asked.dry_run,
            cursor=asked.cursor,
        )
        if not asked.dry_run:
            await specify(request, f"sent {done.sent}")
        return written(REDRIVEN, done)

    return [
        Route("/api/v1/dead-letters", strict(index, "topic", "where", "after", "limit"), methods=["GET"]),
        Route("/api/v1/dead-letters/topics", strict(topics), methods=["GET"]),
        Route("/api/v1/dead-letters/redrive", strict(redrive), methods=["POST"]),
        Route("/api/v1/dead-letters/{topic}/{letter_id}", strict(letter), methods=["GET"]),
        Route("/api/v1/dead-letters/{topic}/{letter_id}/record", strict(record), methods=["GET"]),
    ]


def _words(topic: str, where: Sequence[str], asked: RedriveRequest) -> str:
    """What the audit log says of it."""
    conditions = f" where {', '.join(where)}" if where else ""
    return f"{'dry run of ' if asked.dry_run else ''}{topic}{conditions}, at most {asked.max}"
