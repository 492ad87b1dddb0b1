"""An event loop in which time passes only when nothing else can happen, and which says so.

Nothing depends on the speed of the machine: what is ready runs; when nothing is, whoever holds the gates may open one;
when none is closed either, the clock jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anyio.to_thread

from app.database import SqliteDatabase


class Stuck(Exception):
    """Somebody waits for what can no longer happen."""


class _Patient(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.idle: Callable[[float | None], None] = lambda _: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            self.idle(timeout)
        return ready


class Clockwork(asyncio.SelectorEventLoop):
    """`open_gate` is asked whenever nothing is ready; it answers whether something is now."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.open_gate: Callable[[], bool] = lambda: False
        patient = _Patient()
        patient.idle = self._idle
        super().__init__(patient)

    def time(self) -> float:
        return self.moment

    def advance(self, seconds: float) -> None:
        """Let time pass at once: the timers that fall due run next."""
        self.moment += seconds

    def _idle(self, timeout: float | None) -> None:
        if self.open_gate():
            return
        if timeout is None:
            raise Stuck("everybody waits, and there is no timer")
        self.moment += timeout


class _AtOnce(ThreadPoolExecutor):
    """Runs work where it is submitted: the order of events is then the order of gates, and nothing else."""

    def __init__(self) -> None:
        super().__init__(1)  # it never starts a thread

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - a future carries whatever it was
            future.set_exception(error)
        return future


class UnthreadedSqlite(SqliteDatabase):
    """The same file, transactions and errors, in the loop's own thread."""

    async def open(self) -> None:
        self._writer = self._readers = _AtOnce()
        await super().open()

    async def close(self) -> None:
        self._open = False
        self._stop()


@contextmanager
def no_threads() -> Iterator[None]:
    """What parts send to a thread runs at once: real time passes in no other place."""

    async def at_once(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
        return function(*args)

    before = anyio.to_thread.run_sync
    anyio.to_thread.run_sync = at_once  # type: ignore[assignment]
    try:
        yield
    finally:
        anyio.to_thread.run_sync = before
