"""The documents over HTTP, and the page that shows them to people: offline, and readable without JavaScript."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app.spec.openapi import operations
from app.spec.operation import Role
from app.spec.page import chapters, models, topics
from app.web.rendering import STATIC, render


def routes(role: Role, *, openapi: dict[str, Any], asyncapi: dict[str, Any]) -> list[BaseRoute]:
    """The routes of this role; each document is written once."""
    content: dict[str, Any] = {
        "pages": role != "provider",
        "chapters": chapters(operations(role)),
        "topics": topics(asyncapi),
        "models": models(openapi, asyncapi),
    }

    async def docs(request: Request) -> Response:
        return render(request, "docs.html", **content)

    found: list[BaseRoute] = [
        Route("/openapi.json", _document(openapi), methods=["GET"]),
        Route("/asyncapi.json", _document(asyncapi), methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
    ]
    if role == "provider":  # the other roles serve the sheet with their pages
        found.append(Mount("/static", StaticFiles(directory=STATIC), name="static"))
    return found


def _document(document: dict[str, Any]) -> Any:
    body = json.dumps(document, ensure_ascii=False).encode()

    async def endpoint(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    return endpoint
