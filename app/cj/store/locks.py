"""Which rows a transaction holds, where processes share a server: one order everywhere, so that nobody deadlocks.

Batches by id, then comparisons by id, then waves and essays, which belong to whoever holds their batch. Only `claim`
takes comparisons in another order, and it waits for none: it passes over what somebody holds. SQLite has one writer:
none of these statements is run there, but for `known`, which reads as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import Connection

from app.database.statements import AnyRow, fetch, over

_BATCHES_OF = """SELECT id FROM batches WHERE id IN (SELECT batch_id FROM comparisons WHERE id {among text})
    ORDER BY id FOR UPDATE"""
_KNOWN = "SELECT id, batch_id, wave, state FROM comparisons WHERE id {among text} ORDER BY id FOR UPDATE"
_ALL_OF = """SELECT count(*) FROM
    (SELECT id FROM comparisons WHERE batch_id {among text} ORDER BY id FOR UPDATE) AS held"""
_SUBMITTED = """SELECT count(*) FROM (SELECT id FROM comparisons WHERE state = 'submitted' AND due_at IS NOT NULL
    ORDER BY id FOR UPDATE) AS held"""


def known(connection: Connection, recorded: Iterable[UUID], others: Iterable[UUID]) -> Mapping[str, AnyRow]:
    """The comparisons that results came for, as they stand, and nobody else's from now on.

    Their batches are held too, and so are the comparisons `others`, which need no batch.
    """
    wanted = [(str(one),) for one in recorded]
    if _shared(connection):
        over(connection, _BATCHES_OF, wanted)
        wanted += [(str(one),) for one in others]
    return {row.id: row for row in over(connection, _KNOWN, wanted)}


def comparisons_of(connection: Connection, batch_ids: Iterable[str]) -> None:
    """Hold every comparison of batches that are held already."""
    if _shared(connection):
        over(connection, _ALL_OF, [(batch_id,) for batch_id in batch_ids])


def submitted(connection: Connection) -> None:
    """Hold every comparison that was sent and is open."""
    if _shared(connection):
        fetch(connection, _SUBMITTED)


def _shared(connection: Connection) -> bool:
    return connection.dialect.name != "sqlite"
