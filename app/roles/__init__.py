"""What a process is made of, by role. It imports its own role only: the other's code is a good part of a start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Protocol

import anyio
import punq
from starlette.routing import BaseRoute

from app.access.policy import Need
from app.settings import Settings


class Role(Protocol):
    """One module here: the parts of a role, the order they live in, and what they answer over HTTP."""

    POLICY: Mapping[str, Need]
    """Who may do what on its routes."""

    def register(self, container: punq.Container) -> None:
        """Say how its parts are made; nothing is opened."""

    async def open_stores(self, container: punq.Container, house: AsyncExitStack) -> None:
        """Enter what has to be open before the bus delivers."""

    async def start(self, container: punq.Container, house: AsyncExitStack) -> None:
        """Enter what works while the bus is open."""

    def routes(self, container: punq.Container, closing: anyio.Event) -> list[BaseRoute]:
        """Its API and pages; `closing` ends the live streams."""

    def checks(self, container: punq.Container) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Its stores by name, and what raises `StoreUnavailable` when one takes no changes."""


def roles(settings: Settings) -> Iterator[Role]:
    """Those that a process with these settings serves."""
    if settings.serves_provider:
        from app.roles import provider  # noqa: PLC0415 - see above

        yield provider
    if settings.serves_cj:
        from app.roles import cj  # noqa: PLC0415 - see above

        yield cj


def single(container: punq.Container, service: object, factory: Callable[[], object]) -> None:
    """Register a part that is made once, when somebody first asks for it."""
    container.register(service, factory=factory, scope=punq.Scope.singleton)
