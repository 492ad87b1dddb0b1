"""One transaction on the ledger: what is asked of it, what it may go by, and what it moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from app.provider.queue.protocol import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The figures of one ledger: `limit` open rows per lane, `retention` in seconds, `boot` names this process."""

    limit: int
    max_tries: int
    retention: float
    boot: str


class Change(NamedTuple):
    """What one caller asks. Two changes of a kind with the same `key` are never applied by one statement."""

    kind: str
    key: Hashable
    given: Any


class Counts(NamedTuple):
    """Open rows of one lane by state."""

    queued: int
    leased: int
    answered: int


@dataclass(slots=True)
class Turn:
    """One transaction: its moment, the rows it moved between states, and whether it made any ready."""

    connection: Connection
    now: float
    stirred: bool = False
    moves: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))

    def move(self, lane: str, before: State | None, after: State | None) -> None:
        """Count one row; None stands outside, `published` is outside too."""
        moves = self.moves[lane]
        if before in _OPEN:
            moves[_OPEN[before]] -= 1
        if after in _OPEN:
            moves[_OPEN[after]] += 1


_OPEN: dict[State | None, int] = {State.QUEUED: 0, State.LEASED: 1, State.ANSWERED: 2}
