"""Each promise of the queue, broken on purpose: the model must notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from app.database import Database, SqliteDatabase
from app.database.statements import AnyRow, over
from app.errors import JuxtaError, LeaseLost, NotFound
from app.provider.queue.ledger import Ledger
from app.provider.queue.protocol import Accepted, Entry, Lease, QueuedRequest, Reply, StoredOutcome
from app.provider.queue.rows import read_lease
from app.provider.queue.sql import SqlQueue
from app.provider.queue.turn import Change, Turn
from tests.contracts.queue_machine import keep_the_contract
from tests.contracts.queue_promises import PROMISES
from tests.contracts.queue_world import World
from tests.contracts.queue_worlds import PostgresWorld, SqliteWorld, SqlWorld

ANY_LEASE = "place = given.column1 AND given.column2 IS NOT NULL"


class AnyLeaseMayWrite(Ledger):
    FENCE = ANY_LEASE


class AttemptAloneFences(Ledger):
    """A stale lease writes to a later request under the same id."""

    def apply(self, connection: Connection, changes: Sequence[Change]) -> Sequence[Any]:
        return super().apply(connection, [self.lead_on(connection, change) for change in changes])

    def lead_on(self, connection: Connection, change: Change) -> Change:
        given = change.given if isinstance(change.given, tuple) else (change.given,)
        if not isinstance(given[0], Lease):
            return change
        lease = given[0]
        sql = text("SELECT place FROM requests WHERE queue_id = :id")
        place = connection.execute(sql, {"id": lease.request.queue_id.bytes}).scalar()
        lease = Lease(
            request=lease.request,
            place=place or 0,
            attempt=lease.attempt,
            tries=lease.tries,
            reply=lease.reply,
            accepted_at=lease.accepted_at,
        )
        led = (lease, *given[1:]) if isinstance(change.given, tuple) else lease
        return Change(change.kind, place, led)


class PeeksInsteadOfLeasing(Ledger):
    def _take(self, turn: Turn, rows: Sequence[AnyRow], seconds: float, *, tries: int = 0) -> Sequence[Lease]:
        return [
            read_lease(row, tries=row.tries, reply=Reply(row.reply), ending=self._ending(turn, row))
            for row in rows
        ]


class NeverReclaims(Ledger):
    """Rows of a worker that died stay with it."""

    def _file_due(self, turn: Turn) -> None:
        turn.connection.execute(
            text("UPDATE requests SET due_at = due_at + 1e9 WHERE held AND due_at <= :now"), {"now": turn.now}
        )
        super()._file_due(turn)


class DropsTheExpired(Ledger):
    def _file_due(self, turn: Turn) -> None:
        turn.connection.execute(
            text(
                "UPDATE requests SET state = 'published', published_at = :now, line = NULL, due_at = NULL"
                " WHERE expires_at <= :now AND outcome IS NULL AND NOT held"
            ),
            {"now": turn.now},
        )
        super()._file_due(turn)


class ClosesOnlyWhereSomebodyJudges(Ledger):
    def lease(self, turn: Turn, given: Sequence[tuple[str, int, float, bool]]) -> Sequence[Sequence[Lease]]:
        self.judged = getattr(self, "judged", set()) | {lane for lane, *_ in given}
        return super().lease(turn, given)

    def _closer_line(self, turn: Turn, limit: int) -> Sequence[AnyRow]:
        return [
            row for row in super()._closer_line(turn, limit) if row.lane in getattr(self, "judged", set())
        ]


class OverwritesTheOutcome(Ledger):
    def store(
        self, turn: Turn, given: Sequence[tuple[Lease, StoredOutcome]]
    ) -> Sequence[tuple[StoredOutcome, Reply] | LeaseLost]:
        for lease, stored in given:
            values = {"place": lease.place, "outcome": stored.outcome, "event": stored.event}
            sql = (
                "UPDATE requests SET outcome = :outcome WHERE place = :place AND held AND outcome IS NOT NULL"
            )
            if turn.connection.execute(text(sql), values).rowcount:
                turn.connection.execute(
                    text("UPDATE payloads SET event = :event WHERE place = :place"), values
                )
        return super().store(turn, given)


class AcceptsDuplicates(Ledger):
    def _known(self, turn: Turn, asked: Sequence[QueuedRequest]) -> dict[bytes, AnyRow]:
        known = super()._known(turn, asked)
        if known:
            places = [(row.place,) for row in known.values()]
            over(
                turn.connection,
                "DELETE FROM requests WHERE place {among bigint} RETURNING place",
                places,
            )
        return {}


class KnowsNoLimit(Ledger):
    def _room(self, turn: Turn, lanes: set[str]) -> dict[str, int]:
        return dict.fromkeys(lanes, 1_000)


class RefusesTheKnownWhenFull(Ledger):
    def _known(self, turn: Turn, asked: Sequence[QueuedRequest]) -> dict[bytes, AnyRow]:
        room = self._room(turn, {request.lane for request in asked})
        return super()._known(turn, asked) if all(room.values()) else {}


class IgnoresPriority(Ledger):
    ORDER = "r.place"


class ForgetsTriesOnRelease(Ledger):
    def release(self, turn: Turn, given: Sequence[tuple[Lease, float, bool]]) -> Sequence[LeaseLost | None]:
        self.set_tries(turn, given, "0")
        return super().release(turn, given)

    def set_tries(self, turn: Turn, given: Sequence[tuple[Lease, float, bool]], tries: str) -> None:
        over(
            turn.connection,
            f"UPDATE requests SET tries = {tries} FROM {{given bigint integer}} WHERE {self.FENCE} RETURNING place",
            [(lease.place, lease.attempt) for lease, *_ in given],
        )


class ChargesATryForWaiting(ForgetsTriesOnRelease):
    def release(self, turn: Turn, given: Sequence[tuple[Lease, float, bool]]) -> Sequence[LeaseLost | None]:
        self.set_tries(turn, given, "tries + 1")
        return Ledger.release(self, turn, given)


class ChargesATryForLeasing(Ledger):
    def lease(self, turn: Turn, given: Sequence[tuple[str, int, float, bool]]) -> Sequence[Sequence[Lease]]:
        return super().lease(turn, [(lane, limit, seconds, True) for lane, limit, seconds, _ in given])


class NeverCountsTheTryOfALease(Ledger):
    def lease(self, turn: Turn, given: Sequence[tuple[str, int, float, bool]]) -> Sequence[Sequence[Lease]]:
        return super().lease(turn, [(lane, limit, seconds, False) for lane, limit, seconds, _ in given])


class ChargesATryForStopping(Ledger):
    def release(self, turn: Turn, given: Sequence[tuple[Lease, float, bool]]) -> Sequence[LeaseLost | None]:
        return super().release(turn, [(lease, after, False) for lease, after, _ in given])


class BearsWithoutATry(Ledger):
    """Whoever dies at every first call is born again for ever."""

    def accept(
        self, turn: Turn, given: Sequence[tuple[QueuedRequest, float | None]]
    ) -> Sequence[Accepted | JuxtaError]:
        answers = super().accept(turn, given)
        leases = [answer.lease for answer in answers if isinstance(answer, Accepted) and answer.lease]
        if leases:
            sql = "UPDATE requests SET tries = 0 WHERE place {among bigint} RETURNING place"
            over(turn.connection, sql, [(lease.place,) for lease in leases])
        return answers


class IgnoresTheDelay(Ledger):
    def release(self, turn: Turn, given: Sequence[tuple[Lease, float, bool]]) -> Sequence[LeaseLost | None]:
        return super().release(turn, [(lease, 0.0, untried) for lease, _, untried in given])


class TakesItsTime(Ledger):
    def hurry(self, turn: Turn, given: Sequence[UUID]) -> Sequence[Entry | NotFound]:
        return self._entries(turn, given)


class HurriesTheWorker(Ledger):
    def hurry(self, turn: Turn, given: Sequence[UUID]) -> Sequence[Entry | NotFound]:
        over(
            turn.connection,
            "UPDATE requests SET ready_at = :now, due_at = :now"
            " WHERE queue_id {among bytea} AND held AND ready_at > :now RETURNING place",
            [(queue_id.bytes,) for queue_id in given],
            now=turn.now,
        )
        return super().hurry(turn, given)


class FinishesWithoutFence(Ledger):
    def mark_published(self, turn: Turn, given: Sequence[Lease]) -> Sequence[LeaseLost | None]:
        self.FENCE = ANY_LEASE  # type: ignore[misc]
        try:
            return super().mark_published(turn, given)
        finally:
            del self.FENCE


class JudgesTheAnsweredAgain(Ledger):
    NEEDS_NO_JUDGE = "(cancelled OR expires_at <= :now OR tries >= :max_tries)"


class AnswersTheDead(Ledger):
    """A row taken over from a worker that died still waits to answer on a connection that is gone."""

    def _take(self, turn: Turn, rows: Sequence[AnyRow], seconds: float, *, tries: int = 0) -> Sequence[Lease]:
        if rows:
            places = [(row.place,) for row in rows]
            over(
                turn.connection,
                "UPDATE requests SET held = FALSE WHERE place {among bigint} RETURNING place",
                places,
            )
        return super()._take(turn, rows, seconds, tries=tries)


class ForgetsAtOnce(Ledger):
    """A repeat that comes after the outcome finds nothing."""

    def _is_past(self, turn: Turn, row: AnyRow) -> bool:
        return row.published_at is not None


class MemoryWorld(SqliteWorld):
    def database(self) -> Database:
        return SqliteDatabase(None, migrations=super().database()._migrations)


def mutant(ledger: type[Ledger]) -> type[SqlQueue]:
    return type("Mutant", (SqlQueue,), {"ledger": ledger})


KINDS: dict[str, type[SqlWorld]] = {"sqlite": SqliteWorld, "postgresql": PostgresWorld}
MUTANTS: dict[str, type[SqlQueue]] = {
    "no fencing": mutant(AnyLeaseMayWrite),
    "fencing by attempt alone": mutant(AttemptAloneFences),
    "peek instead of lease": mutant(PeeksInsteadOfLeasing),
    "no reclaim after a crash": mutant(NeverReclaims),
    "expired requests dropped in silence": mutant(DropsTheExpired),
    "expired request of a lane without judge never closed": mutant(ClosesOnlyWhereSomebodyJudges),
    "outcome overwritten by a second worker": mutant(OverwritesTheOutcome),
    "duplicates accepted": mutant(AcceptsDuplicates),
    "limit not enforced": mutant(KnowsNoLimit),
    "a known id refused as full": mutant(RefusesTheKnownWhenFull),
    "priority ignored": mutant(IgnoresPriority),
    "tries restart on release": mutant(ForgetsTriesOnRelease),
    "waiting for a breaker costs a try": mutant(ChargesATryForWaiting),
    "leasing costs a try": mutant(ChargesATryForLeasing),
    "a call begun with its lease costs none": mutant(NeverCountsTheTryOfALease),
    "a shutdown costs a try": mutant(ChargesATryForStopping),
    "a direct call costs no try": mutant(BearsWithoutATry),
    "delay ignored": mutant(IgnoresTheDelay),
    "a hurried request waits on": mutant(TakesItsTime),
    "hurrying ends a lease": mutant(HurriesTheWorker),
    "finished without fence": mutant(FinishesWithoutFence),
    "judge asked again for an answered request": mutant(JudgesTheAnsweredAgain),
    "answers on the connection of a dead process": mutant(AnswersTheDead),
    "published rows forgotten before the retention": mutant(ForgetsAtOnce),
}


def test_every_promise_is_broken_here() -> None:
    assert MUTANTS.keys() | {"not durable"} == PROMISES


def check(world: Callable[[], World]) -> None:
    keep_the_contract(world, examples=500, thorough=False)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("queue", MUTANTS.values(), ids=MUTANTS.keys())
def test_the_model_catches(queue: type[SqlQueue], kind: type[SqlWorld]) -> None:
    with pytest.raises(AssertionError):
        check(lambda: kind(queue))


def test_the_model_catches_a_queue_that_is_not_durable() -> None:
    with pytest.raises(AssertionError):
        check(MemoryWorld)
