"""The ledger: many changes, one transaction. It keeps the lines in order and the lanes counted.

The callers of a group are concurrent, so any order among them is right. Theirs is the order of a request's life, so
that what a cancelled caller began is applied before what its clean-up asks for.
"""

# ruff: noqa: S608 - the statements are built from constants of this package; every value is bound

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, cast

from sqlalchemy import Connection, text

from app.database.statements import fetch, insert
from app.provider.queue.admission import Admission
from app.provider.queue.leasing import Leasing
from app.provider.queue.tables import CLOSER, JUDGE
from app.provider.queue.turn import Change, Counts, Rules, Turn

_PURGE_ROWS = 500


class Ledger(Admission, Leasing):
    """Runs in the writer thread. `counts`, `next_due_at` and `stirred` tell of the last transaction."""

    KINDS: ClassVar[Sequence[str]] = (
        "accept",
        "promise_callback",
        "cancel",
        "begin_try",
        "extend",
        "store",
        "mark_published",
        "release",
        "lease",
        "lease_closing",
    )
    NEEDS_NO_JUDGE: ClassVar[str] = (
        "(outcome IS NOT NULL OR cancelled OR expires_at <= :now OR tries >= :max_tries)"
    )

    def __init__(self, rules: Rules, *, clock: Callable[[], float]) -> None:
        self.rules = rules
        self._clock = clock
        self.counts: dict[str, Counts] = {}
        self.next_due_at: float | None = None
        self.stirred = False

    def open(self, connection: Connection, *, exclusive: bool) -> None:
        """Let leases of former boots run out, if nobody else can hold one; file all rows by the present rules."""
        if exclusive:
            connection.execute(
                text(
                    "UPDATE requests SET ready_at = :now, due_at = :now, line = NULL"
                    " WHERE published_at IS NULL AND held AND ready_at > :now AND boot <> :boot"
                ),
                {"now": self._clock(), "boot": self.rules.boot},
            )
        connection.execute(
            text(
                "UPDATE requests SET line = NULL, due_at = ready_at WHERE published_at IS NULL AND line IS NOT NULL"
            )
        )
        rows = connection.execute(text("SELECT lane, queued, leased, answered FROM lanes"))
        self.counts = {row.lane: Counts(row.queued, row.leased, row.answered) for row in rows}
        self.next_due_at = self._next_due(connection)

    def apply(self, connection: Connection, changes: Sequence[Change]) -> Sequence[Any]:
        """All of `changes` in the transaction of `connection`; one result, or exception, for each."""
        turn = Turn(connection, self._clock())
        results: list[Any] = [None] * len(changes)
        kinds: defaultdict[str, list[int]] = defaultdict(list)
        for position, change in enumerate(changes):
            kinds[change.kind].append(position)
        for kind in self.KINDS:
            if kind == "lease" and not kinds.keys().isdisjoint(("lease", "lease_closing")):
                self._file_due(turn)
            for positions in _apart(changes, kinds.get(kind, ())):
                given = [changes[position].given for position in positions]
                for position, result in zip(positions, getattr(self, kind)(turn, given), strict=True):
                    results[position] = result
        self.counts = self._count(turn)
        self.next_due_at = self._next_due(connection)
        self.stirred = turn.stirred
        return results

    def purge(self, connection: Connection) -> int:
        """Delete some rows past the retention; fewer than `_PURGE_ROWS` when none are left."""
        sql = (
            "DELETE FROM requests WHERE place IN (SELECT place FROM requests WHERE published_at <= :horizon"
            " ORDER BY published_at LIMIT :some) RETURNING place"
        )
        values = {"horizon": self._clock() - self.rules.retention, "some": _PURGE_ROWS}
        return len(connection.execute(text(sql), values).all())

    def _file_due(self, turn: Turn) -> None:
        """Put rows whose delay, lease or life has run out into the line where they belong now."""
        sql = (
            f"UPDATE requests SET line = CASE WHEN {self.NEEDS_NO_JUDGE} THEN {CLOSER} ELSE {JUDGE} END,"
            f" due_at = CASE WHEN {self.NEEDS_NO_JUDGE} THEN NULL ELSE expires_at END"
            " WHERE due_at <= :now RETURNING place"
        )
        values = {"now": turn.now, "max_tries": self.rules.max_tries}
        if fetch(turn.connection, sql, **values):
            turn.stirred = True

    def _count(self, turn: Turn) -> dict[str, Counts]:
        moves = [(lane, *moves) for lane, moves in turn.moves.items() if any(moves)]
        if not moves:
            return {}
        sql = (
            "INSERT INTO lanes (lane, queued, leased, answered) {rows text integer integer integer} ON CONFLICT (lane) DO UPDATE"
            " SET queued = lanes.queued + excluded.queued, leased = lanes.leased + excluded.leased,"
            " answered = lanes.answered + excluded.answered RETURNING lane, queued, leased, answered"
        )
        rows = insert(turn.connection, sql, moves)
        return {row.lane: Counts(row.queued, row.leased, row.answered) for row in rows}

    def _next_due(self, connection: Connection) -> float | None:
        ((due_at,),) = fetch(connection, "SELECT min(due_at) FROM requests WHERE due_at IS NOT NULL")
        return cast(float | None, due_at)


def _apart(changes: Sequence[Change], positions: Sequence[int]) -> Iterator[Sequence[int]]:
    """`positions` in turns, so that no key comes twice in one."""
    while positions:
        first: dict[Any, int] = {}
        for position in positions:
            first.setdefault(changes[position].key, position)
        yield list(first.values())
        positions = [position for position in positions if first[changes[position].key] != position]
