"""The databases in a data folder, whether a server runs on them or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID, uuid5

import punq

from app.access.access import Access
from app.cj.views import Comparison, Views
from app.container import Databases, bootstrap
from app.errors import NotFound
from app.provider.queue.protocol import Entry, RequestQueue, State
from app.settings import Settings

PRINCIPAL = "local"
T = TypeVar("T")


async def both_halves(settings: Settings, correlation_id: UUID) -> tuple[Comparison | None, Entry | None]:
    """What cj and the provider each wrote of a comparison.

    The provider's half is gone after its retention; cj has none when somebody else asked, or the batch was deleted.

    :raises NotFound: neither knows it.
    """
    async with _reading(settings) as container:
        entry = await container.resolve(RequestQueue).find(uuid5(correlation_id, PRINCIPAL))
        try:
            return await container.resolve(Views).comparison(correlation_id), entry
        except NotFound:
            if entry is None:
                raise
            return None, entry


@asynccontextmanager
async def _reading(settings: Settings) -> AsyncIterator[punq.Container]:
    """Open the databases to look at them, whether a server runs on them or not."""
    for name in ("provider.db", "cj.db"):
        if not (settings.data / name).exists():
            raise NotFound(f"There is no {name} in {settings.data}; name the folder with --data.")
    container = bootstrap(settings)
    databases: Databases = container.resolve(Databases)
    async with databases.provider, databases.cj:
        yield container


async def entries(settings: Settings, lane: str | None, state: State | None, limit: int) -> list[Entry]:
    """Rows of the queue: of one state, or of all that is not finished."""
    wanted = [state] if state else [State.LEASED, State.QUEUED, State.ANSWERED]
    async with _reading(settings) as container:
        queue: RequestQueue = container.resolve(RequestQueue)
        pages = [await queue.browse(lane=lane, state=each, limit=limit) for each in wanted]
    return [entry for page in pages for entry in page][:limit]


async def with_access(settings: Settings, work: Callable[[Access], Awaitable[T]]) -> T:
    """Work on keys and audit log; the folder and the database are made when they are not there yet."""
    async with bootstrap(settings).resolve(Access) as access:
        return await work(access)
