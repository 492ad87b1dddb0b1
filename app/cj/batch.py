"""What a batch is made of: essays, settings, comparisons, and where each stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID, uuid5

from pydantic import ConfigDict, Field, computed_field
from pydantic_core import from_json

from app.cj.statistics.stopping import most_comparisons
from app.contracts import (
    JudgeKind,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    LLMOrchestratorResponse,
    Outcome,
    Winner,
)
from app.contracts.comparison import DAY, MOST_EXPIRES_IN
from app.contracts.wire import At, Text, Wire


class BatchState(StrEnum):
    """Where a batch stands. `deleting` is left only by being gone."""

    READY = "ready"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    DELETING = "deleting"


class ComparisonState(StrEnum):
    """planned -> submitted -> decided | failed | cancelled; the last three are final."""

    PLANNED = "planned"
    SUBMITTED = "submitted"
    DECIDED = "decided"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Road(StrEnum):
    """How a result reached cj."""

    RESPONSE = "response"
    CALLBACK = "callback"


class BatchSettings(Wire):
    """How a batch is judged; frozen with the batch, so that a changed configuration never changes a running one.

    Each pair is judged by one of `judges`, shared fairly. `comparisons_per_essay` caps the verdicts an essay gets on
    average, `target_reliability` ends the batch earlier. Once what verdicts and failures cost has reached `budget_usd`,
    nothing more is sent: only calls under way at that moment can exceed it. `audit_share` of the verdicts are asked for
    again with the sides swapped, within the cap: they say how consistent a judge is, and count in no score. A comparison
    ends without a verdict `expires_in` seconds after the provider took it.
    """

    judges: Annotated[tuple[LLMConfigOverrides, ...], Field(min_length=1)]
    comparisons_per_essay: int = Field(10, ge=1, le=1000)
    target_reliability: float = Field(0.8, gt=0, lt=1)
    budget_usd: float | None = Field(None, gt=0)
    random_rounds: int = Field(4, ge=1, le=50)
    audit_share: float = Field(0.05, ge=0, le=0.5)
    seed: int = Field(0, ge=0, lt=2**63)
    expires_in: float = Field(DAY, gt=0, le=MOST_EXPIRES_IN)
    priority: int = Field(5, ge=0, le=9)

    def most_comparisons(self, essays: int) -> int:
        """How many comparisons so many essays come to at most."""
        return most_comparisons(essays, self.comparisons_per_essay, self.audit_share)


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class AskedSettings(BatchSettings):
    """Settings asked for a new batch: those left out are the server's."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)
    judges: Annotated[tuple[LLMConfigOverrides, ...], Field(min_length=1)] = ()


class NewEssay(Wire):
    """An essay as handed in. `level` is the level of an anchor, as text; `name` is shown, never sent to a judge."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    text: Annotated[Text, Field(min_length=1, max_length=200_000)]
    level: Annotated[Text, Field(min_length=1, max_length=40)] | None = None


Title = Annotated[Text, Field(min_length=1, max_length=200)]
Question = Annotated[Text, Field(min_length=1, max_length=20_000)]
NewEssays = Annotated[tuple[NewEssay, ...], Field(min_length=2, max_length=10_000)]


class NewBatch(Wire):
    """A batch as handed in; `question` is exactly what judges will read before the two essays."""

    title: Title
    question: Question
    essays: NewEssays
    settings: BatchSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as stored. Counts are of comparisons; `fitted_wave` is the last wave inside the shown scores.

    Once comparisons were added to it when it had finished, it goes on to `extended_to` verdicts; `extended_from` is how
    many comparisons had been planned then.
    """

    id: UUID
    title: str
    question: str
    settings: BatchSettings
    state: BatchState
    essays: int
    waves: int
    fitted_wave: int
    planned: int
    decided: int
    failed: int
    cost_usd: float
    reliability: float | None
    stop_reason: str | None
    problem: str | None
    created_at: At
    finished_at: At | None
    version: int
    extended_from: int | None = None
    extended_to: int | None = None

    @property
    def most_verdicts(self) -> int:
        """How many verdicts it asks for at most."""
        return self.extended_to or self.settings.most_comparisons(self.essays)

    @property
    def freshly_extended(self) -> bool:
        """Whether comparisons were added to it and none of them is planned yet: then every wave is complete."""
        return self.extended_from == self.planned

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
    @property
    def open(self) -> int:
        """Comparisons planned and not yet ended; an ended batch has none."""
        if self.state in {BatchState.FINISHED, BatchState.CANCELLED, BatchState.DELETING}:
            return 0
        return self.planned - self.decided - self.failed


