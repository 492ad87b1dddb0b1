"""How askers wait for a call that runs in a task of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from app.contracts import LLMOrchestratorResponse
from app.errors import JuxtaError, Unavailable
from app.provider.queue.protocol import Accepted

Gone = Callable[[], Awaitable[None]]
"""Returns when the asker has left."""

UNWATCHED = 0.25
"""Seconds a call runs before anybody looks whether the asker is still there: most answers come before, and a watcher
costs a task."""


class Call:
    """A direct call, and what everyone who waits for it will be told once `done` is set."""

    __slots__ = ("accepted", "done", "error", "fingerprint", "response")

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.done = anyio.Event()
        self.accepted: Accepted | None = None
        self.response: LLMOrchestratorResponse | None = None
        self.error: JuxtaError | None = Unavailable("This process is stopping.")

    def answer(self, response: LLMOrchestratorResponse) -> None:
        """Tell them the outcome."""
        self.response, self.error = response, None

    def turn_to_callback(self) -> None:
        """Tell them that the outcome will be published."""
        self.error = None


async def until(done: anyio.Event, patience: float, gone: Gone | None) -> None:
    """Wait for `done`, for the end of patience, or for the asker to leave."""
    with anyio.move_on_after(patience if gone is None else min(patience, UNWATCHED)):
        await done.wait()
    if gone is None or done.is_set() or patience <= UNWATCHED:
        return
    with anyio.move_on_after(patience - UNWATCHED):
        async with anyio.create_task_group() as either:

            async def leave() -> None:
                await gone()
                either.cancel_scope.cancel()

            either.start_soon(leave)
            await done.wait()
            either.cancel_scope.cancel()
