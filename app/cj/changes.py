"""Wakes whoever waits for news of a batch: the live pages, and the progress bar of `rank`."""

from __future__ import annotations

from collections.abc import Hashable

import anyio


class Changes:
    """One-shot events by name. Missing a wake-up costs a time-out, never a lost change: readers read the store."""

    def __init__(self) -> None:
        self._events: dict[Hashable, anyio.Event] = {}

    def announce(self, name: Hashable) -> None:
        """Wake everyone who waits for `name`."""
        if (event := self._events.pop(name, None)) is not None:
            event.set()

    def listen(self, name: Hashable) -> anyio.Event:
        """The event that the next announcement sets; take it before reading, so that nothing falls between."""
        return self._events.setdefault(name, anyio.Event())
