"""Where HTTP meets us: bodies read within bounds, every error as problem details, slow connections closed.

Shared by the routes of every module. Errors name fields, never values, so that no essay is echoed.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import anyio
import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.contracts import FieldError, Problem
from app.errors import (
    InvalidRequest,
    JuxtaError,
    MalformedBody,
    QueueFull,
    RequestTimeout,
    TooLarge,
    Unauthorized,
    Unavailable,
)

PROBLEM_JSON = "application/problem+json"
CHALLENGE = {"www-authenticate": "Bearer"}
NAME_LIMIT = 200
_DIGITS = re.compile(r"[0-9]{1,18}")
FIELDS_LIMIT = 20
_FATAL_FOR_CONNECTION = frozenset({TooLarge.status, RequestTimeout.status})
_COME_BACK = frozenset({QueueFull.status, Unavailable.status})

Endpoint = Callable[[Request], Awaitable[Response]]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
log = structlog.get_logger()


async def read_body(request: Request, *, limit: int, deadline: float) -> bytes:
    """Read at most `limit` bytes within `deadline` seconds.

    :raises TooLarge: at once when Content-Length says so, else when the limit is passed.
    :raises RequestTimeout: the body did not arrive in time, or the client left while sending it.
    """
    announced = dict(request.scope["headers"]).get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge(f"The body may hold at most {limit} bytes.")
    body = bytearray()
    with anyio.move_on_after(deadline):
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise RequestTimeout("The client left before the body was complete.")
            body += message.get("body", b"")
            if len(body) > limit:
                raise TooLarge(f"The body may hold at most {limit} bytes.")
            if not message.get("more_body", False):
                return bytes(body)
    raise RequestTimeout(f"The body did not arrive within {deadline:g} s.")


def parse(model: type[M], body: bytes) -> M:
    """Read a model from JSON bytes; what is no number or truth value is not taken for one.

    :raises MalformedBody: not JSON.
    :raises InvalidRequest: JSON, but not such a model; the fields at fault are named.
    """
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise invalid(error) from None


def strict(endpoint: Endpoint, *known: str) -> Endpoint:
    """The endpoint behind a look at the query: a parameter that is unknown or given twice is refused (422)."""

    async def checked(request: Request) -> Response:
        names = [name for name, _ in request.query_params.multi_items()]
        faults = [(name, "unknown query parameter") for name in dict.fromkeys(names) if name not in known]
        faults += [(name, "given more than once") for name in known if names.count(name) > 1]
        if faults:
            hint = f"Known here: {', '.join(known)}." if known else "This address takes no query parameters."
            errors = tuple((_clean(name), why) for name, why in faults[:FIELDS_LIMIT])
            raise InvalidRequest("The query is not acceptable.", errors=errors, hint=hint)
        return await endpoint(request)

    return checked


def uuid_of(text: str) -> UUID:
    """Read an id in the path.

    :raises InvalidRequest: it is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest("The id in the path is not a UUID.", errors=(("id", "not a UUID"),)) from None


def number_of(text: str | None, name: str, default: int, *, least: int, most: int = 2**62) -> int:
    """Read a whole number in the query.

    :raises InvalidRequest: it is none, or out of range.
    """
    if text is None:
        return default
    if not (_DIGITS.fullmatch(text) and least <= int(text) <= most):
        raise InvalidRequest(f"{name} is out of range.", errors=((name, f"a number from {least} to {most}"),))
    return int(text)


def written(adapter: TypeAdapter[T], content: T, *, status: int = 200) -> Response:
    """Answer with JSON, written by the adapter that describes the answer in the OpenAPI document."""
    return Response(adapter.dump_json(content), status_code=status, media_type="application/json")


