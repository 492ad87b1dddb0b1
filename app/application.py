"""The ASGI application of a role: its routes, its health, and the life of the house behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import punq
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler

from app import __version__, dead_letters
from app.access import routes as access_routes
from app.access.access import Access
from app.access.gate import principal
from app.access.policy import CJ, PLATFORM, PROVIDER, WEB, Need
from app.bus.redrive import DeadLetters
from app.cj.analyses import Analyses
from app.cj.analysis_routes import AnalysisApi
from app.cj.batch import NewBatch
from app.cj.bundle import LOCK, origin
from app.cj.changes import Changes
from app.cj.folder import read_folder
from app.cj.provider_client import ProviderClient
from app.cj.routes import BatchApi
from app.cj.views import Views
from app.cj.workflow import Workflow
from app.container import running
from app.documents import document_routes
from app.edge import EXCEPTION_HANDLERS
from app.new_batches import batch_defaults, batch_settings
from app.provider import operating
from app.provider import routes as provider_routes
from app.provider.breakers import Breakers
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import RequestQueue
from app.provider.spending import Spending
from app.provider.status import Status
from app.readiness import healthy, readiness
from app.settings import ROOT, Settings
from app.web import live, login, pages
from app.web.provider import Offers, ProviderLook
from app.web.rendering import html_problem

PROGRAMS = ("/api/", "/healthz", "/readyz", "/openapi.json", "/asyncapi.json")
"""What programs ask for: they are told of an error by a problem document, people by a page."""


class Abandoned(Exception):
    """Told to stop before the house was open."""


def application(container: punq.Container, routes: list[BaseRoute], *, demo: bool = False) -> Starlette:
    """The ASGI application; its lifespan is the life of the house.

    `app.state.ended` is called with the error that ends the house, should one do so. `app.state.abandon` ends a house
    that is still being opened; it may be called from a signal handler.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with anyio.CancelScope() as life:
            app.state.abandon = partial(asyncio.get_running_loop().call_soon_threadsafe, life.cancel)
            try:
                async with running(container) as locks:
                    app.state.locks = locks
                    if demo:
                        await _load_examples(container)
                    yield
            except BaseException as error:
                # uvicorn would go on serving without a house, so even a cancellation is told.
                if not life.cancel_called:
                    app.state.ended(error)
                raise
        if life.cancelled_caught:
            raise Abandoned

    handlers = {kind: _by_path(handler) for kind, handler in EXCEPTION_HANDLERS.items()}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.state.abandon = lambda: None
    return app


def _by_path(handler: Any) -> ExceptionHandler:
    """Programs get problem documents, people get a page."""

    async def handle(request: Request, error: Exception) -> Response:
        if request.url.path.startswith(PROGRAMS):
            answer: Response = await handler(request, error)
            return answer
        return html_problem(request, error)

    return handle


async def _load_examples(container: punq.Container) -> None:
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


def house_routes(container: punq.Container, closing: anyio.Event) -> list[BaseRoute]:
    """Every route of this process's role; `closing` ends the live streams."""
    settings: Settings = container.resolve(Settings)
    access: Access = container.resolve(Access)
    routes: list[BaseRoute] = [
        Route("/healthz", healthy),
        Route("/readyz", readiness(container)),
        *access_routes.routes(access.audit),
        *dead_letters.routes(
            container.resolve(DeadLetters),
            specify=access.specify,
            body_deadline=settings.http.body_timeout,
        ),
        *document_routes(settings),
    ]
    policy: dict[str, Need] = {**PLATFORM}
    if settings.serves_provider:
        routes += provider_routes.routes(
            container.resolve(LLMOrchestrator),
            container.resolve(RequestQueue),
            container.resolve(Status),
            container.resolve(Spending),
            body_limit=settings.http.body_limit,
            body_deadline=settings.http.body_timeout,
            principal=principal,
        )
        routes += operating.routes(
            container.resolve(LLMOrchestrator),
            container.resolve(RequestQueue),
            container.resolve(Breakers),
            specify=access.specify,
            body_deadline=settings.http.body_timeout,
        )
        policy |= PROVIDER
    if settings.serves_cj:
        routes += [*_cj_routes(container, settings, closing), *login.routes(access)]
        policy |= {**CJ, **WEB}
    return access.guarded(routes, policy)


def _cj_routes(container: punq.Container, settings: Settings, closing: anyio.Event) -> list[BaseRoute]:
    """The API of batches, their live streams and their pages."""
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
