"""From a verdict or a failure to the one outcome of a request, its event, and what a repeat is answered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json

from app.bus.protocol import Record
from app.contracts import (
    EventEnvelope,
    JudgeKind,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMOrchestratorResponse,
    Outcome,
    Problem,
    TokenUsage,
)
from app.contracts.events import result_event
from app.errors import JudgeFailed, JuxtaError, RequestCancelled, RequestExpired
from app.provider.hints import hint
from app.provider.judges.protocol import JudgeError, Spent, Verdict
from app.provider.queue.protocol import Ending, Lease, QueuedRequest, StoredOutcome

DETAIL_LIMIT = 500
_TRACE_ID = slice(3, 35)
_Event = EventEnvelope[LLMOrchestratorResponse]


class StoredProblem(JuxtaError):
    """A stored outcome that is no verdict; it carries the problem as stored, so that every repeat reads the same."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, hint=problem.hint)
        self.problem = problem
        self.cause, self.anew = problem.code, problem.retryable
        self.cost_usd = problem.cost_usd or 0.0


class StoredFailure(StoredProblem, JudgeFailed):
    """The judge gave no verdict."""


class StoredExpiry(StoredProblem, RequestExpired):
    """Nobody judged it in time."""


class StoredCancellation(StoredProblem, RequestCancelled):
    """It was cancelled."""


_ERRORS: Mapping[Outcome, type[StoredProblem]] = {
    Outcome.FAILED: StoredFailure,
    Outcome.EXPIRED: StoredExpiry,
    Outcome.CANCELLED: StoredCancellation,
}


def succeeded(
    lease: Lease,
    request: LLMComparisonRequest,
    verdict: Verdict,
    *,
    attempts: int,
    seconds: float,
    now: float,
) -> LLMOrchestratorResponse:
    """The outcome of a verdict that took `seconds`; `now` is POSIX time."""
    return LLMOrchestratorResponse(
        request_id=lease.request.queue_id,
        correlation_id=request.correlation_id,
        status=Outcome.SUCCEEDED,
        winner=verdict.winner,
        justification=verdict.justification,
        confidence=verdict.confidence,
        provider=verdict.provider,
        model=verdict.model,
        judge_kind=verdict.judge_kind,
        token_usage=verdict.token_usage,
        cost_usd=verdict.cost_usd,
        response_time_ms=round(seconds * 1000),
        metadata=request.metadata,
        prompt_sha256=verdict.prompt_sha256,
        prompt_version=verdict.prompt_version,
        flags=verdict.flags,
        trace_id=_trace_id(lease.request.traceparent),
        attempts=attempts,
        requested_at=_moment(lease.accepted_at),
        completed_at=_moment(now),
    )


def failed(
    lease: Lease,
    error: JudgeError,
    *,
    attempts: int,
    now: float,
    judge_kind: JudgeKind | None = None,
) -> LLMOrchestratorResponse:
    """The outcome of a request that the judge could not decide; the class of the failure is in the problem."""
    problem = Problem(
        type=f"urn:juxta:problem:{error.code}",
        title="The judge gave no verdict",
        status=JudgeFailed.status,
        detail=_printable(error.detail)[:DETAIL_LIMIT],
        hint=hint(error.code, lease.request.lane),
        retryable=error.retryable,
        correlation_id=lease.request.correlation_id,
    )
    return _without_verdict(
        lease,
        Outcome.FAILED,
        problem,
        attempts=attempts,
        now=now,
        cost_usd=error.cost_usd,
        judge_kind=judge_kind,
    )


