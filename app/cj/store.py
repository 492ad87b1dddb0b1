"""What cj remembers: each batch, each comparison with its exact body, and every result exactly once.

A comparison row is committed before its POST. `due_at` says when it must be sent (again): at once when planned, at the
soft deadline when the provider has it, never once it has ended. So one query finds first sends and repairs alike.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from app.cj.batch import (
    Arrival,
    Batch,
    BatchSettings,
    BatchState,
    ComparisonState,
    Fate,
    NewBatch,
    PlannedPair,
    Task,
    comparison_id,
)
from app.contracts import Outcome, Winner
from app.database import Database, GroupCommit
from app.errors import Conflict, NotFound

Clock = Callable[[], float]

_FINAL = {
    Outcome.SUCCEEDED: ComparisonState.DECIDED,
    Outcome.FAILED: ComparisonState.FAILED,
    Outcome.EXPIRED: ComparisonState.FAILED,
    Outcome.CANCELLED: ComparisonState.FAILED,
}
_SHARE = {Winner.ESSAY_A: 1.0, Winner.ESSAY_B: 0.0, Winner.TIE: 0.5}

_DUE = text(
    """SELECT c.id, c.batch_id, c.body, c.state FROM comparisons c JOIN batches b ON b.id = c.batch_id
    WHERE c.due_at <= :now AND (b.state = 'running' OR c.state = 'cancelled')
    ORDER BY c.due_at, c.sequence LIMIT :limit"""
)
_CLAIM = text(
    """UPDATE comparisons SET state = CASE state WHEN 'planned' THEN 'submitted' ELSE state END, due_at = :due,
    posts = posts + 1, submitted_at = coalesce(submitted_at, :now)
    WHERE id IN (SELECT value FROM json_each(:given))"""
)
_POSTPONE = text(
    """UPDATE comparisons SET due_at = given.value ->> 1, queued_at = coalesce(given.value ->> 2, queued_at)
    FROM json_each(:given) AS given WHERE comparisons.id = given.value ->> 0
    AND state IN ('planned', 'submitted', 'cancelled') AND due_at IS NOT NULL"""
)
_KNOWN = text(
    "SELECT id, batch_id, wave, state FROM comparisons WHERE id IN (SELECT value FROM json_each(:given))"
)
_TOMBSTONES = text("SELECT batch_id FROM tombstones WHERE batch_id IN (SELECT value FROM json_each(:given))")
_END = text(
    """UPDATE comparisons SET state = :state, due_at = NULL, body = NULL, ended_at = :now, ended_order = :ended_order,
    road = :road, winner = :winner, confidence = :confidence, justification = :justification, provider = :provider,
    model = :model, judge_kind = :judge_kind, cost_usd = :cost_usd, tokens = :tokens,
    response_time_ms = :response_time_ms, attempts = :attempts, prompt_sha256 = :prompt_sha256,
    error_code = :error_code, error_detail = :error_detail, retryable = :retryable WHERE id = :id"""
)
_SCORE = text(
    """UPDATE essays SET score = given.value ->> 2, se = given.value ->> 3, verdicts = given.value ->> 4
    FROM json_each(:given) AS given WHERE batch_id = given.value ->> 0 AND position = given.value ->> 1"""
)
_PLAN = text(
    """INSERT INTO comparisons (id, batch_id, sequence, wave, first, second, judge, again, body, state, due_at,
    planned_at) VALUES (:id, :batch_id, :sequence, :wave, :first, :second, :judge, :again, :body, 'planned', :now, :now)"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One ended comparison as the planner reads it; `share` is what `first` won of it, None when there is no verdict."""

    wave: int
    first: int
    second: int
    judge: int
    share: float | None
    again: int
    retryable: bool
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the planner needs: the batch, how many leading waves are complete, and what ended in the waves asked for."""

    batch: Batch
    complete: int
    ended: Sequence[Ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The planner's decision, committed only if the batch still has `waves` waves and runs.

    Scores and standard errors are by essay position, over all waves up to `fitted_wave`.
    """

    batch_id: UUID
    waves: int
    fitted_wave: int
    scores: Sequence[float]
    standard_errors: Sequence[float]
    verdicts: Sequence[int]
    reliability: float | None
    stop_reason: str | None
    finished: bool
    pairs: Sequence[tuple[PlannedPair, bytes]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of arrivals, in their order, and which batches have a wave that is now complete."""

    fates: tuple[Fate, ...]
    completed: frozenset[UUID]


def batch_of(row: Any) -> Batch:
    """Read a row of `batches`."""
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return Batch(
        **fields
        | {
            "id": UUID(fields["id"]),
            "settings": BatchSettings.model_validate_json(fields["settings"]),
            "state": BatchState(fields["state"]),
        }
    )


class _Change(NamedTuple):
    """What one of many waiters wants written; `apply` takes all of its kind at once and answers in their order."""

    apply: Callable[[Connection, Sequence[Any]], Sequence[Any]]
    given: Any


class BatchStore:
    """Every write is one transaction; promises and results come in groups, so that hundreds share one fsync."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._changes: GroupCommit[_Change, Any] = GroupCommit(database, _apply)

    # -- batches ---------------------------------------------------------------------------------------------

    async def create(self, new: NewBatch, *, start: bool) -> UUID:
        """Store a batch and its essays; with `start` it runs from the next planning on."""
        batch_id = uuid4()
        state = BatchState.RUNNING if start else BatchState.READY

        def work(connection: Connection) -> None:
            connection.execute(
                text(
                    """INSERT INTO batches (id, title, question, settings, state, essays, created_at)
                    VALUES (:id, :title, :question, :settings, :state, :essays, :now)"""
                ),
                {
                    "id": str(batch_id),
                    "title": new.title,
                    "question": new.question,
                    "settings": new.settings.model_dump_json(),
                    "state": state,
                    "essays": len(new.essays),
                    "now": self._clock(),
                },
            )
            rows = [
                {"id": str(batch_id), "n": n, "name": essay.name, "text": essay.text, "level": essay.level}
                for n, essay in enumerate(new.essays)
            ]
            connection.execute(
                text("INSERT INTO essays (batch_id, position, name, level) VALUES (:id, :n, :name, :level)"),
                rows,
            )
            connection.execute(text("INSERT INTO texts VALUES (:id, :n, :text)"), rows)

        await self._database.write(work)
        return batch_id

    async def change(self, batch_id: UUID, to: BatchState, *, out_of: tuple[BatchState, ...]) -> Batch:
        """Move a batch to another state.

        :raises NotFound: no such batch.
        :raises Conflict: its state does not allow it.
        """

        def work(connection: Connection) -> Batch:
            batch = _batch(connection, batch_id)
            if batch.state is to:
                return batch
            if batch.state not in out_of:
                allowed = ", ".join(out_of)
                raise Conflict(f"The batch is {batch.state}; to become {to} it must be {allowed}.")
            self._set_state(connection, batch_id, to)
            if to in {BatchState.CANCELLED, BatchState.DELETING}:
                self._cancel_open(connection, batch_id)
            return _batch(connection, batch_id)

        return await self._database.write(work)

    def _set_state(self, connection: Connection, batch_id: UUID, to: BatchState) -> None:
        connection.execute(
            text(
                """UPDATE batches SET state = :state, version = version + 1, finished_at = :ended,
                stop_reason = CASE WHEN :state = 'cancelled' THEN 'cancelled' ELSE stop_reason END WHERE id = :id"""
            ),
            {
                "id": str(batch_id),
                "state": to,
                "ended": self._clock() if to is BatchState.CANCELLED else None,
            },
        )

    def _cancel_open(self, connection: Connection, batch_id: UUID) -> None:
        """End what is open; what the provider may have stays due, so that the cancellation is passed on to it."""
        connection.execute(
            text(
                """UPDATE comparisons SET state = 'cancelled', ended_at = :now, body = NULL,
                due_at = CASE WHEN posts > 0 THEN :now ELSE NULL END
                WHERE batch_id = :id AND state IN ('planned', 'submitted')"""
            ),
            {"id": str(batch_id), "now": self._clock()},
        )
        connection.execute(text("UPDATE waves SET open = 0 WHERE batch_id = :id"), {"id": str(batch_id)})

    async def bury(self) -> int:
        """Delete batches marked so, once no cancellation is left to pass on; a tombstone takes late callbacks."""

        def work(connection: Connection) -> int:
            gone = connection.execute(
                text(
                    """SELECT id FROM batches b WHERE state = 'deleting' AND NOT EXISTS
                    (SELECT 1 FROM comparisons c WHERE c.batch_id = b.id AND c.due_at IS NOT NULL)"""
                )
            ).scalars()
            rows = [{"id": batch_id, "now": self._clock()} for batch_id in gone]
            if rows:
                connection.execute(
                    text("INSERT INTO tombstones VALUES (:id, :now) ON CONFLICT DO NOTHING"), rows
                )
                for table, column in (
                    ("comparisons", "batch_id"),
                    ("waves", "batch_id"),
                    ("essays", "batch_id"),
                    ("texts", "batch_id"),
                    ("batches", "id"),
                ):
                    connection.execute(text(f"DELETE FROM {table} WHERE {column} = :id"), rows)  # noqa: S608 - our own names
            return len(rows)

        return await self._database.write(work)

    # -- sending ---------------------------------------------------------------------------------------------

    async def claim(self, *, limit: int, hold: float) -> Sequence[Task]:
        """Take up to `limit` rows that are due; they are due again in `hold` seconds, should this process die."""

        def work(connection: Connection) -> list[Task]:
            now = self._clock()
            rows = connection.execute(_DUE, {"now": now, "limit": limit}).all()
            if rows:
                ids = [row.id for row in rows]
                connection.execute(_CLAIM, {"given": json.dumps(ids), "now": now, "due": now + hold})
            return [
                Task(UUID(r.id), UUID(r.batch_id), bytes(r.body or b""), r.state == "cancelled") for r in rows
            ]

        return await self._database.write(work)

    async def postpone(self, comparison: UUID, *, seconds: float, queued: bool) -> None:
        """Not due for `seconds`; `queued` says that the provider holds the request durably (202)."""
        await self._changes.submit(_Change(self._postpone, (comparison, seconds, queued)))

    def _postpone(self, connection: Connection, items: Sequence[tuple[UUID, float, bool]]) -> Sequence[None]:
        now = self._clock()
        rows = [
            (str(comparison), now + seconds, now if queued else None) for comparison, seconds, queued in items
        ]
        connection.execute(_POSTPONE, {"given": json.dumps(rows)})
        return [None] * len(items)

    async def cancellation_sent(self, comparison: UUID) -> None:
        """The provider knows that nobody wants this verdict any more."""
        sql = text("UPDATE comparisons SET due_at = NULL WHERE id = :id AND state = 'cancelled'")
        await self._database.write(
            lambda connection: connection.execute(sql, {"id": str(comparison)}) and None
        )

    async def next_due(self) -> float | None:
        """Seconds until a row of a running batch is due; None when nothing waits to be sent."""
        sql = text(
            """SELECT c.due_at FROM comparisons c JOIN batches b ON b.id = c.batch_id
            WHERE c.due_at IS NOT NULL AND (b.state = 'running' OR c.state = 'cancelled')
            ORDER BY c.due_at, c.sequence LIMIT 1"""
        )
        due = await self._database.read(lambda connection: connection.execute(sql).scalar())
        return None if due is None else max(0.0, due - self._clock())

    async def repair_all(self) -> int:
        """Make every submitted row due now: what an in-memory bus held is gone after a restart."""
        sql = text("UPDATE comparisons SET due_at = :now WHERE state = 'submitted' AND due_at IS NOT NULL")
        return await self._database.write(lambda c: int(c.execute(sql, {"now": self._clock()}).rowcount))

    # -- results ---------------------------------------------------------------------------------------------

    async def record(self, arrivals: Sequence[Arrival]) -> Recorded:
        """Apply results by compare-and-set: the first one counts, whatever the road, order or repetition."""
        return cast(Recorded, await self._changes.submit(_Change(self._record, arrivals)))

    def _record(self, connection: Connection, groups: Sequence[Sequence[Arrival]]) -> Sequence[Recorded]:
        arrivals = list(chain.from_iterable(groups))
        known = {
            row.id: row
            for row in connection.execute(_KNOWN, {"given": json.dumps([str(a.id) for a in arrivals])})
        }
        buried = self._buried(connection, (a for a in arrivals if str(a.id) not in known))
        fates: list[Fate] = []
        fresh: dict[str, tuple[Arrival, Any]] = {}
        for arrival in arrivals:
            row = known.get(str(arrival.id))
            if row is None:
                fates.append(Fate.LATE if arrival.batch_id in buried else Fate.UNKNOWN)
            elif row.state in {"planned", "submitted"} and row.id not in fresh:
                fates.append(Fate.APPLIED)
                fresh[row.id] = (arrival, row)
            else:
                fates.append(Fate.LATE if row.state == "cancelled" else Fate.DUPLICATE)
        completed = self._end(connection, fresh.values()) if fresh else frozenset[UUID]()
        recorded, position = [], 0
        for group in groups:
            mine = tuple(fates[position : position + len(group)])
            recorded.append(Recorded(mine, completed if Fate.APPLIED in mine else frozenset()))
            position += len(group)
        return recorded

    def _buried(self, connection: Connection, arrivals: Iterable[Arrival]) -> set[UUID]:
        ids = {str(a.batch_id) for a in arrivals if a.batch_id is not None}
        return (
            {UUID(i) for i in connection.execute(_TOMBSTONES, {"given": json.dumps(sorted(ids))}).scalars()}
            if ids
            else set()
        )

    def _end(self, connection: Connection, fresh: Iterable[tuple[Arrival, Any]]) -> frozenset[UUID]:
        """End the rows, then raise the counters of their batches and waves in the same transaction."""
        by_batch: dict[str, list[tuple[Arrival, Any]]] = defaultdict(list)
        for arrival, row in fresh:
            by_batch[row.batch_id].append((arrival, row))
        now = self._clock()
        completed = set()
        for batch_id, members in by_batch.items():
            won = sum(a.outcome is Outcome.SUCCEEDED for a, _ in members)
            (ended,) = connection.execute(
                text(
                    """UPDATE batches SET decided = decided + :won, failed = failed + :lost,
                    cost_usd = cost_usd + :cost, version = version + 1 WHERE id = :id RETURNING decided + failed"""
                ),
                {
                    "id": batch_id,
                    "won": won,
                    "lost": len(members) - won,
                    "cost": sum(a.cost_usd for a, _ in members),
                },
            ).one()
            start = ended - len(members) + 1
            connection.execute(_END, [_ended(a, start + n, now) for n, (a, _) in enumerate(members)])
            waves: dict[int, int] = defaultdict(int)
            for _, row in members:
                waves[row.wave] += 1
            for wave, count in waves.items():
                left = connection.execute(
                    text(
                        "UPDATE waves SET open = open - :count WHERE batch_id = :id AND number = :wave RETURNING open"
                    ),
                    {"id": batch_id, "wave": wave, "count": count},
                ).scalar_one()
                if left == 0:
                    completed.add(UUID(batch_id))
        return frozenset(completed)

    # -- planning --------------------------------------------------------------------------------------------

    async def running(self) -> Sequence[UUID]:
        """Batches that may need planning: the planner visits every one at start."""
        sql = text("SELECT id FROM batches WHERE state = 'running' ORDER BY created_at")
        return await self._database.read(lambda c: [UUID(i) for i in c.execute(sql).scalars()])

    async def progress(self, batch_id: UUID, *, since: int) -> Progress:
        """Read the batch and what ended in its complete waves after wave `since`, in comparison order."""

        def work(connection: Connection) -> Progress:
            batch = _batch(connection, batch_id)
            first_open = connection.execute(
                text("SELECT min(number) FROM waves WHERE batch_id = :id AND open > 0"), {"id": str(batch_id)}
            ).scalar()
            complete = batch.waves if first_open is None else first_open - 1
            rows = connection.execute(
                text(
                    """SELECT wave, first, second, judge, winner, again, retryable, cost_usd FROM comparisons
                    WHERE batch_id = :id AND wave > :since AND wave <= :complete ORDER BY sequence"""
                ),
                {"id": str(batch_id), "since": since, "complete": complete},
            )
            ended = [
                Ended(
                    wave=r.wave,
                    first=r.first,
                    second=r.second,
                    judge=r.judge,
                    share=None if r.winner is None else _SHARE[Winner(r.winner)],
                    again=r.again,
                    retryable=bool(r.retryable),
                    cost_usd=r.cost_usd or 0.0,
                )
                for r in rows
            ]
            return Progress(batch=batch, complete=complete, ended=ended)

        return await self._database.read(work)

    async def planned_pairs(self, batch_id: UUID) -> Sequence[tuple[int, int]]:
        """Every pair planned so far as (first, second), in comparison order."""
        sql = text("SELECT first, second FROM comparisons WHERE batch_id = :id ORDER BY sequence")
        return await self._database.read(
            lambda c: [(r.first, r.second) for r in c.execute(sql, {"id": str(batch_id)})]
        )

    async def texts(self, batch_id: UUID) -> Sequence[str]:
        """The essays of a batch by position."""
        sql = text("SELECT text FROM texts WHERE batch_id = :id ORDER BY position")
        return await self._database.read(lambda c: list(c.execute(sql, {"id": str(batch_id)}).scalars()))

    async def commit_plan(self, plan: Plan) -> bool:
        """Store scores and the next pairs by compare-and-set on the wave number; False when somebody was faster."""

        def work(connection: Connection) -> bool:
            now = self._clock()
            done = connection.execute(
                text(
                    """UPDATE batches SET waves = waves + :more, planned = planned + :planned,
                    fitted_wave = :fitted, reliability = :reliability, stop_reason = :reason, version = version + 1,
                    state = CASE WHEN :finished THEN 'finished' ELSE state END,
                    finished_at = CASE WHEN :finished THEN :now ELSE finished_at END
                    WHERE id = :id AND waves = :waves AND state = 'running'"""
                ),
                {
                    "id": str(plan.batch_id),
                    "waves": plan.waves,
                    "more": int(bool(plan.pairs)),
                    "planned": len(plan.pairs),
                    "fitted": plan.fitted_wave,
                    "reliability": plan.reliability,
                    "reason": plan.stop_reason,
                    "finished": plan.finished,
                    "now": now,
                },
            ).rowcount
            if not done:
                return False
            self._store_scores(connection, plan)
            if plan.pairs:
                self._store_wave(connection, plan, now)
            return True

        return await self._database.write(work)

    def _store_scores(self, connection: Connection, plan: Plan) -> None:
        batch_id = str(plan.batch_id)
        shown = zip(plan.scores, plan.standard_errors, plan.verdicts, strict=True)
        rows = [(batch_id, position, *values) for position, values in enumerate(shown)]
        connection.execute(_SCORE, {"given": json.dumps(rows)})
        connection.execute(
            text("UPDATE waves SET reliability = :reliability WHERE batch_id = :id AND number = :wave"),
            {"id": batch_id, "wave": plan.fitted_wave, "reliability": plan.reliability},
        )

    def _store_wave(self, connection: Connection, plan: Plan, now: float) -> None:
        batch_id, wave = str(plan.batch_id), plan.waves + 1
        connection.execute(
            text("INSERT INTO waves (batch_id, number, size, open) VALUES (:id, :wave, :size, :size)"),
            {"id": batch_id, "wave": wave, "size": len(plan.pairs)},
        )
        connection.execute(
            _PLAN,
            [
                {
                    "id": str(comparison_id(plan.batch_id, pair.sequence)),
                    "batch_id": batch_id,
                    "sequence": pair.sequence,
                    "wave": wave,
                    "first": pair.first,
                    "second": pair.second,
                    "judge": pair.judge,
                    "again": pair.again,
                    "body": body,
                    "now": now,
                }
                for pair, body in plan.pairs
            ],
        )

    async def explain(self, batch_id: UUID, problem: str | None) -> None:
        """Write why a batch does not advance, for the screen; None when it does again."""
        sql = text(
            """UPDATE batches SET problem = :problem, version = version + 1
            WHERE id = :id AND coalesce(problem, '') <> coalesce(:problem, '')"""
        )
        await self._database.write(
            lambda c: c.execute(sql, {"id": str(batch_id), "problem": problem}) and None
        )


def _apply(connection: Connection, changes: Sequence[_Change]) -> Sequence[Any]:
    """All changes in one transaction, each kind by its own statements; their callers are concurrent, so in any order."""
    kinds: dict[Callable[..., Sequence[Any]], list[int]] = defaultdict(list)
    for position, change in enumerate(changes):
        kinds[change.apply].append(position)
    results: dict[int, Any] = {}
    for apply, positions in kinds.items():
        given = [changes[position].given for position in positions]
        results |= zip(positions, apply(connection, given), strict=True)
    return [results[position] for position in range(len(changes))]


def _batch(connection: Connection, batch_id: UUID) -> Batch:
    row = connection.execute(
        text("SELECT * FROM batches WHERE id = :id"), {"id": str(batch_id)}
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no batch {batch_id}.")
    return batch_of(row)


def _ended(arrival: Arrival, order: int, now: float) -> dict[str, Any]:
    return {
        "id": str(arrival.id),
        "state": _FINAL[arrival.outcome],
        "now": now,
        "ended_order": order,
        "road": arrival.road,
        "winner": arrival.winner,
        "confidence": arrival.confidence,
        "justification": arrival.justification,
        "provider": arrival.provider,
        "model": arrival.model,
        "judge_kind": arrival.judge_kind,
        "cost_usd": arrival.cost_usd,
        "tokens": arrival.tokens,
        "response_time_ms": arrival.response_time_ms,
        "attempts": arrival.attempts,
        "prompt_sha256": arrival.prompt_sha256,
        "error_code": arrival.error_code,
        "error_detail": arrival.error_detail,
        "retryable": arrival.retryable,
    }
