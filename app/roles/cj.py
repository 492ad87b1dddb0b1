"""The role `cj`: batches of essays, their ranking, and the pages that people see. See `Role`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

import anyio
import punq
from starlette.routing import BaseRoute

from app import __version__
from app.access.access import Access
from app.access.policy import CJ, WEB, Need
from app.bus.protocol import Bus
from app.cj.analyses import Analyses
from app.cj.analysis_routes import AnalysisApi
from app.cj.batch import NewBatch
from app.cj.bundle import LOCK, origin
from app.cj.changes import Changes
from app.cj.event_processor import EventProcessor
from app.cj.folder import read_folder
from app.cj.grade_scales import load_scales
from app.cj.http_provider_client import HttpProviderClient
from app.cj.planner import Planner
from app.cj.provider_client import ProviderClient
from app.cj.routes import BatchApi
from app.cj.store import BatchStore
from app.cj.submitter import Submitter
from app.cj.views import Views
from app.cj.workflow import Workflow
from app.engines import Databases
from app.new_batches import batch_defaults, batch_settings
from app.roles import single
from app.settings import ROOT, Settings
from app.web import live, login, pages
from app.web.provider import Offers, ProviderLook

LOOKS = 4
"""Connections to the provider beyond those that carry comparisons."""

POLICY: Mapping[str, Need] = {**CJ, **WEB}


def register(container: punq.Container) -> None:
    """See `Role`."""
    one = partial(single, container)
    settings: Settings = container.resolve(Settings)
    container.register(Changes, instance=Changes())
    one(ProviderClient, lambda: _provider_client(container, settings))
    one(BatchStore, lambda: BatchStore(container.resolve(Databases).cj))
    one(Views, lambda: Views(container.resolve(Databases).cj))
    one(
        Analyses,
        lambda: Analyses(container.resolve(Databases).cj, load_scales(ROOT / "config" / "grade_scales")),
    )
    one(
        Planner,
        lambda: Planner(
            container.resolve(BatchStore),
            container.resolve(Changes),
            callback_topic=settings.cj.callback_topic,
            planned=lambda: container.resolve(Submitter).wake(),
        ),
    )
    one(
        EventProcessor,
        lambda: EventProcessor(
            container.resolve(BatchStore),
            container.resolve(Changes),
            complete=container.resolve(Planner).wake,
        ),
    )
    one(
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
    one(
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


async def open_stores(container: punq.Container, house: AsyncExitStack) -> None:
    """See `Role`."""
    settings: Settings = container.resolve(Settings)
    bus: Bus = container.resolve(Bus)
    bus.subscribe(settings.cj.callback_topic, settings.cj.group, container.resolve(EventProcessor).handle)
    await house.enter_async_context(container.resolve(Databases).cj)


async def start(container: punq.Container, house: AsyncExitStack) -> None:
    """See `Role`."""
    client = container.resolve(ProviderClient)
    if isinstance(client, HttpProviderClient):
        await house.enter_async_context(client)
    loops = await house.enter_async_context(anyio.create_task_group())
    house.callback(loops.cancel_scope.cancel)
    loops.start_soon(container.resolve(Workflow).run)


def routes(container: punq.Container, closing: anyio.Event) -> list[BaseRoute]:
    """See `Role`."""
    settings: Settings = container.resolve(Settings)
    workflow: Workflow = container.resolve(Workflow)
    views: Views = container.resolve(Views)
    changes: Changes = container.resolve(Changes)
    provider: ProviderClient = container.resolve(ProviderClient)
    api = BatchApi(
        workflow,
        views,
        defaults=partial(batch_settings, settings),
        check_judge=provider.check_judge,
        models=provider.models,
        longest_expiry=settings.queue.retention,
        body_limit=settings.http.upload_limit,
        body_timeout=settings.http.body_timeout,
    )
    analysis = AnalysisApi(
        container.resolve(Analyses),
        views,
        made_with=origin(juxta=__version__, lock=ROOT / LOCK),
        body_limit=settings.http.upload_limit,
        body_timeout=settings.http.body_timeout,
    )
    look = ProviderLook(provider)
    return [
        *api.routes(),
        *analysis.routes(),
        *login.routes(container.resolve(Access)),
        *live.routes(views=views, changes=changes, look=look, closing=closing),
        *pages.routes(
            workflow=workflow,
            views=views,
            analyses=container.resolve(Analyses),
            offered=Offers(provider, batch_defaults(settings), first=settings.judges.default),
            look=look,
            check_judge=provider.check_judge,
            upload_limit=settings.http.upload_limit,
            upload_timeout=settings.http.body_timeout,
        ),
    ]


def checks(container: punq.Container) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """See `Role`."""
    return {"store": container.resolve(Databases).cj.check}


async def load_examples(container: punq.Container) -> None:
    """Give an empty installation something to look at; nobody is asked who costs money."""
    if await container.resolve(Views).batches(limit=1):
        return
    folder = read_folder([ROOT / "examples" / "essays"])
    settings: Settings = container.resolve(Settings)
    free = "rules" if settings.judges.default in settings.judges.llm else settings.judges.default
    new = NewBatch(
        title="Example: an hour later?",
        question=folder.question,
        essays=folder.essays,
        settings=batch_settings(settings, provider=free, seed=1),
    )
    await container.resolve(Workflow).create(new, start=True)


def _provider_client(container: punq.Container, settings: Settings) -> ProviderClient:
    if settings.serves_provider:
        from app.provider.orchestrator import LLMOrchestrator  # noqa: PLC0415 - imported by the other role then
        from app.provider.status import Status  # noqa: PLC0415 - as above
        from app.provider_port import ProviderPort  # noqa: PLC0415 - as above

        return ProviderPort(container.resolve(LLMOrchestrator), container.resolve(Status))
    return HttpProviderClient(
        *settings.cj.provider_urls,
        shared=settings.shares_queue,
        timeout=settings.cj.provider_timeout,
        key=settings.cj.provider_key.get_secret_value(),
        connections=settings.cj.concurrency + LOOKS,
    )
