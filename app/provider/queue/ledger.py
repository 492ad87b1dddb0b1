"""The ledger: many changes, one transaction. It keeps the lines in order and the lanes counted.

The callers of a group are concurrent, so any order among them is right. Theirs is the order of a request's life, so
that what a cancelled caller began is applied before what its clean-up asks for.
"""

# ruff: noqa: S608 - the statements are built from constants of this package; every value is bound

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

from sqlalchemy import Connection, text

from app.database.statements import fetch, insert, over
from app.provider.queue.admission import Admission
from app.provider.queue.leasing import Leasing
from app.provider.queue.tables import CLOSER, JUDGE
from app.provider.queue.turn import Change, Counts, Rules, Turn

_PURGE_ROWS = 500
_NEXT_DUE = "SELECT min(due_at) FROM requests WHERE due_at IS NOT NULL"
_BY_PLACE = frozenset({"begin_try", "extend", "store", "mark_published", "release"})
_BY_ID = frozenset({"promise_callback", "cancel", "hurry"})


class Ledger(Admission, Leasing):
    """Runs in the writer thread. `counts`, `next_due_at`, `seen`, `stirred` and `filled` tell of the last transaction.

    `seen` is its moment beside the monotonic clock; it is `filled` when a lane that had no row waiting has one now.
    Where other processes write too (`shared`), no transaction can wait for another in a circle, because each locks in
    one order: the rows it names, by place; then what it inserts, by id; then what it finds, skipping what is locked;
    then the counters, by lane.
    """

    KINDS: ClassVar[Sequence[str]] = (
        "accept",
        "promise_callback",
        "cancel",
        "hurry",
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

    def __init__(self, rules: Rules, *, now: Callable[[Connection], float], shared: bool) -> None:
        self.rules = rules
        self._now = now
        self._shared = shared
        self.counts: dict[str, Counts] = {}
        self.seen = (0.0, time.monotonic())
        self.next_due_at: float | None = None
        self.stirred = self.filled = False

    def open(self, connection: Connection, *, exclusive: bool) -> None:
        """Let leases of former boots run out, if nobody else can hold one; file again what other rules had filed."""
        now = self._look_at_clock(connection)
        if exclusive:
            connection.execute(
                text(
                    "UPDATE requests SET ready_at = :now, due_at = :now, line = NULL"
                    " WHERE published_at IS NULL AND held AND ready_at > :now AND boot <> :boot"
                ),
                {"now": now, "boot": self.rules.boot},
            )
        fetch(
            connection,
            "UPDATE requests SET line = NULL, due_at = ready_at WHERE place IN"
            f" (SELECT place FROM requests WHERE published_at IS NULL AND line <> {self._line} FOR UPDATE SKIP LOCKED)",
            now=now,
            max_tries=self.rules.max_tries,
        )
        rows = connection.execute(text("SELECT lane, queued, leased, answered FROM lanes"))
        self.counts = {row.lane: Counts(row.queued, row.leased, row.answered) for row in rows}
        self.next_due_at = self._next_due(connection)

    def apply(self, connection: Connection, changes: Sequence[Change]) -> Sequence[Any]:
        """All of `changes` in the transaction of `connection`; one result, or exception, for each."""
        turn = Turn(connection, self._look_at_clock(connection), set() if self._shared else None)
        results: list[Any] = [None] * len(changes)
        kinds: defaultdict[str, list[int]] = defaultdict(list)
        for position, change in enumerate(changes):
            kinds[change.kind].append(position)
        if self._shared:
            self._lock(turn, changes)
        for kind in self.KINDS:
            if kind == "lease" and not kinds.keys().isdisjoint(("lease", "lease_closing")):
                self._file_due(turn)
            for positions in _apart(changes, kinds.get(kind, ())):
                given = [changes[position].given for position in positions]
                for position, result in zip(positions, getattr(self, kind)(turn, given), strict=True):
                    results[position] = result
        self.counts, self.next_due_at = self._count(turn)
        self.filled = any(
            0 < moves[0] == self.counts[lane].queued for lane, moves in turn.moves.items() if any(moves)
        )
        self.stirred = turn.stirred
        return results

    def purge(self, connection: Connection) -> int:
        """Delete some rows past the retention; fewer than `_PURGE_ROWS` when none are left."""
        sql = (
            "DELETE FROM requests WHERE place IN (SELECT place FROM requests WHERE published_at <= :horizon"
            " ORDER BY published_at LIMIT :some FOR UPDATE SKIP LOCKED) RETURNING place"
        )
        horizon = self._now(connection) - self.rules.retention
        return len(fetch(connection, sql, horizon=horizon, some=_PURGE_ROWS))

    def _look_at_clock(self, connection: Connection) -> float:
        self.seen = (self._now(connection), time.monotonic())
        return self.seen[0]

    def _lock(self, turn: Turn, changes: Sequence[Change]) -> None:
        """Lock the rows that the group names, in the order of their places; other processes may name the same."""
        places = {change.key for change in changes if change.kind in _BY_PLACE}
        ids = [(change.given.bytes,) for change in changes if change.kind in _BY_ID]
        if ids:
            sql = "SELECT place FROM requests WHERE queue_id {among bytea}"
            places |= {place for (place,) in over(turn.connection, sql, ids)}
        if ids or (places and len(changes) > 1):  # a change alone waits for no more than its own row
            sql = "SELECT queue_id FROM requests WHERE place {among bigint} ORDER BY place FOR UPDATE"
            rows = over(turn.connection, sql, [(place,) for place in places])
            turn.reachable = {row.queue_id for row in rows}

    @property
    def _line(self) -> str:
        return f"CASE WHEN {self.NEEDS_NO_JUDGE} THEN {CLOSER} ELSE {JUDGE} END"

    def _file_due(self, turn: Turn) -> None:
        """Put rows whose delay, lease or life has run out into the line where they belong now."""
        if self._shared:  # PostgreSQL takes 1 ms to plan the statement below, and no time for this one
            due_at = self._next_due(turn.connection)
            if due_at is None or due_at > turn.now:
                return
        sql = (
            f"UPDATE requests SET line = {self._line},"
            f" due_at = CASE WHEN {self.NEEDS_NO_JUDGE} THEN NULL ELSE expires_at END"
            " WHERE place IN (SELECT place FROM requests WHERE due_at <= :now FOR UPDATE SKIP LOCKED) RETURNING place"
        )
        values = {"now": turn.now, "max_tries": self.rules.max_tries}
        if fetch(turn.connection, sql, **values):
            turn.stirred = True

    def _count(self, turn: Turn) -> tuple[dict[str, Counts], float | None]:
        """Move the counters; tells how they stand where they may have changed, and what falls due next."""
        moves = sorted((lane, *moves) for lane, moves in turn.moves.items() if any(moves))
        counts: dict[str, Counts] = {}
        if self._shared and (unsure := turn.unsure.difference(lane for lane, *_ in moves)):
            counts = self._recount(turn.connection, unsure)
        if not moves:
            return counts, self._next_due(turn.connection)
        sql = (
            "INSERT INTO lanes (lane, queued, leased, answered) {rows text integer integer integer} ON CONFLICT (lane) DO UPDATE"
            " SET queued = lanes.queued + excluded.queued, leased = lanes.leased + excluded.leased,"
            f" answered = lanes.answered + excluded.answered RETURNING lane, queued, leased, answered, ({_NEXT_DUE}) AS due_at"
        )
        rows = insert(turn.connection, sql, moves)
        counts |= {row.lane: Counts(row.queued, row.leased, row.answered) for row in rows}
        return counts, rows[0].due_at

    def _recount(self, connection: Connection, lanes: Iterable[str]) -> dict[str, Counts]:
        """The counters of lanes where other processes took what this one knew of."""
        sql = "SELECT lane, queued, leased, answered FROM lanes WHERE lane {among text}"
        rows = over(connection, sql, [(lane,) for lane in lanes])
        return {row.lane: Counts(row.queued, row.leased, row.answered) for row in rows}

    def _next_due(self, connection: Connection) -> float | None:
        ((due_at,),) = fetch(connection, _NEXT_DUE)
        return cast(float | None, due_at)


def _apart(changes: Sequence[Change], positions: Sequence[int]) -> Iterator[Sequence[int]]:
    """`positions` in turns, so that no key comes twice in one."""
    while positions:
        first: dict[Any, int] = {}
        for position in positions:
            first.setdefault(changes[position].key, position)
        yield list(first.values())
        positions = [position for position in positions if first[changes[position].key] != position]
