"""Signing in and out, for people: a form takes the key, a cookie carries a session."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from app.access.access import Access
from app.access.gate import COOKIE
from app.edge import read_body
from app.errors import Unauthorized
from app.web.rendering import page, render

_FORM_LIMIT = 10_000
_LONGEST_PATH = 2000


def routes(access: Access, *, body_timeout: float = 10.0) -> list[BaseRoute]:
    """The routes; where no keys are needed they lead to the first page."""

    async def form(request: Request) -> Response:
        """GET /login: ask for the key; `?next=` is where to go on."""
        following = local_path(request.query_params.get("next", ""))
        if not access.enabled:
            return RedirectResponse(following, status_code=303)
        return render(request, "login.html", following=following, refused=False)

    async def sign_in(request: Request) -> Response:
        """POST /login: the key for a session."""
        body = await read_body(request, limit=_FORM_LIMIT, deadline=body_timeout)
        fields = parse_qs(body.decode("latin-1"))
        following = local_path(fields.get("next", [""])[0])
        if not access.enabled:
            return RedirectResponse(following, status_code=303)
        try:
            session, seconds = await access.sign_in(fields.get("key", [""])[0])
        except Unauthorized:
            return render(
                request,
                "login.html",
                status=HTTPStatus.UNAUTHORIZED,
                following=following,
                refused=True,
            )
        response = RedirectResponse(following, status_code=303)
        response.set_cookie(
            COOKIE.decode(),
            session,
            max_age=int(seconds),
            httponly=True,
            samesite="strict",
            secure=_came_by_https(request),
        )
        return response

    async def sign_out(request: Request) -> Response:
        """POST /logout: end the session."""
        await access.sign_out(dict(request.scope["headers"]))
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(COOKIE.decode(), httponly=True, samesite="strict")
        return response

    return [
        Route("/login", page(form), methods=["GET"]),
        Route("/login", page(sign_in), methods=["POST"]),
        Route("/logout", page(sign_out), methods=["POST"]),
    ]


def local_path(text: str) -> str:
    r"""Where to go on: a path of this server, or the first page.

    Browsers read `//host` and `/\host` as another server, and drop tabs and line breaks before they read.
    """
    foreign = text.startswith(("//", "/\\")) or not text.startswith("/")
    if foreign or len(text) > _LONGEST_PATH or not text.isprintable():
        return "/"
    return text


def _came_by_https(request: Request) -> bool:
    """Whether the cookie may be kept off plain HTTP. Who forges the header only makes the own cookie stricter."""
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return request.url.scheme == "https" or forwarded == "https"