def invalid(error: ValidationError) -> InvalidRequest:
    """Name the fields at fault and say why, without what was in them."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if any(fault["type"] == "json_invalid" for fault in faults):
        return MalformedBody("The body is not valid JSON.")
    fields = tuple((_name(fault["loc"]), _clean(fault["msg"])) for fault in faults[:FIELDS_LIMIT])
    names = ", ".join(name for name, _ in fields)
    return InvalidRequest(f"Not acceptable: {names}"[:NAME_LIMIT], errors=fields)


def problem_of(error: JuxtaError, correlation_id: UUID | None = None) -> Problem:
    """The problem details of an error; an error that carries a stored problem shows that one unchanged."""
    stored = getattr(error, "problem", None)
    if isinstance(stored, Problem):
        return stored
    errors = error.errors if isinstance(error, InvalidRequest) else ()
    return Problem(
        type=f"urn:juxta:problem:{error.code}",
        title=error.code.replace("-", " ").capitalize(),
        status=error.status,
        detail=error.detail,
        hint=error.hint,
        retryable=error.retryable,
        retry_after=retry_after(error),
        correlation_id=correlation_id,
        errors=tuple(FieldError(field=field, message=message) for field, message in errors),
    )


def problem_response(error: JuxtaError | ValidationError, correlation_id: UUID | None = None) -> Response:
    """Answer with problem details, Retry-After, and the end of a connection whose body nobody will read."""
    if isinstance(error, ValidationError):
        error = invalid(error)
    return _respond(problem_of(error, correlation_id), CHALLENGE if isinstance(error, Unauthorized) else None)


def _respond(problem: Problem, extra: Mapping[str, str] | None = None) -> Response:
    headers = dict(extra or {})
    if problem.retry_after is not None:
        headers["retry-after"] = str(math.ceil(problem.retry_after))
    if problem.status in _FATAL_FOR_CONNECTION:
        headers["connection"] = "close"
    body = problem.model_dump_json(exclude_none=True).encode()
    return Response(body, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


async def on_juxta_error(_request: Request, error: Exception) -> Response:
    """Answer an expected failure or a body that does not validate."""
    assert isinstance(error, JuxtaError | ValidationError)
    return problem_response(error)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Answer what the router refuses: 404, 405."""
    assert isinstance(error, HTTPException)
    return _respond(
        Problem(
            type=f"urn:juxta:problem:http-{error.status_code}",
            title=error.detail,
            status=error.status_code,
            detail=error.detail,
        ),
        error.headers,
    )


async def on_bug(request: Request, error: Exception) -> Response:
    """Answer a bug: nothing of it leaves the house but that it happened; the log has the rest."""
    log.error("bug", method=request.method, path=request.url.path, exc_info=error)
    return problem_response(JuxtaError("Something went wrong here.", hint="The log of the server says what."))


EXCEPTION_HANDLERS: Mapping[Any, ExceptionHandler] = {
    JuxtaError: on_juxta_error,
    ValidationError: on_juxta_error,
    HTTPException: on_http_error,
    Exception: on_bug,
}
"""For `Starlette(exception_handlers=...)`."""


def until_the_end(app: ASGIApp) -> ASGIApp:
    """The application, with a 503 for what is cut off because the process is told to stop, where uvicorn answers 500."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await app(scope, receive, sending)
        except asyncio.CancelledError:
            if begun or scope["type"] != "http":
                raise
            stopping = Unavailable("This process is stopping; what became of the request is not known here.")
            await problem_response(stopping)(scope, receive, send)

    return answered


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which waits for headers for ever; this one closes the connection after `header_deadline` s.

    A request whose headers arrive in one piece costs no timer.
    """

    header_deadline: ClassVar[float] = 10.0
    _in_headers = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Begin to wait when a request came without the end of its headers."""
        super().data_received(data)
        if self._in_headers and self._timer is None and not self.transport.is_closing():
            self._arm()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._in_headers = False
        self._disarm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.header_deadline, self.transport.close)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def retry_after(error: JuxtaError) -> float | None:
    """Seconds for which whoever is sent away for now is sent away."""
    if error.retry_after is None and error.status in _COME_BACK:
        return 1.0
    return error.retry_after


def _name(location: tuple[int | str, ...]) -> str:
    return _clean(".".join(str(part) for part in location) or "body")


def _clean(text: str) -> str:
    """Shorten and make printable what may hold the caller's text, such as the key of an unknown field."""
    return "".join(c if c.isprintable() else "?" for c in text)[:NAME_LIMIT]
