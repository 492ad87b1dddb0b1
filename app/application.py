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

from app import dead_letters
from app.access import routes as access_routes
from app.access.access import Access
from app.access.policy import PLATFORM, Need
from app.bus.redrive import DeadLetters
from app.container import running
from app.documents import document_routes
from app.edge import EXCEPTION_HANDLERS
from app.readiness import healthy, readiness
from app.roles import roles
from app.settings import Settings

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
                        from app.roles import cj  # noqa: PLC0415 - the role's own

                        await cj.load_examples(container)
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
        from app.web.rendering import html_problem  # noqa: PLC0415 - templates; a start need not wait for them

        return html_problem(request, error)

    return handle


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
    for role in roles(settings):
        routes += role.routes(container, closing)
        policy |= role.POLICY
    return access.guarded(routes, policy)
