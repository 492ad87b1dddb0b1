"""The changes that come by id, from those who ask and those on call: accept, promise a callback, cancel, hurry."""

# ruff: noqa: S608 - the statements are built from constants of this package; every value is bound

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.database.statements import AnyRow, insert, over
from app.errors import JuxtaError, NotFound, RequestMismatch, StoreUnavailable
from app.provider.queue.protocol import Accepted, Entry, Lease, QueuedRequest, Reply, State, StoredOutcome
from app.provider.queue.refusals import full, mismatch, unknown
from app.provider.queue.rows import ENTRY, INSERTED, INSERTED_TYPES, read_entry, read_stored, write_request
from app.provider.queue.turn import Rules, Turn


class Admission:
    """Each method applies one kind of change, for all who asked, and answers in their order."""

    rules: Rules

    def accept(
        self, turn: Turn, given: Sequence[tuple[QueuedRequest, float | None]]
    ) -> Sequence[Accepted | JuxtaError]:
        """Find the known, refuse what is over the limit, insert the rest; an id past its retention is new."""
        known = self._known(turn, [request for request, _ in given])
        room = self._room(turn, {request.lane for request, _ in given})
        answers: dict[UUID, Accepted | JuxtaError] = {}
        born: list[tuple[QueuedRequest, float | None]] = []
        past: list[QueuedRequest] = []
        for request, lease_for in given:
            row = known.get(request.queue_id.bytes)
            if row is not None and not self._is_past(turn, row):
                answers[request.queue_id] = _found(request, row)
            elif room[request.lane] <= 0:
                answers[request.queue_id] = full(self.rules.limit)
            elif turn.is_past_by(request.queue_id):
                answers[request.queue_id] = _came_and_went(request)
            else:
                room[request.lane] -= 1
                born.append((request, lease_for))
                if row is not None:
                    past.append(request)
        if past:
            answers |= self._forget(turn, past, known)
            born = [(request, lease_for) for request, lease_for in born if request.queue_id not in answers]
        if born:
            answers |= self._insert(turn, born)
        return [answers[request.queue_id] for request, _ in given]

    def promise_callback(
        self, turn: Turn, given: Sequence[UUID]
    ) -> Sequence[StoredOutcome | NotFound | None]:
        """Compare and set: only a row that still answers by response, and has not done so, changes.

        Whoever asks again after the event was published gets what is stored: it is not published a second time.
        """
        ids = [(queue_id.bytes,) for queue_id in given if turn.reaches(queue_id)]
        over(
            turn.connection,
            "UPDATE requests SET reply = 'callback' WHERE queue_id {among bytea}"
            " AND reply = 'response' AND state <> 'published'",
            ids,
        )
        rows = over(
            turn.connection,
            "SELECT r.queue_id, r.state, r.outcome, p.event FROM requests r JOIN payloads p ON p.place = r.place"
            " WHERE r.queue_id {among bytea}",
            ids,
        )
        found = {row.queue_id: read_stored(row) if row.state == State.PUBLISHED else None for row in rows}
        return [found[queue_id.bytes] if queue_id.bytes in found else unknown(queue_id) for queue_id in given]

    def cancel(self, turn: Turn, given: Sequence[UUID]) -> Sequence[Entry | NotFound]:
        """Flag what has no outcome; what nobody works on goes to the closer at once, whatever its delay."""
        ids = [(queue_id.bytes,) for queue_id in given if turn.reaches(queue_id)]
        free = "(NOT held OR ready_at <= :now)"
        flagged = over(
            turn.connection,
            "UPDATE requests SET cancelled = TRUE,"
            f" ready_at = CASE WHEN {free} AND ready_at > :now THEN :now ELSE ready_at END,"
            f" due_at = CASE WHEN {free} THEN :now ELSE due_at END,"
            " line = NULL"
            " WHERE queue_id {among bytea} AND state IN ('queued', 'leased') AND NOT cancelled RETURNING place",
            ids,
            now=turn.now,
        )
        turn.stirred = turn.stirred or bool(flagged)
        return self._entries(turn, given)

    def hurry(self, turn: Turn, given: Sequence[UUID]) -> Sequence[Entry | NotFound]:
        """End delays. A row that waits for one is in no line; it is filed where it belongs by who leases next."""
        hurried = over(
            turn.connection,
            "UPDATE requests SET ready_at = :now, due_at = :now WHERE queue_id {among bytea}"
            " AND published_at IS NULL AND NOT held AND ready_at > :now RETURNING place",
            [(queue_id.bytes,) for queue_id in given if turn.reaches(queue_id)],
            now=turn.now,
        )
        turn.stirred = turn.stirred or bool(hurried)
        return self._entries(turn, given)

    def _entries(self, turn: Turn, given: Sequence[UUID]) -> Sequence[Entry | NotFound]:
        ids = [(queue_id.bytes,) for queue_id in given if turn.reaches(queue_id)]
        rows = over(turn.connection, f"SELECT {ENTRY} FROM requests WHERE queue_id {{among bytea}}", ids)
        found = {row.queue_id: read_entry(row) for row in rows}
        return [found[queue_id.bytes] if queue_id.bytes in found else unknown(queue_id) for queue_id in given]

    def _known(self, turn: Turn, asked: Sequence[QueuedRequest]) -> dict[bytes, AnyRow]:
        rows = over(
            turn.connection,
            "SELECT r.place, r.queue_id, r.fingerprint, r.state, r.reply, r.published_at, r.outcome, p.event"
            " FROM requests r JOIN payloads p ON p.place = r.place WHERE r.queue_id {among bytea}",
            [(request.queue_id.bytes,) for request in asked],
        )
        return {row.queue_id: row for row in rows}

    def _is_past(self, turn: Turn, row: AnyRow) -> bool:
        return row.published_at is not None and row.published_at <= turn.now - self.rules.retention

    def _room(self, turn: Turn, lanes: set[str]) -> dict[str, int]:
        rows = over(
            turn.connection,
            "SELECT lane, queued + leased + answered FROM lanes WHERE lane {among text}",
            [(lane,) for lane in lanes],
        )
        limit = self.rules.limit
        return dict.fromkeys(lanes, limit) | {lane: limit - count for lane, count in rows}

    def _forget(
        self, turn: Turn, past: Sequence[QueuedRequest], known: Mapping[bytes, AnyRow]
    ) -> dict[UUID, JuxtaError]:
        """Delete the former rows of these ids; who stays behind may not be born again here.

        Its row is locked by another process, which perhaps deletes it too: waiting for that one while it waits for an id
        that was forgotten here would be a circle.
        """
        places = [(known[request.queue_id.bytes].place,) for request in past]
        gone = {place for (place,) in over(turn.connection, _DELETE, places)}
        return {
            request.queue_id: _came_and_went(request)
            for request, (place,) in zip(past, places, strict=True)
            if place not in gone
        }

    def _insert(
        self, turn: Turn, born: Sequence[tuple[QueuedRequest, float | None]]
    ) -> dict[UUID, Accepted | JuxtaError]:
        """Where several processes insert, all do so in the order of the ids: then none of them waits in a circle."""
        if turn.reachable is not None:
            born = sorted(born, key=_by_id)
            turn.last_born = born[-1][0].queue_id
        rows = insert(
            turn.connection,
            f"INSERT INTO requests ({INSERTED}) {{rows {INSERTED_TYPES}}}"
            " ON CONFLICT (queue_id) DO NOTHING RETURNING queue_id, place",
            [write_request(request, turn.now, lease_for, self.rules.boot) for request, lease_for in born],
        )
        places: dict[bytes, int] = {row.queue_id: row.place for row in rows}
        answers: dict[UUID, Accepted | JuxtaError] = {}
        if lost := [request for request, _ in born if request.queue_id.bytes not in places]:
            answers |= self._overtaken(turn, lost)
            born = [(request, lease_for) for request, lease_for in born if request.queue_id not in answers]
        insert(
            turn.connection,
            "INSERT INTO payloads (place, body) {rows bigint bytea}",
            [(places[request.queue_id.bytes], request.body) for request, _ in born],
        )
        if turn.reachable is not None:
            turn.reachable |= places.keys()
        for request, lease_for in born:
            lease = None
            if lease_for is None:
                turn.stirred = True
                state, reply = State.QUEUED, Reply.CALLBACK
            else:
                state, reply = State.LEASED, Reply.RESPONSE
                place = places[request.queue_id.bytes]
                lease = Lease(
                    request=request, place=place, attempt=1, tries=1, reply=reply, accepted_at=turn.now
                )
            turn.move(request.lane, None, state)
            answers[request.queue_id] = Accepted(
                queue_id=request.queue_id, known=False, state=state, reply=reply, lease=lease
            )
        return answers

    def _overtaken(self, turn: Turn, lost: Sequence[QueuedRequest]) -> dict[UUID, Accepted | JuxtaError]:
        """Other processes inserted these ids since we looked."""
        known = self._known(turn, lost)
        return {
            request.queue_id: _found(request, row)
            if (row := known.get(request.queue_id.bytes))
            else _came_and_went(request)
            for request in lost
        }


_DELETE = (
    "DELETE FROM requests WHERE place IN"
    " (SELECT place FROM requests WHERE place {among bigint} FOR UPDATE SKIP LOCKED) RETURNING place"
)


def _by_id(born: tuple[QueuedRequest, float | None]) -> UUID:
    return born[0].queue_id


def _came_and_went(request: QueuedRequest) -> StoreUnavailable:
    return StoreUnavailable(f"Request {request.queue_id} came and went.", retry_after=1.0)


def _found(request: QueuedRequest, row: AnyRow) -> Accepted | RequestMismatch:
    if row.fingerprint != request.fingerprint:
        return mismatch(request)
    return Accepted(
        queue_id=request.queue_id,
        known=True,
        state=State(row.state),
        reply=Reply(row.reply),
        stored=read_stored(row),
    )
