"""What every judge promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from app.contracts import JudgeKind, LLMComparisonRequest, LLMConfigOverrides, TokenUsage, Winner

EXPIRED = "expired"
"""The code of a judge that stopped because whoever asked waits no longer. Neither a verdict nor a fault of the judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a judge used up for one comparison, with or without a verdict. `cost_usd` None: its price is unknown.

    `calls` are requests to its provider; `prompt_tokens` include the `cached_tokens`.
    """

    calls: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0

    @property
    def tokens(self) -> int:
        """As limits count them."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge decided. `confidence` is in 0..1; `justification` has at most 1,000 characters.

    `prompt_version` names the template of a prompt; `flags` what in the essays a person should look at. `spent` is
    None for judges that use up nothing.
    """

    winner: Winner
    confidence: float
    justification: str
    provider: str
    model: str
    judge_kind: JudgeKind
    token_usage: TokenUsage = TokenUsage()
    cost_usd: float = 0.0
    prompt_sha256: str | None = None
    prompt_version: str | None = None
    flags: tuple[str, ...] = ()
    spent: Spent | None = None


class JudgeError(Exception):
    """The judge gave no verdict. A verdict is never guessed.

    `code` is the class of the failure (`refused`, `too_short`, `unknown_text`, `malformed`, `quota`, `timeout`,
    `unavailable`, ...). `retryable`: asking again may help; `trips`: counts toward the circuit breaker;
    `retry_after` (seconds) is a floor, and slows the lane without tripping it. `spent`: see `Verdict`.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        retryable: bool = False,
        trips: bool = False,
        retry_after: float | None = None,
        cost_usd: float = 0.0,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.trips = trips
        self.retry_after = retry_after
        self.cost_usd = cost_usd
        self.spent: Spent | None = None


class Judge(Protocol):
    """Compares two essays; slow, limited, costly and unreliable, or none of these."""

    kind: JudgeKind

    def lane(self, overrides: LLMConfigOverrides) -> str:
        """Name the judge configuration these overrides ask for; admission, limits and breakers go by lane.

        :raises InvalidRequest: an override this judge cannot honour.
        """

    def check(self, request: LLMComparisonRequest) -> None:
        """Refuse what a look at the texts shows can never be judged, before it is stored; costs microseconds.

        :raises InvalidRequest: naming the field.
        """

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        """Decide.

        :raises JudgeError: there is no verdict, with its class.
        """


@runtime_checkable
class Metered(Protocol):
    """A judge whose provider limits tokens."""

    def tokens(self, request: LLMComparisonRequest) -> int:
        """About how many this comparison takes; the real figure comes with the verdict."""


Judges = Mapping[str, Judge]
"""By the provider name that `llm_config_overrides.provider` uses."""
