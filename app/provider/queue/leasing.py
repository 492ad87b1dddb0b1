"""The changes that come by lease, from those who work: take, count a try, answer, close, give back."""

# ruff: noqa: S608 - the statements are built from constants of this package; every value is bound

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from app.database.statements import AnyRow, fetch, over
from app.errors import LeaseLost
from app.provider.queue.protocol import Ending, Lease, Reply, State, StoredOutcome
from app.provider.queue.refusals import lost
from app.provider.queue.rows import LEASED, read_lease, read_stored
from app.provider.queue.tables import CLOSER, JUDGE
from app.provider.queue.turn import Rules, Turn


class Leasing:
    """Each method applies one kind of change, for all who asked, and answers in their order.

    Every write names its row by the fence, (place, attempt), and finds it only while it is `held`.
    """

    rules: Rules

    FENCE: ClassVar[str] = "place = given.column1 AND attempt = given.column2 AND held"
    ORDER: ClassVar[str] = "r.priority DESC, r.place"

    def lease(self, turn: Turn, given: Sequence[tuple[str, int, float, bool]]) -> Sequence[Sequence[Lease]]:
        """Take the first rows of the lines of lanes, for a call at once or not."""
        taken = []
        for lane, limit, seconds, begin in given:
            leases = self._take(turn, self._judge_line(turn, lane, limit), seconds, tries=int(begin))
            if len(leases) < limit:
                turn.unsure.add(lane)
            taken.append(leases)
        return taken

    def lease_closing(self, turn: Turn, given: Sequence[tuple[int, float]]) -> Sequence[Sequence[Lease]]:
        """Take the first rows of the one line of all that need no judge."""
        return [self._take(turn, self._closer_line(turn, limit), seconds) for limit, seconds in given]

    def begin_try(self, turn: Turn, given: Sequence[Lease]) -> Sequence[int | LeaseLost]:
        """Count one call of the judge; a row that already has its outcome gets none."""
        rows = over(
            turn.connection,
            "UPDATE requests SET tries = tries + 1 FROM {given bigint integer}"
            f" WHERE {self.FENCE} AND state = 'leased' RETURNING place, tries, line",
            [(lease.place, lease.attempt) for lease in given],
        )
        if filed := [(row.place,) for row in rows if row.line is not None]:
            over(turn.connection, _FILE_AGAIN, filed)
        tries = {row.place: int(row.tries) for row in rows}
        return [tries[lease.place] if lease.place in tries else lost(lease) for lease in given]

    def extend(self, turn: Turn, given: Sequence[tuple[Lease, float]]) -> Sequence[LeaseLost | None]:
        """Move the end of the lease, in its row and among what falls due."""
        rows = over(
            turn.connection,
            "UPDATE requests SET ready_at = given.column3, due_at = given.column3, line = NULL"
            f" FROM {{given bigint integer float8}} WHERE {self.FENCE} RETURNING place",
            [(lease.place, lease.attempt, turn.now + seconds) for lease, seconds in given],
        )
        held = {place for (place,) in rows}
        return [None if lease.place in held else lost(lease) for lease, _ in given]

    def store(
        self, turn: Turn, given: Sequence[tuple[Lease, StoredOutcome]]
    ) -> Sequence[tuple[StoredOutcome, Reply] | LeaseLost]:
        """Give the row its first outcome; who comes with a second one gets the first."""
        rows = over(
            turn.connection,
            "UPDATE requests SET outcome = given.column3, answered_at = :now, line = NULL,"
            " state = CASE reply WHEN 'response' THEN 'published' ELSE 'answered' END,"
            " published_at = CASE reply WHEN 'response' THEN :now END,"
            " due_at = CASE reply WHEN 'response' THEN NULL ELSE ready_at END,"
            " held = (reply <> 'response')"
            f" FROM {{given bigint integer text}} WHERE {self.FENCE} AND state = 'leased'"
            " RETURNING place, lane, state, reply",
            [(lease.place, lease.attempt, stored.outcome) for lease, stored in given],
            now=turn.now,
        )
        replies: dict[int, Reply] = {}
        for row in rows:
            replies[row.place] = Reply(row.reply)
            turn.move(row.lane, State.LEASED, State(row.state))
        self._keep_events(
            turn, [(lease.place, stored.event) for lease, stored in given if lease.place in replies]
        )
        earlier = self._earlier(turn, [lease for lease, _ in given if lease.place not in replies])
        return [
            (stored, replies[lease.place])
            if lease.place in replies
            else earlier.get(lease.place) or lost(lease)
            for lease, stored in given
        ]

    def mark_published(self, turn: Turn, given: Sequence[Lease]) -> Sequence[LeaseLost | None]:
        """Close what is answered."""
        rows = over(
            turn.connection,
            "UPDATE requests SET state = 'published', published_at = :now, held = FALSE, line = NULL, due_at = NULL"
            f" FROM {{given bigint integer}} WHERE {self.FENCE} AND state = 'answered' RETURNING place, lane",
            [(lease.place, lease.attempt) for lease in given],
            now=turn.now,
        )
        for row in rows:
            turn.move(row.lane, State.ANSWERED, State.PUBLISHED)
        closed = {row.place for row in rows}
        return [None if lease.place in closed else lost(lease) for lease in given]

    def release(self, turn: Turn, given: Sequence[tuple[Lease, float, bool]]) -> Sequence[LeaseLost | None]:
        """Give rows back. A delay does not outlast the life of a request: its asker hears of the end in time."""
        ready_at = (
            "CASE WHEN state = 'leased' AND expires_at < given.column3 THEN expires_at ELSE given.column3 END"
        )
        rows = over(
            turn.connection,
            f"UPDATE requests SET ready_at = {ready_at}, due_at = {ready_at}, line = NULL, held = FALSE,"
            " tries = tries - CASE WHEN given.column4 AND state = 'leased' AND tries > 0 THEN 1 ELSE 0 END,"
            " state = CASE state WHEN 'leased' THEN 'queued' ELSE state END"
            f" FROM {{given bigint integer float8 boolean}} WHERE {self.FENCE} RETURNING place, lane, state",
            [(lease.place, lease.attempt, turn.now + after, untried) for lease, after, untried in given],
        )
        for row in rows:
            turn.stirred = True
            if row.state == State.QUEUED:
                turn.move(row.lane, State.LEASED, State.QUEUED)
        given_back = {row.place for row in rows}
        return [None if lease.place in given_back else lost(lease) for lease, _, _ in given]

    def _judge_line(self, turn: Turn, lane: str, limit: int) -> Sequence[AnyRow]:
        sql = (
            f"SELECT {LEASED} FROM requests r JOIN payloads p ON {_ITS_PAYLOAD}"
            f" WHERE r.line = {JUDGE} AND r.lane = :lane ORDER BY {self.ORDER} LIMIT :limit"
            " FOR UPDATE OF r SKIP LOCKED"
        )
        return fetch(turn.connection, sql, lane=lane, limit=limit)

    def _closer_line(self, turn: Turn, limit: int) -> Sequence[AnyRow]:
        sql = (
            f"SELECT {LEASED} FROM requests r JOIN payloads p ON {_ITS_PAYLOAD}"
            f" WHERE r.line = {CLOSER} ORDER BY r.place LIMIT :limit FOR UPDATE OF r SKIP LOCKED"
        )
        return fetch(turn.connection, sql, limit=limit)

    def _take(self, turn: Turn, rows: Sequence[AnyRow], seconds: float, *, tries: int = 0) -> Sequence[Lease]:
        """Lease these rows, counting `tries` more calls; one still `held` was left by a worker that died, and so was whoever waited on it."""
        if not rows:
            return []
        replies = {
            place: Reply(reply)
            for place, reply in over(
                turn.connection,
                "UPDATE requests SET attempt = attempt + 1, tries = tries + :tries, held = TRUE, leased_at = :now, boot = :boot,"
                " ready_at = :until, due_at = :until, line = NULL,"
                " state = CASE state WHEN 'queued' THEN 'leased' ELSE state END,"
                " reply = CASE WHEN held AND callback_topic IS NOT NULL THEN 'callback' ELSE reply END"
                " WHERE place {among bigint} RETURNING place, reply",
                [(row.place,) for row in rows],
                now=turn.now,
                until=turn.now + seconds,
                tries=tries,
                boot=self.rules.boot,
            )
        }
        leases = []
        for row in rows:
            if row.state == State.QUEUED:
                turn.move(row.lane, State.QUEUED, State.LEASED)
            leases.append(
                read_lease(
                    row, tries=row.tries + tries, reply=replies[row.place], ending=self._ending(turn, row)
                )
            )
        return leases

    def _ending(self, turn: Turn, row: AnyRow) -> Ending | None:
        if row.outcome is not None:
            return None
        if row.cancelled:
            return Ending.CANCELLED
        if row.expires_at <= turn.now:
            return Ending.EXPIRED
        return Ending.EXHAUSTED if row.tries >= self.rules.max_tries else None

    def _keep_events(self, turn: Turn, events: Sequence[tuple[int, bytes]]) -> None:
        if events:
            over(
                turn.connection,
                "UPDATE payloads SET body = :nothing, event = given.column2 FROM {given bigint bytea}"
                " WHERE place = given.column1",
                events,
                nothing=b"",
            )

    def _earlier(self, turn: Turn, leases: Sequence[Lease]) -> dict[int, tuple[StoredOutcome, Reply]]:
        """The outcomes that were there before, for leases that still hold."""
        if not leases:
            return {}
        rows = over(
            turn.connection,
            "SELECT r.place, r.reply, r.outcome, p.event FROM {given bigint integer}"
            " JOIN requests r ON r.place = given.column1 AND r.attempt = given.column2 AND r.held"
            " JOIN payloads p ON p.place = r.place WHERE r.state = 'answered'",
            [(lease.place, lease.attempt) for lease in leases],
        )
        return {
            row.place: (stored, Reply(row.reply)) for row in rows if (stored := read_stored(row)) is not None
        }


_ITS_PAYLOAD = "p.place = r.place AND (p.event IS NULL) = (r.outcome IS NULL)"
"""PostgreSQL looks again at a row that changed before it was locked, but not at its payload: an answer without its event
is then left for the next look."""

_FILE_AGAIN = "UPDATE requests SET line = NULL, due_at = ready_at WHERE place {among bigint}"
