"""What a process with these settings tells other programs about itself: both documents, and the page that shows them."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app.settings import Settings
from app.web import STATIC

if TYPE_CHECKING:
    from app.spec.operation import Role
    from app.spec.served import Served


def openapi_of(settings: Settings, role: Role | None = None) -> dict[str, Any]:
    """The HTTP API of a process of `role`; without one, of the role in the settings."""
    from app.spec.openapi import openapi  # noqa: PLC0415 - knows the models of every role; a start need not wait for it

    return openapi(role or settings.role, keys=settings.auth.enabled)


def asyncapi_of(settings: Settings, role: Role | None = None) -> dict[str, Any]:
    """The topics of a process of `role`; without one, of the role in the settings."""
    from app.spec.asyncapi import Broker, asyncapi  # noqa: PLC0415 - as above

    kafka = settings.kafka
    broker = Broker(
        servers=[server.strip() for server in kafka.servers.split(",")],
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        partitions=settings.bus.partitions,
        replicas=kafka.replication,
        retention=kafka.retention,
    )
    return asyncapi(
        role or settings.role,
        topics=settings.provider.topics,
        consumed=settings.cj.callback_topic,
        group=settings.cj.group,
        broker=broker if settings.bus.kind == "kafka" else None,
    )


def text(document: dict[str, Any], *, indent: int | None = 2) -> str:
    """A document as it is printed, committed and compared."""
    return json.dumps(document, indent=indent, ensure_ascii=False) + "\n"


def document_routes(settings: Settings) -> list[BaseRoute]:
    """`/openapi.json`, `/asyncapi.json`, and `/docs` for people; made when somebody first asks, in a thread."""

    @cache
    def made() -> Served:
        from app.spec.served import served  # noqa: PLC0415 - as above

        return served(settings.role, openapi=openapi_of(settings), asyncapi=asyncapi_of(settings))

    async def openapi_json(_request: Request) -> Response:
        return Response((await run_sync(made)).openapi, media_type="application/json")

    async def asyncapi_json(_request: Request) -> Response:
        return Response((await run_sync(made)).asyncapi, media_type="application/json")

    async def docs(request: Request) -> Response:
        from app.web.rendering import render  # noqa: PLC0415 - as above

        return render(request, "docs.html", **(await run_sync(made)).page)

    found: list[BaseRoute] = [
        Route("/openapi.json", openapi_json, methods=["GET"]),
        Route("/asyncapi.json", asyncapi_json, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
    ]
    if not settings.serves_cj:  # the other roles serve the sheet with their pages
        found.append(Mount("/static", StaticFiles(directory=STATIC), name="static"))
    return found