_TEXTS = {"user_prompt", "essay_a", "essay_b"}


def freeze(request: LLMComparisonRequest) -> bytes:
    """What is kept of a request so that a repeat is the same: all but the texts, which its batch keeps unchanged.

    Three quarters of what cj wrote to disk were copies of essays.
    """
    return request.model_dump_json(exclude_defaults=True, exclude=_TEXTS).encode()


@dataclass(frozen=True, slots=True)
class Task:
    """One row to be sent: the request frozen when it was planned, or a cancellation to pass on.

    `broke`: the budget of its batch is spent. `sent`: it was sent before, so that the provider may have it.
    """

    id: UUID
    batch_id: UUID
    cancelled: bool
    broke: bool
    sent: bool
    frozen: bytes
    question: str
    essay_a: str
    essay_b: str

    @property
    def unsendable(self) -> bool:
        """Whether nobody has seen it and nobody will."""
        return self.broke and not self.sent and not self.cancelled

    def request(self) -> LLMComparisonRequest:
        """The exact request that was planned."""
        texts = {"user_prompt": self.question, "essay_a": self.essay_a, "essay_b": self.essay_b}
        return LLMComparisonRequest.model_validate(from_json(self.frozen) | texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPair:
    """A pair to be judged: essays by position, `first` shown as essay A; `again` counts earlier failures of the pair.

    `audit_of` is the sequence number of the verdict that it asks for again, with the sides swapped.
    """

    sequence: int
    first: int
    second: int
    judge: int
    again: int
    audit_of: int | None = None


NEVER_SENT = "budget-spent"
"""The error code of a comparison that ended unsent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One result on its way into the store, by whichever road it came; what was never sent came by none."""

    id: UUID
    batch_id: UUID | None
    road: Road | None
    outcome: Outcome
    winner: Winner | None = None
    confidence: float | None = None
    justification: str | None = None
    provider: str | None = None
    model: str | None = None
    judge_kind: JudgeKind | None = None
    cost_usd: float = 0.0
    tokens: int = 0
    response_time_ms: int = 0
    attempts: int = 0
    prompt_sha256: str | None = None
    prompt_version: str | None = None
    flags: tuple[str, ...] = ()
    error_code: str | None = None
    error_detail: str | None = None
    retryable: bool = False

    @classmethod
    def of_response(cls, answer: LLMComparisonResponse, batch_id: UUID) -> Arrival:
        """What a 200 brings; the judge was called for it once."""
        return cls(
            id=answer.correlation_id,
            batch_id=batch_id,
            road=Road.RESPONSE,
            outcome=Outcome.SUCCEEDED,
            attempts=1,
            **_verdict(answer),
        )

    @classmethod
    def never_sent(cls, task: Task) -> Arrival:
        """How a comparison ends for which there was no money left."""
        return cls(
            id=task.id,
            batch_id=task.batch_id,
            road=None,
            outcome=Outcome.CANCELLED,
            error_code=NEVER_SENT,
            error_detail="The budget of the batch was spent before this comparison was sent.",
        )

    @classmethod
    def of_event(cls, result: LLMOrchestratorResponse, batch_id: UUID | None) -> Arrival:
        """What a callback brings."""
        error = result.error
        return cls(
            id=result.correlation_id,
            batch_id=batch_id,
            road=Road.CALLBACK,
            outcome=result.status,
            attempts=result.attempts,
            error_code=error.code if error else None,
            error_detail=error.detail if error else None,
            retryable=bool(error and error.retryable),
            **_verdict(result),
        )


def _verdict(source: LLMComparisonResponse | LLMOrchestratorResponse) -> dict[str, Any]:
    return {
        "winner": source.winner,
        "confidence": source.confidence,
        "justification": source.justification,
        "provider": source.provider,
        "model": source.model,
        "judge_kind": source.judge_kind,
        "cost_usd": source.cost_usd,
        "tokens": source.token_usage.total_tokens,
        "response_time_ms": source.response_time_ms,
        "prompt_sha256": source.prompt_sha256,
        "prompt_version": source.prompt_version,
        "flags": source.flags,
    }


class Fate(StrEnum):
    """What became of an arrival: only `applied` changed anything."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    LATE = "late"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"


def comparison_id(batch_id: UUID, sequence: int) -> UUID:
    """The correlation_id of a batch's n-th comparison: derived, so that planning twice plans the same rows."""
    return uuid5(batch_id, str(sequence))
