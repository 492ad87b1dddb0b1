"""How a process is: alive, and which of its parts cannot do its work, for load balancers and for people at night."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import punq
from starlette.requests import Request
from starlette.responses import Response

from app.bus.protocol import Bus
from app.edge import written
from app.engines import Databases
from app.errors import StoreUnavailable, Unavailable
from app.roles import roles
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
        checks = {name: check for role in roles(settings) for name, check in role.checks(container).items()}
        for name, check in {**checks, "keys": container.resolve(Databases).access.check}.items():
            parts[name] = await _takes(check)
        ready = all(state == "ok" for state in parts.values())
        content = Readiness(
            status="ready" if ready else "not ready",
            parts=parts,
            lag={f"{group}: {topic}": lag for (group, topic), lag in health.lag.items()},
            oldest=round(health.oldest, 3),
            recorded=_recorded(container) if settings.serves_cj else None,
            provider=None if settings.serves_provider else await _answers(container),
        )
        return written(READINESS, content, status=200 if ready else 503)

    return endpoint


def _recorded(container: punq.Container) -> dict[str, int]:
    from app.cj.event_processor import EventProcessor  # noqa: PLC0415 - the role's own

    processor: EventProcessor = container.resolve(EventProcessor)
    return {road.value: count for road, count in processor.recorded.items()}


async def _answers(container: punq.Container) -> str:
    from app.cj.provider_client import ProviderClient  # noqa: PLC0415 - the role's own

    provider: ProviderClient = container.resolve(ProviderClient)
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
