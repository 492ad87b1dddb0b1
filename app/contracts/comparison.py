"""POST /api/v1/comparison: what is asked, and the two ways it is answered at once."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import Field, JsonValue, field_validator

from app.contracts.wire import Text, Tolerant, Wire

METADATA_BYTES = 4096
DAY = 86_400.0
MOST_EXPIRES_IN = 60 * DAY

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_PIECE = 2000  # hashlib gives up the interpreter lock for more, and under load waits long to get it back

NonEmpty = Annotated[Text, Field(min_length=1)]
Tally = Annotated[int, Field(ge=0, le=10**12)]
"""A count that fits every database, however wrong the judge's arithmetic."""
Dollars = Annotated[float, Field(ge=0, le=1e9)]


class Winner(StrEnum):
    """Which essay the judge found better."""

    ESSAY_A = "essay_a"
    ESSAY_B = "essay_b"
    TIE = "tie"


class JudgeKind(StrEnum):
    """Who judged. People, machines and rules are never shown without this word."""

    HUMAN = "human"
    LLM = "llm"
    RULES = "rules"
    SIMULATED = "simulated"


class Outcome(StrEnum):
    """How an accepted request ended; final for its correlation_id."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class TokenUsage(Tolerant):
    """Tokens the judge counted; all zero for judges that have none."""

    prompt_tokens: Tally = 0
    completion_tokens: Tally = 0
    total_tokens: Tally = 0


class LLMConfigOverrides(Wire):
    """The judge configuration asked for. Each field is honoured or the request is refused, never dropped."""

    provider: NonEmpty | None = None
    model: NonEmpty | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1)
    reasoning_effort: Literal["none", "low", "medium", "high"] | None = None
    system_prompt: NonEmpty | None = None


class LLMComparisonRequest(Wire):
    """One comparison. `correlation_id` is the idempotency key: the same id again is a repair, never a second call.

    `callback_key` orders callbacks on the bus (cj sends its batch id); `expires_in` is in seconds.
    """

    user_prompt: NonEmpty
    essay_a: NonEmpty
    essay_b: NonEmpty
    callback_topic: Text | None = None
    correlation_id: UUID
    llm_config_overrides: LLMConfigOverrides = LLMConfigOverrides()
    metadata: dict[str, JsonValue] = {}
    callback_key: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    expires_in: float = Field(DAY, gt=0, le=MOST_EXPIRES_IN)
    priority: int = Field(5, ge=0, le=9)

    @field_validator("metadata")
    @classmethod
    def _small(cls, metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if metadata:
            text = _CANONICAL.encode(metadata)
            if len(text.encode()) > METADATA_BYTES:
                raise ValueError(f"metadata may hold at most {METADATA_BYTES} bytes of JSON")
            if "\\u0000" in text:
                raise ValueError("NUL characters are not allowed")
        return metadata

    def fingerprint(self) -> bytes:
        """The sha256 of the canonical body.

        Fields stand in the order of this class, keys of `metadata` are sorted, and defaults are left out, so that a
        field added later changes nothing.
        """
        body = self.model_dump_json(exclude_defaults=True, exclude={"metadata"}) + _CANONICAL.encode(
            self.metadata
        )
        digest = hashlib.sha256()
        text = memoryview(body.encode())
        for start in range(0, len(text), _PIECE):
            digest.update(text[start : start + _PIECE])
        return digest.digest()

    def queue_id(self, principal: str) -> UUID:
        """The provider's id of this request: derived, so that it is the same on every repeat."""
        return uuid5(self.correlation_id, principal)


class LLMComparisonResponse(Tolerant):
    """200: the verdict. `confidence` is a probability-like figure in 0..1; `cost_usd` what it cost, failed tries included.

    `flags` name what a person should look at, such as an essay that speaks to its judge: `essay_a:addresses-judge`.
    """

    winner: Winner
    justification: Annotated[Text, Field(max_length=1000)]
    confidence: float = Field(ge=0, le=1)
    provider: Text
    model: Text
    judge_kind: JudgeKind
    token_usage: TokenUsage = TokenUsage()
    cost_usd: Dollars = 0.0
    response_time_ms: Tally = 0
    correlation_id: UUID
    metadata: dict[str, JsonValue] = {}
    prompt_sha256: Text | None = None
    prompt_version: Text | None = None
    flags: tuple[Text, ...] = ()
    trace_id: Text | None = None


class ComparisonQueued(Tolerant):
    """202: accepted durably; the answer will be published to `callback_topic`. There is nothing to poll."""

    queue_id: UUID
    status: Literal["queued"] = "queued"
    message: Text = "Accepted. The verdict will be published to the callback topic."
    estimated_wait_seconds: float = Field(0.0, ge=0)
    correlation_id: UUID
