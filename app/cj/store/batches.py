"""Batches and their essays: made, moved from state to state, buried."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from app.cj.batch import Batch, BatchSettings, BatchState, NewBatch
from app.cj.statistics.stopping import StopReason
from app.cj.store import locks
from app.cj.store.money import is_broke
from app.database.statements import fetch
from app.errors import Conflict, NotFound

_ONE = "SELECT * FROM batches WHERE id = :id"
_HELD = f"{_ONE} FOR UPDATE"
_STOP = """UPDATE batches SET stop_reason = coalesce(stop_reason, :reason), version = version + 1 WHERE id = :id"""
_RECALL = """UPDATE comparisons SET due_at = :now
    WHERE batch_id = :id AND state = 'submitted' AND queued_at IS NOT NULL AND due_at > :now"""
_PAIRS = "SELECT count(*) AS asked FROM comparisons WHERE batch_id = :id AND again = 0 AND audit_of IS NULL"
_EXTEND = """UPDATE batches SET state = 'running', stop_reason = NULL, finished_at = NULL, problem = NULL, excused = waves,
    extended_from = planned, extended_to = decided + :more, version = version + 1 WHERE id = :id"""
_DECIDED_OF = """SELECT count(*) AS decided FROM comparisons
    WHERE batch_id = :id AND sequence <= :planned AND state = 'decided'"""
_DONE_WITH = """SELECT id FROM batches b WHERE state = 'deleting' AND NOT EXISTS
    (SELECT 1 FROM comparisons c WHERE c.batch_id = b.id AND c.due_at IS NOT NULL) ORDER BY id FOR UPDATE"""


def batch_of(row: Any) -> Batch:
    """Read a row of `batches`, but for what only the planner asks."""
    fields = row._asdict()
    # The second is one of the settings, here for statements to compare with.
    for column in ("excused", "budget_usd"):
        del fields[column]
    return Batch(
        **fields
        | {
            "id": UUID(fields["id"]),
            "settings": BatchSettings.model_validate_json(fields["settings"]),
            "state": BatchState(fields["state"]),
        }
    )


def find(connection: Connection, batch_id: UUID, *, held: bool = False) -> Batch:
    """One batch, also one that is being deleted; `held`: nobody else changes it before the commit.

    :raises NotFound: no such batch.
    """
    rows = fetch(connection, _HELD if held else _ONE, id=str(batch_id))
    if not rows:
        raise NotFound(f"There is no batch {batch_id}.")
    return batch_of(rows[0])


def find_kept(connection: Connection, batch_id: UUID, *, held: bool = False) -> Batch:
    """The same, but for one that is being deleted: to everybody it is gone already.

    :raises NotFound: no such batch, or it is being deleted.
    """
    batch = find(connection, batch_id, held=held)
    if batch.state is BatchState.DELETING:
        raise NotFound(f"There is no batch {batch_id}.")
    return batch


def create(connection: Connection, batch_id: UUID, new: NewBatch, state: BatchState, now: float) -> None:
    """Store a batch and its essays, unless that was done before."""
    made = connection.execute(
        text(
            """INSERT INTO batches (id, title, question, settings, budget_usd, state, essays, created_at)
            VALUES (:id, :title, :question, :settings, :budget, :state, :essays, :now) ON CONFLICT DO NOTHING"""
        ),
        {
            "id": str(batch_id),
            "title": new.title,
            "question": new.question,
            "settings": new.settings.model_dump_json(),
            "budget": new.settings.budget_usd,
            "state": state,
            "essays": len(new.essays),
            "now": now,
        },
    ).rowcount
    if not made:
        return
    rows = [
        {"id": str(batch_id), "n": n, "name": essay.name, "text": essay.text, "level": essay.level}
        for n, essay in enumerate(new.essays)
    ]
    connection.execute(
        text("INSERT INTO essays (batch_id, position, name, level) VALUES (:id, :n, :name, :level)"),
        rows,
    )
    connection.execute(text("INSERT INTO texts VALUES (:id, :n, :text)"), rows)


def change(
    connection: Connection, batch_id: UUID, to: BatchState, out_of: tuple[BatchState, ...], now: float
) -> Batch:
    """Move a batch to another state; ending it early ends what is open.

    :raises NotFound: no such batch.
    :raises Conflict: its state does not allow it.
    """
    batch = find(connection, batch_id, held=True)
    if batch.state is to:
        return batch
    if batch.state is BatchState.DELETING:
        raise NotFound(f"There is no batch {batch_id}.")
    if batch.state not in out_of:
        allowed = ", ".join(out_of)
        raise Conflict(f"The batch is {batch.state}; to become {to} it must be {allowed}.")
    _set_state(connection, batch_id, to, now)
    if to in {BatchState.CANCELLED, BatchState.DELETING}:
        _cancel_open(connection, batch_id, now)
    return find(connection, batch_id)


def extend(connection: Connection, batch_id: UUID, more: int, beyond: int | None) -> Batch:
    """Let a finished batch go on for `more` comparisons; the same again with the same `beyond` adds nothing.

    :raises NotFound: no such batch.
    :raises Conflict: it has not finished, has more than `beyond` comparisons, another number was added to those,
        no money or no pair is left.
    """
    batch = find_kept(connection, batch_id, held=True)
    if beyond is not None and beyond == batch.extended_from:
        return _extended_before(connection, batch, more)
    if batch.state is not BatchState.FINISHED:
        raise Conflict(f"The batch is {batch.state}; only to a finished one can comparisons be added.")
    if beyond is not None and beyond != batch.planned:
        raise Conflict(f"The batch has {batch.planned} comparisons by now, not {beyond}.", hint="Look again.")
    if is_broke(batch):
        raise Conflict("The budget of the batch is spent, so that no comparison would be sent.")
    if pairs_asked(connection, batch_id) >= batch.essays * (batch.essays - 1) // 2:
        raise Conflict("Every pair of essays has been compared already.")
    fetch(connection, _EXTEND, id=str(batch_id), more=more)
    return find(connection, batch_id)


def pairs_asked(connection: Connection, batch_id: UUID) -> int:
    """How many different pairs were asked for a score."""
    ((asked,),) = fetch(connection, _PAIRS, id=str(batch_id))
    return int(asked)


def _extended_before(connection: Connection, batch: Batch, more: int) -> Batch:
    """The batch, if the extension that it has is this one. Ends are final, so its count then can be counted now."""
    ((decided,),) = fetch(connection, _DECIDED_OF, id=str(batch.id), planned=batch.extended_from)
    added = (batch.extended_to or 0) - decided
    if added != more:
        raise Conflict(
            f"To its {batch.extended_from} comparisons {added} were added already, not {more}.",
            hint=f"Nothing was added. Look again; there are {batch.planned} comparisons by now.",
        )
    return batch


def _set_state(connection: Connection, batch_id: UUID, to: BatchState, now: float) -> None:
    connection.execute(
        text(
            """UPDATE batches SET state = :state, version = version + 1, finished_at = :ended,
            problem = CASE WHEN :state = 'paused' THEN problem ELSE NULL END,
            excused = CASE WHEN :state = 'running' THEN waves ELSE excused END,
            stop_reason = CASE WHEN :state = 'cancelled' THEN 'cancelled' ELSE stop_reason END WHERE id = :id"""
        ),
        {
            "id": str(batch_id),
            "state": to,
            "ended": now if to is BatchState.CANCELLED else None,
        },
    )


def _cancel_open(connection: Connection, batch_id: UUID, now: float) -> None:
    """End what is open; what the provider may have stays due, so that the cancellation is passed on to it.

    What it has for sure is due now. Of the rest a POST may be under way, in whatever process, which the cancellation
    must not overtake: it is due when that POST ended, or its claim.
    """
    locks.comparisons_of(connection, [str(batch_id)])
    connection.execute(
        text(
            """UPDATE comparisons SET state = 'cancelled', ended_at = :now, body = NULL,
            due_at = CASE WHEN queued_at IS NOT NULL THEN :now WHEN posts > 0 THEN due_at ELSE NULL END
            WHERE batch_id = :id AND state IN ('planned', 'submitted')"""
        ),
        {"id": str(batch_id), "now": now},
    )
    connection.execute(text("UPDATE waves SET open = 0 WHERE batch_id = :id"), {"id": str(batch_id)})


def bury(connection: Connection, now: float) -> int:
    """Delete batches marked so, once no cancellation is left to pass on; a tombstone takes late callbacks."""
    rows = [{"id": row.id, "now": now} for row in fetch(connection, _DONE_WITH)]
    if rows:
        locks.comparisons_of(connection, [row["id"] for row in rows])
        connection.execute(text("INSERT INTO tombstones VALUES (:id, :now) ON CONFLICT DO NOTHING"), rows)
        for table, column in (
            ("comparisons", "batch_id"),
            ("waves", "batch_id"),
            ("fits", "batch_id"),
            ("essays", "batch_id"),
            ("texts", "batch_id"),
            ("batches", "id"),
        ):
            connection.execute(text(f"DELETE FROM {table} WHERE {column} = :id"), rows)  # noqa: S608 - our own names
    return len(rows)


def withdraw(connection: Connection, batch_id: UUID, now: float) -> None:
    """Ask no more pairs, for want of money, and make due what waits at the provider: it is cancelled there.

    What is just being sent is due when that ended, or its claim.
    """
    if find(connection, batch_id, held=True).state is not BatchState.RUNNING:
        return
    fetch(connection, _STOP, id=str(batch_id), reason=StopReason.BUDGET)
    locks.comparisons_of(connection, [str(batch_id)])
    fetch(connection, _RECALL, id=str(batch_id), now=now)


def pause(connection: Connection, batch_id: UUID, problem: str) -> bool:
    """Pause a batch that still runs, with the reason for the screen; False when somebody was faster."""
    sql = text(
        """UPDATE batches SET state = 'paused', problem = :problem, version = version + 1
        WHERE id = :id AND state = 'running'"""
    )
    return bool(connection.execute(sql, {"id": str(batch_id), "problem": problem}).rowcount)
