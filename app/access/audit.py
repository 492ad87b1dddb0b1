"""The audit log: who did what that only operators may do, and how it ended. No essay text is ever in it.

A row is written *before* its action, as `begun`, and gets its outcome after the answer. So nothing is done that the
log does not know of: when the database takes no row, the action is refused (503), for an operator who cannot be held to
account is worse than one who has to wait. A row that stays `begun` belongs to a process that died on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from app.access.tables import audit
from app.contracts.wire import At
from app.database import Database

_LONGEST = 200
_HIGHEST = 2**31 - 1
_IN_TURN = "LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE"
"""Until the commit, so that numbers become visible in their order and a cursor passes over none."""


class Outcome(StrEnum):
    """How an action ended."""

    BEGUN = "begun"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row; `target` is an id, `detail` says what the action alone does not."""

    number: int
    at: At
    principal: str
    action: str
    target: str
    detail: str
    outcome: Outcome


class Audit:
    """All methods raise `StoreUnavailable` when the database does not take the row.

    Time is the database's unless a `clock` is given.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._now: Callable[[Connection], float] = database.now if clock is None else lambda _: clock()

    async def write(
        self, principal: str, action: str, *, target: str, detail: str = "", outcome: Outcome
    ) -> int:
        """Store a row; returns its number."""
        return await self._database.write(
            lambda c: note(c, self._now(c), principal, action, target=target, detail=detail, outcome=outcome)
        )

    async def specify(self, number: int, words: str) -> None:
        """Add to what was begun, before it is done, what its path does not say; never a text or a secret."""
        statement = (
            update(audit)
            .where(audit.c.number == number)
            .values(detail=func.trim(audit.c.detail + f" {_short(words)}"))
        )
        await self._database.write(lambda c: c.execute(statement))

    async def finish(self, number: int, status: int) -> None:
        """Say how what was begun was answered."""
        outcome = Outcome.DONE if status < HTTPStatus.BAD_REQUEST else Outcome.FAILED
        detail = func.trim(f"{status} " + audit.c.detail)
        statement = update(audit).where(audit.c.number == number).values(outcome=outcome, detail=detail)
        await self._database.write(lambda c: c.execute(statement))

    async def after(self, number: int, *, limit: int) -> Sequence[AuditEntry]:
        """Rows behind `number`, in order."""
        statement = (
            select(audit).where(audit.c.number > min(number, _HIGHEST)).order_by(audit.c.number).limit(limit)
        )
        return await self._database.read(lambda c: [_entry(row) for row in c.execute(statement)])

    async def latest(self, limit: int) -> Sequence[AuditEntry]:
        """The last rows, in order."""
        statement = select(audit).order_by(audit.c.number.desc()).limit(limit)
        found = await self._database.read(lambda c: [_entry(row) for row in c.execute(statement)])
        return found[::-1]


def note(
    connection: Connection,
    at: float,
    principal: str,
    action: str,
    *,
    target: str,
    detail: str = "",
    outcome: Outcome,
) -> int:
    """Add a row within a transaction that changes something else too; what callers made up is kept short.

    Call it last: on PostgreSQL it holds the log until the commit.
    """
    values = {
        "at": at,
        "principal": principal,
        "action": action,
        "target": _short(target),
        "detail": detail[:_LONGEST],
        "outcome": outcome,
    }
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(_IN_TURN)
    return int(connection.execute(insert(audit).values(values).returning(audit.c.number)).scalar_one())


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST])


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        row.number, row.at, row.principal, row.action, row.target, row.detail, Outcome(row.outcome)
    )
