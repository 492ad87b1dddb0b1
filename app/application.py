"""The ASGI application of a role: its routes, its health, and the life of the house behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
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

from app.bus.protocol import Bus
from app.cj.batch import BatchSettings, NewBatch
from app.cj.changes import Changes
from app.cj.folder import read_folder
from app.cj.routes import BatchApi
from app.cj.views import Views
from app.cj.workflow import Workflow
from app.container import Databases, batch_settings, draw_seed, running
from app.contracts import JudgeKind, LLMConfigOverrides
from app.database import Database
from app.documents import document_routes
from app.edge import EXCEPTION_HANDLERS
from app.errors import InvalidRequest, StoreUnavailable
from app.provider import routes as provider_routes
from app.provider.judges.protocol import Judges
from app.provider.lane import Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import RequestQueue
from app.settings import ROOT, Settings
from app.web import live, pages
from app.web.defaults import BatchDefaults, JudgeChoice
from app.web.rendering import html_problem

PROGRAMS = ("/api/", "/healthz", "/readyz", "/openapi.json", "/asyncapi.json")
"""What programs ask for: they are told of an error by a problem document, people by a page."""

PROBE_DEADLINE = 2.0
"""Seconds that a database may take to be called ready."""


def application(container: punq.Container, routes: list[BaseRoute], *, demo: bool = False) -> Starlette:
    """The ASGI application; its lifespan is the life of the house.

    `app.state.ended` is called with the error that ends the house, should one do so.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with running(container) as lock:
                app.state.lock = lock
                if demo:
                    await _load_examples(container)
                yield
        except (
            BaseException
        ) as error:  # uvicorn would go on serving without a house, so even a cancellation is told
            app.state.ended(error)
            raise

    handlers = {kind: _by_path(handler) for kind, handler in EXCEPTION_HANDLERS.items()}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


def _by_path(handler: Any) -> ExceptionHandler:
    """Programs get problem documents, people get a page."""

    async def handle(request: Request, error: Exception) -> Response:
        if request.url.path.startswith(PROGRAMS):
            answer: Response = await handler(request, error)
            return answer
        return html_problem(request, error)

    return handle


async def _load_examples(container: punq.Container) -> None:
    """Give an empty installation something to look at."""
    if await container.resolve(Views).batches(limit=1):
        return
    folder = read_folder([ROOT / "examples" / "essays"])
    new = NewBatch(
        title="Example: an hour later?",
        question=folder.question,
        essays=folder.essays,
        settings=batch_settings(container.resolve(Settings), seed=1),
    )
    await container.resolve(Workflow).create(new, start=True)


def house_routes(container: punq.Container, closing: anyio.Event) -> list[BaseRoute]:
    """Every route of the role `all`; `closing` ends the live streams."""
    settings: Settings = container.resolve(Settings)
    queue: RequestQueue = container.resolve(RequestQueue)
    defaults = batch_settings(settings)
    views, changes = container.resolve(Views), container.resolve(Changes)
    api = BatchApi(
        container.resolve(Workflow),
        views,
        defaults=partial(batch_settings, settings),
        check_judge=partial(_check_judge, container),
        longest_expiry=settings.queue.retention,
        body_limit=settings.http.upload_limit,
        body_timeout=settings.http.body_timeout,
    )
    provider_words = partial(_provider_words, container.resolve(Lanes), queue)
    return [
        Route("/healthz", _healthy),
        Route("/readyz", _readiness(container)),
        *document_routes(settings),
        *provider_routes.routes(
            container.resolve(LLMOrchestrator),
            queue,
            container.resolve(Lanes),
            body_limit=settings.http.body_limit,
            body_deadline=settings.http.body_timeout,
        ),
        *api.routes(),
        *live.routes(views=views, changes=changes, provider_words=provider_words, closing=closing),
        *pages.routes(
            workflow=container.resolve(Workflow),
            views=views,
            defaults=_batch_defaults(settings, defaults),
            provider_words=provider_words,
            upload_limit=settings.http.upload_limit,
            upload_timeout=settings.http.body_timeout,
        ),
    ]


def _check_judge(container: punq.Container, asked: LLMConfigOverrides) -> None:
    """Refuse a judge before a batch is stored that would only fail."""
    settings: Settings = container.resolve(Settings)
    judges: Judges = container.resolve("judges")
    name = asked.provider or settings.judges.default
    if name not in judges:
        raise InvalidRequest(
            f"There is no judge {name!r} here; there are: {', '.join(judges)}.",
            errors=(("settings.judges", "unknown provider"),),
        )
    judges[name].lane(asked)


def _batch_defaults(settings: Settings, chosen: BatchSettings) -> BatchDefaults:
    """What the form for a new batch offers."""
    rules = settings.judges.rules
    return BatchDefaults(
        judges=(
            JudgeChoice(
                name="rules",
                label="Rules, offline",
                description=(
                    "Five sets of transparent rules weigh features of the text such as length, variety of words and "
                    "slips. They read no meaning. To learn the tool, not to grade pupils."
                ),
                kind=JudgeKind.RULES,
                settings=batch_settings(settings, provider="rules").judges,
                pace=f"{rules.pace:g} s a comparison, so that you can watch" if rules.pace else "at once",
                seconds_each=rules.pace / rules.concurrency,
            ),
        ),
        comparisons_per_essay=chosen.comparisons_per_essay,
        target_reliability=chosen.target_reliability,
        random_rounds=chosen.random_rounds,
        seed=draw_seed,
        expires_in=chosen.expires_in,
    )


async def _provider_words(lanes: Lanes, queue: RequestQueue) -> str:
    """How the provider is, in words for a page; nothing while nobody has asked it."""
    return "; ".join(lane.statistics(queue.waiting(lane.name)).words for lane in lanes)


async def _healthy(_request: Request) -> Response:
    return Response(b'{"status":"alive"}', media_type="application/json")


def _readiness(container: punq.Container) -> Callable[[Request], Awaitable[Response]]:
    """200 when every part can do its work, else 503; either way each part says how it is."""

    async def endpoint(_request: Request) -> Response:
        health = container.resolve(Bus).health()
        parts = {"bus": "ok" if health.healthy else health.reason}
        databases: Databases = container.resolve(Databases)
        for name, database in (("provider.db", databases.provider), ("cj.db", databases.cj)):
            parts[name] = await _takes_transactions(database)
        ready = all(state == "ok" for state in parts.values())
        body = json.dumps({"status": "ready" if ready else "not ready", "parts": parts})
        return Response(body, status_code=200 if ready else 503, media_type="application/json")

    return endpoint


async def _takes_transactions(database: Database) -> str:
    """An empty write transaction: reading alone goes on in a file that is locked, or was moved away."""
    try:
        with anyio.fail_after(PROBE_DEADLINE):
            await database.write(lambda _: None)
    except StoreUnavailable as error:
        return error.detail
    except TimeoutError:
        return f"takes no transaction within {PROBE_DEADLINE:g} s"
    return "ok"
