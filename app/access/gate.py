"""The gate before every route: names, keys, scopes, audit. Pure ASGI, for it stands on the hot path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from app.access.audit import Audit, Outcome
from app.access.hosts import Hosts
from app.access.keyring import Keyring
from app.access.keys import LOCAL, Holder
from app.access.policy import Need, Policy
from app.access.scopes import ALL
from app.edge import problem_response
from app.errors import ConfigurationError, Forbidden, JuxtaError, StoreUnavailable, Unauthorized

COOKIE = b"juxta_session"
_HOLDER = "juxta.holder"
_ROW = "juxta.audit"
log = structlog.get_logger()


LOCAL_HOLDER = Holder("", "", LOCAL, ALL, ALL.value, b"", None, None)
"""Everybody, when no keys are needed."""


def holder(request: Request) -> Holder | None:
    """Who asks; None where nobody has to say."""
    found: Holder | None = request.scope.get(_HOLDER)
    return found


def audit_row(request: Request) -> int | None:
    """The row of the audit log that this request began, if it is one for operators alone."""
    found: int | None = request.scope.get(_ROW)
    return found


def principal(request: Request) -> str:
    """The name under which the request is served: that of its key."""
    name: str = request.scope[_HOLDER].name
    return name


class Gate:
    """One route behind its lines of the policy. `keyring` None means that no keys are needed: everybody is `local`."""

    def __init__(
        self, app: ASGIApp, needs: Mapping[str, Need], *, hosts: Hosts, keyring: Keyring | None, audit: Audit
    ) -> None:
        self._app = app
        self._needs = {method: (need, need.scopes.value) for method, need in needs.items()}
        self._hosts = hosts
        self._keyring = keyring
        self._audit = audit

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it here."""
        method = scope.get("method", "")
        if method not in self._needs:  # only what a mounted application would have to refuse itself
            raise HTTPException(405)
        need, suffices = self._needs[method]
        headers = dict(scope["headers"])
        number: int | None = None
        try:
            self._hosts.check(method, headers)
            if suffices:
                guest = LOCAL_HOLDER if self._keyring is None else await _known(self._keyring, headers)
                scope[_HOLDER] = guest
                if not guest.held & suffices:
                    await self._refuse(guest, need, scope)
                if need.audited:
                    number = await self._audit.write(
                        guest.name, _action(scope), target=_target(scope), outcome=Outcome.BEGUN
                    )
                    scope[_ROW] = number
        except JuxtaError as error:
            if not need.page:
                await problem_response(error)(scope, receive, send)
                return
            if not (isinstance(error, Unauthorized) and b"authorization" not in headers):
                raise
            await RedirectResponse(_login(scope), status_code=303)(scope, receive, send)
            return
        if number is None:
            await self._app(scope, receive, send)
        else:
            await self._audited(number, scope, receive, send)
        if suffices and self._keyring is not None:
            await self._keyring.note_use(guest)

    async def _refuse(self, guest: Holder, need: Need, scope: Connection) -> None:
        needed = " or ".join(need.scopes.words)
        if need.audited:
            await self._audit.write(
                guest.name,
                _action(scope),
                target=_target(scope),
                detail=f"needs {needed}",
                outcome=Outcome.REFUSED,
            )
        raise Forbidden(f"This needs a key with the scope {needed}; the key of {guest.name!r} has it not.")

    async def _audited(self, number: int, scope: Connection, receive: Receive, send: Send) -> None:
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            try:
                await self._audit.finish(number, status)
            except StoreUnavailable as error:  # it was answered; the row says `begun`, which is true
                log.error("outcome not audited", row=number, status=status, reason=error.detail)  # noqa: TRY400 - the reason is all


def guarded(
    routes: Iterable[BaseRoute], policy: Policy, *, hosts: Hosts, keyring: Keyring | None, audit: Audit
) -> list[BaseRoute]:
    """Put each route behind its lines of the policy.

    :raises ConfigurationError: a route has no line, or a line has no route.
    """
    found: list[BaseRoute] = []
    left = dict(policy)
    missing: list[str] = []
    for route in routes:
        if not isinstance(route, Route | Mount):
            raise ConfigurationError(f"A {type(route).__name__} cannot be guarded.")
        needs = {}
        methods = {"GET"} if isinstance(route, Mount) else (route.methods or set()) - {"HEAD"}
        for method in sorted(methods):
            line = f"{method} {route.path}"
            if line in policy:
                needs[method] = policy[line]
                left.pop(line, None)
            else:
                missing.append(line)
        if "GET" in needs:
            needs["HEAD"] = needs["GET"]
        gated = copy(route)
        gated.app = Gate(route.app, needs, hosts=hosts, keyring=keyring, audit=audit)
        found.append(gated)
    faults = [
        *(f"app/access/policy.py has no line for {line}" for line in missing),
        *(f"app/access/policy.py has a line for {line}, which is no route" for line in left),
    ]
    if faults:
        raise ConfigurationError("\n".join(faults))
    return found


async def _known(keyring: Keyring, headers: Mapping[bytes, bytes]) -> Holder:
    """Whoever holds the key in the Authorization header or, without one, has the session in the cookie."""
    found = await keyring.holder(_credential(headers))
    if found is None:
        raise Unauthorized
    return found


def cookie_of(headers: Mapping[bytes, bytes]) -> bytes:
    """What our cookie holds; nothing when there is none."""
    for pair in headers.get(b"cookie", b"").split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name == COOKIE:
            return value
    return b""


def _credential(headers: Mapping[bytes, bytes]) -> bytes:
    given = headers.get(b"authorization")
    if given is None:
        return cookie_of(headers)
    scheme, _, credential = given.partition(b" ")
    return credential.strip() if scheme.lower() == b"bearer" else b""


def _action(scope: Connection) -> str:
    return f"{scope['method']} {scope['route'].path}"


def _target(scope: Connection) -> str:
    return " ".join(str(value) for value in scope["path_params"].values())


def _login(scope: Connection) -> str:
    """The way to the login, and back to what was asked for if that can be asked again."""
    if scope["method"] not in {"GET", "HEAD"}:
        return "/login"
    query = scope["query_string"].decode("latin-1")
    return "/login?next=" + quote(scope["path"] + (f"?{query}" if query else ""), safe="/")
