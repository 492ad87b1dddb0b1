"""How a process is: alive, and which of its parts cannot do its work, for load balancers and for people at night."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import punq
from starlette.requests import Request
from starlette.responses import Response

from app.bus.protocol import Bus
from app.cj.event_processor import EventProcessor
from app.cj.provider_client import ProviderClient
from app.edge import written
from app.engines import Databases
from app.errors import StoreUnavailable, Unavailable
from app.provider.queue.protocol import RequestQueue
from app.settings import Settings
from app.spec.platform import ALIVE, READINESS, Alive, Readiness

PROBE_DEADLINE = 2.0
"""Seconds that a store may take to be called ready."""


async def healthy(_request: Request) -> Response:
    """GET /healthz."""
    return written(ALIVE, Alive())


def readiness(container: punq.Container) -> Callable[[Request], Awaitable[Response]]:
    """GET /readyz: 200 when every part of this process can do its work, else 503."""
    settings: Settings = container.resolve(Settings)

    async def endpoint(_request: Request) -> Response:
        health = container.resolve(Bus).health()
        parts = {"bus": "ok" if health.healthy else health.reason}
        databases: Databases = container.resolve(Databases)
        if settings.serves_provider:
            parts["queue"] = await _takes(container.resolve(RequestQueue).check)
            if settings.queue.kind != "sql":
                parts["usage"] = await _takes(databases.provider.check)
        if settings.serves_cj:
            parts["store"] = await _takes(databases.cj.check)
        parts["keys"] = await _takes(databases.access.check)
        ready = all(state == "ok" for state in parts.values())
        content = Readiness(
            status="ready" if ready else "not ready",
            parts=parts,
            lag={f"{group}: {topic}": lag for (group, topic), lag in health.lag.items()},
            oldest=round(health.oldest, 3),
            recorded=_recorded(container) if settings.serves_cj else None,
            provider=None if settings.serves_provider else await _answers(container.resolve(ProviderClient)),
        )
        return written(READINESS, content, status=200 if ready else 503)

    return endpoint


def _recorded(container: punq.Container) -> dict[str, int]:
    processor: EventProcessor = container.resolve(EventProcessor)
    return {road.value: count for road, count in processor.recorded.items()}


async def _answers(provider: ProviderClient) -> str:
    try:
        away = (await provider.status()).away
    except Unavailable as error:
        return error.detail
    return "; ".join(away) or "ok"


async def _takes(check: Callable[[], Awaitable[None]]) -> str:
    """Whether it takes changes: reading alone goes on in a file that is locked, or was moved away."""
    try:
        with anyio.fail_after(PROBE_DEADLINE):
            await check()
    except StoreUnavailable as error:
        return error.detail
    except TimeoutError:
        return f"takes no change within {PROBE_DEADLINE:g} s"
    return "ok"
