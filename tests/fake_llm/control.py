"""`/_fake/…`: what the server saw, and how it shall misbehave, over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from pydantic import ValidationError

from tests.fake_llm.broken_http import ELSEWHERE
from tests.fake_llm.counting import Counts
from tests.fake_llm.dialect import dump
from tests.fake_llm.http import Answer, Request
from tests.fake_llm.misbehaviours import ALL
from tests.fake_llm.plan import Plan

PREFIX = "/_fake/"


class Controlled(Protocol):
    """What is controlled."""

    counts: Counts

    def stats(self) -> dict[str, Any]:
        """What it saw."""

    async def misbehave(self, plan: Plan) -> None:
        """From now on."""

    async def behave(self) -> None:
        """End all misbehaviour."""


async def control(server: Controlled, request: Request) -> Answer:
    """`GET` or `DELETE stats`, `POST` or `DELETE misbehave`, `GET misbehaviours`."""
    if request.path == ELSEWHERE:
        server.counts.redirects_followed += 1
        return Answer(200, b"{}")
    route = _ROUTES.get((request.method, request.path.removeprefix(PREFIX)))
    if route is None:
        return Answer(
            404, dump({"error": "there is no such thing", "known": [" ".join(key) for key in _ROUTES]})
        )
    try:
        return Answer(200, dump(await route(server, request)))
    except ValidationError as error:
        return Answer(400, dump({"error": [flaw["msg"] for flaw in error.errors()]}))


async def _stats(server: Controlled, _: Request) -> Any:
    return server.stats()


async def _clear(server: Controlled, _: Request) -> Any:
    server.counts.clear()
    return {}


async def _misbehave(server: Controlled, request: Request) -> Any:
    plan = Plan.model_validate_json(request.body)
    await server.misbehave(plan)
    return plan.model_dump()


async def _behave(server: Controlled, _: Request) -> Any:
    await server.behave()
    return {}


async def _misbehaviours(_: Controlled, __: Request) -> Any:
    return {each.name: each.says for each in ALL}


_ROUTES: dict[tuple[str, str], Callable[[Controlled, Request], Awaitable[Any]]] = {
    ("GET", "stats"): _stats,
    ("DELETE", "stats"): _clear,
    ("POST", "misbehave"): _misbehave,
    ("DELETE", "misbehave"): _behave,
    ("GET", "misbehaviours"): _misbehaviours,
}