def ended(
    lease: Lease, ending: Ending, *, now: float, attempts: int | None = None
) -> LLMOrchestratorResponse:
    """The outcome of a request that needs no judge any more; `attempts` when there were more than at the lease."""
    attempts = lease.tries if attempts is None else attempts
    if ending is Ending.EXHAUSTED:
        error = JudgeError("exhausted", f"No verdict after {attempts} calls of the judge.", retryable=True)
        return failed(lease, error, attempts=attempts, now=now)
    if ending is Ending.EXPIRED:
        outcome, status, advice = Outcome.EXPIRED, RequestExpired.status, RequestExpired.hint
        detail = f"Nobody judged the request within {lease.request.expires_in:g} s."
        title = "The request expired"
    else:
        outcome, status, advice = Outcome.CANCELLED, RequestCancelled.status, ""
        title, detail = "The request was cancelled", "The request was cancelled before it was judged."
    problem = Problem(
        type=f"urn:juxta:problem:request-{outcome}",
        title=title,
        status=status,
        detail=detail,
        hint=advice,
        retryable=ending is Ending.EXPIRED,
        correlation_id=lease.request.correlation_id,
    )
    return _without_verdict(lease, outcome, problem, attempts=attempts, now=now)


def with_spent(response: LLMOrchestratorResponse, total: Spent) -> LLMOrchestratorResponse:
    """The outcome with all that its request cost, failed tries included."""
    if not total.calls:
        return response
    usage = TokenUsage(
        prompt_tokens=total.prompt_tokens,
        completion_tokens=total.completion_tokens,
        total_tokens=total.tokens,
    )
    return response.model_copy(update={"token_usage": usage, "cost_usd": total.cost_usd or 0.0})


def to_store(lease: Lease, response: LLMOrchestratorResponse) -> StoredOutcome:
    """Serialise the event once, here; every copy that is ever published has these bytes."""
    event = result_event(response, traceparent=lease.request.traceparent)
    return StoredOutcome(response.status, event.model_dump_json().encode())


def read(stored: StoredOutcome) -> LLMOrchestratorResponse:
    """The outcome as it was stored."""
    return _Event.model_validate_json(stored.event).data


def answer(response: LLMOrchestratorResponse) -> LLMComparisonResponse:
    """The 200 of a verdict, the first time and on every repeat.

    :raises StoredProblem: the outcome is no verdict; the error has the status of its kind.
    """
    if response.error is not None:
        cost = response.cost_usd or None
        raise _ERRORS[response.status](response.error.model_copy(update={"cost_usd": cost}))
    return response.as_response()


def to_record(request: QueuedRequest, stored: StoredOutcome) -> Record:
    """The event as it goes to the callback topic, with CloudEvents attributes as headers.

    :raises ValueError: the request names no callback topic.
    """
    if request.callback_topic is None:
        raise ValueError("a request without a callback topic has nothing to publish")
    event = from_json(stored.event)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event["event_id"],
        "ce_source": event["source_service"],
        "ce_type": event["event_type"],
        "ce_time": event["event_timestamp"],
        "content-type": "application/json",
    }
    if request.traceparent is not None:
        headers["traceparent"] = request.traceparent
    return Record(request.callback_topic, request.callback_key, event["event_id"], stored.event, headers)


def _without_verdict(
    lease: Lease,
    outcome: Outcome,
    problem: Problem,
    *,
    attempts: int,
    now: float,
    cost_usd: float = 0.0,
    judge_kind: JudgeKind | None = None,
) -> LLMOrchestratorResponse:
    return LLMOrchestratorResponse(
        request_id=lease.request.queue_id,
        correlation_id=lease.request.correlation_id,
        status=outcome,
        error=problem,
        judge_kind=judge_kind,
        cost_usd=cost_usd,
        metadata=_metadata(lease.request.body),
        trace_id=_trace_id(lease.request.traceparent),
        attempts=attempts,
        requested_at=_moment(lease.accepted_at),
        completed_at=_moment(now),
    )


def _metadata(body: bytes) -> dict[str, JsonValue]:
    """What the asker wants echoed; nothing when an older version wrote a body that this one cannot read."""
    try:
        return LLMComparisonRequest.model_validate_json(body).metadata
    except ValidationError:
        return {}


def _trace_id(traceparent: str | None) -> str | None:
    return traceparent[_TRACE_ID] if traceparent else None


def _moment(posix: float) -> datetime:
    return datetime.fromtimestamp(posix, UTC)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
