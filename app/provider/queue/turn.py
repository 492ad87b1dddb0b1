"""One transaction on the ledger: what is asked of it, what it may go by, and what it moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

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
    """One transaction: its moment, the rows it moved between states, and whether it made any ready.

    `reachable` are the ids whose rows this transaction has locked or made; None where nobody else writes.
    `last_born` is the highest id that this transaction inserted where others insert too.
    `unsure` are lanes whose counters were seen to be different from what this process knew.
    """

    connection: Connection
    now: float
    reachable: set[bytes] | None = None
    stirred: bool = False
    last_born: UUID | None = None
    unsure: set[str] = field(default_factory=set)
    moves: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))

    def reaches(self, queue_id: UUID) -> bool:
        """Whether a change by id may look for the row, or comes as if before it was made."""
        return self.reachable is None or queue_id.bytes in self.reachable

    def is_past_by(self, queue_id: UUID) -> bool:
        """Whether an insert of this id would come out of order: some other process may wait for what was inserted here."""
        return self.last_born is not None and queue_id < self.last_born

    def move(self, lane: str, before: State | None, after: State | None) -> None:
        """Count one row; None stands outside, `published` is outside too."""
        moves = self.moves[lane]
        if before in _OPEN:
            moves[_OPEN[before]] -= 1
        if after in _OPEN:
            moves[_OPEN[after]] += 1


_OPEN: dict[State | None, int] = {State.QUEUED: 0, State.LEASED: 1, State.ANSWERED: 2}
