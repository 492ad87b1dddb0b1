"""From settings to the parts of a process, and the order they live in; `engines` and `judges` pick implementations for it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import punq

from app import engines
from app.access.access import Access
from app.access.hosts import Hosts
from app.bus.protocol import Bus
from app.bus.redrive import DeadLetters
from app.cj.analyses import Analyses
from app.cj.changes import Changes
from app.cj.event_processor import EventProcessor
from app.cj.grade_scales import load_scales
from app.cj.http_provider_client import HttpProviderClient
from app.cj.planner import Planner
from app.cj.provider_client import ProviderClient
from app.cj.store import BatchStore
from app.cj.submitter import Submitter
from app.cj.views import Views
from app.cj.workflow import Workflow
from app.database import Database
from app.engines import Databases
from app.judges import SPARE, judges, model_infos, probes
from app.lock import locked
from app.provider.breakers import Breakers, lanes_of
from app.provider.judges.llm.http import ModelClient
from app.provider.judging import RetryPolicy
from app.provider.lane import LaneLimits, Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import RequestQueue
from app.provider.queue_processor import QueueProcessor
from app.provider.rate_limiter import PERIOD
from app.provider.spending import Spending
from app.provider.status import Status
from app.provider_port import ProviderPort
from app.settings import ROOT, JudgeLimits, LLMSettings, Settings

TRAVEL = 1.0
"""Seconds by which calls that start a minute apart may arrive closer together."""

LOOKS = 4
"""Connections to the provider beyond those that carry comparisons."""


def bootstrap(settings: Settings) -> punq.Container:
    """Register every part of a process of this role; nothing is opened yet."""
    container = punq.Container()
    single = partial(_single, container)
    container.register(Settings, instance=settings)
    container.register(Changes, instance=Changes())
    single(Databases, lambda: engines.databases(settings))
    single(Access, lambda: _access(settings, container.resolve(Databases).access))
    single(Bus, lambda: engines.bus(settings))
    single(DeadLetters, lambda: DeadLetters(container.resolve(Bus), _topics(settings)))
    if settings.serves_provider:
        _provider(container, settings)
    if settings.serves_cj:
        _cj(container, settings)
    return container


def _single(container: punq.Container, service: object, factory: Callable[[], object]) -> None:
    container.register(service, factory=factory, scope=punq.Scope.singleton)


def _topics(settings: Settings) -> list[str]:
    """Those whose dead letters this process can read and send again: what it reads first, then what it writes."""
    read = [settings.cj.callback_topic] if settings.serves_cj else []
    return [*read, *(settings.provider.topics if settings.serves_provider else [])]


def _access(settings: Settings, database: Database) -> Access:
    hosts = Hosts(settings.http.host, settings.auth.hosts, keyed=settings.auth.enabled)
    return Access(database, hosts=hosts, enabled=settings.auth.enabled)


def _provider(container: punq.Container, settings: Settings) -> None:
    single = partial(_single, container)
    single(ModelClient, lambda: ModelClient())  # noqa: PLW0108 - punq would look for the arguments of the class
    single(
        "judges",
        lambda: judges(
            settings,
            container.resolve(ModelClient),
            start_again=lambda lane: container.resolve(Lanes)[lane].start_again(),
        ),
    )
    single(Lanes, lambda: Lanes(lambda name: _limits(settings, name)))
    single(
        Breakers,
        lambda: Breakers(
            container.resolve(Lanes), offered=lanes_of(container.resolve("judges"), model_infos(settings))
        ),
    )
    single(RequestQueue, lambda: engines.queue(settings, container.resolve(Databases).provider))
    single(
        Status,
        lambda: Status(
            queue=container.resolve(RequestQueue),
            lanes=container.resolve(Lanes),
            judges=container.resolve("judges"),
            default_provider=settings.judges.default,
            models=model_infos(settings),
            probes=probes(settings, container.resolve(ModelClient)),
        ),
    )
    single(
        Spending,
        lambda: Spending(container.resolve(Databases).provider, retention=settings.queue.retention),
    )
    retry = RetryPolicy(tries=settings.queue.max_tries)
    single(
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
    single(
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


def _cj(container: punq.Container, settings: Settings) -> None:
    single = partial(_single, container)
    single(ProviderClient, lambda: _provider_client(container, settings))
    single(BatchStore, lambda: BatchStore(container.resolve(Databases).cj))
    single(Views, lambda: Views(container.resolve(Databases).cj))
    single(
        Analyses,
        lambda: Analyses(container.resolve(Databases).cj, load_scales(ROOT / "config" / "grade_scales")),
    )
    single(
        Planner,
        lambda: Planner(
            container.resolve(BatchStore),
            container.resolve(Changes),
            callback_topic=settings.cj.callback_topic,
            planned=lambda: container.resolve(Submitter).wake(),
        ),
    )
    single(
        EventProcessor,
        lambda: EventProcessor(
            container.resolve(BatchStore),
            container.resolve(Changes),
            complete=container.resolve(Planner).wake,
        ),
    )
    single(
        Submitter,
        lambda: Submitter(
            container.resolve(BatchStore),
            container.resolve(ProviderClient),
            container.resolve(EventProcessor),
            container.resolve(Changes),
            concurrency=settings.cj.concurrency,
            hold=settings.cj.hold,
            repair_after=settings.cj.repair_after,
            jitter=random.random,
        ),
    )
    single(
        Workflow,
        lambda: Workflow(
            container.resolve(BatchStore),
            container.resolve(Planner),
            container.resolve(Submitter),
            container.resolve(Changes),
            volatile_bus=settings.bus.kind == "memory",
            sweep_every=settings.cj.sweep_every,
        ),
    )


def _provider_client(container: punq.Container, settings: Settings) -> ProviderClient:
    if settings.serves_provider:
        return ProviderPort(container.resolve(LLMOrchestrator), container.resolve(Status))
    return HttpProviderClient(
        *settings.cj.provider_urls,
        shared=settings.shares_queue,
        timeout=settings.cj.provider_timeout,
        key=settings.cj.provider_key.get_secret_value(),
        connections=settings.cj.concurrency + LOOKS,
    )


@asynccontextmanager
async def running(container: punq.Container) -> AsyncIterator[Sequence[Path]]:
    """Open the house and run the parts of its role; yields the lock files.

    Leaving stops leasing, finishes, then closes bus and stores; each part cuts off what is not done within its drain.
    """
    settings: Settings = container.resolve(Settings)
    async with AsyncExitStack() as house:
        locks = [
            house.enter_context(locked(settings.data, part, shared=settings.shares(part)))
            for part in settings.parts
        ]
        await _open(container, settings, house)
        yield locks


async def _open(container: punq.Container, settings: Settings, house: AsyncExitStack) -> None:
    """Enter the parts in the order of their dependence: each is left before what it stands on."""
    bus: Bus = container.resolve(Bus)
    await house.enter_async_context(container.resolve(Access))
    if settings.serves_cj:
        bus.subscribe(settings.cj.callback_topic, settings.cj.group, container.resolve(EventProcessor).handle)
        await house.enter_async_context(container.resolve(Databases).cj)
    if settings.serves_provider:
        await house.enter_async_context(container.resolve(ModelClient))
        await house.enter_async_context(container.resolve(RequestQueue))
        if settings.queue.kind != "sql":  # else the queue opened it; what was spent stands there in any case
            await house.enter_async_context(container.resolve(Databases).provider)
    await house.enter_async_context(bus)
    if settings.serves_provider:
        await house.enter_async_context(container.resolve(QueueProcessor))
        await house.enter_async_context(container.resolve(LLMOrchestrator))
    if settings.serves_cj:
        client = container.resolve(ProviderClient)
        if isinstance(client, HttpProviderClient):
            await house.enter_async_context(client)
        loops = await house.enter_async_context(anyio.create_task_group())
        house.callback(loops.cancel_scope.cancel)
        loops.start_soon(container.resolve(Workflow).run)
