"""Templates to answers: everything escaped, and a policy that lets a page load nothing but our own files."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.access.gate import holder
from app.edge import CHALLENGE, retry_after
from app.errors import JuxtaError, Unauthorized
from app.web import words

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}

Endpoint = Callable[[Request], Awaitable[Response]]

environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.globals["words"] = words
log = structlog.get_logger()


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """Answer with a page; `api` in templates is the address of the API for the command line twins."""
    api = f"{str(request.base_url).rstrip('/')}/api/v1"
    signed_in = holder(request)
    text = environment.get_template(template).render(
        api=api, path=request.url.path, person=signed_in.name if signed_in and signed_in.id else "", **context
    )
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def download(text: str, *, name: str, media_type: str) -> Response:
    """Answer with a file to keep; `name` is ours, never a person's."""
    headers = {**HEADERS, "content-disposition": f'attachment; filename="{name}"'}
    return Response(text.encode(), media_type=media_type, headers=headers)


def html_problem(request: Request, error: Exception) -> Response:
    """Say in HTML what went wrong and what to do; of a bug nothing is shown but that it happened."""
    status, detail, hint = HTTPStatus.INTERNAL_SERVER_ERROR.value, "Something went wrong here.", ""
    headers: dict[str, str] = {}
    if isinstance(error, JuxtaError):
        status, detail, hint = error.status, error.detail, error.hint
        seconds = retry_after(error)
        headers = {} if seconds is None else {"retry-after": str(math.ceil(seconds))}
        headers |= CHALLENGE if isinstance(error, Unauthorized) else {}
    elif isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
        known = status == HTTPStatus.NOT_FOUND
        detail = "There is no page at this address." if known else error.detail
    else:
        hint = "The log of the server says what."
        log.error("bug", method=request.method, path=request.url.path, exc_info=error)
    response = render(
        request, "problem.html", status=status, title=HTTPStatus(status).phrase, detail=detail, hint=hint
    )
    response.headers.update(headers)
    return response


def page(endpoint: Endpoint) -> Endpoint:
    """The edge of a page: expected failures become a page that says so."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (JuxtaError, HTTPException) as error:
            return html_problem(request, error)

    return answer
