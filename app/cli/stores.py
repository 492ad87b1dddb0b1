"""The databases in a data folder, whether a server runs on them or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar
from uuid import UUID, uuid5

import punq

from app.access.access import Access
from app.access.keys import LOCAL
from app.cj.views import Comparison, Views
from app.container import bootstrap
from app.contracts import UsageReport
from app.engines import Databases, databases
from app.errors import NotFound
from app.provider.queue.protocol import Entry, RequestQueue, State
from app.provider.spending import Spending
from app.settings import Settings

T = TypeVar("T")


async def both_halves(settings: Settings, correlation_id: UUID) -> tuple[Comparison | None, Entry | None]:
    """What cj and the provider each wrote of a comparison, as far as their databases are in this folder.

    The provider's half is gone after its retention; cj has none when somebody else asked, or the batch was deleted.

    :raises NotFound: nobody here knows it.
    """
    entry: Entry | None = None
    async with _reading(settings) as (container, parts):
        if "queue" in parts:
            queue: RequestQueue = container.resolve(RequestQueue)
            names = await _principals(container, settings)
            found = [await queue.find(uuid5(correlation_id, name)) for name in names]
            entry = next(filter(None, found), None)
        if "cj" in parts:
            try:
                return await container.resolve(Views).comparison(correlation_id), entry
            except NotFound:
                if entry is None:
                    raise
    if entry is None:
        raise NotFound(f"The provider's queue knows no comparison {correlation_id}.")
    return None, entry


async def _principals(container: punq.Container, settings: Settings) -> list[str]:
    """Who may have asked: this process itself, and every name a key was made for."""
    if not _is_here(settings, "access"):
        return [LOCAL]
    async with container.resolve(Access) as access:
        return list(dict.fromkeys((LOCAL, *(key.name for key in await access.keys.all()))))


async def entries(settings: Settings, lane: str | None, state: State | None, limit: int) -> list[Entry]:
    """Rows of the queue: of one state, or of all that is not finished."""
    wanted = [state] if state else [State.LEASED, State.QUEUED, State.ANSWERED]
    async with _reading(settings) as (container, parts):
        if "queue" not in parts:
            raise NotFound(
                f"There is no provider.db in {settings.data}; name the provider's folder with --data."
            )
        queue: RequestQueue = container.resolve(RequestQueue)
        pages = [await queue.browse(lane=lane, state=each, limit=limit) for each in wanted]
    return [entry for page in pages for entry in page][:limit]


async def usage(settings: Settings, days: int) -> UsageReport:
    """What was spent on language models.

    :raises NotFound: there is no database of a provider here.
    """
    if not _is_here(settings, "provider"):
        raise NotFound(f"There is no provider.db in {settings.data}; name the provider's folder with --data.")
    database = databases(settings).provider
    async with database:
        return await Spending(database).report(days)


async def with_access(settings: Settings, work: Callable[[Access], Awaitable[T]]) -> T:
    """Work on keys and audit log; the folder and the database are made when they are not there yet."""
    async with bootstrap(settings).resolve(Access) as access:
        return await work(access)


@asynccontextmanager
async def _reading(settings: Settings) -> AsyncIterator[tuple[punq.Container, set[str]]]:
    """Open what is here of cj's store and the provider's queue, to look at it; yields which of the two are."""
    on_redis = settings.queue.kind == "redis"
    wanted = {"queue": on_redis or _is_here(settings, "provider"), "cj": _is_here(settings, "cj")}
    parts = {part for part, here in wanted.items() if here}
    if not parts:
        raise NotFound(
            f"There is neither provider.db nor cj.db in {settings.data}; name the folder with --data."
        )
    container = bootstrap(settings.model_copy(update={"role": "all"}))
    opening: Databases = container.resolve(Databases)
    async with AsyncExitStack() as opened:
        if "queue" in parts:
            queue: AbstractAsyncContextManager[object] = container.resolve(RequestQueue)
            # Entering a queue in a database would end leases that a server holds on it; its rows are all we want.
            await opened.enter_async_context(queue if on_redis else opening.provider)
        if "cj" in parts:
            await opened.enter_async_context(opening.cj)
        yield container, parts


def _is_here(settings: Settings, part: str) -> bool:
    """A file, or a schema that is made when it is missing."""
    return settings.database.kind == "postgresql" or (settings.data / f"{part}.db").exists()
