"""One round trip for all who wait: what is pending when the connection is free goes out together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from app.errors import StoreUnavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Pipeline(Generic[Item, Answer]):
    """Gives groups of up to `cap` items to `exchange`, in order, `depth` of them at a time.

    So this process packs and unpacks one group while the engine works on another (measured: a quarter more requests a
    second). `exchange` returns one answer per item, in their order. An exception *in* the answers is raised to that waiter
    alone, one *raised* to every waiter of the group. Whoever waits behind a group that found the engine away is told
    so with it: each caller waits for one deadline, not for those of all before it.
    """

    def __init__(
        self,
        exchange: Callable[[Sequence[Item]], Coroutine[Any, Any, Sequence[Answer | Exception]]],
        *,
        cap: int = 128,
        depth: int = 2,
    ) -> None:
        self._exchange = exchange
        self._cap = cap
        self._depth = depth
        self._pending: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._running: set[asyncio.Task[Sequence[Answer | Exception]]] = set()
        self._called = False

    async def submit(self, item: Item) -> Answer:
        """Return the item's answer. The item of a waiter that is cancelled is applied all the same."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._pending.append((item, future))
        self._call(loop)
        return await future

    async def drain(self) -> None:
        """Return when nothing is pending and no group is under way."""
        while self._called or self._running:
            if self._running:
                await asyncio.wait(self._running)
            await asyncio.sleep(0)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._called:
            self._called = True
            loop.call_soon(self._send_next, loop)  # so that what others ask for in this turn joins the group

    def _send_next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._called = False
        pending = self._pending
        while pending and len(self._running) < self._depth:
            group = [pending.popleft() for _ in range(min(self._cap, len(pending)))]
            task = loop.create_task(self._exchange([item for item, _ in group]))
            self._running.add(task)
            task.add_done_callback(partial(self._deliver, loop, group))

    def _deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        group: list[tuple[Item, asyncio.Future[Answer]]],
        done: asyncio.Task[Sequence[Answer | Exception]],
    ) -> None:
        self._running.discard(done)
        raised = asyncio.CancelledError() if done.cancelled() else done.exception()
        if isinstance(raised, StoreUnavailable):
            group += self._pending
            self._pending.clear()
        for position, (_, future) in enumerate(group):
            if future.done():
                continue
            answer = done.result()[position] if raised is None else raised
            if isinstance(answer, asyncio.CancelledError):
                future.cancel()
            elif isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._call(loop)
