"""The databases in a data folder, whether a server runs on them or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar
from uuid import UUID, uuid5

import punq

from app.access.access import Access
from app.access.keys import LOCAL
from app.cj.views import Comparison, Views
from app.container import bootstrap
from app.contracts import UsageReport
from app.engines import Databases, databases, queue_as_it_is
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
    async with _reading(settings, "queue", "cj") as (container, queue):
        if queue is not None:
            names = await _principals(container, settings)
            found = [await queue.find(uuid5(correlation_id, name)) for name in names]
            entry = next(filter(None, found), None)
        if _is_here(settings, "cj"):
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
    opening: Databases = container.resolve(Databases)
    async with opening.access.looking():
        return list(dict.fromkeys((LOCAL, *(key.name for key in await container.resolve(Access).keys.all()))))


async def entries(
    settings: Settings, lane: str | None, state: State | None, limit: int
) -> tuple[list[Entry], int | None]:
    """Rows of the queue, of one state, or of all that is not finished, and how many there are.

    Nobody counts the rows that are finished.
    """
    wanted = [state] if state else [State.LEASED, State.QUEUED, State.ANSWERED]
    async with _reading(settings, "queue") as (_, queue):
        assert queue is not None
        pages = [await queue.browse(lane=lane, state=each, limit=limit) for each in wanted]
        counts = [found for name, found in (await queue.stats()).items() if lane in {None, name}]
    numbers: dict[State, int] = {
        State.QUEUED: sum(of.waiting for of in counts),
        State.LEASED: sum(of.leased for of in counts),
        State.ANSWERED: sum(of.answered for of in counts),
    }
    total = None if state is State.PUBLISHED else sum(numbers[each] for each in wanted)
    return [entry for page in pages for entry in page][:limit], total


async def usage(settings: Settings, days: int) -> UsageReport:
    """What was spent on language models.

    :raises NotFound: there is no database of a provider here.
    """
    if not _is_here(settings, "provider"):
        raise NotFound(f"There is no provider.db in {settings.data}; name the provider's folder with --data.")
    database = databases(settings).provider
    async with database.looking():
        return await Spending(database).report(days)


async def with_access(settings: Settings, work: Callable[[Access], Awaitable[T]]) -> T:
    """Work on keys and audit log; the folder and the database are made when they are not there yet."""
    async with bootstrap(settings).resolve(Access) as access:
        return await work(access)


@asynccontextmanager
async def _reading(
    settings: Settings, *wanted: str
) -> AsyncIterator[tuple[punq.Container, RequestQueue | None]]:
    """Open what is here of the `wanted`, cj's store and the provider's queue, to look at; yields the queue if it is here.

    Servers may run on them, with other rules or of another version: nothing is changed there.
    """
    here = {
        "queue": settings.queue.kind == "redis" or _is_here(settings, "provider"),
        "cj": _is_here(settings, "cj"),
    }
    parts = {part for part in wanted if here[part]}
    if not parts:
        files = " or ".join({"queue": "provider.db", "cj": "cj.db"}[part] for part in wanted)
        raise NotFound(f"There is no {files} in {settings.data}; name the folder with --data.")
    container = bootstrap(settings.model_copy(update={"role": "all"}))
    opening: Databases = container.resolve(Databases)
    async with AsyncExitStack() as opened:
        queue = None
        if "queue" in parts:
            queue = await opened.enter_async_context(queue_as_it_is(settings, opening.provider))
        if "cj" in parts:
            await opened.enter_async_context(opening.cj.looking())
        yield container, queue


def _is_here(settings: Settings, part: str) -> bool:
    """A file, or a schema that is made when it is missing."""
    return settings.database.kind == "postgresql" or (settings.data / f"{part}.db").exists()
