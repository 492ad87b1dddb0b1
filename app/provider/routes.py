"""The provider over HTTP. Only POST /api/v1/comparison is for askers; the rest is for the people who run it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.contracts import (
    JudgeAccepted,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    UsageReport,
)
from app.edge import number_of, parse, problem_response, read_body, strict, uuid_of, written
from app.errors import InvalidRequest, JuxtaError
from app.provider.answers import (
    ENTRY,
    JUDGE,
    MODELS,
    PROVIDERS,
    QUEUE_PAGE,
    QUEUE_STATS,
    TEST,
    USAGE,
    QueuePage,
    QueueStats,
)
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import RequestQueue, State
from app.provider.spending import Spending
from app.provider.status import Status

PAGE_LIMIT = 500
DAYS, MOST_DAYS = 30, 3660
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

Principal = Callable[[Request], str]


def local(_request: Request) -> str:
    """The one principal of an installation without accounts."""
    return "local"


def routes(
    orchestrator: LLMOrchestrator,
    queue: RequestQueue,
    status: Status,
    spending: Spending | None = None,
    *,
    body_limit: int = 1_000_000,
    body_deadline: float = 10.0,
    principal: Principal = local,
) -> list[Route]:
    """Every route of the provider; `body_limit` in bytes, `body_deadline` in seconds."""

    async def generate_comparison(request: Request) -> Response:
        correlation_id: UUID | None = None
        try:
            body = await read_body(request, limit=body_limit, deadline=body_deadline)
            comparison = parse(LLMComparisonRequest, body)
            correlation_id = comparison.correlation_id
            headers = dict(request.scope["headers"])
            _agree(headers.get(b"idempotency-key"), correlation_id)
            answer = await orchestrator.compare(
                comparison,
                principal=principal(request),
                traceparent=_traceparent(headers.get(b"traceparent")),
                gone=partial(_gone, request),
            )
        except JuxtaError as error:
            return problem_response(error, correlation_id)
        status = 200 if isinstance(answer, LLMComparisonResponse) else 202
        return Response(answer.model_dump_json(), status_code=status, media_type="application/json")

    async def cancel(request: Request) -> Response:
        correlation_id = uuid_of(request.path_params["correlation_id"])
        entry = await orchestrator.cancel(correlation_id, principal=principal(request))
        return written(ENTRY, entry)

    async def browse(request: Request) -> Response:
        """A page of rows; `next` is the cursor of the page behind it, null once a page is not full."""
        query = request.query_params
        limit = number_of(query.get("limit"), "limit", 50, least=1, most=PAGE_LIMIT)
        entries = await queue.browse(
            lane=query.get("lane"),
            state=_state(query.get("state")),
            after=number_of(query.get("after"), "after", 0, least=0),
            limit=limit,
        )
        following = entries[-1].place if len(entries) == limit else None
        return written(QUEUE_PAGE, QueuePage(entries=entries, next=following))

    async def stats(_request: Request) -> Response:
        return written(QUEUE_STATS, QueueStats(lanes=await queue.stats()))

    async def entry(request: Request) -> Response:
        """One row for operators. This is no result API: the answer comes by 200 or callback, never from here."""
        return written(ENTRY, await orchestrator.entry(uuid_of(request.path_params["queue_id"])))

    async def providers(_request: Request) -> Response:
        return written(PROVIDERS, status.now())

    async def check_judge(request: Request) -> Response:
        """Whether a judge configuration can be asked, before a batch is made for it."""
        asked = parse(LLMConfigOverrides, await read_body(request, limit=body_limit, deadline=body_deadline))
        return written(JUDGE, JudgeAccepted(lane=await status.check(asked)))

    return [
        Route("/api/v1/comparison", Plain(generate_comparison), methods=["POST"]),
        Route("/api/v1/comparison/{correlation_id}/cancel", strict(cancel), methods=["POST"]),
        Route("/api/v1/queue", strict(browse, "lane", "state", "after", "limit"), methods=["GET"]),
        Route("/api/v1/queue/stats", strict(stats), methods=["GET"]),
        Route("/api/v1/queue/{queue_id}", strict(entry), methods=["GET"]),
        Route("/api/v1/providers", strict(providers), methods=["GET"]),
        Route("/api/v1/judges/check", strict(check_judge), methods=["POST"]),
        *_money(status, spending),
    ]


def _money(status: Status, spending: Spending | None) -> list[Route]:
    """What judges cost, whether they can be asked, what was spent."""

    async def models(_request: Request) -> Response:
        return written(MODELS, status.models())

    async def test_provider(request: Request) -> Response:
        """Whether a judge's provider would answer; asked now, for free."""
        return written(TEST, await status.test(request.path_params["provider"]))

    async def usage(request: Request) -> Response:
        days = number_of(request.query_params.get("days"), "days", DAYS, least=1, most=MOST_DAYS)
        return written(USAGE, UsageReport(rows=()) if spending is None else await spending.report(days))

    return [
        Route("/api/v1/models", strict(models), methods=["GET"]),
        Route("/api/v1/providers/{provider}/test", strict(test_provider), methods=["POST"]),
        Route("/api/v1/usage", strict(usage, "days"), methods=["GET"]),
    ]


class Plain:
    """An endpoint that handles its errors itself, without what Starlette puts around functions to do so.

    Measured: 6 us of the 40 that a bare route takes.
    """

    def __init__(self, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


async def _gone(request: Request) -> None:
    """Return when the client has left; the body was read before, so that nothing else can arrive."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _agree(key: bytes | None, correlation_id: UUID) -> None:
    if key is not None and key.decode("latin-1").strip().strip('"').lower() != str(correlation_id):
        raise InvalidRequest(
            "The Idempotency-Key header and correlation_id differ.",
            errors=(("Idempotency-Key", "must be the correlation_id"),),
        )


def _traceparent(header: bytes | None) -> str | None:
    return header.decode() if header is not None and _TRACEPARENT.fullmatch(header) else None


def _state(text: str | None) -> State | None:
    if text is None:
        return None
    try:
        return State(text)
    except ValueError:
        allowed = ", ".join(State)
        raise InvalidRequest("No such state.", errors=(("state", f"allowed: {allowed}"),)) from None
