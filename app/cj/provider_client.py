"""How cj asks the provider: one protocol, whether the provider is in this process or behind HTTP."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from app.contracts import (
    ComparisonQueued,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    ModelList,
    ProviderStatus,
)

Answer = LLMComparisonResponse | ComparisonQueued


class ProviderClient(Protocol):
    """The provider as cj sees it. A repeat of the same request is always safe, and is the one universal repair."""

    async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
        """Ask once: the verdict (200), or the promise of a callback (202).

        :raises JuxtaError: the provider's problem, by its own class; `retryable` says whether to send it again.
        :raises ProviderUnavailable: no answer came; whether the request was accepted is unknown.
        """

    async def cancel_comparison(self, correlation_id: UUID) -> None:
        """Tell the provider that nobody waits for this verdict any more.

        :raises NotFound: the provider does not know it.
        :raises ProviderUnavailable: as above.
        """

    async def check_judge(self, asked: LLMConfigOverrides) -> None:
        """Return when the provider can ask this judge.

        :raises InvalidRequest: it has no such judge, or the judge cannot honour an override.
        :raises ProviderUnavailable: as above.
        """

    async def models(self) -> ModelList:
        """Which judges can be asked and what they cost; the one that is asked by default comes first.

        :raises ProviderUnavailable: as above.
        """

    async def status(self) -> ProviderStatus:
        """How the provider is; of several, the lanes of those that answered.

        :raises ProviderUnavailable: none answered.
        """
