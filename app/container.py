"""From settings to the parts of a process, and the order they live in; what its role brings is in `roles`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import punq

from app import engines
from app.access.access import Access
from app.access.hosts import Hosts
from app.bus.protocol import Bus
from app.bus.redrive import DeadLetters
from app.database import Database
from app.engines import Databases
from app.lock import locked
from app.roles import roles, single
from app.settings import Settings


def bootstrap(settings: Settings) -> punq.Container:
    """Register every part of a process of this role; nothing is opened yet."""
    container = punq.Container()
    one = partial(single, container)
    container.register(Settings, instance=settings)
    one(Databases, lambda: engines.databases(settings))
    one(Access, lambda: _access(settings, container.resolve(Databases).access))
    one(Bus, lambda: engines.bus(settings))
    one(DeadLetters, lambda: DeadLetters(container.resolve(Bus), _topics(settings)))
    for role in roles(settings):
        role.register(container)
    return container


def _topics(settings: Settings) -> list[str]:
    """Those whose dead letters this process can read and send again: what it reads first, then what it writes."""
    read = [settings.cj.callback_topic] if settings.serves_cj else []
    return [*read, *(settings.provider.topics if settings.serves_provider else [])]


def _access(settings: Settings, database: Database) -> Access:
    hosts = Hosts(settings.http.host, settings.auth.hosts, keyed=settings.auth.enabled)
    return Access(database, hosts=hosts, enabled=settings.auth.enabled)


@asynccontextmanager
async def running(container: punq.Container) -> AsyncIterator[Sequence[Path]]:
    """Open the house and run the parts of its role; yields the lock files.

    Leaving stops leasing, finishes, then closes bus and stores; each part cuts off what is not done within its drain.
    """
    settings: Settings = container.resolve(Settings)
    async with AsyncExitStack() as house:
        locks = [
            house.enter_context(locked(settings.data, part, shared=settings.shares(part)))
            for part in settings.parts
        ]
        await _open(container, settings, house)
        yield locks


async def _open(container: punq.Container, settings: Settings, house: AsyncExitStack) -> None:
    """Enter the parts in the order of their dependence: each is left before what it stands on."""
    bus: Bus = container.resolve(Bus)
    await house.enter_async_context(container.resolve(Access))
    for role in roles(settings):
        await role.open_stores(container, house)
    await house.enter_async_context(bus)
    for role in roles(settings):
        await role.start(container, house)
