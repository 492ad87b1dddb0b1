"""The provider behind a URL."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self
from uuid import UUID

import aiohttp
from pydantic import ValidationError

from app.cj.provider_client import Answer
from app.contracts import ComparisonQueued, LLMComparisonRequest, LLMComparisonResponse, Problem
from app.errors import InvalidRequest, JuxtaError, NoVerdict, ProviderUnavailable


class HttpProviderClient:
    """The provider behind a URL. Each wait has a deadline; nothing is retried here, the sweeper does that."""

    def __init__(self, url: str, *, timeout: float, connections: int = 100) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(5.0, timeout))
        self._connections = connections

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
        """POST the comparison; see `ProviderClient`."""
        body = request.model_dump_json(exclude_defaults=True).encode()
        status, content = await self._post("/api/v1/comparison", body)
        model = ComparisonQueued if status == 202 else LLMComparisonResponse  # noqa: PLR2004 - 202 Accepted
        try:
            return model.model_validate_json(content)
        except ValidationError as error:
            raise ProviderUnavailable(f"The provider answered {status} with an unreadable body.") from error

    async def cancel_comparison(self, correlation_id: UUID) -> None:
        """POST the cancellation; see `ProviderClient`."""
        await self._post(f"/api/v1/comparison/{correlation_id}/cancel", b"")

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        try:
            async with self._session.post(
                self._url + path,
                data=body,
                headers={"content-type": "application/json"},
                allow_redirects=False,
            ) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnavailable(
                f"The provider at {self._url} did not answer: {type(error).__name__}."
            ) from error
        if status >= 300:  # noqa: PLR2004 - anything but success
            raise _failure(status, content)
        return status, content


def _failure(status: int, content: bytes) -> JuxtaError:
    """The provider's problem as the error it was there; what is no problem document is treated as an outage."""
    try:
        problem = Problem.model_validate_json(content)
    except ValidationError:
        return ProviderUnavailable(f"The provider answered {status} without saying why.")
    return error_of(problem)


def error_of(problem: Problem) -> JuxtaError:
    """The error that the problem was at the provider; what has no class of its own goes by its status.

    The code alone is not enough: a stored failure (502) is named by the judge, which may call it `unavailable` too.
    """
    kinds = [kind for kind in _tree(JuxtaError) if (kind.code, kind.status) == (problem.code, problem.status)]
    kinds += [kind for kind in _tree(NoVerdict) if kind.status == problem.status]
    kinds.append(ProviderUnavailable if problem.retryable else InvalidRequest)
    error = kinds[0](problem.detail, hint=problem.hint)
    error.retry_after = problem.retry_after
    if isinstance(error, NoVerdict):
        error.cause, error.anew = problem.code, problem.retryable
    return error


def _tree(root: type[JuxtaError]) -> Iterator[type[JuxtaError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
