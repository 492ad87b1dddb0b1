"""What must be sent to the provider, and when: first sends, repairs and cancellations alike.

`due_at` is now when a row is planned, the soft deadline when the provider has it, and empty once it has ended.

Each claim looks at the money: a row of a batch whose budget is spent is handed out to be ended, not to be sent. On
PostgreSQL the look and a result of the same moment may pass each other, so that what is being claimed at that moment
counts as under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from app.cj.batch import Task
from app.cj.store import locks
from app.cj.store.money import BROKE
from app.database.statements import fetch, over

_DUE = f"""SELECT c.id, c.batch_id, c.state = 'cancelled' AS cancelled, {BROKE} AS broke, c.posts > 0 AS sent, c.body,
    b.question, a.text AS essay_a, z.text AS essay_b FROM comparisons c JOIN batches b ON b.id = c.batch_id
    JOIN texts a ON a.batch_id = c.batch_id AND a.position = c.first
    JOIN texts z ON z.batch_id = c.batch_id AND z.position = c.second
    WHERE c.due_at <= :now AND (b.state = 'running' OR c.state = 'cancelled')
    ORDER BY c.due_at, c.sequence LIMIT :limit FOR UPDATE OF c SKIP LOCKED"""  # noqa: S608 - our own constant
_CLAIM = """UPDATE comparisons SET state = CASE state WHEN 'planned' THEN 'submitted' ELSE state END, due_at = :due,
    posts = posts + 1, submitted_at = coalesce(submitted_at, :now) WHERE id {among text}"""
_HOLD = "UPDATE comparisons SET due_at = :due WHERE id {among text}"
_POSTPONE = """UPDATE comparisons SET queued_at = coalesce(given.column3, queued_at),
    due_at = CASE WHEN state = 'cancelled' THEN coalesce(given.column3, given.column2) ELSE given.column2 END
    FROM {given text float8 float8} WHERE id = given.column1 AND due_at IS NOT NULL
    RETURNING CASE WHEN state = 'cancelled' THEN id END AS cancelled"""
_RELEASE = """UPDATE comparisons SET due_at = :now FROM {given text float8}
    WHERE id = given.column1 AND due_at = given.column2"""
_NEXT = """SELECT c.due_at FROM comparisons c JOIN batches b ON b.id = c.batch_id
    WHERE c.due_at IS NOT NULL AND (b.state = 'running' OR c.state = 'cancelled')
    ORDER BY c.due_at, c.sequence LIMIT 1"""


class Postponement(NamedTuple):
    """A row that is not due for `seconds`; `queued` says that the provider holds the request durably (202).

    If the row was cancelled meanwhile, a 202 makes its cancellation due: now there is something to cancel.
    """

    comparison: UUID
    seconds: float
    queued: bool


def claim(connection: Connection, *, limit: int, until: float, now: float) -> list[Task]:
    """Take up to `limit` rows that are due; they are due again at `until`, should this process die.

    Rows that another process takes at this moment are passed over.
    """
    tasks = [
        Task(UUID(name), UUID(batch), bool(cancelled), bool(broke), bool(sent), *rest)
        for name, batch, cancelled, broke, sent, *rest in fetch(connection, _DUE, now=now, limit=limit)
    ]
    unsent = [(str(task.id),) for task in tasks if task.unsendable]
    sendable = [(str(task.id),) for task in tasks if not task.unsendable]
    over(connection, _CLAIM, sendable, now=now, due=until)
    over(connection, _HOLD, unsent, due=until)
    return tasks


def release(connection: Connection, claims: Iterable[tuple[UUID, float]], now: float) -> None:
    """Make due what is still claimed until just then: the answer to that claim never came."""
    rows = sorted((str(comparison), until) for comparison, until in claims)
    locks.known(connection, (), (UUID(name) for name, _ in rows))
    over(connection, _RELEASE, rows, now=now)


def postpone(connection: Connection, items: Sequence[Postponement], now: float) -> Sequence[bool]:
    """Set the next deadline of open rows; True for one that was cancelled meanwhile."""
    rows = [
        (str(comparison), now + seconds, now if queued else None) for comparison, seconds, queued in items
    ]
    cancelled = {row.cancelled for row in over(connection, _POSTPONE, rows)} - {None}
    return [bool(cancelled) and row[0] in cancelled for row in rows]


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
    locks.submitted(connection)
    sql = text("UPDATE comparisons SET due_at = :now WHERE state = 'submitted' AND due_at IS NOT NULL")
    return int(connection.execute(sql, {"now": now}).rowcount)
