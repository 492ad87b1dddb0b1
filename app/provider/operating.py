"""What operators do to the provider over HTTP: work a breaker by hand, hurry or cancel a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.contracts.wire import Text, Wire
from app.edge import parse, read_body, strict, uuid_of, written
from app.errors import Conflict
from app.provider.answers import BREAKER, BREAKERS, ENTRY, BreakerList
from app.provider.breakers import Breaker, Breakers
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import Entry, RequestQueue, State

BODY_LIMIT = 10_000

Specify = Callable[[Request, str], Awaitable[None]]
"""Writes into the audit log what a request is about, before it is done."""


class BreakerChange(Wire):
    """A lane, and why its breaker is worked by hand; the reason is shown to everybody who looks, and audited."""

    lane: Annotated[Text, StringConstraints(min_length=1, max_length=200)]
    reason: Annotated[Text, StringConstraints(min_length=1, max_length=200)]


def routes(
    orchestrator: LLMOrchestrator,
    queue: RequestQueue,
    breakers: Breakers,
    *,
    specify: Specify,
    body_deadline: float = 10.0,
) -> list[Route]:
    """Every route by which the provider is operated; `body_deadline` in seconds."""

    async def index(_request: Request) -> Response:
        return written(BREAKERS, BreakerList(breakers=breakers.all()))

    def by_hand(change: Callable[[str, str], Breaker]) -> Callable[[Request], Awaitable[Response]]:
        async def changed(request: Request) -> Response:
            asked = parse(BreakerChange, await read_body(request, limit=BODY_LIMIT, deadline=body_deadline))
            await specify(request, f"{asked.lane}: {asked.reason}")
            return written(BREAKER, change(asked.lane, asked.reason))

        return changed

    async def retry(request: Request) -> Response:
        queue_id = uuid_of(request.path_params["queue_id"])
        _refuse_ended(await orchestrator.entry(queue_id))
        entry = await queue.hurry(queue_id)
        if entry.state is State.LEASED:
            raise Conflict(
                "A worker has this request now.",
                hint="It is answered, or is tried again when its lease ends.",
            )
        return written(ENTRY, entry)

    async def cancel(request: Request) -> Response:
        queue_id = uuid_of(request.path_params["queue_id"])
        _refuse_answered(await orchestrator.entry(queue_id))
        return written(ENTRY, await queue.cancel(queue_id))

    return [
        Route("/api/v1/breakers", strict(index), methods=["GET"]),
        Route("/api/v1/breakers/trip", strict(by_hand(breakers.trip)), methods=["POST"]),
        Route("/api/v1/breakers/reset", strict(by_hand(breakers.reset)), methods=["POST"]),
        Route("/api/v1/queue/{queue_id}/retry", strict(retry), methods=["POST"]),
        Route("/api/v1/queue/{queue_id}/cancel", strict(cancel), methods=["POST"]),
    ]


def _refuse_ended(entry: Entry) -> None:
    """One that is answered and not published may be hurried: its callback is what waits."""
    if entry.state is State.PUBLISHED:
        raise Conflict(
            f"This request ended as {entry.outcome}; an outcome is final for its id.",
            hint="Ask for a new comparison under a new correlation_id.",
        )


def _refuse_answered(entry: Entry) -> None:
    if entry.outcome is not None:
        raise Conflict(
            f"This request ended as {entry.outcome}; there is nothing left to cancel.",
            hint="Its outcome is delivered as it is.",
        )
