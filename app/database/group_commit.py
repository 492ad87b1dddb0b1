"""One commit for all who wait: an fsync costs more than everything else in a write (measured: 10 to 20 times)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy import Connection

from app.database.database import Database
from app.errors import StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Many waiters, one transaction: all that is pending when the writer is free is committed together.

    `apply` runs in the writer thread and returns one result per item, in their order. An exception *in* the results
    is raised to that waiter alone and the rest is committed; an exception *raised* rolls everything back and is
    raised to every waiter of the group. `committed` is called in the event loop after each commit, before any waiter
    goes on and before the next group begins.
    """

    def __init__(
        self,
        database: Database,
        apply: Callable[[Connection, Sequence[Item]], Sequence[Result | Exception]],
        *,
        committed: Callable[[], None] = lambda: None,
        cap: int = 512,
    ) -> None:
        self._database = database
        self._committed = committed
        self._apply = apply
        self._cap = cap
        self._pending: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._idle: asyncio.Future[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Return the item's result once it is durable.

        The item of a waiter that is cancelled is applied all the same: as with any commit, it does not know.

        :raises StoreUnavailable: as `Database.write`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._pending.append((item, future))
        if self._idle is None:
            self._idle = loop.create_future()
            loop.call_soon(self._commit_next, loop)
        return await future

    async def drain(self) -> None:
        """Return when nothing is pending."""
        while self._idle is not None:
            await asyncio.shield(self._idle)

    def _commit_next(self, loop: asyncio.AbstractEventLoop) -> None:
        pending = self._pending
        if not pending:
            if self._idle is not None:
                self._idle.set_result(None)
                self._idle = None
            return
        group = [pending.popleft() for _ in range(min(self._cap, len(pending)))]
        items = [item for item, _ in group]
        try:
            done = self._database.submit_write(lambda connection: self._apply(connection, items))
        except StoreUnavailable as error:
            self._deliver(loop, group, error)
            return
        done.add_done_callback(
            lambda done: loop.call_soon_threadsafe(
                self._deliver, loop, group, done.exception() or done.result()
            )
        )

    def _deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        group: list[tuple[Item, asyncio.Future[Result]]],
        results: Sequence[Result | Exception] | BaseException,
    ) -> None:
        if not isinstance(results, BaseException):
            self._committed()
        for position, (_, future) in enumerate(group):
            if future.done():
                continue
            result = results if isinstance(results, BaseException) else results[position]
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        loop.call_soon(self._commit_next, loop)  # so that what the woken ask for next still joins the group
