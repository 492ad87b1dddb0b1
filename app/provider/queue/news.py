"""What may have become ready, for the one who waits on a queue."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel


class News:
    """Kept by the queue, waited for by one dispatcher. `clock` is the one by which rows fall due."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next_due_at: float | None = None
        self._told_of: float | None = None
        self._fresh = True
        self._woken = anyio.Event()

    def stir(self) -> None:
        """Something is ready."""
        self._fresh = True
        self._wake()

    def fall_due(self, at: float | None) -> None:
        """The next moment at which something will be ready; None when nothing is under way."""
        sooner = at is not None and (self._next_due_at is None or at < self._next_due_at)
        self._next_due_at = at
        if sooner:
            self._wake()

    async def wait(self, seconds: float) -> None:
        """Return when there is any since the last call, at the latest after `seconds`."""
        end = anyio.current_time() + seconds
        await anyio.lowlevel.checkpoint()
        while not self._fresh and (pause := end - anyio.current_time()) > 0:
            due_at = self._next_due_at
            if due_at is not None and due_at != self._told_of:
                pause = min(pause, due_at - self._clock())
                if pause <= 0:  # told once: a row that nobody has room for must not keep the caller spinning
                    self._told_of = due_at
                    break
            with anyio.move_on_after(pause):
                await self._woken.wait()
        self._fresh = False

    def _wake(self) -> None:
        self._woken.set()
        self._woken = anyio.Event()
