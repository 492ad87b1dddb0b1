"""The role `provider`: it gets verdicts from judges, at once or by callback. See `Role`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import punq
from starlette.routing import BaseRoute

from app import engines
from app.access.access import Access
from app.access.gate import principal
from app.access.policy import PROVIDER as POLICY
from app.bus.protocol import Bus
from app.engines import Databases
from app.judges import SPARE, judges, model_infos, probes
from app.provider import operating
from app.provider import routes as provider_routes
from app.provider.breakers import Breakers, lanes_of
from app.provider.judging import RetryPolicy
from app.provider.lane import LaneLimits, Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import RequestQueue
from app.provider.queue_processor import QueueProcessor
from app.provider.rate_limiter import PERIOD
from app.provider.spending import Spending
from app.provider.status import Status
from app.roles import single
from app.settings import JudgeLimits, LLMSettings, Settings

if TYPE_CHECKING:
    from app.provider.judges.llm.http import ModelClient

__all__ = ["POLICY", "checks", "open_stores", "register", "routes", "start"]

TRAVEL = 1.0
"""Seconds by which calls that start a minute apart may arrive closer together."""


def register(container: punq.Container) -> None:
    """See `Role`."""
    one = partial(single, container)
    settings: Settings = container.resolve(Settings)
    one("model_client", _model_client)
    client = partial(container.resolve, "model_client")
    one(
        "judges",
        lambda: judges(
            settings,
            client,
            start_again=lambda lane: container.resolve(Lanes)[lane].start_again(),
        ),
    )
    one(Lanes, lambda: Lanes(lambda name: _limits(settings, name)))
    one(
        Breakers,
        lambda: Breakers(
            container.resolve(Lanes), offered=lanes_of(container.resolve("judges"), model_infos(settings))
        ),
    )
    one(RequestQueue, lambda: engines.queue(settings, container.resolve(Databases).provider))
    one(
        Status,
        lambda: Status(
            queue=container.resolve(RequestQueue),
            lanes=container.resolve(Lanes),
            judges=container.resolve("judges"),
            default_provider=settings.judges.default,
            models=model_infos(settings),
            probes=probes(settings, client),
        ),
    )
    one(
        Spending,
        lambda: Spending(container.resolve(Databases).provider, retention=settings.queue.retention),
    )
    retry = RetryPolicy(tries=settings.queue.max_tries)
    one(
        LLMOrchestrator,
        lambda: LLMOrchestrator(
            queue=container.resolve(RequestQueue),
            judges=container.resolve("judges"),
            lanes=container.resolve(Lanes),
            topics=frozenset(settings.provider.topics),
            default_provider=settings.judges.default,
            patience=settings.provider.patience,
            lease=settings.queue.lease,
            drain=settings.provider.drain,
            retry=retry,
            spending=container.resolve(Spending),
        ),
    )
    one(
        QueueProcessor,
        lambda: QueueProcessor(
            queue=container.resolve(RequestQueue),
            judges=container.resolve("judges"),
            lanes=container.resolve(Lanes),
            bus=container.resolve(Bus),
            lease=settings.queue.lease,
            drain=settings.provider.drain,
            retry=retry,
            spending=container.resolve(Spending),
        ),
    )


async def open_stores(container: punq.Container, house: AsyncExitStack) -> None:
    """See `Role`."""
    settings: Settings = container.resolve(Settings)
    if settings.judges.offered:
        await house.enter_async_context(container.resolve("model_client"))
    await house.enter_async_context(container.resolve(RequestQueue))
    if _apart(container):  # else the queue opened it; what was spent stands there in any case
        await house.enter_async_context(container.resolve(Databases).provider)


async def start(container: punq.Container, house: AsyncExitStack) -> None:
    """See `Role`."""
    await house.enter_async_context(container.resolve(QueueProcessor))
    await house.enter_async_context(container.resolve(LLMOrchestrator))


def routes(container: punq.Container, closing: anyio.Event) -> list[BaseRoute]:  # noqa: ARG001 - no live streams here
    """See `Role`."""
    settings: Settings = container.resolve(Settings)
    orchestrator, queue = container.resolve(LLMOrchestrator), container.resolve(RequestQueue)
    return [
        *provider_routes.routes(
            orchestrator,
            queue,
            container.resolve(Status),
            container.resolve(Spending),
            body_limit=settings.http.body_limit,
            body_deadline=settings.http.body_timeout,
            principal=principal,
        ),
        *operating.routes(
            orchestrator,
            queue,
            container.resolve(Breakers),
            specify=container.resolve(Access).specify,
            body_deadline=settings.http.body_timeout,
        ),
    ]


def checks(container: punq.Container) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """See `Role`."""
    found = {"queue": container.resolve(RequestQueue).check}
    if _apart(container):
        found["usage"] = container.resolve(Databases).provider.check
    return found


def _model_client() -> ModelClient:
    from app.provider.judges.llm.http import ModelClient  # noqa: PLC0415 - slow to import, and most starts need none

    return ModelClient()


def _apart(container: punq.Container) -> bool:
    """Whether the queue is not in the provider's database."""
    settings: Settings = container.resolve(Settings)
    return settings.queue.kind != "sql"


def _limits(settings: Settings, lane: str) -> LaneLimits:
    """A lane is named provider/model; the provider's limits hold for each of its lanes."""
    name = lane.split("/", 1)[0]
    limits: JudgeLimits = getattr(settings.judges, name)
    processes = settings.provider.processes
    found = LaneLimits(
        concurrency=limits.concurrency,
        direct_concurrency=limits.direct_concurrency,
        requests_per_minute=_share(limits.requests_per_minute, processes),
        failures=settings.breaker.failures,
        failure_window=settings.breaker.window,
        cooldown=settings.breaker.cooldown,
        cooldown_cap=settings.breaker.cooldown_cap,
    )
    if not isinstance(limits, LLMSettings):
        return found
    return replace(
        found,
        tokens_per_minute=_share(limits.tokens_per_minute, processes),
        period=PERIOD + TRAVEL,
        call_timeout=limits.timeout + SPARE,
    )


def _share(per_minute: int, processes: int) -> int | None:
    """What of a limit is this process's; 0 is no limit, and none is so small that nothing is left."""
    return per_minute // processes or None
