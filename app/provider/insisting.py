"""Writes that are not given up while the ledger is away: a verdict was paid for, an event is out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from app.errors import StoreUnavailable

PAUSE, PAUSE_CAP = 0.1, 2.0
"""Seconds, doubled from the first to the second: what waits has to go on soon after the ledger is back."""

T = TypeVar("T")


async def insist(work: Callable[[], Awaitable[T]], draw: Callable[[], float]) -> T:
    """Do `work` until the ledger takes it, or refuses it for another reason.

    `draw` gives 0 to 1, and takes up to half of each pause away.
    """
    pause = PAUSE
    while True:
        try:
            return await work()
        except StoreUnavailable:
            await anyio.sleep(pause * (0.5 + draw() / 2))
            pause = min(PAUSE_CAP, pause * 2)
