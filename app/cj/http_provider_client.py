"""The provider behind one or several URLs."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import aiohttp
import anyio
from pydantic import BaseModel, ValidationError

from app.cj.provider_client import Answer
from app.contracts import (
    ComparisonQueued,
    JudgeAccepted,
    LaneStatus,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    ModelList,
    Problem,
    ProviderStatus,
)
from app.errors import InvalidRequest, JuxtaError, NoVerdict, ProviderUnavailable

LOOK_TIMEOUT = 2.0
"""Seconds a look at the provider may take: a page waits for it."""
AVOIDED_FOR = 5.0
"""Seconds for which a provider that did not answer is asked only after the others."""
_NOT_LET_IN = frozenset({401, 403, 421})
"""Our key or address is wrong: no fault of the comparison, which waits until somebody mends the configuration."""

M = TypeVar("M", bound=BaseModel)


class HttpProviderClient:
    """Providers behind URLs. Each wait has a deadline; no answer is asked for twice here, the sweeper does that.

    A comparison goes to the provider that its id chooses: providers that share no queue know nothing of each other's
    requests, and the repair of a comparison must reach the one that has it. With a `shared` queue any of them can answer,
    so that one that cannot be reached is passed over. `key` is sent as bearer.
    """

    def __init__(
        self, *urls: str, timeout: float, shared: bool = False, key: str = "", connections: int = 100
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._shared = shared
        self._missed_at: dict[str, float] = {}
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(5.0, timeout))
        self._connections = connections
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, headers=self._headers
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
        """POST the comparison; see `ProviderClient`."""
        body = request.model_dump_json(exclude_defaults=True).encode()
        status, content = await self._send_home(request.correlation_id, "/api/v1/comparison", body)
        if status == 202:  # noqa: PLR2004 - 202 Accepted
            return _read(ComparisonQueued, status, content)
        return _read(LLMComparisonResponse, status, content)

    async def cancel_comparison(self, correlation_id: UUID) -> None:
        """POST the cancellation; see `ProviderClient`."""
        await self._send_home(correlation_id, f"/api/v1/comparison/{correlation_id}/cancel")

    async def check_judge(self, asked: LLMConfigOverrides) -> None:
        """Ask the first provider that answers. See `ProviderClient`."""
        body = asked.model_dump_json(exclude_defaults=True).encode()
        await self._ask_any(JudgeAccepted, "POST", "/api/v1/judges/check", body)

    async def models(self) -> ModelList:
        """Ask the first provider that answers. See `ProviderClient`."""
        return await self._ask_any(ModelList, "GET", "/api/v1/models")

    async def status(self) -> ProviderStatus:
        """Look at every provider at once; see `ProviderClient`."""
        lanes: list[LaneStatus] = []
        away: list[str] = []

        async def look(url: str) -> None:
            try:
                status, content = await self._look("GET", url, "/api/v1/providers")
                lanes.extend(_read(ProviderStatus, status, content).lanes)
            except JuxtaError as error:
                away.append(error.detail)

        async with anyio.create_task_group() as looks:
            for url in self._urls:
                looks.start_soon(look, url)
        if len(away) == len(self._urls):
            raise ProviderUnavailable("; ".join(away))
        return ProviderStatus(lanes=tuple(lanes), away=tuple(away))

    async def _ask_any(self, model: type[M], method: str, path: str, body: bytes | None = None) -> M:
        """Ask what every provider knows, for they share one configuration."""
        away: list[str] = []
        for url in self._urls:
            try:
                status, content = await self._look(method, url, path, body)
            except ProviderUnavailable as error:
                away.append(error.detail)
            else:
                return _read(model, status, content)
        raise ProviderUnavailable("; ".join(away))

    async def _send_home(
        self, correlation_id: UUID, path: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """POST to the provider of this comparison, or to the first after it that is there."""
        at = correlation_id.int % len(self._urls)
        home, *others = self._urls[at:] + self._urls[:at]
        if not self._shared:
            return await self._send("POST", home, path, body)
        away: ProviderUnavailable | None = None
        for url in sorted((home, *others), key=self._is_missed):
            try:
                return await self._send("POST", url, path, body)
            except ProviderUnavailable as error:
                self._missed_at[url] = anyio.current_time()
                # If it took its time, none is left; the repair of this comparison goes elsewhere.
                if not _is_at_once(error.__cause__):
                    raise
                away = error
        assert away is not None
        raise away

    def _is_missed(self, url: str) -> bool:
        missed_at = self._missed_at.get(url)
        return missed_at is not None and anyio.current_time() - missed_at < AVOIDED_FOR

    async def _look(self, method: str, url: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            with anyio.fail_after(LOOK_TIMEOUT):
                return await self._send(method, url, path, body)
        except TimeoutError as error:
            raise ProviderUnavailable(f"The provider at {url} did not answer in time.") from error

    async def _send(self, method: str, url: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            async with self._session.request(
                method, url + path, data=body, allow_redirects=False
            ) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderUnavailable(
                f"The provider at {url} did not answer: {type(error).__name__}."
            ) from error
        if status >= 300:  # noqa: PLR2004 - anything but success
            raise _failure(url, status, content)
        return status, content


def _is_at_once(cause: BaseException | None) -> bool:
    """Whether the connection was refused or broke, so that there is time to ask another provider."""
    return isinstance(cause, aiohttp.ClientConnectionError) and not isinstance(cause, TimeoutError)


def _read(model: type[M], status: int, content: bytes) -> M:
    try:
        return model.model_validate_json(content)
    except ValidationError:
        raise ProviderUnavailable(f"The provider answered {status} with an unreadable body.") from None


def _failure(url: str, status: int, content: bytes) -> JuxtaError:
    """The provider's problem as the error it was there; what is no problem document is treated as an outage."""
    try:
        problem = Problem.model_validate_json(content)
    except ValidationError:
        return ProviderUnavailable(f"The provider at {url} answered {status} without saying why.")
    if status in _NOT_LET_IN:
        return ProviderUnavailable(
            f"The provider at {url} does not let cj in ({status}): {problem.detail}",
            hint="Check cj.provider_key and its scopes, and cj.provider_urls.",
        )
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
    if isinstance(error, InvalidRequest):
        error.errors = tuple((fault.field, fault.message) for fault in problem.errors)
    if isinstance(error, NoVerdict):
        error.cause, error.anew, error.cost_usd = problem.code, problem.retryable, problem.cost_usd or 0.0
    return error


def _tree(root: type[JuxtaError]) -> Iterator[type[JuxtaError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
