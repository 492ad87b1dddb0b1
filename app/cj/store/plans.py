"""Waves: what the planner reads of complete ones, and how it commits the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from app.cj.batch import Batch, BatchState, ComparisonState, PlannedPair, comparison_id
from app.cj.store import fits
from app.cj.store.batches import find
from app.cj.store.fits import FittedWave
from app.contracts import Winner
from app.database.statements import fetch, insert, over

SHARE: Mapping[str, float] = {Winner.ESSAY_A: 1.0, Winner.ESSAY_B: 0.0, Winner.TIE: 0.5}
_SCORE = """UPDATE essays SET score = given.column2, se = given.column3, verdicts = given.column4
    FROM {given integer float8 float8 integer} WHERE batch_id = :id AND position = given.column1"""
_STANDING = """SELECT excused, (SELECT min(number) FROM waves WHERE batch_id = :id AND open > 0) AS first_open
    FROM batches WHERE id = :id"""
_TO_VISIT = """SELECT id FROM batches
    WHERE state = 'running' OR state = 'cancelled' AND decided > 0 AND fitted_wave < waves ORDER BY created_at"""
_FITTED = "UPDATE waves SET reliability = :reliability WHERE batch_id = :id AND number = :wave"
_ENDED = """SELECT sequence, wave, first, second, judge, winner, confidence, again, retryable, cost_usd, audit_of
    FROM comparisons
    WHERE batch_id = :id AND wave > :since AND wave <= :complete ORDER BY sequence"""
_PLANNED = """SELECT sequence, first, second, judge, again, audit_of FROM comparisons
    WHERE batch_id = :id ORDER BY sequence"""
_PLAN = """INSERT INTO comparisons (id, batch_id, sequence, wave, first, second, judge, again, audit_of, body,
    state, due_at, planned_at)
    {rows text text integer integer integer integer integer integer integer bytea text float8 float8}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One ended comparison as the planner reads it; `share` is what `first` won of it, None when there is no verdict.

    `confidence` as the judge stated it, None when it stated none.
    """

    sequence: int
    wave: int
    first: int
    second: int
    judge: int
    share: float | None
    confidence: float | None
    again: int
    retryable: bool
    cost_usd: float
    audit_of: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the planner needs: the batch, how many leading waves are complete, and what ended in the waves asked for.

    Waves up to `excused` were sent before somebody last started or resumed the batch.
    """

    batch: Batch
    complete: int
    excused: int
    ended: Sequence[Ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The planner's decision, committed only if the batch still has `waves` waves and is in this `state`.

    Scores and standard errors are by essay position, over all waves up to `fitted_wave`; `fitted` says what else that
    fit found, and is None while there is no verdict.
    """

    batch_id: UUID
    state: BatchState
    waves: int
    fitted_wave: int
    scores: Sequence[float]
    standard_errors: Sequence[float]
    verdicts: Sequence[int]
    fitted: FittedWave | None
    stop_reason: str | None
    finished: bool
    pairs: Sequence[tuple[PlannedPair, bytes]]


def running(connection: Connection) -> list[UUID]:
    """Batches that may need planning, the oldest first, and cancelled ones whose verdicts do not all count yet."""
    rows = fetch(connection, _TO_VISIT)
    return [UUID(row.id) for row in rows]


def progress(connection: Connection, batch_id: UUID, since: int) -> Progress:
    """Read the batch and what ended in its complete waves after wave `since`, in comparison order."""
    batch = find(connection, batch_id)
    ((excused, first_open),) = fetch(connection, _STANDING, id=str(batch_id))
    complete = batch.waves if first_open is None else first_open - 1
    rows = fetch(connection, _ENDED, id=str(batch_id), since=since, complete=complete)
    ended = [
        Ended(
            sequence=r.sequence,
            wave=r.wave,
            first=r.first,
            second=r.second,
            judge=r.judge,
            share=None if r.winner is None else SHARE[r.winner],
            confidence=r.confidence,
            again=r.again,
            retryable=bool(r.retryable),
            cost_usd=r.cost_usd or 0.0,
            audit_of=r.audit_of,
        )
        for r in rows
    ]
    return Progress(batch=batch, complete=complete, excused=excused, ended=ended)


def planned_pairs(connection: Connection, batch_id: UUID) -> list[PlannedPair]:
    """Every pair planned so far, in comparison order."""
    return [
        PlannedPair(
            sequence=sequence, first=first, second=second, judge=judge, again=again, audit_of=audit_of
        )
        for sequence, first, second, judge, again, audit_of in fetch(connection, _PLANNED, id=str(batch_id))
    ]


def texts(connection: Connection, batch_id: UUID) -> list[str]:
    """The essays of a batch by position."""
    sql = text("SELECT text FROM texts WHERE batch_id = :id ORDER BY position")
    return list(connection.execute(sql, {"id": str(batch_id)}).scalars())


def commit(connection: Connection, plan: Plan, now: float) -> bool:
    """Store scores and the next pairs by compare-and-set on the wave number; False when somebody was faster."""
    done = connection.execute(
        text(
            """UPDATE batches SET waves = waves + :more, planned = planned + :planned,
            fitted_wave = :fitted, reliability = :reliability, stop_reason = coalesce(stop_reason, :reason), version = version + 1,
            state = CASE WHEN :finished THEN 'finished' ELSE state END,
            finished_at = CASE WHEN :finished THEN :now ELSE finished_at END
            WHERE id = :id AND waves = :waves AND state = :state"""
        ),
        {
            "id": str(plan.batch_id),
            "waves": plan.waves,
            "state": plan.state,
            "more": int(bool(plan.pairs)),
            "planned": len(plan.pairs),
            "fitted": plan.fitted_wave,
            "reliability": plan.fitted.reliability if plan.fitted else None,
            "reason": plan.stop_reason,
            "finished": plan.finished,
            "now": now,
        },
    ).rowcount
    if not done:
        return False
    _store_scores(connection, plan)
    if plan.fitted:
        fits.store(connection, plan.batch_id, plan.fitted, now)
    if plan.pairs:
        _store_wave(connection, plan, now)
    return True


def _store_scores(connection: Connection, plan: Plan) -> None:
    batch_id = str(plan.batch_id)
    shown = zip(plan.scores, plan.standard_errors, plan.verdicts, strict=True)
    over(connection, _SCORE, [(place, *values) for place, values in enumerate(shown)], id=batch_id)
    reliability = plan.fitted.reliability if plan.fitted else None
    fetch(connection, _FITTED, id=batch_id, wave=plan.fitted_wave, reliability=reliability)


def _store_wave(connection: Connection, plan: Plan, now: float) -> None:
    batch_id, wave = str(plan.batch_id), plan.waves + 1
    connection.execute(
        text("INSERT INTO waves (batch_id, number, size, open) VALUES (:id, :wave, :size, :size)"),
        {"id": batch_id, "wave": wave, "size": len(plan.pairs)},
    )
    rows = [
        (
            str(comparison_id(plan.batch_id, pair.sequence)),
            batch_id,
            pair.sequence,
            wave,
            pair.first,
            pair.second,
            pair.judge,
            pair.again,
            pair.audit_of,
            body,
            ComparisonState.PLANNED,
            now,
            now,
        )
        for pair, body in plan.pairs
    ]
    insert(connection, _PLAN, rows)
