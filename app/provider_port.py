"""The road from cj to a provider in the same process: neither knows the other, this knows both."""

from __future__ import annotations

from uuid import UUID

from app.cj.provider_client import Answer
from app.contracts import LLMComparisonRequest, LLMConfigOverrides, ModelList, ProviderStatus
from app.provider.orchestrator import LLMOrchestrator
from app.provider.status import Status


class ProviderPort:
    """The provider in this process: the validated request is handed over, without socket or JSON."""

    def __init__(self, orchestrator: LLMOrchestrator, status: Status) -> None:
        self._orchestrator = orchestrator
        self._status = status

    async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
        """Ask the orchestrator; see `ProviderClient`."""
        return await self._orchestrator.compare(request)

    async def cancel_comparison(self, correlation_id: UUID) -> None:
        """Tell the orchestrator; see `ProviderClient`."""
        await self._orchestrator.cancel(correlation_id)

    async def check_judge(self, asked: LLMConfigOverrides) -> None:
        """Ask the judge's lane; see `ProviderClient`."""
        await self._status.check(asked)

    async def models(self) -> ModelList:
        """See `ProviderClient`."""
        return self._status.models()

    async def status(self) -> ProviderStatus:
        """See `ProviderClient`."""
        return self._status.now()
