"""What must be sent to the provider, and when: first sends, repairs and cancellations alike.

`due_at` is now when a row is planned, the soft deadline when the provider has it, and empty once it has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from app.cj.batch import Task
from app.database.statements import fetch, over

_DUE = """SELECT c.id, c.batch_id, c.state = 'cancelled' AS cancelled, c.body, b.question, a.text AS essay_a,
    z.text AS essay_b FROM comparisons c JOIN batches b ON b.id = c.batch_id
    JOIN texts a ON a.batch_id = c.batch_id AND a.position = c.first
    JOIN texts z ON z.batch_id = c.batch_id AND z.position = c.second
    WHERE c.due_at <= :now AND (b.state = 'running' OR c.state = 'cancelled')
    ORDER BY c.due_at, c.sequence LIMIT :limit"""
_CLAIM = """UPDATE comparisons SET state = CASE state WHEN 'planned' THEN 'submitted' ELSE state END, due_at = :due,
    posts = posts + 1, submitted_at = coalesce(submitted_at, :now) WHERE id {among text}"""
_POSTPONE = """UPDATE comparisons SET due_at = given.column2, queued_at = coalesce(given.column3, queued_at)
    FROM {given text float8 float8} WHERE comparisons.id = given.column1
    AND due_at IS NOT NULL AND (state IN ('planned', 'submitted') OR given.column3 IS NULL)"""
_NEXT = """SELECT c.due_at FROM comparisons c JOIN batches b ON b.id = c.batch_id
    WHERE c.due_at IS NOT NULL AND (b.state = 'running' OR c.state = 'cancelled')
    ORDER BY c.due_at, c.sequence LIMIT 1"""


class Postponement(NamedTuple):
    """A row that is not due for `seconds`; `queued` says that the provider holds the request durably (202).

    A 202 does not put off the cancellation of a row that was cancelled meanwhile.
    """

    comparison: UUID
    seconds: float
    queued: bool


def claim(connection: Connection, *, limit: int, hold: float, now: float) -> list[Task]:
    """Take up to `limit` rows that are due; they are due again in `hold` seconds, should this process die."""
    rows = fetch(connection, _DUE, now=now, limit=limit)
    over(connection, _CLAIM, [(row.id,) for row in rows], now=now, due=now + hold)
    return [Task(UUID(name), UUID(batch), bool(cancelled), *rest) for name, batch, cancelled, *rest in rows]


def postpone(connection: Connection, items: Sequence[Postponement], now: float) -> Sequence[None]:
    """Set the next deadline of open rows."""
    rows = [
        (str(comparison), now + seconds, now if queued else None) for comparison, seconds, queued in items
    ]
    over(connection, _POSTPONE, rows)
    return [None] * len(items)


def cancellation_sent(connection: Connection, comparison: UUID) -> None:
    """Nothing is left to be sent for a cancelled row."""
    sql = text("UPDATE comparisons SET due_at = NULL WHERE id = :id AND state = 'cancelled'")
    connection.execute(sql, {"id": str(comparison)})


def next_due_at(connection: Connection) -> float | None:
    """The earliest deadline of a row that may be sent."""
    rows = fetch(connection, _NEXT)
    return rows[0].due_at if rows else None


def repair_all(connection: Connection, now: float) -> int:
    """Make every submitted row due; returns how many."""
    sql = text("UPDATE comparisons SET due_at = :now WHERE state = 'submitted' AND due_at IS NOT NULL")
    return int(connection.execute(sql, {"now": now}).rowcount)
