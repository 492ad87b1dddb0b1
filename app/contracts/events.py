"""What travels over the bus: an envelope, and in it the outcome of one comparison."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Generic, Self, TypeVar
from uuid import UUID, uuid5

from pydantic import Field, JsonValue, model_validator

from app.contracts.comparison import (
    Dollars,
    JudgeKind,
    LLMComparisonResponse,
    Outcome,
    Tally,
    TokenUsage,
    Winner,
)
from app.contracts.problem import Problem
from app.contracts.topics import COMPARISON_RESULT_TYPE
from app.contracts.wire import Moment, Text, Tolerant

SCHEMA_VERSION = "1.0"

T = TypeVar("T")


class LLMOrchestratorResponse(Tolerant):
    """How one comparison ended. It holds what a 200 holds when it succeeded, and a problem when it did not.

    `request_id` is the provider's queue id; `attempts` counts calls of the judge.
    """

    request_id: UUID
    correlation_id: UUID
    status: Outcome
    winner: Winner | None = None
    justification: Annotated[Text, Field(max_length=1000)] | None = None
    confidence: float | None = Field(None, ge=0, le=1)
    provider: Text | None = None
    model: Text | None = None
    judge_kind: JudgeKind | None = None
    token_usage: TokenUsage = TokenUsage()
    cost_usd: Dollars = 0.0
    response_time_ms: Tally = 0
    metadata: dict[str, JsonValue] = {}
    prompt_sha256: Text | None = None
    prompt_version: Text | None = None
    flags: tuple[Text, ...] = ()
    trace_id: Text | None = None
    error: Problem | None = None
    attempts: Tally = 0
    requested_at: Moment
    completed_at: Moment

    @model_validator(mode="after")
    def _verdict_or_error(self) -> Self:
        """A verdict is never guessed: success has all of it and no error, anything else has an error and none of it."""
        verdict = (
            self.winner,
            self.justification,
            self.confidence,
            self.provider,
            self.model,
            self.judge_kind,
        )
        if self.status is Outcome.SUCCEEDED:
            if None in verdict or self.error is not None:
                raise ValueError(
                    "a succeeded comparison has winner, justification, confidence and judge, and no error"
                )
        elif self.error is None or self.winner is not None or self.confidence is not None:
            raise ValueError(f"a {self.status} comparison has an error and no verdict")
        return self

    def as_response(self) -> LLMComparisonResponse:
        """The body of the 200 for this verdict; only a succeeded comparison has one."""
        return LLMComparisonResponse(**dict(zip(_ANSWER, _answer_of(self), strict=True)))


_ANSWER = tuple(LLMComparisonResponse.model_fields)
_answer_of = attrgetter(*_ANSWER)


class EventEnvelope(Tolerant, Generic[T]):
    """Around every event. `event_id` is derived and the same on every redelivery; `metadata` carries the traceparent."""

    event_id: UUID
    event_type: Text
    event_timestamp: Moment
    source_service: Text
    schema_version: Annotated[str, Field(pattern=r"^\d+\.\d+$")] = SCHEMA_VERSION
    correlation_id: UUID
    data: T
    metadata: dict[str, JsonValue] = {}

    @property
    def major_version(self) -> int:
        """Readers park events whose major version they do not know."""
        return int(self.schema_version.split(".", 1)[0])


def result_event(
    response: LLMOrchestratorResponse, *, traceparent: str | None = None
) -> EventEnvelope[LLMOrchestratorResponse]:
    """The one event for this outcome: everything in it is derived, so that each copy has the same id and bytes."""
    return EventEnvelope[LLMOrchestratorResponse](
        event_id=uuid5(response.request_id, "result"),
        event_type=COMPARISON_RESULT_TYPE,
        event_timestamp=response.completed_at,
        source_service="provider",
        correlation_id=response.correlation_id,
        data=response,
        metadata={} if traceparent is None else {"traceparent": traceparent},
    )
